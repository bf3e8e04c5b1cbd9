"""The send-log's file: its tables, its lock, and what happens when it cannot be read.

- The lock is the kernel's and ends with the process, so a crash leaves none behind.
- A file that is damaged, of another version or of another writer is put aside under
  `.put-aside`, and a new one begun.  Damage in its midst shows only when it is read there: then it
  is put aside as well, and the run has to begin again.
"""

import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import zstandard

from backup.archiver.upload_cache import blob_index
from backup.errors import Busy, NotWritable
from backup.system.durable_files import make_private_folder

PUT_ASIDE = "the send-log was put aside, and everything is sent again"
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
# Who has not the right, or whose disk is full, must not lose what is right.  WAL's shared memory
# cannot grow on a full disk, and SQLite calls that an I/O error.
_NO_DAMAGE = {
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_AUTH,
    sqlite3.SQLITE_IOERR,
}
_CANNOT_BE_READ = {  # of the I/O errors
    sqlite3.SQLITE_IOERR_READ,
    sqlite3.SQLITE_IOERR_SHORT_READ,
    sqlite3.SQLITE_IOERR_CORRUPTFS,
}
_PRIMARY_CODE = 0xFF  # of SQLite's extended codes
# A quarter as many calls as with SQLite's own 4,096; a file that was made with those keeps them.
_PAGE_BYTES = 16 * 1024
# How long the write-ahead log grows before it is copied into the file, which everybody waits for;
# with SQLite's own thousand a first backup of small files does that in its midst, and again.
_PAGES_IN_LOG = 2_000
_VERSION = 7
_SCHEMA = """
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE pack (
    number INTEGER PRIMARY KEY AUTOINCREMENT,  -- pages name packs by it: never used twice
    name BLOB NOT NULL UNIQUE,
    size INTEGER NOT NULL,
    held INTEGER NOT NULL DEFAULT 0,  -- bytes of its blobs, before compression
    blobs INTEGER NOT NULL DEFAULT 0, -- that were whole with it
    set_name TEXT NOT NULL,
    sequence INTEGER,           -- the snapshot that named it first; NULL until then
    ordinal INTEGER             -- its place among that snapshot's packs
);
CREATE TABLE run (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    set_name TEXT NOT NULL,
    started_ns INTEGER NOT NULL,
    sequence INTEGER,           -- of its newest snapshot
    is_finished INTEGER NOT NULL
);
CREATE TABLE page (
    run INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    kept INTEGER NOT NULL,      -- an unchanged page is another run's, too
    PRIMARY KEY (run, ordinal)
) WITHOUT ROWID;
CREATE TABLE kept (
    number INTEGER PRIMARY KEY,
    content BLOB NOT NULL,
    uses TEXT NOT NULL,         -- [[pack, bytes of it]…]
    leaf TEXT NOT NULL          -- the blob that it became
);
CREATE TABLE outline (
    kept INTEGER PRIMARY KEY,
    content BLOB NOT NULL
);
CREATE TABLE live (
    set_name TEXT NOT NULL,
    pack INTEGER NOT NULL,
    PRIMARY KEY (set_name, pack)
) WITHOUT ROWID;
"""


class UploadCacheDamaged(NotWritable):
    """The send-log cannot be read on; it was put aside, so the same run can begin again."""


class LogDatabase:
    """The open file: reads, and changes in one transaction each."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def _about(self, key: str) -> str | None:
        for (value,) in self._rows("SELECT value FROM about WHERE key = ?", (key,)):
            return str(value)
        return None

    def _rows(self, statement: str, values: tuple[object, ...] = ()) -> list[Any]:
        return self._database.execute(statement, values).fetchall()

    @contextmanager
    def _synced(self) -> Iterator[None]:
        """Make the changes within survive a power cut, and every change before them."""
        self._database.execute("PRAGMA synchronous=FULL")
        try:
            yield
        finally:
            self._database.execute("PRAGMA synchronous=NORMAL")

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        try:
            self._database.execute("BEGIN IMMEDIATE")
            yield self._database
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            with suppress(sqlite3.Error):
                self._database.execute("ROLLBACK")
            raise NotWritable(
                f"the send-log cannot be written: SQLite says {error}."
                " Make room or look at its disk; removing the send-log costs only sending again"
            ) from error
        except BaseException:
            self._database.execute("ROLLBACK")
            raise


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the send-log for this process; `Busy` while another one does."""
    try:
        make_private_folder(path.parent)
        lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise NotWritable(f"the send-log {path} cannot be made: {error.strerror}") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(f"another backup is running with {path}; wait until it has ended") from None
        yield
    finally:
        os.close(lock)


def connect(path: Path, binding: str) -> tuple[sqlite3.Connection, list[str]]:
    """Open or create the file; the texts say what the caller should tell about it."""
    warnings: list[str] = []
    if path.exists():
        database, why = _try_open(path, binding)
        if database is not None:
            return database, warnings
        put_aside(path)
        warnings.append(f"{why}: {PUT_ASIDE}")
    return _made(path, binding), warnings


def _made(path: Path, binding: str) -> sqlite3.Connection:
    """Make a new one whole, or leave nothing that the next run would take for a damaged one."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    with ExitStack() as undo:
        undo.callback(path.unlink)
        undo.callback(_remove_beside, path)
        database = _configured(path)
        undo.callback(database.close)
        database.executescript(
            f"BEGIN; {_SCHEMA}{blob_index.SCHEMA} PRAGMA user_version={_VERSION}; COMMIT;"
        )
        with database:
            database.execute("INSERT INTO about VALUES ('binding', ?)", (binding,))
        undo.pop_all()
    return database


def put_aside(path: Path) -> None:
    """Give the file another name, in place of one that was put aside before."""
    _remove_beside(path)
    path.replace(path.with_name(path.name + ".put-aside"))


def _remove_beside(path: Path) -> None:
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def is_damage(error: BaseException | None) -> bool:
    """Whether an error, or what it came from, says that the file is not what was written."""
    while error is not None:
        if isinstance(error, json.JSONDecodeError):
            return True  # of what we wrote into it ourselves
        if isinstance(error, zstandard.ZstdError):
            return "cannot compress" not in str(error)  # for want of memory
        if isinstance(error, sqlite3.DatabaseError):
            code = getattr(error, "sqlite_errorcode", 0)
            # What is no text is told by Python, without a code.
            if code & _PRIMARY_CODE in _DAMAGE or "Could not decode" in str(error):
                return True
        error = error.__cause__
    return False


def _try_open(path: Path, binding: str) -> tuple[sqlite3.Connection | None, str]:
    """Open it, or say why it is of no use."""
    database, is_open, why = None, False, "the send-log was damaged"
    try:
        database = _configured(path)
        (version,) = database.execute("PRAGMA user_version").fetchone()
        found = database.execute("SELECT value FROM about WHERE key = 'binding'").fetchone()
        if version == _VERSION and found == (binding,):
            is_open = True
            return database, ""
        if version != _VERSION:
            why = "the send-log was of another version of this program"
        elif found is not None:
            why = (
                "this host or its domain has other keys than at the last run, as after a new epoch"
                " or generation"
            )
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0)
        if code & _PRIMARY_CODE in _NO_DAMAGE and code not in _CANNOT_BE_READ:
            raise NotWritable(
                f"the send-log {path} cannot be opened: SQLite says {error}. Run as the user who"
                " owns it, and see that its disk has room and may be written"
            ) from error
    finally:
        if database is not None and not is_open:
            database.close()
    return None, why


def _configured(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, isolation_level=None)
    database.execute(f"PRAGMA page_size={_PAGE_BYTES}")  # before the file holds anything
    database.execute("PRAGMA journal_mode=WAL")
    database.execute(f"PRAGMA wal_autocheckpoint={_PAGES_IN_LOG}")
    # NORMAL may lose the newest rows in a power cut: that costs sending again, and is much faster.
    database.execute("PRAGMA synchronous=NORMAL")
    return database
