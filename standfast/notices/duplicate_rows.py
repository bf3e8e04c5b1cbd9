"""Detection of repeated mailboxes and people in audiences of any size.

An audience is the list of people for a notice. It may have more rows than fit into memory.

Rules
- Only keyed hashes are stored, and each reading of a source has its own key. Therefore nobody can
  use the remains of the file on a disk to find out whether a person was in the audience. A hash has
  128 bits, so that no two of a billion people have the same one.
- The store is a temporary SQLite file without a name, which is deleted when the connection is
  closed. At most a few megabytes of it are in memory.
"""

import hashlib
import secrets
import sqlite3
from collections.abc import Iterable, Mapping

_MARK_BYTES = 16
_CACHE_KIBIBYTES = 16 * 1024
_MARKS_A_STATEMENT = 500


class Seen:
    """Keyed hashes of mailboxes and people, each with its first row number."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        # The name is empty: SQLite creates a temporary file when its cache is full, and deletes its
        # name.
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        for pragma in ("journal_mode=OFF", "synchronous=OFF", f"cache_size=-{_CACHE_KIBIBYTES}"):
            self._database.execute(f"PRAGMA {pragma}")
        self._database.execute("CREATE TABLE seen (mark BLOB PRIMARY KEY, row) WITHOUT ROWID")

    def mark(self, kind: str, name: str) -> bytes:
        """Return the hash of a name of this kind, for example of a mailbox."""
        text = f"{kind}\n{name}".encode()
        return hashlib.blake2b(text, key=self._key, digest_size=_MARK_BYTES).digest()

    def known(self, marks: Iterable[bytes]) -> dict[bytes, int]:
        """Return the row number of each hash that is stored."""
        wanted = list(dict.fromkeys(marks))
        found: dict[bytes, int] = {}
        for start in range(0, len(wanted), _MARKS_A_STATEMENT):
            part = wanted[start : start + _MARKS_A_STATEMENT]
            places = ",".join("?" * len(part))
            statement = f"SELECT mark, row FROM seen WHERE mark IN ({places})"  # noqa: S608 - ?
            found.update(self._database.execute(statement, part))
        return found

    def add(self, rows: Mapping[bytes, int]) -> None:
        """Store new hashes."""
        self._database.execute("BEGIN")
        # Insert in sorted order, because neighbours share a page of the file.
        self._database.executemany("INSERT INTO seen VALUES (?, ?)", sorted(rows.items()))
        self._database.execute("COMMIT")

    def close(self) -> None:
        """Delete everything that was stored."""
        self._database.close()
