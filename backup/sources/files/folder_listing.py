"""Sorted names in a folder, without files of the backup itself.

If a folder has millions of names, they are sorted in an SQLite file.
"""

import errno
import os
import secrets
import sqlite3
from collections.abc import Container, Iterable, Iterator, Sequence, Set
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from typing import overload

INSERTED_NAMES = 50_000  # names in memory while they are inserted
BLOCK_NAMES = 512  # names that are read at once


class LoadedFiles:
    """Names in memory that are files, not folders or links."""

    def __init__(self) -> None:
        self.names: frozenset[bytes] = frozenset()

    def __contains__(self, name: object) -> bool:
        return name in self.names


class LargeFolderListing(Sequence[bytes]):
    """Sorted names, in a file below `scratch` and in part in memory."""

    def __init__(self, names: Iterable[tuple[bytes, bool]], scratch: Path) -> None:
        """Sort names; each is paired with whether it is a file.

        A name may occur twice if it is replaced during the listing. It is then kept once.
        """
        self.files = LoadedFiles()
        self._first = 0  # index of the first name in memory
        self._loaded: list[bytes] = []
        try:
            self._database = _open_unnamed(scratch)
            self._count = self._sort(names)
        except sqlite3.OperationalError as error:
            # The disk of `scratch` is full, not the disk of the folder.
            reason = f"{error} for its names, which are sorted next to the upload cache"
            raise OSError(errno.ENOSPC, reason) from error

    def _sort(self, names: Iterable[tuple[bytes, bool]]) -> int:
        database, source = self._database, iter(names)
        database.execute("CREATE TABLE listed (name BLOB PRIMARY KEY, is_file) WITHOUT ROWID")
        while batch := list(islice(source, INSERTED_NAMES)):
            database.executemany("INSERT OR IGNORE INTO listed VALUES (?, ?)", sorted(batch))
        # Blobs sort byte by byte, as names do.
        database.execute("CREATE TABLE sorted (number INTEGER PRIMARY KEY, name BLOB, is_file)")
        database.execute(
            "INSERT INTO sorted (name, is_file) SELECT name, is_file FROM listed ORDER BY name"
        )
        database.execute("DROP TABLE listed")
        (count,) = database.execute("SELECT COUNT(*) FROM sorted").fetchone()
        return int(count)

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        """Return a name, or consecutive names, by index."""
        if isinstance(index, slice):
            begin, end, _ = index.indices(self._count)
            self._load(begin, end)
            return self._loaded[begin - self._first : max(begin, end) - self._first]
        if not 0 <= index < self._count:
            raise IndexError(index)
        self._load(index, index + 1)
        return self._loaded[index - self._first]

    def _load(self, begin: int, end: int) -> None:
        if self._first <= begin and end <= self._first + len(self._loaded):
            return
        rows = self._database.execute(
            "SELECT name, is_file FROM sorted WHERE number > ? ORDER BY number LIMIT ?",
            (begin, max(BLOCK_NAMES, end - begin)),
        ).fetchall()
        self._first = begin
        self._loaded = [name for name, _ in rows]
        self.files.names = frozenset(name for name, is_file in rows if is_file)


def _open_unnamed(folder: Path) -> sqlite3.Connection:
    """Open a database in an unlinked file, which disappears with the process."""
    path = folder / f"{secrets.token_hex(8)}.names"
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode=OFF")
    database.execute("PRAGMA synchronous=OFF")
    database.execute("PRAGMA cache_size=-16000")  # KiB
    path.unlink()
    database.execute("BEGIN")  # one transaction, which is never committed
    return database


MANY_NAMES = 50_000  # names in one folder
LARGE_FOLDER_BYTES = 1024 * 1024  # a folder of this size may contain that many names
_NONE: Set[bytes] = frozenset()


def list_names(
    folder: int, own_prefixes: tuple[bytes, ...], scratch: Path, *, with_files: bool
) -> tuple[Sequence[bytes], Container[bytes]]:
    """Return the sorted names in an open folder, except `own_prefixes`.

    Names that begin with one of `own_prefixes` are omitted: they are files of the backup itself. If
    `with_files` is true, also return the names that are files according to the folder's listing.
    """
    if not with_files and os.fstat(folder).st_size < LARGE_FOLDER_BYTES:
        # A name that is replaced during the listing may be listed twice.
        names = sorted(set(map(os.fsencode, os.listdir(folder))))
        return [
            name for name in names if not name.startswith(own_prefixes)
        ] if own_prefixes else names, _NONE
    with os.scandir(folder) as scan:
        named = (
            (name, _is_file(entry))
            for entry in scan
            if not (name := os.fsencode(entry.name)).startswith(own_prefixes)
        )
        first = list(islice(named, MANY_NAMES))
        if len(first) == MANY_NAMES:
            listing = LargeFolderListing(chain(first, named), scratch)
            return listing, listing.files if with_files else _NONE
    kinds = dict(first)
    files = {name for name, is_file in kinds.items() if is_file} if with_files else _NONE
    return sorted(kinds), files


def file_ids(folders: Sequence[Path]) -> Iterator[tuple[int, int]]:
    """Yield device and inode of the existing folders."""
    for folder in folders:
        with suppress(OSError):  # the folder does not exist yet, or cannot be reached
            status = folder.stat()
            yield status.st_dev, status.st_ino


def own_name_prefixes(files: Sequence[Path], root: Path) -> dict[bytes, tuple[bytes, ...]]:
    """Return the prefixes of names to omit, by the path of their folder.

    `files` are files that the backup itself writes; `root` is the folder to back up.
    """
    prefixes: dict[bytes, tuple[bytes, ...]] = {}
    for path in map(Path.resolve, files):
        if path != root and path.is_relative_to(root):
            folder, _, name = os.fsencode(path.relative_to(root)).rpartition(b"/")
            prefixes[folder] = (*prefixes.get(folder, ()), name)
    return prefixes


def _is_file(entry: os.DirEntry[str]) -> bool:
    # Use the kind in the folder's listing: a path that is not a file must not be opened.
    try:
        return entry.is_file(follow_symlinks=False)
    except OSError:
        return False
