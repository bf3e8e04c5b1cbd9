"""A bucket's listing as a tree of paths: sorted in a file, since it may be of millions.

S3 sorts by whole keys, a source's paths are sorted component by component; and a key may be what no
file system takes. So a component of a key is changed where it must be:

- an empty one is `%`, `.` and `..` are `%2E` and `%2E%2E`, a zero byte is `%00`;
- one over 255 bytes is its first 200, `%` and 16 digits of its SHA-256;
- an object whose key is also the folder of others gets a `%` at its end, if nobody has that;
- an empty object whose key ends with a slash is the folder.

Two keys that give one path are rare: the second is told, and not taken.
"""

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

_SEPARATOR = b"\0"  # sorts before any other byte, so that paths sort by component
_LONGEST = 255
_TABLE = """CREATE TABLE objects (
    path BLOB PRIMARY KEY, key TEXT, size INTEGER, etag TEXT, modified_ns INTEGER, storage TEXT
) WITHOUT ROWID"""
_STRANGE = {b"": b"%", b".": b"%2E", b"..": b"%2E%2E"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Listed:
    """An object as the listing shows it."""

    key: str
    size: int
    etag: str
    modified_ns: int
    storage: str  # its storage class


class Listing:
    """Objects by path; fill it, then `settle` it, then read it."""

    def __init__(self, objects: sqlite3.Connection, prefix: str) -> None:
        self._objects = objects
        self.count = 0  # of the objects that were taken
        self._base = len(prefix[: prefix.rfind("/") + 1])

    def add(self, one: Listed) -> bool:
        """Take an object, or see that it was; False when another one has its path."""
        path = _sort_path(one.key[self._base :], is_empty=one.size == 0)
        if path is None:
            return True
        row = (path, one.key, one.size, one.etag, one.modified_ns, one.storage)
        sql = "INSERT OR IGNORE INTO objects VALUES (?, ?, ?, ?, ?, ?)"
        if self._objects.execute(sql, row).rowcount > 0:
            self.count += 1
            return True
        select = "SELECT key FROM objects WHERE path = ?"
        return bool(self._objects.execute(select, (path,)).fetchone()[0] == one.key)

    def settle(self) -> list[str]:
        """Let objects make way for the folders of their name; gives the keys that could not."""
        in_the_way: list[bytes] = []
        before = b""
        for (path,) in self._objects.execute("SELECT path FROM objects ORDER BY path"):
            # Nothing sorts between a name and what lies below it.
            if before and path.startswith(before + _SEPARATOR):
                in_the_way.append(before)
            before = path
        lost = []
        for path in in_the_way:
            *folders, name = path.split(_SEPARATOR)
            beside = _SEPARATOR.join((*folders, _writable(name + b"%")))
            if self._is_taken(beside):
                select = "SELECT key FROM objects WHERE path = ?"
                lost.append(self._objects.execute(select, (path,)).fetchone()[0])
                self._objects.execute("DELETE FROM objects WHERE path = ?", (path,))
            else:
                sql = "UPDATE objects SET path = ? WHERE path = ?"
                self._objects.execute(sql, (beside, path))
        return lost

    def _is_taken(self, path: bytes) -> bool:
        """Whether an object or a folder has the path: a page that gives it twice is refused."""
        sql = "SELECT 1 FROM objects WHERE path = ? OR path >= ? AND path < ?"
        below = path + _SEPARATOR
        return self._objects.execute(sql, (path, below, path + b"\1")).fetchone() is not None

    def paths(self) -> Iterator[tuple[bytes, Listed | None]]:
        """Every path below the root in order; None is a folder."""
        above: list[bytes] = []  # the folders that were given last, from the root
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
                listed = Listed(
                    key=key, size=size, etag=etag, modified_ns=modified_ns, storage=storage
                )
                yield b"/".join((*folders, name)), listed

    def is_plain(self, path: bytes, key: str) -> bool:
        """Whether the path is the key below the prefix, to the letter."""
        return path == key[self._base :].encode()


@contextmanager
def new_listing(scratch: Path, prefix: str) -> Iterator[Listing]:
    """An empty listing in a file of `scratch`, which is gone at the end."""
    file = scratch / "objects.sqlite"
    try:
        with closing(sqlite3.connect(file)) as objects:
            # It is thrown away, whatever happens.
            objects.execute("PRAGMA journal_mode=OFF")
            objects.execute("PRAGMA synchronous=OFF")
            objects.execute(_TABLE)
            yield Listing(objects, prefix)
    finally:
        file.unlink(missing_ok=True)


def _sort_path(key: str, *, is_empty: bool) -> bytes | None:
    """The path with zeros between its components, one at its end for a folder; None is the root."""
    components = key.encode().split(b"/")
    is_folder = is_empty and components[-1] == b""
    if is_folder:
        components.pop()
    if not components:
        return None
    path = _SEPARATOR.join(map(_writable, components))
    return path + _SEPARATOR if is_folder else path


def _writable(component: bytes) -> bytes:
    component = _STRANGE.get(component, component).replace(b"\0", b"%00")
    if len(component) <= _LONGEST:
        return component
    digest = hashlib.sha256(component).hexdigest()[:16]
    # Not in the middle of a character: it would be no name in UTF-8 any more.
    return component[:200].decode(errors="ignore").encode() + b"%" + digest.encode()
