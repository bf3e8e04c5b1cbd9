"""Copies of the key records in folders: creation, state, removal.

Rules
- A restore needs the vault (the folder or bucket with the encrypted backups), a key record and a
  recovery identity. A key record is the private key of an erasure domain (backup sets that share
  one key), encrypted to the custodians. A recovery identity is the private key of a custodian.
- The key records are in a folder, the key store, and in copies of this folder. Each of the folders
  has a list of all copies. No private key is needed to copy the records, because the owner (the
  person with the offline signing key) has signed them already.
- A second site is another location with a copy of the vault.
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
    record_destroyed,
    record_numbers,
    record_seen,
    synchronize,
)
from backup.stores import Store
from backup.system.durable_files import resolve_path
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
    known: tuple[str, ...]  # all copies, including the key store

    @property
    def exit_status(self) -> ExitStatus:
        """DAMAGED if neither folder has the key record of a domain."""
        return ExitStatus.DAMAGED if self.changes.lacking else ExitStatus.DONE

    def as_json(self) -> JsonObject:
        """Return the JSON form."""
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
    """A listed copy, and the key records that it lacks for a restore."""

    name: str
    seen: datetime
    # A name is "DOMAIN/GENERATION"; a new generation is a new key pair of the domain.
    lacks: tuple[str, ...]  # names of key records that are missing or outdated in the copy
    erased: tuple[str, ...]  # names of key records that the copy has, although they were erased

    def as_json(self) -> JsonObject:
        """Return the JSON form."""
        return {
            "copy": self.name,
            "seen": timestamp(self.seen),
            "lacks": list(self.lacks),
            "erased": list(self.erased),
        }


def key_store_name(backup: BackupConfig) -> str:
    """Return the name of this host's key store in the list of copies.

    At a second site, the key store of the installation is itself a listed copy and has that name.
    """
    return read_copy_list(backup.keys).own_name or f"key store of {backup.writer}"


def reachable(backup: BackupConfig, *more: Path) -> dict[str, Path]:
    """Return all reachable folders with key records, by the name of the copy.

    The key store comes first, then second sites that have records, then `more`.
    """
    found = {key_store_name(backup): backup.keys}
    for name, site in backup.copies.items():
        if site.keys is not None and (site.keys / "k").is_dir():
            found[name] = site.keys
    for folder in more:
        if resolve_path(folder) not in map(resolve_path, found.values()):
            own_name = read_copy_list(folder).own_name
            # A folder that was copied from another folder has the name of that folder.
            found[str(folder) if own_name in ("", *found) else own_name] = folder
    return found


def unreachable_copies(folders: Mapping[str, Path]) -> list[KeyCopy]:
    """Return the listed copies that are in none of these folders."""
    copies = merge(read_copy_list(folder) for folder in folders.values())
    return [copy for copy in CopyList(copies=copies).known if copy.name not in folders]


def unlisted_sites(backup: BackupConfig, folders: Mapping[str, Path]) -> list[str]:
    """Return the second sites with an unlisted copy that is not reachable now."""
    listed = {*folders, *(copy.name for copy in unreachable_copies(folders))}
    sites = backup.copies.items()
    return [name for name, site in sites if site.keys is not None and name not in listed]


def copy_keys(
    backup: BackupConfig,
    vault: Store,
    owner: bytes | None,
    folder: Path,
    name: str | None,
    now: datetime,
) -> KeyCopyOutcome:
    """Make a folder a copy of the key records, or compare and complete a copy.

    A record that the key store has lost is restored from the copy. Raise `UsageError` for the key
    store itself and for a new copy without a name. Raise `Damaged` if the key store and the copy
    have a record of the same name with different content.
    """
    with translated_errors("copying the key records"):
        folder = folder.absolute()
        if resolve_path(folder) == resolve_path(backup.keys):
            raise UsageError(f"{folder}: it is the key store itself. Name the folder of a copy.")
        own_name = read_copy_list(folder).own_name
        taken = reachable(backup)
        if own_name in taken and resolve_path(folder) != resolve_path(taken[own_name]):
            own_name = ""  # the list in this folder was copied from another folder
        name = name or own_name
        if not name:
            raise UsageError(
                f"{folder}: not a copy of the key records yet. Name it after the site where it is"
                " kept: --name 'safe in Leeds'."
            )
        check_copy_name(name)
        if name in taken and resolve_path(folder) != resolve_path(taken[name]):
            raise UsageError(f"name {name!r}: the copy {taken[name]} has it. Choose another name.")
        root = load_root_chain(vault, owner=owner).root
        changes = synchronize(root, KeyFolder(backup.keys), KeyFolder(folder))
        copies = record_seen(root, {**taken, name: folder}, now)
    known = tuple(copy.name for copy in CopyList(copies=copies).known)
    return KeyCopyOutcome(name=name, folder=folder, changes=changes, known=known)


def forget_copy(backup: BackupConfig, name: str, now: datetime) -> None:
    """Remove a destroyed copy from the list; `NotFound` if it is not listed."""
    with translated_errors("removing a copy from the list"):
        folders = reachable(backup)
        if name in folders:
            raise UsageError(f"{name}: {folders[name]} exists. Remove the folder first.")
        record_destroyed(folders, name, now)


def key_copy_statuses(backup: BackupConfig, root: RootRecord) -> tuple[KeyCopyStatus, ...]:
    """Return the state of all listed copies; write nothing.

    Reachable copies are read. For each other copy, the list of copies states what the copy
    contained when it was last reachable.
    """
    folders = reachable(backup)
    copies = {copy.name: copy for copy in unreachable_copies(folders)}
    reachable_copies: list[KeyCopy] = []
    for name, folder in folders.items():
        seen = read_copy_list(folder).copies.get(name)
        when = root.created if seen is None else seen.seen
        reachable_copies.append(
            KeyCopy(name=name, seen=when, keys=record_numbers(root, KeyFolder(folder)))
        )
    every = [*reachable_copies, *copies.values()]
    living = {
        f"{domain.id}/{domain.generation}" for domain in root.domains if domain.erased is None
    }
    erased = {f"{domain.id}/{domain.generation}" for domain in root.domains} - living
    newest = {key: max(copy.keys.get(key, -1) for copy in every) for key in sorted(living)}
    return tuple(
        KeyCopyStatus(
            name=copy.name,
            seen=copy.seen,
            lacks=tuple(key for key, number in newest.items() if copy.keys.get(key) != number),
            erased=tuple(sorted(erased & set(copy.keys))),
        )
        for copy in every
    )
