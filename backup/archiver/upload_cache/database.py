"""Database file of the upload cache: tables, lock, damaged files.

- The upload cache is a file on the backup host. It lists the content that is already in the vault,
  the folder or bucket with the encrypted backups.
- The kernel releases the lock of the file when the process ends, even after a crash.
- A file that is damaged, of another version or of another writer is renamed to `.put-aside`, and a
  new file is created. Some damage is found only when a run reads the damaged part. Then the file is
  renamed too, and the run begins again.
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

PUT_ASIDE = "It was set aside, and everything is sent again."
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
# These errors do not mean damage: an intact file must not be discarded if a permission is missing
# or the disk is full. On a full disk, the shared memory of the write-ahead log cannot grow, and
# SQLite reports an I/O error.
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
_CANNOT_BE_READ = {  # I/O errors that mean damage
    sqlite3.SQLITE_IOERR_READ,
    sqlite3.SQLITE_IOERR_SHORT_READ,
    sqlite3.SQLITE_IOERR_CORRUPTFS,
}
_PRIMARY_CODE = 0xFF  # mask of the primary code in SQLite's extended codes
# Pages of this size need a quarter of the calls that SQLite's default of 4,096 bytes needs. An
# existing file keeps its page size.
_PAGE_BYTES = 16 * 1024
# When the write-ahead log has this number of pages, SQLite copies it into the file, and other
# threads wait. SQLite's default of 1,000 makes a first backup of small files wait often.
_PAGES_IN_LOG = 2_000
_VERSION = 7
_SCHEMA = """
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE pack (
    number INTEGER PRIMARY KEY AUTOINCREMENT,  -- pages name packs by it: never used twice
    name BLOB NOT NULL UNIQUE,
    size INTEGER NOT NULL,
    held INTEGER NOT NULL DEFAULT 0,  -- bytes of its blobs, before compression
    blobs INTEGER NOT NULL DEFAULT 0, -- number of blobs completed by it
    set_name TEXT NOT NULL,
    sequence INTEGER,           -- of the snapshot that names it first; NULL until then
    ordinal INTEGER             -- its index in the list of that snapshot
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
    kept INTEGER NOT NULL,      -- number in the table kept; runs share unchanged pages
    PRIMARY KEY (run, ordinal)
) WITHOUT ROWID;
CREATE TABLE kept (
    number INTEGER PRIMARY KEY,
    content BLOB NOT NULL,
    uses TEXT NOT NULL,         -- [[pack, bytes that the page uses in it]…]
    leaf TEXT NOT NULL          -- id of the blob that contains the page
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
    """The upload cache is damaged and was renamed; begin the run again."""


class CacheDatabase:
    """The open database file; each change is one transaction."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def value(self, key: str) -> str | None:
        """Return the value of a key of the table `about`."""
        for (value,) in self.rows("SELECT value FROM about WHERE key = ?", (key,)):
            return str(value)
        return None

    def rows(self, statement: str, values: tuple[object, ...] = ()) -> list[Any]:
        """Return all rows of a query."""
        return self._database.execute(statement, values).fetchall()

    @contextmanager
    def synced(self) -> Iterator[None]:
        """Make the changes of the block, and all earlier changes, durable."""
        self._database.execute("PRAGMA synchronous=FULL")
        try:
            yield
        finally:
            self._database.execute("PRAGMA synchronous=NORMAL")

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """Run the block as one transaction."""
        try:
            self._database.execute("BEGIN IMMEDIATE")
            yield self._database
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            with suppress(sqlite3.Error):
                self._database.execute("ROLLBACK")
            raise NotWritable(
                f"upload cache: SQLite reports {error}. Free space or check its disk; removing the"
                " file (send_log) costs only uploads."
            ) from error
        except BaseException:
            self._database.execute("ROLLBACK")
            raise


@contextmanager
def lock_cache(path: Path) -> Iterator[None]:
    """Lock the upload cache; raise `Busy` if another process has the lock."""
    try:
        make_private_folder(path.parent)
        lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise NotWritable(
            f"upload cache {path}: cannot be created ({error.strerror}). Check its folder."
        ) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(
                f"upload cache {path}: another backup uses it. Wait until it ends."
            ) from None
        yield
    finally:
        os.close(lock)


def connect(path: Path, binding: str) -> tuple[sqlite3.Connection, list[str]]:
    """Open or create the file; return its connection and warnings."""
    warnings: list[str] = []
    if path.exists():
        database, reason = _try_open(path, binding)
        if database is not None:
            return database, warnings
        set_aside(path)
        warnings.append(f"{reason}. {PUT_ASIDE}")
    return _create_file(path, binding), warnings


def _create_file(path: Path, binding: str) -> sqlite3.Connection:
    """Create the file; after an error, remove the incomplete file."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    with ExitStack() as undo:
        undo.callback(path.unlink)
        undo.callback(_remove_wal, path)
        database = _open_configured(path)
        undo.callback(database.close)
        database.executescript(
            f"BEGIN; {_SCHEMA}{blob_index.SCHEMA} PRAGMA user_version={_VERSION}; COMMIT;"
        )
        with database:
            database.execute("INSERT INTO about VALUES ('binding', ?)", (binding,))
        undo.pop_all()
    return database


def set_aside(path: Path) -> None:
    """Rename the file to `.put-aside`; replace an earlier file of that name."""
    _remove_wal(path)
    path.replace(path.with_name(path.name + ".put-aside"))


def _remove_wal(path: Path) -> None:
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def is_damage(error: BaseException | None) -> bool:
    """Return whether an error or its causes mean that the file is damaged."""
    while error is not None:
        if isinstance(error, json.JSONDecodeError):
            return True  # invalid JSON: this program wrote only valid JSON
        if isinstance(error, zstandard.ZstdError):
            return "cannot compress" not in str(error)  # "cannot compress" means a lack of memory
        if isinstance(error, sqlite3.DatabaseError):
            code = getattr(error, "sqlite_errorcode", 0)
            # Python reports invalid text without a code.
            if code & _PRIMARY_CODE in _DAMAGE or "Could not decode" in str(error):
                return True
        error = error.__cause__
    return False


def _try_open(path: Path, binding: str) -> tuple[sqlite3.Connection | None, str]:
    """Open the file, or return the reason why it cannot be used."""
    database, is_open, reason = None, False, "upload cache: the file is damaged"
    try:
        database = _open_configured(path)
        (version,) = database.execute("PRAGMA user_version").fetchone()
        binding_row = database.execute("SELECT value FROM about WHERE key = 'binding'").fetchone()
        if version == _VERSION and binding_row == (binding,):
            is_open = True
            return database, ""
        if version != _VERSION:
            reason = "upload cache: it is of another version of this program"
        elif binding_row is not None:
            reason = (
                "upload cache: this host or its domain has other keys than at the last run, as"
                " after a new epoch or generation"
            )
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0)
        if code & _PRIMARY_CODE in _NO_DAMAGE and code not in _CANNOT_BE_READ:
            raise NotWritable(
                f"upload cache {path}: SQLite reports {error}. Run as the user that owns it, and"
                " check that its disk has space and is writable."
            ) from error
    finally:
        if database is not None and not is_open:
            database.close()
    return None, reason


def _open_configured(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, isolation_level=None)
    database.execute(f"PRAGMA page_size={_PAGE_BYTES}")  # before the file has content
    database.execute("PRAGMA journal_mode=WAL")
    database.execute(f"PRAGMA wal_autocheckpoint={_PAGES_IN_LOG}")
    # NORMAL is much faster. A power failure may lose the newest rows, which costs only uploads.
    database.execute("PRAGMA synchronous=NORMAL")
    return database
