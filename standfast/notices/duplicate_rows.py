"""Which mailboxes and people stood in an earlier row, for audiences that do not fit memory.

Rules
- What is kept is a digest under a key of this one reading: nobody can be looked up in what is left
  on a disk. It has 128 bits, so that no two of a billion people are taken for one.
- It lives in a private file of SQLite's that has no name and goes with the connection; a few
  megabytes of it are in memory.
"""

import hashlib
import secrets
import sqlite3
from collections.abc import Iterable, Mapping

_MARK_BYTES = 16
_CACHE_KIBIBYTES = 16 * 1024
_MARKS_A_STATEMENT = 500


class Seen:
    """Marks, each with the number of the row that had it first."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        # No name: a temporary file that SQLite deletes as it opens it, once its cache is full.
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        for pragma in ("journal_mode=OFF", "synchronous=OFF", f"cache_size=-{_CACHE_KIBIBYTES}"):
            self._database.execute(f"PRAGMA {pragma}")
        self._database.execute("CREATE TABLE seen (mark BLOB PRIMARY KEY, row) WITHOUT ROWID")

    def mark(self, kind: str, name: str) -> bytes:
        """Give what is kept of a name of that kind."""
        text = f"{kind}\n{name}".encode()
        return hashlib.blake2b(text, key=self._key, digest_size=_MARK_BYTES).digest()

    def known(self, marks: Iterable[bytes]) -> dict[bytes, int]:
        """Give the row of each of these marks that is known."""
        wanted = list(dict.fromkeys(marks))
        found: dict[bytes, int] = {}
        for start in range(0, len(wanted), _MARKS_A_STATEMENT):
            part = wanted[start : start + _MARKS_A_STATEMENT]
            places = ",".join("?" * len(part))
            statement = f"SELECT mark, row FROM seen WHERE mark IN ({places})"  # noqa: S608 - ?
            found.update(self._database.execute(statement, part))
        return found

    def add(self, rows: Mapping[bytes, int]) -> None:
        """Keep new marks."""
        self._database.execute("BEGIN")
        # In order: neighbours share a page of the file.
        self._database.executemany("INSERT INTO seen VALUES (?, ?)", sorted(rows.items()))
        self._database.execute("COMMIT")

    def close(self) -> None:
        """Forget everything."""
        self._database.close()
