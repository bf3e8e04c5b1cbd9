"""`standfast backup owner …`: writers and the keeper."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from standfast.cli.key_ceremonies.ceremony import office, owner_key_option, print_ceremony_result
from standfast.cli.parsing.commands import command
from standfast.cli.parsing.parameters import FilePath, passphrase_file_option
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line, Table
from standfast.cli.terminal.prompts import ask, tell
from standfast.errors import ExitStatus, UsageError
from standfast.plurals import counted

if TYPE_CHECKING:
    from backup.ownership.owner_session import OwnerSession

_SHOWN = 20
_COMMON = {
    ExitStatus.FAILED: "a store does not answer; run it again, and it is completed",
    ExitStatus.PARTIAL: "it is done, and a copy of the key records could not be brought up to date",
    ExitStatus.DAMAGED: "the root records were changed or rolled back; nothing is signed on top",
}

trusted_through_option = click.option(
    "--trusted-through",
    type=click.IntRange(min=0),
    metavar="SEQ",
    help="The last of its points to believe; 0 for none.",
)
witness_option = click.option(
    "--witness",
    type=FilePath(),
    metavar="FILE",
    help="A witness from a machine that was not broken into: believe what it has seen.",
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
        ExitStatus.USAGE: "there is such a writer, or no such domain",
        **_COMMON,
    },
    example="standfast backup owner add-writer desk-2 --domain main --host-dir desk-2 "
    "--owner-key owner.json",
)
@click.argument("name", help="What the host is called.")
@click.option("--domain", required=True, metavar="D", help="What it writes for.")
@host_dir_option
@owner_key_option
@passphrase_file_option
@click.pass_obj
def add_writer(
    call: Call,
    name: str,
    domain: str,
    host_dir: Path,
    owner_key: Path,
    passphrase_file: Path | None,
) -> ExitStatus:
    """Allow one more host to write backups, with its own keys."""
    from standfast.usecases.key_ceremonies.owner_operations import add_writer_as_owner

    result = add_writer_as_owner(office(call, owner_key, passphrase_file), name, domain, host_dir)
    return print_ceremony_result(
        call,
        result,
        [f"{name} may write for domain {domain} (root record {result['root']})."],
        [
            (
                f"Carry {result['host_file']} to that host, into the folder that backup.host "
                "names, and delete it here."
            ),
            f"Set backup.writer to {name} and backup.domain to {domain} there.",
            "`standfast backup keys copy FOLDER` there, with a copy of the key records.",
            f"Give the host an identity at the store of its own: deploy/s3, writer {name}.",
            "`standfast backup run` there; then print the recovery card again.",
        ],
    )


@command(
    "new-epoch",
    exits={
        ExitStatus.DONE: "the host has new keys, and the old ones are believed no further",
        ExitStatus.USAGE: "there is no such writer or point",
        **_COMMON,
    },
    example="standfast backup owner new-epoch host-1 --trusted-through 41 --host-dir rebuilt "
    "--owner-key owner.json",
)
@click.argument("writer", help="The host's name.")
@host_dir_option
@owner_key_option
@trusted_through_option
@witness_option
@passphrase_file_option
@click.pass_obj
def new_epoch(
    call: Call,
    writer: str,
    host_dir: Path,
    owner_key: Path,
    trusted_through: int | None,
    witness: Path | None,
    passphrase_file: Path | None,
) -> ExitStatus:
    """Replace the keys of a host after a compromise.

    The old keys are trusted only up to a recovery point that you name. The next backup of the host
    uploads everything again.
    """
    from standfast.usecases.key_ceremonies.owner_operations import epoch_begun

    at = office(call, owner_key, passphrase_file)
    through = _through(at, writer, trusted_through, witness)
    result = epoch_begun(at, writer, through, host_dir)
    lines: list[Line] = [
        f"{writer} is in epoch {result['epoch']} (root record {result['root']}).",
        *_doubted(result),
    ]
    return print_ceremony_result(
        call,
        result,
        lines,
        [
            f"Revoke the old host's identity at the store, and make a new one for writer {writer}.",
            f"Carry {result['host_file']} to the rebuilt host, and delete it here.",
            (
                "`standfast backup run` there: everything is sent anew, nothing that the old host "
                "claimed to have stored is built on."
            ),
            "`standfast backup verify --read` from another machine.",
        ],
    )


@command(
    "remove-writer",
    exits={
        ExitStatus.DONE: "the host writes no more; its points restore",
        ExitStatus.USAGE: "there is no such writer or point",
        **_COMMON,
    },
    example="standfast backup owner remove-writer desk-2 --trusted-through 7 "
    "--owner-key owner.json",
)
@click.argument("writer", help="The host's name.")
@owner_key_option
@trusted_through_option
@witness_option
@passphrase_file_option
@click.pass_obj
def remove_writer(
    call: Call,
    writer: str,
    owner_key: Path,
    trusted_through: int | None,
    witness: Path | None,
    passphrase_file: Path | None,
) -> ExitStatus:
    """Remove a writer; its recovery points stay restorable."""
    from standfast.usecases.key_ceremonies.owner_operations import writer_removed

    at = office(call, owner_key, passphrase_file)
    result = writer_removed(at, writer, _through(at, writer, trusted_through, witness))
    return print_ceremony_result(
        call,
        result,
        [f"{writer} writes no more (root record {result['root']}).", *_doubted(result)],
        [
            f"Revoke the identity of writer {writer} at the store.",
            "Print the recovery card again.",
        ],
    )


@command(
    "set-keeper",
    exits={
        ExitStatus.DONE: "the keeper is granted; its key is in the file, where one was made",
        ExitStatus.USAGE: "another keeper is trusted, or the file is there",
        **_COMMON,
    },
    example="standfast backup owner set-keeper --keeper-file keeper.json --owner-key owner.json",
)
@owner_key_option
@click.option(
    "--keeper-file",
    type=FilePath(),
    metavar="FILE",
    help="Make a keeper's key, into this new file.",
)
@click.option("--key", metavar="HEX", help="Or the public key of one who is.")
@passphrase_file_option
@click.pass_obj
def set_keeper(
    call: Call,
    owner_key: Path,
    keeper_file: Path | None,
    key: str | None,
    passphrase_file: Path | None,
) -> ExitStatus:
    """Set the keeper, which lets recovery points expire."""
    from standfast.usecases.key_ceremonies.owner_operations import keeper_set

    if (keeper_file is None) == (key is None):
        raise UsageError(
            "give either --keeper-file FILE, for a new keeper's key, or --key HEX of one who is"
        )
    result = keeper_set(office(call, owner_key, passphrase_file), keeper_file, key)
    steps = [
        "Give the keeper an identity at the store of its own: deploy/s3, keeper.",
        "Print the recovery card again.",
    ]
    if result["keeper_file"]:
        steps.insert(
            0,
            f"Carry {result['keeper_file']} to the keeper's machine, which is not a backup host, "
            "and delete it here.",
        )
    return print_ceremony_result(
        call,
        result,
        [f"Keeper {result['key'][:16]}… is granted (root record {result['root']})."],
        steps,
    )


@command(
    "retire-keeper",
    exits={
        ExitStatus.DONE: "the keeper is believed no further",
        ExitStatus.USAGE: "there is no keeper or no such record",
        **_COMMON,
    },
    example="standfast backup owner retire-keeper --trusted-through 12 --owner-key owner.json",
)
@owner_key_option
@click.option(
    "--trusted-through",
    type=click.IntRange(min=0),
    metavar="N",
    help="The last of its records to believe.",
)
@click.option("--believe-none", is_flag=True, help="Believe none of its records.")
@passphrase_file_option
@click.pass_obj
def retire_keeper(
    call: Call,
    owner_key: Path,
    trusted_through: int | None,
    believe_none: bool,
    passphrase_file: Path | None,
) -> ExitStatus:
    """Retire the keeper; trust its records only up to a number."""
    from standfast.usecases.key_ceremonies.owner_operations import keeper_retired

    if (trusted_through is None) != believe_none:
        raise UsageError(
            "say how far it is believed: --trusted-through N, or --believe-none, and not both"
        )
    result = keeper_retired(office(call, owner_key, passphrase_file), trusted_through)
    said = counted(result["no_longer_believed"], "record")
    return print_ceremony_result(
        call,
        result,
        [f"The keeper is retired (root record {result['root']}); {said} of it no longer believed."],
        [
            "Revoke the keeper's identity at the store.",
            (
                "`standfast backup verify`: what it removed wrongly is missing, and comes from "
                "a copy."
            ),
            "`standfast backup owner set-keeper` grants another one.",
        ],
    )


def _through(
    at: "OwnerSession", writer: str, trusted_through: int | None, witness: Path | None
) -> int:
    """Return the last trusted sequence number of a writer."""
    from standfast.usecases.key_ceremonies.owner_operations import last_witnessed

    if trusted_through is not None and witness is not None:
        raise UsageError("give --trusted-through or --witness, and not both")
    if trusted_through is not None:
        return trusted_through
    if witness is not None:
        return last_witnessed(at, writer, witness)
    if not sys.stdin.isatty():
        raise UsageError(
            f"say which point of {writer} is the last to believe: --trusted-through SEQ (0: none), "
            "or --witness FILE"
        )
    question = f"The last point of {writer} to believe (its number; 0 for none)"
    while not (typed := ask(question)).isdecimal():
        tell(f"Error: {typed!r} is no number")
    return int(typed)


def _doubted(result: Any) -> list[Line]:
    through, doubted = result["trusted_through"], result["no_longer_believed"]
    known = "none of its points is" if not through else f"its points through {through} are"
    lines: list[Line] = [f"Of the old keys {known} believed."]
    if doubted:
        lines += [
            f"{counted(len(doubted), 'point')} no longer believed:",
            Table(
                rows=[
                    [point["point"], point["set"], point["time"][:16].replace("T", " ") + "Z"]
                    for point in doubted[:_SHOWN]
                ],
                indent=2,
            ),
        ]
        if len(doubted) > _SHOWN:
            lines.append(f"  … and {len(doubted) - _SHOWN:,} more; --json has them")
    return lines
