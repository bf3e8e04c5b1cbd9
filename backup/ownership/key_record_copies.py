"""Copies of the key records: made equal to the key store, checked, and remembered.

- Whoever restores needs the key record of each domain and generation.  It is sealed to the
  custodians and signed by the owner, so a copy of it opens nothing by itself.
- Of each generation the valid record with the highest number counts, wherever it lies: the key
  store gets it from the copy, or the copy from the key store.
- What the key store gave up goes from the copy too: records of an erased domain, and those that a
  retired custodian could open.
- Key records are never put into the vault: a lock there would keep them beyond an erasure.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from backup.errors import AlreadyThere, Damaged, NotFound, UsageError
from backup.format.object_names import MAX_KEY_RECORD_BYTES, keys_of, number_in
from backup.format.root_record import DomainGrant, RootRecord
from backup.ownership.key_copy_list import CopyList, KeyCopy, merge, read_copy_list, write_copy_list
from backup.stores import Stat
from backup.stores.bounded_read import read_bounded
from backup.stores.directory_keeper import DirectoryKeeperStore
from backup.stores.keeper import KeeperStore
from backup.system.durable_files import replace_file
from backup.trust.key_files import parse_key_record


class KeyFolder(DirectoryKeeperStore):
    """A folder with key records on any file system, such as a stick without hard links."""

    def _put(self, name: str, data: bytes | bytearray | memoryview) -> None:
        target = self.path / name
        if os.path.lexists(target):
            raise AlreadyThere(f"{name} is already there; nothing was changed")
        replace_file(target, bytes(data))

    def _list(self, prefix: str) -> Iterator[Stat]:
        # Through a link on somebody's stick, files of this machine would be removed.
        folder = self.path
        for part in prefix.split("/")[:-1]:
            folder /= part
            if folder.is_symlink():
                raise UsageError(f"{folder}: a link, not a folder. Find out who put it there")
        return super()._list(prefix)


@dataclass(frozen=True, kw_only=True, slots=True)
class Synchronized:
    """What a copy and the key store got from each other; names of objects."""

    added: tuple[str, ...]  # to the copy
    restored: tuple[str, ...]  # to the key store
    removed: tuple[str, ...]  # from the copy
    lacking: tuple[str, ...]  # "DOMAIN/GENERATION" whose key record is in neither


def synchronize(root: RootRecord, keys: KeeperStore, copy: KeeperStore) -> Synchronized:
    """Make a copy equal to the key store, and give the key store what it lost.

    `Damaged` when both have a valid record of the same name and the two differ: nothing is
    replaced then.
    """
    added: list[str] = []
    restored: list[str] = []
    removed: list[str] = []
    lacking: list[str] = []
    for domain in root.domains:
        prefix = keys_of(domain.id, domain.generation)
        there = _records(copy, prefix)
        if domain.erased is not None:
            removed += _remove(copy, there)
            continue
        ours, theirs = _valid(keys, root, domain), _valid(copy, root, domain)
        for name in ours.keys() & theirs.keys():
            if ours[name] != theirs[name]:
                raise Damaged(
                    f"{name}: the key store and {copy.where} have different records, both signed by"
                    " the owner. Find out which custodians each opens for before one is removed"
                )
        newest = max(ours | theirs, default=None)
        if newest is None:
            lacking.append(f"{domain.id}/{domain.generation}")
            continue
        if newest not in ours:
            _replace(keys, newest, theirs[newest])
            restored.append(newest)
        if newest not in theirs:
            _replace(copy, newest, ours[newest])
            added.append(newest)
        removed += _remove(copy, [name for name in there if name not in ours and name != newest])
    return Synchronized(
        added=tuple(added),
        restored=tuple(restored),
        removed=tuple(removed),
        lacking=tuple(lacking),
    )


def held_keys(root: RootRecord, keys: KeeperStore) -> dict[str, int]:
    """Return the number of the newest record of each "DOMAIN/GENERATION" that a copy holds.

    Of a domain that is not erased only valid records count.
    """
    found: dict[str, int] = {}
    for domain in root.domains:
        prefix = keys_of(domain.id, domain.generation)
        is_erased = domain.erased is not None
        names = _records(keys, prefix) if is_erased else list(_valid(keys, root, domain))
        if names:
            found[f"{domain.id}/{domain.generation}"] = int(max(names).removeprefix(prefix))
    return found


def note_seen(root: RootRecord, folders: Mapping[str, Path], now: datetime) -> dict[str, KeyCopy]:
    """Write what each folder holds now into the list of copies of all of them; return the list.

    The folders are given by the name of the copy.
    """
    copies = merge(read_copy_list(folder) for folder in folders.values())
    for name, folder in folders.items():
        copies[name] = KeyCopy(name=name, seen=now, keys=held_keys(root, KeyFolder(folder)))
    _write(folders, copies)
    return copies


def note_destroyed(folders: Mapping[str, Path], name: str, now: datetime) -> None:
    """Record in the given folders that a copy is no more; `NotFound` names those that are known."""
    copies = merge(read_copy_list(folder) for folder in folders.values())
    if name not in copies or copies[name].is_destroyed:
        known = ", ".join(one.name for one in CopyList(copies=copies).known) or "none"
        raise NotFound(f"copy {name!r}: not in the list. Name one of these: {known}")
    copies[name] = replace(copies[name], seen=now, keys={}, is_destroyed=True)
    _write(folders, copies)


def _write(folders: Mapping[str, Path], copies: Mapping[str, KeyCopy]) -> None:
    for name, folder in folders.items():
        write_copy_list(folder, CopyList(own_name=name, copies=copies))


def _valid(store: KeeperStore, root: RootRecord, domain: DomainGrant) -> dict[str, bytes]:
    """Return the valid key records of a generation in a store, by name."""
    found: dict[str, bytes] = {}
    for name in _records(store, keys_of(domain.id, domain.generation)):
        with suppress(Damaged):
            data = read_bounded(store, name, MAX_KEY_RECORD_BYTES)
            parse_key_record(data, root, domain, name)
            found[name] = data
    return found


def _records(store: KeeperStore, prefix: str) -> list[str]:
    """Return the names below a prefix that a key record can have, in ascending order."""
    return [stat.name for stat in store.list(prefix) if number_in(stat.name, prefix) is not None]


def _replace(store: KeeperStore, name: str, data: bytes) -> None:
    """Put a record where none is, or one that is not valid."""
    store.remove(name)
    store.put(name, data)


def _remove(store: KeeperStore, names: Sequence[str]) -> Sequence[str]:
    for name in names:
        store.remove(name)
    return names
