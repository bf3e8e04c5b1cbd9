"""`standfast backup owner show`, `publish`, `lock-key`; the group.

The owner is the person with the offline signing key of the backups. A writer is a backup host, and
a domain is a group of backup sets with one key. A custodian is a person that can decrypt backups,
and the keeper is the machine that may expire them.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from standfast.cli.key_ceremonies.ceremony import PRINT_CARD, owner_key_option
from standfast.cli.key_ceremonies.domain_and_custodian import (
    add_custodian,
    add_domain,
    new_generation,
    retire_custodian,
)
from standfast.cli.key_ceremonies.domain_erasure import erase, order_erasure
from standfast.cli.key_ceremonies.writer_and_keeper import (
    add_writer,
    new_epoch,
    remove_writer,
    retire_keeper,
    set_keeper,
)
from standfast.cli.parsing.commands import Group, command
from standfast.cli.parsing.parameters import FilePath, passphrase_file_option
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line, Table
from standfast.cli.terminal.passphrase import read_passphrase
from standfast.errors import ExitStatus
from standfast.plurals import counted

if TYPE_CHECKING:
    from backup.ownership.roster import Roster, RosterWriter


@command(
    "show",
    exits={
        ExitStatus.DONE: "the roles are shown",
        ExitStatus.FAILED: "the store does not respond",
        ExitStatus.USAGE: "the configured vault has no repository",
        ExitStatus.DAMAGED: "a record differs from what the owner or the keeper signed",
    },
    example="standfast backup owner show",
)
@click.pass_obj
def show(call: Call) -> ExitStatus:
    """Show writers, domains, custodians and keepers; no key is needed."""
    from standfast.usecases.key_ceremonies.owner_operations import roster
    from standfast.usecases.key_ceremonies.roster_document import roster_json

    seen = roster(call.stores())
    status = ExitStatus.DAMAGED if seen.problems else ExitStatus.DONE
    return call.print_result({**roster_json(seen)}, _lines(seen), status)


@command(
    "publish",
    exits={
        ExitStatus.DONE: "FORMAT.md and break_glass.py of this version are in the vault",
        ExitStatus.FAILED: "the store does not respond",
        ExitStatus.USAGE: "the access key of this machine has no right to add to the vault",
        ExitStatus.DAMAGED: "the root records of the vault are not signed by the owner",
    },
    example="standfast backup owner publish",
)
@click.pass_obj
def publish(call: Call) -> ExitStatus:
    """Copy FORMAT.md and break_glass.py of this version into the vault."""
    from standfast.usecases.key_ceremonies.owner_operations import publish_documents

    new = publish_documents(call.stores())
    lines: list[Line] = [f"Copied: {name}" for name in new]
    lines += [] if new else ["The vault already has the documents of this version."]
    lines.append(f"Next: {PRINT_CARD}")
    return call.print_result({"published": list(new)}, lines)


@command(
    "lock-key",
    exits={
        ExitStatus.DONE: "the new file has the key, encrypted with the passphrase",
        ExitStatus.FAILED: "the disk is full or read-only",
        ExitStatus.USAGE: "the file is not an owner's key, the new file exists, or the "
        "passphrase is too short",
    },
    example="standfast backup owner lock-key --owner-key owner.json --to owner.age",
    needs_ledger=False,
)
@owner_key_option
@click.option("--to", type=FilePath(), required=True, metavar="FILE", help="A new file.")
@passphrase_file_option
@click.pass_obj
def lock_key(call: Call, owner_key: Path, to: Path) -> ExitStatus:
    """Encrypt the owner's key with a passphrase, into a new file."""
    from standfast.usecases.key_ceremonies.owner_operations import write_locked_owner_key

    write_locked_owner_key(owner_key, to, lambda who: read_passphrase(call, who, is_new=True))
    return call.print_result(
        {"locked": str(to), "open": str(owner_key)},
        [
            f"{to} has the owner's key, encrypted with the passphrase.",
            "Write the passphrase down and keep it elsewhere: without it, nobody can sign again.",
            f"Next: test it with --owner-key {to}, then delete {owner_key}.",
        ],
    )


def _newest(writer: "RosterWriter") -> str:
    """Return the newest recovery point of a host, for the row of one key.

    Empty if the host signed that recovery point with a later key.
    """
    if writer.newest is None:
        return "none"
    if writer.trusted_through is not None and writer.newest.sequence > writer.trusted_through:
        return ""
    return f"{writer.newest.sequence}, {writer.newest.time:%Y-%m-%d %H:%M}Z"


def _lines(seen: "Roster") -> list[Line]:
    from backup.ownership.recovery_card import group_digits

    owner = group_digits(seen.owner)
    lines: list[Line] = [
        f"Repository  {group_digits(seen.repository)[0]}",
        *(f"{'Owner' if not n else '':11} {line}" for n, line in enumerate(owner)),
        (
            f"Root record {seen.root_number} of {seen.root_created:%Y-%m-%d %H:%M}Z; repository "
            f"created on {seen.created:%Y-%m-%d}"
        ),
        "",
        Table(
            headings=("writer", "epoch", "domains", "trusted", "newest point of the host"),
            rows=[
                [
                    writer.id,
                    str(writer.epoch),
                    ", ".join(writer.domains),
                    "yes"
                    if writer.trusted_through is None
                    else f"through {writer.trusted_through}"
                    if writer.trusted_through
                    else "no",
                    _newest(writer),
                ]
                for writer in seen.writers
            ],
        ),
        "",
    ]
    for domain in seen.domains:
        erased = f", erased on {domain.erased:%Y-%m-%d}" if domain.erased else ""
        lines.append(f"Domain {domain.id}{erased}")
        lines.append(
            Table(
                rows=[
                    [
                        f"generation {generation.number}",
                        "; ".join(custodian.title for custodian in generation.custodians)
                        or ("nobody can open it" if domain.erased else "its key record is missing"),
                    ]
                    for generation in domain.generations
                ],
                indent=2,
            )
        )
    lines.append("")
    lines += [
        f"Keeper {keeper.key.hex()[:16]}…, "
        + ("trusted" if keeper.trusted_through is None else f"through {keeper.trusted_through}")
        for keeper in seen.keepers
    ] or ["No keeper: nothing expires. Set one: `standfast backup owner set-keeper`."]
    if seen.keep_number is not None:
        lines.append(f"Newest keep record: {seen.keep_number}.")
    lines += [f"error: {problem}" for problem in seen.problems]
    if seen.lacks_documents:
        lines.append(
            "Next: `standfast backup owner publish` copies the bundled reader into the vault."
        )
    else:
        lines.append(f"The vault has {counted(len(seen.documents), 'file')} of the bundled reader.")
    return lines


owner = Group(
    "owner",
    help="Manage writers, domains, custodians and keepers, and erase domains.",
    commands=[
        show,
        add_writer,
        new_epoch,
        remove_writer,
        set_keeper,
        retire_keeper,
        add_domain,
        new_generation,
        add_custodian,
        retire_custodian,
        order_erasure,
        erase,
        publish,
        lock_key,
    ],
)
