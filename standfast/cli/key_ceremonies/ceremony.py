"""Options, keys and results that the commands of key ceremonies share."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from standfast.cli.parsing.parameters import FilePath
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line
from standfast.cli.terminal.passphrase import passphrase
from standfast.errors import ExitStatus

if TYPE_CHECKING:
    from backup.ownership.owner_session import OwnerSession
    from backup.trust.key_files import Identity

owner_key_option = click.option(
    "--owner-key",
    type=FilePath(),
    required=True,
    metavar="FILE",
    help="The owner's key; the plan of what is under way and a copy of the key records are "
    "kept in its folder.",
)
attended_option = click.option(
    "--identity",
    type=FilePath(),
    required=True,
    metavar="FILE",
    help="The recovery identity of a custodian who is here and stays one.",
)
identity_passphrase_file_option = click.option(
    "--identity-passphrase-file",
    type=FilePath(),
    metavar="FILE",
    help="The passphrase of the identity, where it has one.",
)


def office(call: Call, owner_key: Path, passphrase_file: Path | None) -> "OwnerSession":
    """Open the owner's key; ask for its passphrase only if it is locked."""
    from standfast.usecases.key_ceremonies.owner_operations import open_owner_session, open_stores

    stores = open_stores(call.config_file, call.env)
    return open_owner_session(stores, owner_key, lambda who: passphrase(call, passphrase_file, who))


def attended(call: Call, identity: Path, passphrase_file: Path | None) -> "Identity":
    """Open a custodian's identity; ask for a passphrase only if locked."""
    from standfast.usecases.key_ceremonies.owner_operations import open_custodian

    return open_custodian(identity, lambda who: passphrase(call, passphrase_file, who))


def print_ceremony_result(
    call: Call, result: Mapping[str, Any], lines: Sequence[Line], next_steps: Sequence[str]
) -> ExitStatus:
    """Print the result and the next steps.

    Returns PARTIAL if a copy of the key records could not be updated.
    """
    shown: list[Line] = [*lines]
    failed: Sequence[str] = result.get("copies_failed", ())
    shown += [f"A copy of the key records was not brought up to date: {copy}" for copy in failed]
    if failed:
        next_steps = ["`standfast backup keys copy FOLDER` for each such copy.", *next_steps]
    if len(next_steps) == 1:
        shown += ["", f"Next: {next_steps[0]}"]
    elif next_steps:
        shown += ["", "Next:", *(f"  {n}. {step}" for n, step in enumerate(next_steps, 1))]
    status = ExitStatus.PARTIAL if failed else ExitStatus.DONE
    call.say({**result, "next": list(next_steps), "exit_status": int(status)}, shown)
    return status
