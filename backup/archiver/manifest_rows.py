"""Manifest rows: made from found paths; hard links, found again by inode.

A row is the manifest entry of one path. Its metadata is encoded exactly as in its manifest page.

If a file has several names (hard links), the row of its first name is kept until the end of the
source, so that the other names can refer to it. Up to 10,000 of these rows remain in memory. If
there are more, the rows whose content has a location in a pack are moved to a temporary SQLite
database. The number of hard-linked files in a source is not limited.
"""

import pickle
import sqlite3
from dataclasses import replace
from functools import lru_cache
from stat import S_IMODE

from backup.archiver.archiver_records import NOWHERE, Row
from backup.format.canonical_json import to_path_text
from backup.format.manifest_encoding import (
    common_metadata,
    fill_metadata,
    metadata_to_text,
    rare_metadata_to_json,
    with_metadata,
)
from backup.sources import Found, ReadFile
from backup.sources.files.file_status import Vector, group_name, user_name

_HARD_LINK = '"hard_link":'


def new_row(
    path: bytes, found: Found, *, xattrs: tuple[tuple[bytes, bytes], ...] = (), size: int = 0
) -> Row:
    """Return the row of a path, without references to its content."""
    text = metadata_text(path, found, xattrs, size)
    return Row(path=path, text=text, size=size, vector=found.vector)


def metadata_text(
    path: bytes,
    found: Found,
    xattrs: tuple[tuple[bytes, bytes], ...],
    size: int,
    holes: tuple[tuple[int, int], ...] = (),
) -> str:
    """Return the encoded metadata of a path.

    `size` is the number of bytes that were read. It may differ from the size that the walk found.
    """
    rare = None
    if xattrs or holes or found.kind not in ("file", "directory"):
        rare = rare_metadata_to_json(
            xattrs=xattrs, target=found.target, hard_link=None, device=found.device, holes=holes
        )
    return metadata_to_text(
        path=path,
        kind=found.kind,
        mode=found.mode,
        uid=found.uid,
        gid=found.gid,
        user=found.user,
        group=found.group,
        modified_ns=found.modified_ns,
        size=size,
        rare=rare,
    )


def plain_text(path: bytes, vector: Vector) -> str:
    """Return the encoded metadata of a file, made from its stat vector alone.

    The stat vector contains the file's size, times, mode and owner.
    """
    _, size, modified_ns, _, mode, uid, gid = vector
    return fill_metadata(_common_of_file(mode, uid, gid), path, modified_ns, size)


def read_text(path: bytes, file: ReadFile) -> str:
    """Return the encoded metadata of a small file that the walk has read.

    Such a file can have extended attributes, but no holes and no other rare metadata.
    """
    text = plain_text(path, file.vector)
    if not file.xattrs:
        return text
    rare = rare_metadata_to_json(
        xattrs=file.xattrs, target=None, hard_link=None, device=None, holes=()
    )
    return with_metadata(text, rare)


@lru_cache(maxsize=1024)
def _common_of_file(mode: int, uid: int, gid: int) -> tuple[str, str]:
    return common_metadata("file", S_IMODE(mode), uid, gid, user_name(uid), group_name(gid))


def hard_link_row(path: bytes, first: Row) -> Row:
    """Return the row of a further hard link to the file of `first`."""
    names: dict[str, object] = {"path": to_path_text(path), "hard_link": to_path_text(first.path)}
    return Row(
        path=path,
        text=with_metadata(first.text, names),
        size=first.size,
        vector=first.vector,
        blobs=list(first.blobs),
        lists=first.lists,
        list_packs=first.list_packs,
    )


def without_hard_link(row: Row) -> Row:
    """Remove the hard link from a row of an earlier run, if it has one.

    The path that the hard link names may belong to another file now.
    """
    if _HARD_LINK in row.text:
        row.text = with_metadata(row.text, {"hard_link": None})
    return row


IN_MEMORY_ROWS = 10_000  # rows: about 20 MB

FileKey = tuple[int, int]  # device and inode


class LinkedFiles:
    """Rows of the first names of hard-linked files, by file."""

    def __init__(self) -> None:
        self._rows: dict[FileKey, Row] = {}
        self._database: sqlite3.Connection | None = None
        self._max_in_memory = IN_MEMORY_ROWS

    def find(self, file: FileKey) -> Row | None:
        """Return the row of the file's first name, or None."""
        row = self._rows.get(file)
        if row is not None or self._database is None:
            return row
        for (value,) in self._database.execute("SELECT row FROM linked WHERE file = ?", _key(file)):
            found: Row = pickle.loads(value)  # noqa: S301 - written by this process, see `_database`
            return found
        return None

    def add(self, file: FileKey, row: Row) -> None:
        """Store the row of a first name; replace an earlier row of the file."""
        self._rows[file] = row
        if len(self._rows) > self._max_in_memory:
            self._move_located_to_database()
            # The remaining rows have no locations yet. Raise the limit, so that they are not
            # scanned again for each added row.
            self._max_in_memory = len(self._rows) + IN_MEMORY_ROWS

    def close(self) -> None:
        """Release all rows and the database."""
        self._rows.clear()
        self._max_in_memory = IN_MEMORY_ROWS
        if self._database is not None:
            self._database.close()
            self._database = None

    def _move_located_to_database(self) -> None:
        if self._database is None:
            # With an empty name, SQLite uses a file that no process can open and that vanishes on
            # close.
            self._database = sqlite3.connect("", isolation_level=None)
            self._database.execute("PRAGMA journal_mode=OFF")
            self._database.execute("CREATE TABLE linked (file TEXT PRIMARY KEY, row) WITHOUT ROWID")
        located = [file for file, row in self._rows.items() if _has_locations(row)]
        self._database.execute("BEGIN")
        self._database.executemany(
            "INSERT OR REPLACE INTO linked VALUES (?, ?)",
            (
                (*_key(file), pickle.dumps(_with_locations(self._rows.pop(file))))
                for file in located
            ),
        )
        self._database.execute("COMMIT")


def _key(file: FileKey) -> tuple[str]:
    return (f"{file[0]} {file[1]}",)  # text: an inode number may exceed SQLite's integers


def _has_locations(row: Row) -> bool:
    return all(ref.location is not NOWHERE for ref in (*row.blobs, *row.lists))


def _with_locations(row: Row) -> Row:
    """Return the row with blob locations instead of pending blobs."""
    lists = tuple(ref.location for ref in row.lists)
    return replace(row, blobs=[ref.location for ref in row.blobs], lists=lists)
