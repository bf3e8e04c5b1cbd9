"""`standfast backup owner …`: writers and their epochs; the keeper.

A writer is a backup host; its epoch is the period of one of its signing keys. After a compromise,
the owner names the last recovery point that an old key is trusted for. The keeper is the machine
that may expire backups. A witness is a file with the newest sequence number of each writer.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from standfast.cli.key_ceremonies.ceremony import (
    OWNER_EXIT_STATUSES,
    PRINT_CARD,
    owner_command,
    owner_session,
    print_ceremony_result,
)
from standfast.cli.parsing.commands import command
from standfast.cli.parsing.parameters import FilePath
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line, first_rows
from standfast.cli.terminal.prompts import ask, print_note
from standfast.errors import ExitStatus, UsageError
from standfast.plurals import counted

if TYPE_CHECKING:
    from backup.ownership.owner_session import OwnerSession

trusted_through_option = click.option(
    "--trusted-through",
    type=click.IntRange(min=0),
    metavar="SEQ",
    help="The last trusted recovery point of the host; 0 for none.",
)
witness_option = click.option(
    "--witness",
    type=FilePath(),
    metavar="FILE",
    help="Trust the points that this witness lists; it must be from a machine without an intruder.",
)
host_dir_option = click.option(
    "--host-dir",
    type=FilePath(),
    required=True,
    metavar="DIR",
    help="A new folder for the host's keys.",
)


@command(
    "add-writer",
    exits={
        ExitStatus.DONE: "the host may write; its keys are in the folder",
        ExitStatus.USAGE: "the writer exists, or there is no such domain",
        **OWNER_EXIT_STATUSES,
    },
    example="standfast backup owner add-writer desk-2 --domain main --host-dir desk-2 "
    "--owner-key owner.json",
)
@click.argument("name", help="The name of the new host.")
@click.option("--domain", required=True, metavar="D", help="The domain that the host writes to.")
@host_dir_option
@owner_command
def add_writer(call: Call, name: str, domain: str, host_dir: Path, owner_key: Path) -> ExitStatus:
    """Allow one more host to write backups, with its own keys."""
    from standfast.usecases.key_ceremonies.owner_operations import add_writer_as_owner

    result = add_writer_as_owner(owner_session(call, owner_key), name, domain, host_dir)
    return print_ceremony_result(
        call,
        result,
        [f"{name} may write to domain {domain} (root record {result['root']})."],
        [
            f"Move {result['host_file']} to the host, into the folder that backup.host names.",
            f"On the host, set backup.writer to {name} and backup.domain to {domain}.",
            "On the host, copy the key records: `standfast backup keys copy FOLDER`.",
            f"Give the host its own identity at the store: deploy/s3, writer {name}.",
            "On the host: `standfast backup run`; then print the recovery card again.",
        ],
    )


@command(
    "new-epoch",
    exits={
        ExitStatus.DONE: "the host has new keys; the old keys can sign nothing new",
        ExitStatus.USAGE: "there is no such writer or point",
        **OWNER_EXIT_STATUSES,
    },
    example="standfast backup owner new-epoch host-1 --trusted-through 41 --host-dir rebuilt "
    "--owner-key owner.json",
)
@click.argument("writer", help="The host's name.")
@host_dir_option
@trusted_through_option
@witness_option
@owner_command
def new_epoch(
    call: Call,
    writer: str,
    host_dir: Path,
    owner_key: Path,
    trusted_through: int | None,
    witness: Path | None,
) -> ExitStatus:
    """Replace the keys of a host after a compromise.

    The old keys are trusted only up to a recovery point that you name. The next backup of the host
    uploads everything again.
    """
    from standfast.usecases.key_ceremonies.owner_operations import begin_epoch_as_owner

    owner = owner_session(call, owner_key)
    through = _trusted_through(owner, writer, trusted_through, witness)
    result = begin_epoch_as_owner(owner, writer, through, host_dir)
    return print_ceremony_result(
        call,
        result,
        [
            f"{writer} is in epoch {result['epoch']} (root record {result['root']}).",
            *_trust_lines(result),
        ],
        [
            f"Revoke the old host's identity at the store, and create a new one for {writer}.",
            f"Move {result['host_file']} to the rebuilt host.",
            "On that host: `standfast backup run`, which uploads everything again.",
            "On another machine: `standfast backup verify --read`.",
        ],
    )


@command(
    "remove-writer",
    exits={
        ExitStatus.DONE: "the host can no longer write; its points can be restored",
        ExitStatus.USAGE: "there is no such writer or point",
        **OWNER_EXIT_STATUSES,
    },
    example="standfast backup owner remove-writer desk-2 --trusted-through 7 "
    "--owner-key owner.json",
)
@click.argument("writer", help="The host's name.")
@trusted_through_option
@witness_option
@owner_command
def remove_writer(
    call: Call, writer: str, owner_key: Path, trusted_through: int | None, witness: Path | None
) -> ExitStatus:
    """Remove a writer; its recovery points stay restorable."""
    from standfast.usecases.key_ceremonies.owner_operations import remove_writer_as_owner

    owner = owner_session(call, owner_key)
    through = _trusted_through(owner, writer, trusted_through, witness)
    result = remove_writer_as_owner(owner, writer, through)
    return print_ceremony_result(
        call,
        result,
        [f"{writer} can no longer write (root record {result['root']}).", *_trust_lines(result)],
        [f"Revoke the identity of {writer} at the store.", PRINT_CARD],
    )


@command(
    "set-keeper",
    exits={
        ExitStatus.DONE: "the keeper is set; a new key is in the file",
        ExitStatus.USAGE: "another keeper is trusted, or the file exists",
        **OWNER_EXIT_STATUSES,
    },
    example="standfast backup owner set-keeper --keeper-file keeper.json --owner-key owner.json",
)
@click.option(
    "--keeper-file",
    type=FilePath(),
    metavar="FILE",
    help="Create the keeper's key in this new file.",
)
@click.option("--key", metavar="HEX", help="Or the public key of an existing keeper.")
@owner_command
def set_keeper(
    call: Call, owner_key: Path, keeper_file: Path | None, key: str | None
) -> ExitStatus:
    """Set the keeper, the machine that lets recovery points expire."""
    from standfast.usecases.key_ceremonies.owner_operations import set_keeper_as_owner

    if (keeper_file is None) == (key is None):
        raise UsageError(
            "keeper: give either --keeper-file FILE, for a new key, or --key HEX, for an existing "
            "keeper"
        )
    result = set_keeper_as_owner(owner_session(call, owner_key), keeper_file, key)
    move = f"Move {result['keeper_file']} to the keeper's machine, which is not a backup host."
    return print_ceremony_result(
        call,
        result,
        [f"Keeper {result['key'][:16]}… is set (root record {result['root']})."],
        [
            *([move] if result["keeper_file"] else []),
            "Give the keeper its own identity at the store: deploy/s3, keeper.",
            PRINT_CARD,
        ],
    )


@command(
    "retire-keeper",
    exits={
        ExitStatus.DONE: "the keeper is retired; its new records are not trusted",
        ExitStatus.USAGE: "there is no keeper or no such record",
        **OWNER_EXIT_STATUSES,
    },
    example="standfast backup owner retire-keeper --trusted-through 12 --owner-key owner.json",
)
@click.option(
    "--trusted-through",
    type=click.IntRange(min=0),
    metavar="N",
    help="The number of the keeper's last trusted record.",
)
@click.option("--trust-none", is_flag=True, help="Trust none of the keeper's records.")
@owner_command
def retire_keeper(
    call: Call, owner_key: Path, trusted_through: int | None, trust_none: bool
) -> ExitStatus:
    """Retire the keeper; its records after a number are not trusted."""
    from standfast.usecases.key_ceremonies.owner_operations import retire_keeper_as_owner

    if (trusted_through is None) != trust_none:
        raise UsageError("keeper: give either --trusted-through N or --trust-none")
    result = retire_keeper_as_owner(owner_session(call, owner_key), trusted_through)
    untrusted = counted(result["no_longer_trusted"], "record")
    return print_ceremony_result(
        call,
        result,
        [f"The keeper is retired (root record {result['root']}); {untrusted} no longer trusted."],
        [
            "Revoke the keeper's identity at the store.",
            "Run `standfast backup verify`. It names wrongly removed packs.",
            "Look for these packs in the copies of the vault.",
            "Set another keeper: `standfast backup owner set-keeper`.",
        ],
    )


def _trusted_through(
    owner: "OwnerSession", writer: str, trusted_through: int | None, witness: Path | None
) -> int:
    """Return the sequence number of a writer's last trusted recovery point.

    It is the given number or the number in a witness; otherwise a terminal asks for it.
    """
    from standfast.usecases.key_ceremonies.owner_operations import last_witnessed

    if trusted_through is not None and witness is not None:
        raise UsageError("arguments: --trusted-through and --witness exclude each other. Give one")
    if trusted_through is not None:
        return trusted_through
    if witness is not None:
        return last_witnessed(owner, writer, witness)
    if not sys.stdin.isatty():
        raise UsageError(
            f"writer {writer}: its last trusted point is not named. Add --trusted-through SEQ (0: "
            "none), or --witness FILE"
        )
    question = f"The last trusted point of {writer} (its number; 0 for none)"
    while not (typed := ask(question)).isdecimal():
        print_note(f"Error: {typed!r} is not a number")
    return int(typed)


def _trust_lines(result: Any) -> list[Line]:
    """Return the lines on recovery points that the old keys signed."""
    through, untrusted = result["trusted_through"], result["no_longer_trusted"]
    known = f"Its points through {through} are" if through else "None of its points is"
    lines: list[Line] = [f"{known} trusted under the old keys."]
    if untrusted:
        lines.append(f"{counted(len(untrusted), 'point')} no longer trusted:")
        lines += first_rows(
            [point["point"], point["set"], point["time"][:16].replace("T", " ") + "Z"]
            for point in untrusted
        )
    return lines
