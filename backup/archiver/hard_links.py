"""Files with several names: what the first name of each has, for the names that are still to come.

- A few are kept as they are.  Of many, those whose content has its places go to a file without a
  name, since a tree of hard links may be as large as any.
"""

import pickle
import sqlite3
from dataclasses import replace

from backup.archiver.blob_location import NOWHERE, Row

_FEW = 10_000  # 20 MB

FileKey = tuple[int, int]  # device and inode


class LinkedFiles:
    """Rows by the file that they are of; close it when done, and it is as new."""

    def __init__(self) -> None:
        self._rows: dict[FileKey, Row] = {}
        self._put_by: sqlite3.Connection | None = None
        self._most = _FEW

    def find(self, file: FileKey) -> Row | None:
        """The row of its first name, unless this is the first."""
        row = self._rows.get(file)
        if row is not None or self._put_by is None:
            return row
        for (value,) in self._put_by.execute("SELECT row FROM linked WHERE file = ?", _key(file)):
            found: Row = pickle.loads(value)  # noqa: S301 - our own, in a file without a name
            return found
        return None

    def add(self, file: FileKey, row: Row) -> None:
        """Keep the row of a first name, in place of an earlier one of that number."""
        self._rows[file] = row
        if len(self._rows) > self._most:
            self._put_settled_by()
            # What is left waits for its places: it is not looked through for each further one.
            self._most = len(self._rows) + _FEW

    def close(self) -> None:
        """Let go of everything."""
        self._rows.clear()
        self._most = _FEW
        if self._put_by is not None:
            self._put_by.close()
            self._put_by = None

    def _put_settled_by(self) -> None:
        if self._put_by is None:
            # An empty name: SQLite keeps it in a file that nobody can open and that goes with it.
            self._put_by = sqlite3.connect("", isolation_level=None)
            self._put_by.execute("PRAGMA journal_mode=OFF")
            self._put_by.execute("CREATE TABLE linked (file TEXT PRIMARY KEY, row) WITHOUT ROWID")
        settled = [file for file, row in self._rows.items() if _is_settled(row)]
        self._put_by.execute("BEGIN")
        self._put_by.executemany(
            "INSERT OR REPLACE INTO linked VALUES (?, ?)",
            ((*_key(file), pickle.dumps(_settled(self._rows.pop(file)))) for file in settled),
        )
        self._put_by.execute("COMMIT")


def _key(file: FileKey) -> tuple[str]:
    return (f"{file[0]} {file[1]}",)  # an inode's number may be too large for SQLite's integers


def _is_settled(row: Row) -> bool:
    return all(ref.location is not NOWHERE for ref in (*row.blobs, *row.lists))


def _settled(row: Row) -> Row:
    """The row with the places of its content, and nothing that may be waiting for one."""
    lists = tuple(ref.location for ref in row.lists)
    return replace(row, blobs=[ref.location for ref in row.blobs], lists=lists)
