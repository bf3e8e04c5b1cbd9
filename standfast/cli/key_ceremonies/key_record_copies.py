"""`standfast backup keys`: copies of the key records.

A key record is the private key of a group of backup sets (a domain), encrypted to the people that
may decrypt them (the custodians).
"""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from standfast.cli.parsing.commands import Group, command
from standfast.cli.parsing.parameters import FilePath
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line, Table
from standfast.errors import ExitStatus
from standfast.plurals import counted

if TYPE_CHECKING:
    from standfast.usecases.key_ceremonies.key_record_copies import KeyCopyOutcome, KeyCopyStatus


@command(
    "copy",
    exits={
        ExitStatus.DONE: "the copy and the key store have the same key records",
        ExitStatus.FAILED: "the copy cannot be written, or the vault does not respond",
        ExitStatus.USAGE: "a new copy has no name, or the folder is the key store itself",
        ExitStatus.DAMAGED: "a key record is missing in both, or the two differ; it is named",
    },
    example="standfast backup keys copy /media/stick/offline --name 'safe in Leeds'",
)
@click.argument(
    "folder", type=FilePath(), help="The folder of the copy, such as offline on a USB stick."
)
@click.option("--name", metavar="NAME", help="The name of the copy; required for a new one.")
@click.pass_obj
def copy(call: Call, folder: Path, name: str | None) -> ExitStatus:
    """Create or update a copy of the key records in a folder.

    A key record that is missing in the key store is restored from the copy. Records of erased
    domains and of retired custodians are deleted from the copy. No key is needed.
    """
    from standfast.usecases.key_ceremonies.key_record_copies import copy_keys

    stores = call.stores()
    done = copy_keys(
        stores.config.backup, stores.vault, stores.known_owner, folder, name, stores.clock()
    )
    return call.print_result(done.as_json(), _lines(done), done.exit_status)


@command(
    "list",
    exits={
        ExitStatus.DONE: "the copies are listed, with their missing records",
        ExitStatus.FAILED: "the vault does not respond",
        ExitStatus.DAMAGED: "a list of copies is unreadable; it is named",
    },
    example="standfast backup keys list",
)
@click.pass_obj
def list_copies(call: Call) -> ExitStatus:
    """List the copies of the key records, with their missing records."""
    from backup.trust.root_chain import load_root_chain
    from standfast.usecases.core.backup_repository import translated_errors
    from standfast.usecases.key_ceremonies.key_record_copies import key_copy_statuses

    stores = call.stores()
    with translated_errors("listing the copies of the key records"):
        root = load_root_chain(stores.vault, owner=stores.known_owner).root
        found = key_copy_statuses(stores.config.backup, root)
    rows = [[copy.name, f"seen {copy.seen:%Y-%m-%d}", _state(copy)] for copy in found]
    lines: list[Line] = [
        Table(rows=rows),
        "",
        "A restore needs three things: the vault, one of these copies, and a recovery identity.",
    ]
    return call.print_result({"copies": [copy.as_json() for copy in found]}, lines)


@command(
    "forget",
    exits={
        ExitStatus.DONE: "the copy is removed from the list",
        ExitStatus.FAILED: "the list cannot be written",
        ExitStatus.USAGE: "there is no such copy, or its folder still exists",
        ExitStatus.DAMAGED: "a list of copies is unreadable; it is named",
    },
    example="standfast backup keys forget 'safe in Leeds'",
)
@click.argument("name", help="The name of the copy, from `keys list`.")
@click.pass_obj
def forget(call: Call, name: str) -> ExitStatus:
    """Remove a destroyed copy from the list."""
    from standfast.usecases.key_ceremonies.key_record_copies import forget_copy

    stores = call.stores()
    forget_copy(stores.config.backup, name, stores.clock())
    return call.print_result({"forgotten": name}, [f"{name} is removed from the list of copies."])


def _lines(done: "KeyCopyOutcome") -> list[Line]:
    changes = done.changes
    lines: list[Line] = [
        f"{name}: no valid key record in the key store or in this copy." for name in changes.lacking
    ]
    if changes.restored:
        lines.append(f"{counted(len(changes.restored), 'key record')} restored to the key store.")
    if changes.added:
        lines.append(f"{counted(len(changes.added), 'key record')} added to {done.name}.")
    if changes.removed:
        lines.append(f"{counted(len(changes.removed), 'key record')} removed from {done.name}.")
    if changes.lacking:
        return [*lines, "", "Next: run this with each other copy: `standfast backup keys list`."]
    return [
        *lines,
        f"{done.name} and the key store have the same key records.",
        f"Known copies: {'; '.join(done.known)}.",
        "",
        "Next: keep this copy next to a recovery identity, away from this machine.",
    ]


def _state(status: "KeyCopyStatus") -> str:
    found = [f"missing: {', '.join(status.lacks)}"] if status.lacks else []
    found += [f"still has erased keys: {', '.join(status.erased)}"] if status.erased else []
    return "; ".join(found) or "complete"


keys = Group(
    "keys",
    help="Copy the key records, and list the known copies.",
    commands=[copy, list_copies, forget],
)
