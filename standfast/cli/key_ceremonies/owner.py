"""`standfast backup owner`: writers, domains, custodians and keepers."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from standfast.cli.key_ceremonies.ceremony import owner_key_option
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
from standfast.cli.terminal.passphrase import passphrase
from standfast.errors import ExitStatus
from standfast.plurals import counted

if TYPE_CHECKING:
    from backup.ownership.roster import Roster, RosterWriter


@command(
    "show",
    exits={
        ExitStatus.DONE: "who may do what is shown",
        ExitStatus.FAILED: "the store does not answer",
        ExitStatus.USAGE: "there is no repository where the configuration says",
        ExitStatus.DAMAGED: "a record is not what the owner or the keeper signed; it is named",
    },
    example="standfast backup owner show",
)
@click.pass_obj
def show(call: Call) -> ExitStatus:
    """Show writers, domains, custodians and keepers; no key is needed."""
    from standfast.usecases.key_ceremonies.owner_operations import open_stores, roster
    from standfast.usecases.key_ceremonies.roster_document import roster_json

    seen = roster(open_stores(call.config_file, call.env))
    status = ExitStatus.DAMAGED if seen.problems else ExitStatus.DONE
    call.say({**roster_json(seen), "exit_status": int(status)}, _lines(seen))
    return status


@command(
    "publish",
    exits={
        ExitStatus.DONE: "FORMAT.md and break_glass.py of this version are in the vault",
        ExitStatus.FAILED: "the store does not answer",
        ExitStatus.USAGE: "this identity may not add to the vault",
        ExitStatus.DAMAGED: "the vault's root records are not the owner's",
    },
    example="standfast backup owner publish",
)
@click.pass_obj
def publish(call: Call) -> ExitStatus:
    """Copy FORMAT.md and break_glass.py of this version into the vault."""
    from standfast.usecases.key_ceremonies.owner_operations import documents_published, open_stores

    new = documents_published(open_stores(call.config_file, call.env))
    lines: list[Line] = [f"{name} is new." for name in new]
    lines += [] if new else ["The vault has this version's documents already."]
    lines.append("Next: print the recovery card again: `standfast backup card --html card.html`.")
    call.say({"published": list(new)}, lines)
    return ExitStatus.DONE


@command(
    "lock-key",
    exits={
        ExitStatus.DONE: "the key is in a new file, under the passphrase",
        ExitStatus.FAILED: "the disk is full, or may not be written to",
        ExitStatus.USAGE: "that is no owner's key, a file of that name is there, or the "
        "passphrase is too short",
    },
    example="standfast backup owner lock-key --owner-key owner.json --to owner.age",
    needs_ledger=False,
)
@owner_key_option
@click.option("--to", type=FilePath(), required=True, metavar="FILE", help="A new file for it.")
@passphrase_file_option
@click.pass_obj
def lock_key(call: Call, owner_key: Path, to: Path, passphrase_file: Path | None) -> ExitStatus:
    """Encrypt the owner's key with a passphrase, into a new file."""
    from standfast.usecases.key_ceremonies.owner_operations import key_locked

    key_locked(owner_key, to, lambda who: passphrase(call, passphrase_file, who, is_new=True))
    call.say(
        {"locked": str(to), "open": str(owner_key)},
        [
            f"{to} holds the owner's key under the passphrase.",
            f"Next: use it once with --owner-key {to}, then delete {owner_key}.",
            (
                "Without the passphrase nobody signs for this repository again: keep it apart, "
                "written down."
            ),
        ],
    )
    return ExitStatus.DONE


def _newest(writer: "RosterWriter") -> str:
    """Return the newest point of a host; empty if a later epoch wrote it."""
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
            f"Root record {seen.root_number} of {seen.root_created:%Y-%m-%d %H:%M}Z, made "
            f"{seen.created:%Y-%m-%d}"
        ),
        "",
        Table(
            headings=("writer", "epoch", "domains", "believed", "newest point of the host"),
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
                        or ("nobody opens it" if domain.erased else "its key record is not there"),
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
    ] or ["Nobody keeps: nothing is ever freed. `standfast backup owner set-keeper` grants one."]
    if seen.keep_number is not None:
        lines.append(f"Keep records through {seen.keep_number}.")
    lines += [f"error: {problem}" for problem in seen.problems]
    if seen.lacks_documents:
        lines.append("Next: `standfast backup owner publish` puts this version's reader there.")
    else:
        lines.append(
            f"{counted(len(seen.documents), 'document')} for the last resort in the vault."
        )
    return lines


owner = Group(
    "owner",
    help="Who may write, open, keep and erase: the owner's deeds.",
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
