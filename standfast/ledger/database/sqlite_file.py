"""SQLite file of a ledger (database): opening, write queue, error texts.

This module imports no SQLAlchemy, so that a backup run can be recorded without that import.

Rules
- If this user may not write in the file's folder, as with an auditor's copy, the file is opened
  read-only.
- With SQLite's option `immutable`, the `-wal` file is ignored and no lock is taken. So the option
  is used only if every other way of opening fails and no `-wal` file has content. Its result is
  valid only if nobody wrote to the file during the read.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from standfast.errors import ConfigurationError, Damaged, OnlyReadable, StandfastError, Unavailable
from standfast.ledger.database.sqlite_lock_waits import LONG_SECONDS, log_holder, log_long_wait

BUSY_SECONDS = 30
HEAD = "0004"  # the schema that this program needs
FIRST = "0001.3"  # the schema of release 0.1.0, the oldest that can be upgraded
NO_LEDGER = (
    "Check that its disk is mounted and that ledger.url is right. If no ledger was created yet, "
    "run `standfast init` on its folder."
)


class ReadOnly(sqlite3.Connection):
    """A read-only connection; `at_rest` is set if it takes no SQLite locks."""

    at_rest: tuple[str, tuple[int, ...]] | None = None  # the file, and its state at opening


def connected(path: str, *, makes_file: bool = False) -> sqlite3.Connection:
    """Open the ledger's file; any thread may use the connection.

    A missing file is an error unless `makes_file`: SQLite would create an empty file, readable by
    every user, in place of a ledger that was moved. A file that this user may not write is opened
    as `ReadOnly`.
    """
    if makes_file:
        with suppress(OSError):  # SQLite reports the problem
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    elif file_at(path) and not os.access(path, os.W_OK, effective_ids=True):
        return connected_to_read(path, BUSY_SECONDS)
    connection = sqlite3.connect(
        _address(path, f"mode={'rwc' if makes_file else 'rw'}"),
        uri=True,
        timeout=BUSY_SECONDS,
        check_same_thread=False,
    )
    try:
        configure(connection)
    except sqlite3.Error as error:
        connection.close()
        if makes_file or not _is_unwritable(str(error)):
            raise
        return connected_to_read(path, BUSY_SECONDS)
    return connection


def connected_to_read(path: str, patience_seconds: float) -> ReadOnly:
    """Open the file read-only; without locks if SQLite cannot lock it.

    ConfigurationError if the newest rows are in a `-wal` or `-journal` file, which cannot be read
    without locks.
    """
    try:
        return _connected_to_read(path, "mode=ro", patience_seconds)
    except sqlite3.OperationalError as error:
        at_rest = path, _state(path)
        logs = [f"{path}{end}" for end in ("-wal", "-journal")]
        if unmerged := [name for name in logs if Path(name).exists() and os.stat(name).st_size]:  # noqa: PTH116
            if file_at(path) is None or not _is_unwritable(str(error)):
                raise
            raise ConfigurationError(
                f"ledger {path}: its newest rows are in {unmerged[0]}, which this user cannot read "
                "without writing there. Copy all files whose names begin with that path to a "
                "folder of yours, and read the copy."
            ) from None
        try:
            connection = _connected_to_read(path, "mode=ro&immutable=1", patience_seconds)
        except sqlite3.Error:
            raise error from None
        connection.at_rest = at_rest
        return connection


def _connected_to_read(path: str, how: str, patience_seconds: float) -> ReadOnly:
    connection = sqlite3.connect(
        _address(path, how),
        uri=True,
        timeout=patience_seconds,
        check_same_thread=False,
        isolation_level=None,
        factory=ReadOnly,
    )
    try:
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()  # this opens the file
    except sqlite3.Error:
        connection.close()
        raise
    return connection


@contextmanager
def refuse_concurrent_write(connection: object) -> Iterator[None]:
    """Raise Unavailable if a file was written while it was read unlocked."""
    try:
        yield
    finally:
        at_rest = connection.at_rest if isinstance(connection, ReadOnly) else None
        if at_rest and at_rest[1] != _state(path := at_rest[0]):
            raise Unavailable(
                f"ledger {path}: written while it was read, and this user may not lock it. Run "
                "this again."
            )


def _state(path: str) -> tuple[int, ...]:
    try:
        found = os.stat(path)  # noqa: PTH116 - as below
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _address(path: str, how: str) -> str:
    return f"file:{quote(os.fsencode(path))}?{how}"


def _is_unwritable(text: str) -> bool:
    return "readonly" in text or "unable to open" in text


def file_at(path: str) -> tuple[int, int] | None:
    """Return the identity of the file at a path; None without a file."""
    try:
        found = os.stat(path)  # noqa: PTH116 - each transaction does it
    except OSError:
        return None
    return found.st_dev, found.st_ino


def configure(connection: sqlite3.Connection) -> None:
    """Configure a new connection for the ledger."""
    connection.isolation_level = None
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        f"busy_timeout={BUSY_SECONDS * 1000}",
        # A large plan changes the same index pages many times. So checkpoint every 32 MB, and not
        # every thousand pages as by default.
        "wal_autocheckpoint=8000",
        "cache_size=-8000",
    ):
        connection.execute(f"PRAGMA {pragma}")


@contextmanager
def write_queue(path: str) -> Iterator[None]:
    """Queue the writers of all threads and processes in order.

    SQLite polls its lock at growing intervals, so a process that writes often overtakes a waiting
    process. For example, a `stop` could wait for a hundred other writes. The kernel grants a file
    lock in order, and releases it when its process ends.
    """
    lock_file = f"{path}-line"
    try:
        descriptor = os.open(lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        yield  # SQLite reports the problem of the folder
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with log_long_wait(path, lock_file):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def begin_writing(connection: sqlite3.Connection, path: str) -> None:
    """Begin a write transaction with SQLite's lock.

    Raises OnlyReadable for a read-only connection: SQLite itself would fail later, at the first
    write.
    """
    if isinstance(connection, ReadOnly):
        raise read_only_error(path)
    connection.execute(_patience(LONG_SECONDS))
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):
            raise
        log_holder(path, f"{path}-shm")
        connection.execute(_patience(BUSY_SECONDS - LONG_SECONDS))
        connection.execute("BEGIN IMMEDIATE")
    finally:
        connection.execute(_patience(BUSY_SECONDS))


def _patience(seconds: float) -> str:
    return f"PRAGMA busy_timeout={max(0, round(seconds * 1000))}"


def is_disk_full(text: str) -> bool:
    """Return whether an error means that the disk is full or failing.

    A full disk may also cause an I/O error, because the WAL's shared memory cannot grow.
    """
    return "full" in text or "disk I/O" in text


def unavailable(path: str, text: str, kind: str) -> StandfastError:
    """Return the error to raise for SQLite's `OperationalError`."""
    if is_disk_full(text):
        return Unavailable(
            f"ledger {path}: its disk is full or failing. Free space there. Until then work by "
            "hand, from `standfast playbook show NAME`."
        )
    if "locked" in text:
        return Unavailable(
            f"ledger {path}: locked by another process for {BUSY_SECONDS} s. Run this again."
        )
    if "unable to open" in text and file_at(path) is None and Path(path).parent.is_dir():
        return Unavailable(
            f"ledger {path}: removed while it was in use. Put it back, with the files whose names "
            "begin with its name. Until then work by hand, from `standfast playbook show NAME`."
        )
    if "readonly" in text:
        return read_only_error(path)
    if "unable to open" in text:
        return ConfigurationError(
            f"ledger {path}: cannot be opened for writing. Check that its folder exists, belongs "
            "to this user and is not mounted read-only, or run `standfast init`."
        )
    if "no such column" in text or "no such table" in text or "has no column" in text:
        return ConfigurationError(
            f"ledger {path}: the schema of another version, or damaged. Run the version that "
            "created it, or restore it from a backup."
        )
    return StandfastError(
        f"ledger {path}: failed ({kind}) and may be damaged. Run `standfast audit verify`."
    )


def read_only_error(path: str) -> OnlyReadable:
    """Return the error for a write to a read-only ledger."""
    return OnlyReadable(
        f"ledger {path}: read-only for this user, or on a disk that is mounted read-only. Run this "
        "on the host of the installation, as the user that owns it. Commands that only read work "
        "here too."
    )


def refused(name: str) -> StandfastError:
    """Return the error to raise for any other driver error, by its name."""
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return Damaged(
            f"ledger: its file is damaged ({name}). Keep a copy of it, then restore it from a "
            "backup. Until then work by hand, from `standfast playbook show NAME`."
        )
    return StandfastError(
        f"ledger: refused a statement ({name}). Nothing was changed. Run `standfast check`."
    )


def ledger_missing_error(path: str) -> ConfigurationError:
    """Return the error for a missing file."""
    return ConfigurationError(f"ledger {path}: missing. {NO_LEDGER}")


def not_a_ledger_error(path: str) -> ConfigurationError:
    """Return the error for a database without a ledger."""
    return ConfigurationError(f"ledger {path}: not a ledger. {NO_LEDGER}")


def schema_mismatch_error(path: str, version: str, needed: str) -> ConfigurationError:
    """Return the error for a ledger of another release."""
    if FIRST <= version < needed:
        return ConfigurationError(
            f"ledger {path}: created by an earlier release (schema {version}; this one needs "
            f"{needed}). Stop `standfast serve` on each host, keep a copy of the ledger, then run "
            "`standfast init` on the folder of the installation, which upgrades the ledger."
        )
    release = "a newer release" if version > needed else "an earlier release"
    return ConfigurationError(
        f"ledger {path}: created by {release} (schema {version}; this one needs {needed}). Nothing "
        "was changed. Install that release again. Until then work by hand, from `standfast "
        "playbook show NAME`."
    )
