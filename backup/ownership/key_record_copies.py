"""Synchronization of a copy of the key records with the key store.

- A key record contains the private key that decrypts backups. The key is encrypted to the
  custodians (the people that can decrypt backups), and the record is signed by the owner. So a copy
  of the record is useless without a custodian. The key store is the folder with all key records.
- A domain is a group of backup sets that share one key. A generation is one key pair of a domain. A
  restore needs the key record of every generation in use. If a generation has several valid
  records, the record with the highest number is in force. If only the key store has this record, it
  is written to the copy; if only the copy has it, it is written to the key store.
- Key records that were removed from the key store are removed from the copy too. They are the
  records of an erased domain, and the records that a retired custodian could open.
- Key records are never put into the vault (the folder or bucket with the encrypted backups). Object
  Lock would keep them there after their domain was erased.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from backup.errors import AlreadyThere, Damaged, NotFound, UsageError
from backup.format.object_names import MAX_KEY_RECORD_BYTES, key_prefix, parse_number
from backup.format.root_record import DomainGrant, RootRecord
from backup.ownership.key_copy_list import CopyList, KeyCopy, merge, read_copy_list, write_copy_list
from backup.stores import Stat
from backup.stores.bounded_read import read_bounded
from backup.stores.directory_keeper import DirectoryKeeperStore
from backup.stores.keeper import KeeperStore
from backup.system.durable_files import replace_file
from backup.trust.key_files import parse_key_record


class KeyFolder(DirectoryKeeperStore):
    """A folder with key records on any file system, such as a FAT stick."""

    def _put(self, name: str, data: bytes | bytearray | memoryview) -> None:
        target = self.path / name
        if os.path.lexists(target):
            raise AlreadyThere(f"{name}: it already exists; nothing was changed. Remove it first.")
        replace_file(target, bytes(data))

    def _list(self, prefix: str) -> Iterator[Stat]:
        # Refuse a symbolic link: a removal through it would remove files of this machine.
        folder = self.path
        for part in prefix.split("/")[:-1]:
            folder /= part
            if folder.is_symlink():
                raise UsageError(f"{folder}: a link, not a folder. Find out who put it there.")
        return super()._list(prefix)


@dataclass(frozen=True, kw_only=True, slots=True)
class Synchronized:
    """Names of the key records that a synchronization has changed."""

    added: tuple[str, ...]  # written to the copy
    restored: tuple[str, ...]  # written to the key store
    removed: tuple[str, ...]  # removed from the copy
    lacking: tuple[str, ...]  # "DOMAIN/GENERATION"; neither of the two has a valid key record


def synchronize(root: RootRecord, keys: KeeperStore, copy: KeeperStore) -> Synchronized:
    """Synchronize a copy with the key store, in both directions.

    Raise `Damaged` if both have a valid record of the same name with different bytes; neither
    record is replaced.
    """
    added: list[str] = []
    restored: list[str] = []
    removed: list[str] = []
    lacking: list[str] = []
    for domain in root.domains:
        prefix = key_prefix(domain.id, domain.generation)
        names_in_copy = _records(copy, prefix)
        if domain.erased is not None:
            removed += _remove(copy, names_in_copy)
            continue
        stored, copied = _valid(keys, root, domain), _valid(copy, root, domain)
        for name in stored.keys() & copied.keys():
            if stored[name] != copied[name]:
                raise Damaged(
                    f"{name}: the key store and {copy.where} have different records, both signed "
                    "by the owner. Find out which custodians each record is for before you "
                    "remove one of them."
                )
        newest = max(stored | copied, default=None)
        if newest is None:
            lacking.append(f"{domain.id}/{domain.generation}")
            continue
        if newest not in stored:
            _replace(keys, newest, copied[newest])
            restored.append(newest)
        if newest not in copied:
            _replace(copy, newest, stored[newest])
            added.append(newest)
        removed += _remove(
            copy, [name for name in names_in_copy if name not in stored and name != newest]
        )
    return Synchronized(
        added=tuple(added), restored=tuple(restored), removed=tuple(removed), lacking=tuple(lacking)
    )


def record_numbers(root: RootRecord, keys: KeeperStore) -> dict[str, int]:
    """Return the highest record number of each "DOMAIN/GENERATION" in a copy.

    If a domain is not erased, only valid records count; if it is erased, all records count.
    """
    found: dict[str, int] = {}
    for domain in root.domains:
        prefix = key_prefix(domain.id, domain.generation)
        is_erased = domain.erased is not None
        names = _records(keys, prefix) if is_erased else list(_valid(keys, root, domain))
        if names:
            found[f"{domain.id}/{domain.generation}"] = int(max(names).removeprefix(prefix))
    return found


def record_seen(root: RootRecord, folders: Mapping[str, Path], now: datetime) -> dict[str, KeyCopy]:
    """Update the list of copies in each given copy; return the list.

    `folders` maps the name of a copy to its folder. The list states the records in each copy now.
    """
    copies = merge(read_copy_list(folder) for folder in folders.values())
    for name, folder in folders.items():
        copies[name] = KeyCopy(name=name, seen=now, keys=record_numbers(root, KeyFolder(folder)))
    _write(folders, copies)
    return copies


def record_destroyed(folders: Mapping[str, Path], name: str, now: datetime) -> None:
    """Record in the copies in `folders` that the copy `name` was destroyed.

    Raise `NotFound` with the known names if no copy has this name.
    """
    copies = merge(read_copy_list(folder) for folder in folders.values())
    if name not in copies or copies[name].is_destroyed:
        known = ", ".join(copy.name for copy in CopyList(copies=copies).known) or "none"
        raise NotFound(f"copy {name!r}: not in the list. Name one of these: {known}.")
    copies[name] = replace(copies[name], seen=now, keys={}, is_destroyed=True)
    _write(folders, copies)


def _write(folders: Mapping[str, Path], copies: Mapping[str, KeyCopy]) -> None:
    for name, folder in folders.items():
        write_copy_list(folder, CopyList(own_name=name, copies=copies))


def _valid(store: KeeperStore, root: RootRecord, domain: DomainGrant) -> dict[str, bytes]:
    """Return the valid key records of a generation in a store, by name."""
    found: dict[str, bytes] = {}
    for name in _records(store, key_prefix(domain.id, domain.generation)):
        with suppress(Damaged):
            data = read_bounded(store, name, MAX_KEY_RECORD_BYTES)
            parse_key_record(data, root, domain, name)
            found[name] = data
    return found


def _records(store: KeeperStore, prefix: str) -> list[str]:
    """Return the names below a prefix that a key record can have, in order."""
    return [stat.name for stat in store.list(prefix) if parse_number(stat.name, prefix) is not None]


def _replace(store: KeeperStore, name: str, data: bytes) -> None:
    """Replace a missing or invalid record."""
    store.remove(name)
    store.put(name, data)


def _remove(store: KeeperStore, names: Sequence[str]) -> Sequence[str]:
    for name in names:
        store.remove(name)
    return names
