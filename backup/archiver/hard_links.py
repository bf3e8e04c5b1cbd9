"""Hard links: rows of files with several names, found again by inode.

A row is a manifest entry with the locations of the file's content. The row of a file's first name
is kept until the end of the source, so that the other names can refer to it. Up to 10,000 rows
remain in memory. If there are more, the rows whose content has a location in a pack move to a
temporary SQLite database. The number of hard-linked files in a source is not limited.
"""

import pickle
import sqlite3
from dataclasses import replace

from backup.archiver.archiver_records import NOWHERE, Row

_FEW = 10_000  # rows: about 20 MB

FileKey = tuple[int, int]  # device and inode


class LinkedFiles:
    """Rows of first names, by file; `close` removes all rows."""

    def __init__(self) -> None:
        self._rows: dict[FileKey, Row] = {}
        self._database: sqlite3.Connection | None = None
        self._max_in_memory = _FEW

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
            self._max_in_memory = len(self._rows) + _FEW

    def close(self) -> None:
        """Release all rows and the database."""
        self._rows.clear()
        self._max_in_memory = _FEW
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
