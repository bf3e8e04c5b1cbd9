"""`standfast backup owner …`: backup hosts, and the keeper."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from standfast.cli.key_ceremonies.ceremony import OwnerKey, office, print_ceremony_result
from standfast.cli.parsing.command_declaration import Argument, Group, Option, command
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line, Table
from standfast.cli.terminal.passphrase import PassphraseFile
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

TrustedThrough = Annotated[
    int | None,
    Option(
        "--trusted-through",
        metavar="SEQ",
        min=0,
        help="The last of its points to believe; 0 for none.",
    ),
]
Witness = Annotated[
    Path | None,
    Option(
        "--witness",
        metavar="FILE",
        help="A witness from a machine that was not broken into: believe what it has seen.",
    ),
]
HostDir = Annotated[
    Path,
    Option("--host-dir", metavar="DIR", help="A new folder for the host's keys."),
]


def add_to(owner: Group) -> None:
    """Add the commands to the owner's group."""
    command(
        owner,
        "add-writer",
        exits={
            ExitStatus.DONE: "the host may write; its keys are in the folder",
            ExitStatus.USAGE: "there is such a writer, or no such domain",
            **_COMMON,
        },
        example="standfast backup owner add-writer desk-2 --domain main --host-dir desk-2 "
        "--owner-key owner.json",
    )(add_writer)
    command(
        owner,
        "new-epoch",
        exits={
            ExitStatus.DONE: "the host has new keys, and the old ones are believed no further",
            ExitStatus.USAGE: "there is no such writer or point",
            **_COMMON,
        },
        example="standfast backup owner new-epoch host-1 --trusted-through 41 --host-dir rebuilt "
        "--owner-key owner.json",
    )(new_epoch)
    command(
        owner,
        "remove-writer",
        exits={
            ExitStatus.DONE: "the host writes no more; its points restore",
            ExitStatus.USAGE: "there is no such writer or point",
            **_COMMON,
        },
        example="standfast backup owner remove-writer desk-2 --trusted-through 7 "
        "--owner-key owner.json",
    )(remove_writer)
    command(
        owner,
        "set-keeper",
        exits={
            ExitStatus.DONE: "the keeper is granted; its key is in the file, where one was made",
            ExitStatus.USAGE: "another keeper is trusted, or the file is there",
            **_COMMON,
        },
        example="standfast backup owner set-keeper --keeper-file keeper.json "
        "--owner-key owner.json",
    )(set_keeper)
    command(
        owner,
        "retire-keeper",
        exits={
            ExitStatus.DONE: "the keeper is believed no further",
            ExitStatus.USAGE: "there is no keeper or no such record",
            **_COMMON,
        },
        example="standfast backup owner retire-keeper --trusted-through 12 --owner-key owner.json",
    )(retire_keeper)


def add_writer(
    call: Call,
    name: Annotated[str, Argument(metavar="NAME", help="What the host is called.")],
    domain: Annotated[str, Option("--domain", metavar="D", help="What it writes for.")],
    host_dir: HostDir,
    owner_key: OwnerKey,
    passphrase_file: PassphraseFile = None,
) -> ExitStatus:
    """Let one more host write backups, with keys of its own."""
    from standfast.usecases.key_ceremonies.owner_operations import add_writer_as_owner

    told = add_writer_as_owner(office(call, owner_key, passphrase_file), name, domain, host_dir)
    return print_ceremony_result(
        call,
        told,
        [f"{name} may write for domain {domain} (root record {told['root']})."],
        [
            (
                f"Carry {told['host_file']} to that host, into the folder that backup.host names, "
                "and delete it here."
            ),
            f"Set backup.writer to {name} and backup.domain to {domain} there.",
            "`standfast backup keys copy FOLDER` there, with a copy of the key records.",
            f"Give the host an identity at the store of its own: deploy/s3, writer {name}.",
            "`standfast backup run` there; then print the recovery card again.",
        ],
    )


def new_epoch(
    call: Call,
    writer: Annotated[str, Argument(metavar="WRITER", help="The host's name.")],
    host_dir: HostDir,
    owner_key: OwnerKey,
    trusted_through: TrustedThrough = None,
    witness: Witness = None,
    passphrase_file: PassphraseFile = None,
) -> ExitStatus:
    """After a compromise: give a host new keys, and believe the old ones no further.

    Its next run sends everything anew.
    """
    from standfast.usecases.key_ceremonies.owner_operations import epoch_begun

    at = office(call, owner_key, passphrase_file)
    through = _through(at, writer, trusted_through, witness)
    told = epoch_begun(at, writer, through, host_dir)
    lines: list[Line] = [
        f"{writer} is in epoch {told['epoch']} (root record {told['root']}).",
        *_doubted(told),
    ]
    return print_ceremony_result(
        call,
        told,
        lines,
        [
            f"Revoke the old host's identity at the store, and make a new one for writer {writer}.",
            f"Carry {told['host_file']} to the rebuilt host, and delete it here.",
            (
                "`standfast backup run` there: everything is sent anew, nothing that the old host "
                "claimed to have stored is built on."
            ),
            "`standfast backup verify --read` from another machine.",
        ],
    )


def remove_writer(
    call: Call,
    writer: Annotated[str, Argument(metavar="WRITER", help="The host's name.")],
    owner_key: OwnerKey,
    trusted_through: TrustedThrough = None,
    witness: Witness = None,
    passphrase_file: PassphraseFile = None,
) -> ExitStatus:
    """Let a host write no more; what it wrote so far stays and restores."""
    from standfast.usecases.key_ceremonies.owner_operations import writer_removed

    at = office(call, owner_key, passphrase_file)
    told = writer_removed(at, writer, _through(at, writer, trusted_through, witness))
    return print_ceremony_result(
        call,
        told,
        [f"{writer} writes no more (root record {told['root']}).", *_doubted(told)],
        [
            f"Revoke the identity of writer {writer} at the store.",
            "Print the recovery card again.",
        ],
    )


def set_keeper(
    call: Call,
    owner_key: OwnerKey,
    keeper_file: Annotated[
        Path | None,
        Option("--keeper-file", metavar="FILE", help="Make a keeper's key, into this new file."),
    ] = None,
    key: Annotated[
        str | None,
        Option("--key", metavar="HEX", help="Or the public key of one who is."),
    ] = None,
    passphrase_file: PassphraseFile = None,
) -> ExitStatus:
    """Say who frees what is no longer needed."""
    from standfast.usecases.key_ceremonies.owner_operations import keeper_set

    if (keeper_file is None) == (key is None):
        raise UsageError(
            "give either --keeper-file FILE, for a new keeper's key, or --key HEX of one who is"
        )
    told = keeper_set(office(call, owner_key, passphrase_file), keeper_file, key)
    steps = [
        "Give the keeper an identity at the store of its own: deploy/s3, keeper.",
        "Print the recovery card again.",
    ]
    if told["keeper_file"]:
        steps.insert(
            0,
            f"Carry {told['keeper_file']} to the keeper's machine, which is not a backup host, and "
            "delete it here.",
        )
    return print_ceremony_result(
        call, told, [f"Keeper {told['key'][:16]}… is granted (root record {told['root']})."], steps
    )


def retire_keeper(
    call: Call,
    owner_key: OwnerKey,
    trusted_through: Annotated[
        int | None,
        Option("--trusted-through", metavar="N", min=0, help="The last of its records to believe."),
    ] = None,
    believe_none: Annotated[
        bool, Option("--believe-none", help="Believe none of its records.")
    ] = False,
    passphrase_file: PassphraseFile = None,
) -> ExitStatus:
    """Trust the keeper no further than one of its records."""
    from standfast.usecases.key_ceremonies.owner_operations import keeper_retired

    if (trusted_through is None) != believe_none:
        raise UsageError(
            "say how far it is believed: --trusted-through N, or --believe-none, and not both"
        )
    told = keeper_retired(office(call, owner_key, passphrase_file), trusted_through)
    said = counted(told["no_longer_believed"], "record")
    return print_ceremony_result(
        call,
        told,
        [f"The keeper is retired (root record {told['root']}); {said} of it no longer believed."],
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
    """How far a writer is believed: as it was said, as a witness saw it, or as is typed now."""
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


def _doubted(told: Any) -> list[Line]:
    through, doubted = told["trusted_through"], told["no_longer_believed"]
    known = "none of its points is" if not through else f"its points through {through} are"
    lines: list[Line] = [f"Of the old keys {known} believed."]
    if doubted:
        lines += [
            f"{counted(len(doubted), 'point')} no longer believed:",
            Table(
                rows=[
                    [one["point"], one["set"], one["time"][:16].replace("T", " ") + "Z"]
                    for one in doubted[:_SHOWN]
                ],
                indent=2,
            ),
        ]
        if len(doubted) > _SHOWN:
            lines.append(f"  … and {len(doubted) - _SHOWN:,} more; --json has them")
    return lines
