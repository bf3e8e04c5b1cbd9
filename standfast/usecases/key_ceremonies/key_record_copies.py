"""Copies of the key records as use-cases: make one, compare it, say which there are.

Rules
- Whoever restores needs three things: the vault, the key records, a recovery identity. The key
  records lie in the key store and in each copy that is in its list.
- No key is needed to copy them: they are signed by the owner and sealed to the custodians.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from backup.format.root_record import RootRecord
from backup.ownership.key_copy_list import CopyList, KeyCopy, check_copy_name, merge, read_copy_list
from backup.ownership.key_record_copies import (
    KeyFolder,
    Synchronized,
    held_keys,
    note_destroyed,
    note_seen,
    synchronize,
)
from backup.stores import Store
from backup.system.durable_files import resolved
from backup.trust.root_chain import load_root_chain
from standfast.config.sections.backup import BackupConfig
from standfast.errors import ExitStatus, UsageError
from standfast.records import Json, JsonObject, timestamp
from standfast.usecases.core.backup_repository import translated_errors


@dataclass(frozen=True, kw_only=True)
class KeyCopyOutcome:
    """Result of making one copy equal to the key store."""

    name: str
    folder: Path
    changes: Synchronized
    known: tuple[str, ...]  # every copy, the key store too

    @property
    def exit_status(self) -> ExitStatus:
        """Return DAMAGED when the key record of a domain is in neither."""
        return ExitStatus.DAMAGED if self.changes.lacking else ExitStatus.DONE

    def as_json(self) -> JsonObject:
        """Return it for `--json`."""
        changes: dict[str, Json] = {
            "added": list(self.changes.added),
            "restored": list(self.changes.restored),
            "removed": list(self.changes.removed),
            "lacking": list(self.changes.lacking),
        }
        return {
            "copy": self.name,
            "folder": str(self.folder),
            **changes,
            "known": list(self.known),
            "exit_status": int(self.exit_status),
        }


@dataclass(frozen=True, kw_only=True)
class KeyCopyStatus:
    """A copy that is known, compared with what a restore needs now."""

    name: str
    seen: datetime
    lacks: tuple[str, ...]  # "DOMAIN/GENERATION" without its newest record
    erased: tuple[str, ...]  # the same of erased domains, which it still holds

    def as_json(self) -> JsonObject:
        """Return it for `--json`."""
        return {
            "copy": self.name,
            "seen": timestamp(self.seen),
            "lacks": list(self.lacks),
            "erased": list(self.erased),
        }


def key_store_name(backup: BackupConfig) -> str:
    """Return the name of this host's key store in the list of copies.

    A place at a second site has the copy there as its key store, under the name that it got.
    """
    return read_copy_list(backup.keys).own_name or f"key store of {backup.writer}"


def reachable(backup: BackupConfig, *more: Path) -> dict[str, Path]:
    """Return every folder with key records that can be reached now, by the name of its copy.

    The key store comes first; of the second sites those that have records; then `more`.
    """
    found = {key_store_name(backup): backup.keys}
    for name, site in backup.copies.items():
        if site.keys is not None and (site.keys / "k").is_dir():
            found[name] = site.keys
    for folder in more:
        if resolved(folder) not in map(resolved, found.values()):
            own_name = read_copy_list(folder).own_name
            # A folder that was copied from another one has its name.
            found[str(folder) if own_name in ("", *found) else own_name] = folder
    return found


def away(folders: Mapping[str, Path]) -> list[KeyCopy]:
    """Return the known copies that are none of these folders."""
    copies = merge(read_copy_list(folder) for folder in folders.values())
    return [one for one in CopyList(copies=copies).known if one.name not in folders]


def unseen(backup: BackupConfig, folders: Mapping[str, Path]) -> list[str]:
    """Return the second sites whose copy cannot be reached and is on no list.

    It may have been made by a version that kept no list.
    """
    listed = {*folders, *(one.name for one in away(folders))}
    sites = backup.copies.items()
    return [name for name, one in sites if one.keys is not None and name not in listed]


def copy_keys(
    backup: BackupConfig,
    vault: Store,
    owner: bytes | None,
    folder: Path,
    name: str | None,
    now: datetime,
) -> KeyCopyOutcome:
    """Make a folder a copy of the key records, or compare and complete the copy that it is.

    A record that the key store lost comes back from the copy. `UsageError` for the key store
    itself, or a new copy without a name; `Damaged` when both have different records of one name.
    """
    with translated_errors("copying the key records"):
        folder = folder.absolute()
        if resolved(folder) == resolved(backup.keys):
            raise UsageError(f"{folder}: it is the key store itself. Name the folder of a copy")
        own_name = read_copy_list(folder).own_name
        taken = reachable(backup)
        if own_name in taken and resolved(folder) != resolved(taken[own_name]):
            own_name = ""  # copied with the list of another folder
        name = name or own_name
        if not name:
            raise UsageError(
                f"{folder}: not a copy of the key records yet. Give it a name that says where it is"
                " kept: --name 'safe in Leeds'"
            )
        check_copy_name(name)
        if name in taken and resolved(folder) != resolved(taken[name]):
            raise UsageError(f"name {name!r}: {taken[name]} has it. Choose another name")
        root = load_root_chain(vault, owner=owner).root
        changes = synchronize(root, KeyFolder(backup.keys), KeyFolder(folder))
        copies = note_seen(root, {**taken, name: folder}, now)
    known = tuple(one.name for one in CopyList(copies=copies).known)
    return KeyCopyOutcome(name=name, folder=folder, changes=changes, known=known)


def forget_copy(backup: BackupConfig, name: str, now: datetime) -> None:
    """Take a copy that was destroyed off the list; `NotFound` names those that are on it."""
    with translated_errors("taking a copy off the list"):
        folders = reachable(backup)
        if name in folders:
            raise UsageError(f"{name}: {folders[name]} is there. Remove the folder first")
        note_destroyed(folders, name, now)


def standings(backup: BackupConfig, root: RootRecord) -> tuple[KeyCopyStatus, ...]:
    """Compare every known copy with what a restore needs; those that can be reached as they are.

    Nothing is written.
    """
    folders = reachable(backup)
    copies = {one.name: one for one in away(folders)}
    now_there: list[KeyCopy] = []
    for name, folder in folders.items():
        seen = read_copy_list(folder).copies.get(name)
        when = root.created if seen is None else seen.seen
        now_there.append(KeyCopy(name=name, seen=when, keys=held_keys(root, KeyFolder(folder))))
    every = [*now_there, *copies.values()]
    living = {f"{one.id}/{one.generation}" for one in root.domains if one.erased is None}
    erased = {f"{one.id}/{one.generation}" for one in root.domains} - living
    newest = {key: max(one.keys.get(key, -1) for one in every) for key in sorted(living)}
    return tuple(
        KeyCopyStatus(
            name=one.name,
            seen=one.seen,
            lacks=tuple(key for key, number in newest.items() if one.keys.get(key) != number),
            erased=tuple(sorted(erased & set(one.keys))),
        )
        for one in every
    )
