"""Options, keys and results that the commands of key ceremonies share.

The owner is the person with the offline signing key of the backups; a custodian is a person that
can decrypt backups, by a private key (the identity).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from standfast.cli.parsing.parameters import FilePath, passphrase_file_option
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line
from standfast.cli.terminal.passphrase import read_passphrase
from standfast.errors import ExitStatus

if TYPE_CHECKING:
    from backup.ownership.owner_session import OwnerSession
    from backup.trust.key_files import Identity

OWNER_EXIT_STATUSES: dict[ExitStatus, str] = {
    ExitStatus.FAILED: "a store does not respond; run the command again to complete it",
    ExitStatus.PARTIAL: "it is done, but a copy of the key records could not be updated",
    ExitStatus.DAMAGED: "the root records were changed or rolled back; nothing was signed",
}
PRINT_CARD = "Print the recovery card again: `standfast backup card --html card.html`."
owner_key_option = click.option(
    "--owner-key",
    type=FilePath(),
    required=True,
    metavar="FILE",
    help="The owner's key; unfinished operations and a copy of the key records are stored next to "
    "it.",
)
attended_option = click.option(
    "--identity",
    type=FilePath(),
    required=True,
    metavar="FILE",
    help="The recovery identity of an existing custodian that is not being retired.",
)
identity_passphrase_file_option = click.option(
    "--identity-passphrase-file",
    type=FilePath(),
    metavar="FILE",
    help="The file with the passphrase of the identity, if it has one.",
)


def owner_command(function: Any) -> Any:
    """Declare --owner-key and --passphrase-file of an owner operation."""
    return owner_key_option(passphrase_file_option(click.pass_obj(function)))


def custodian_command(function: Any) -> Any:
    """Declare the options of `owner_command`, and those of a custodian.

    These are --identity and --identity-passphrase-file.
    """
    return attended_option(identity_passphrase_file_option(owner_command(function)))


def owner_session(call: Call, owner_key: Path) -> "OwnerSession":
    """Open the owner's key; ask for its passphrase only if it is encrypted."""
    from standfast.usecases.key_ceremonies.owner_operations import open_owner_session

    return open_owner_session(call.stores(), owner_key, lambda who: read_passphrase(call, who))


def open_identity(call: Call, identity: Path, passphrase_file: Path | None) -> "Identity":
    """Open a custodian's identity; ask for a passphrase if it is encrypted."""
    from standfast.usecases.key_ceremonies.owner_operations import open_custodian

    of_identity = replace(call, passphrase_file=passphrase_file)
    return open_custodian(identity, lambda who: read_passphrase(of_identity, who))


def print_ceremony_result(
    call: Call, result: Mapping[str, Any], lines: Sequence[Line], next_steps: Sequence[str]
) -> ExitStatus:
    """Print the result and the next steps.

    Returns PARTIAL if a copy of the key records (the encrypted private keys of the backups) could
    not be updated.
    """
    shown: list[Line] = [*lines]
    failed: Sequence[str] = result.get("copies_failed", ())
    shown += [f"A copy of the key records was not updated: {copy}" for copy in failed]
    if failed:
        next_steps = ["`standfast backup keys copy FOLDER` for each of these copies.", *next_steps]
    if len(next_steps) == 1:
        shown += ["", f"Next: {next_steps[0]}"]
    elif next_steps:
        shown += ["", "Next:", *(f"  {n}. {step}" for n, step in enumerate(next_steps, 1))]
    status = ExitStatus.PARTIAL if failed else ExitStatus.DONE
    return call.print_result({**result, "next": list(next_steps)}, shown, status)
