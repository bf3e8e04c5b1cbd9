"""Bucket listing: keys of objects as paths, sorted as a tree in a file.

S3 sorts objects by key, but a source yields paths sorted by component. A bucket may have millions
of objects, so they are sorted in a file. Components of keys that are not valid on file systems are
changed:

- An empty component becomes `%`. `.` and `..` become `%2E` and `%2E%2E`. A zero byte becomes `%00`.
- A component of more than 255 bytes becomes its first 200 bytes, `%`, and 16 digits of its SHA-256.
- If the key of an object is also a folder of other objects, `%` is appended to its path, unless
  this path exists too.
- An empty object with a key that ends with a slash is the folder itself.

If two keys have the same path, which is rare, the second object is reported and not stored.
"""

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from backup.sources.s3.object_attributes import folder_of

_SEPARATOR = b"\0"  # sorts before any other byte, so that paths sort by component
_MAX_BYTES = 255
_TABLE = """CREATE TABLE objects (
    path BLOB PRIMARY KEY, key TEXT, size INTEGER, etag TEXT, modified_ns INTEGER, storage TEXT
) WITHOUT ROWID"""
_REPLACEMENTS = {b"": b"%", b".": b"%2E", b"..": b"%2E%2E"}


@dataclass(frozen=True, kw_only=True, slots=True)
class ListedObject:
    """An object as listed."""

    key: str
    size: int
    etag: str
    modified_ns: int
    storage: str  # storage class


class BucketListing:
    """Objects by path; call `add`, then `separate_folders`, then `paths`."""

    def __init__(self, objects: sqlite3.Connection, prefix: str) -> None:
        self._objects = objects
        self.count = 0  # number of objects added
        self._base = len(folder_of(prefix))

    def add(self, item: ListedObject) -> bool:
        """Add an object; return False if another object has its path."""
        path = _sort_path(item.key[self._base :], is_empty=item.size == 0)
        if path is None:
            return True
        row = (path, item.key, item.size, item.etag, item.modified_ns, item.storage)
        sql = "INSERT OR IGNORE INTO objects VALUES (?, ?, ?, ?, ?, ?)"
        if self._objects.execute(sql, row).rowcount > 0:
            self.count += 1
            return True
        select = "SELECT key FROM objects WHERE path = ?"
        return bool(self._objects.execute(select, (path,)).fetchone()[0] == item.key)

    def separate_folders(self) -> list[str]:
        """Rename each object that has the path of a folder.

        If the new path is taken too, drop the object. Return the keys of dropped objects.
        """
        conflicting: list[bytes] = []
        previous = b""
        for (path,) in self._objects.execute("SELECT path FROM objects ORDER BY path"):
            # In the sort order, the paths below a folder follow directly after its name.
            if previous and path.startswith(previous + _SEPARATOR):
                conflicting.append(previous)
            previous = path
        dropped = []
        for path in conflicting:
            *folders, name = path.split(_SEPARATOR)
            alternative = _SEPARATOR.join((*folders, _to_component(name + b"%")))
            if self._is_taken(alternative):
                select = "SELECT key FROM objects WHERE path = ?"
                dropped.append(self._objects.execute(select, (path,)).fetchone()[0])
                self._objects.execute("DELETE FROM objects WHERE path = ?", (path,))
            else:
                sql = "UPDATE objects SET path = ? WHERE path = ?"
                self._objects.execute(sql, (alternative, path))
        return dropped

    def _is_taken(self, path: bytes) -> bool:
        """Return whether an object or a folder has a path.

        No path may be yielded twice, because no reader accepts a manifest (the list of all paths of
        a backup) with a path twice.
        """
        sql = "SELECT 1 FROM objects WHERE path = ? OR path >= ? AND path < ?"
        below = path + _SEPARATOR
        return self._objects.execute(sql, (path, below, path + b"\1")).fetchone() is not None

    def paths(self) -> Iterator[tuple[bytes, ListedObject | None]]:
        """Yield every path below the root in order, with None for a folder."""
        above: list[bytes] = []  # the folders of the path yielded last, from the root
        for path, *rest in self._objects.execute("SELECT * FROM objects ORDER BY path"):
            key, size, etag, modified_ns, storage = rest
            *folders, name = path.split(_SEPARATOR)
            shared = 0
            while shared < min(len(above), len(folders)) and above[shared] == folders[shared]:
                shared += 1
            for depth in range(shared + 1, len(folders) + 1):
                yield b"/".join(folders[:depth]), None
            above = folders
            if name:
                listed = ListedObject(
                    key=key, size=size, etag=etag, modified_ns=modified_ns, storage=storage
                )
                yield b"/".join((*folders, name)), listed

    def is_unchanged_key(self, path: bytes, key: str) -> bool:
        """Return whether a path equals the part of its key below the prefix."""
        return path == key[self._base :].encode()


@contextmanager
def new_listing(scratch: Path, prefix: str) -> Iterator[BucketListing]:
    """Create an empty listing in a file, which is removed at the block's end."""
    file = scratch / "objects.sqlite"
    try:
        with closing(sqlite3.connect(file)) as objects:
            # After a crash, the file is useless.
            objects.execute("PRAGMA journal_mode=OFF")
            objects.execute("PRAGMA synchronous=OFF")
            objects.execute(_TABLE)
            yield BucketListing(objects, prefix)
    finally:
        file.unlink(missing_ok=True)


def _sort_path(key: str, *, is_empty: bool) -> bytes | None:
    """Return the path of a key, with zero bytes as separators.

    The path of a folder has a zero byte at its end. Return None if the path is empty.
    """
    components = key.encode().split(b"/")
    is_folder = is_empty and components[-1] == b""
    if is_folder:
        components.pop()
    if not components:
        return None
    path = _SEPARATOR.join(map(_to_component, components))
    return path + _SEPARATOR if is_folder else path


def _to_component(component: bytes) -> bytes:
    component = _REPLACEMENTS.get(component, component).replace(b"\0", b"%00")
    if len(component) <= _MAX_BYTES:
        return component
    digest = hashlib.sha256(component).hexdigest()[:16]
    # `errors="ignore"` drops a character that the cut has split, so that the name is UTF-8.
    return component[:200].decode(errors="ignore").encode() + b"%" + digest.encode()
