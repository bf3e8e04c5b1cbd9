"""A ledger in one SQLite file: how it is opened, how its writers wait, and what its errors mean.

It knows the driver and no SQLAlchemy, so that a run can be written down without importing that.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from standfast.errors import ConfigurationError, Damaged, StandfastError, Unavailable
from standfast.ledger.long_waits import LONG_SECONDS, said_when_long, say

BUSY_SECONDS = 30
HEAD = "0001.1"  # the schema that this program needs
NO_LEDGER = (
    "see that its disk is there, and that ledger.url names the right one; where none was made yet, "
    "`standfast init` on its folder makes it"
)


def connected(path: str, *, makes_file: bool = False) -> sqlite3.Connection:
    """Connect to the file, which any thread may then use; one that is not there is an error.

    SQLite by itself would make an empty one in the place of a ledger that was moved away, and let
    every user read a new one.
    """
    if makes_file:
        with suppress(OSError):  # SQLite says in a moment what is wrong there
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    mode = "rwc" if makes_file else "rw"
    return sqlite3.connect(
        f"file:{quote(os.fsencode(path))}?mode={mode}",
        uri=True,
        timeout=BUSY_SECONDS,
        check_same_thread=False,
    )


def file_at(path: str) -> tuple[int, int] | None:
    """Tell one file from another that is put in its place; None when there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - each transaction does it
    except OSError:
        return None
    return found.st_dev, found.st_ino


def configure(connection: sqlite3.Connection) -> None:
    """Set a fresh connection up as the ledger needs it."""
    connection.isolation_level = None
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        f"busy_timeout={BUSY_SECONDS * 1000}",
        # A plan of many touches the same pages of its indexes again and again: they are moved into
        # the file every 32 MB, and not after each thousand rows.
        "wal_autocheckpoint=8000",
        "cache_size=-8000",
    ):
        connection.execute(f"PRAGMA {pragma}")


@contextmanager
def in_line(path: str) -> Iterator[None]:
    """Let SQLite's writers wait in one line, threads and processes alike.

    SQLite itself polls at growing intervals, so who writes again at once is served before who has
    waited long, and a `stop` can be overtaken by a hundred claims. A lock of the kernel's wakes
    those who wait, and ends with the process that holds it.
    """
    lock_file = f"{path}-line"
    try:
        line = os.open(lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        yield  # SQLite says in a moment what is wrong with that folder
        return
    try:
        try:
            fcntl.flock(line, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with said_when_long(path, lock_file):
                fcntl.flock(line, fcntl.LOCK_EX)
        yield
    finally:
        os.close(line)


def begin_writing(connection: sqlite3.Connection, path: str) -> None:
    """Take SQLite's lock, which besides us only a program has that does not wait in line."""
    connection.execute(_patience(LONG_SECONDS))
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):
            raise
        say(path, f"{path}-shm")
        connection.execute(_patience(BUSY_SECONDS - LONG_SECONDS))
        connection.execute("BEGIN IMMEDIATE")
    finally:
        connection.execute(_patience(BUSY_SECONDS))


def _patience(seconds: float) -> str:
    return f"PRAGMA busy_timeout={max(0, round(seconds * 1000))}"


def is_disk_full(text: str) -> bool:
    """Does the driver's error mean that the disk is full, or failing?

    WAL's shared memory cannot grow on a full disk, and SQLite calls that an I/O error.
    """
    return "full" in text or "disk I/O" in text


def unavailable(path: str, text: str, kind: str) -> StandfastError:
    """What an operational error of this text and class means for who asked."""
    if is_disk_full(text):
        return Unavailable(
            f"the disk under the ledger {path} is full or failing; free space there, then run "
            "again; until then work by hand, from `standfast playbook show NAME`"
        )
    if "locked" in text:
        return Unavailable(
            f"the ledger {path} stayed locked for {BUSY_SECONDS} s by another process"
        )
    if "unable to open" in text and file_at(path) is None and Path(path).parent.is_dir():
        return Unavailable(
            f"the ledger {path} is gone while it was in use; put it back, with the files beside it "
            "that begin with its name; until then work by hand, from `standfast playbook show NAME`"
        )
    if "readonly" in text or "unable to open" in text:
        return ConfigurationError(
            f"the ledger {path} cannot be opened for writing; see that its folder "
            f"{Path(path).parent} exists, is yours and is not mounted read-only, or run "
            "`standfast init`"
        )
    if "no such column" in text or "no such table" in text or "has no column" in text:
        return ConfigurationError(
            f"the ledger {path} is laid out for another version of the program, or is damaged; run "
            "the version that made it, or bring it back from a backup"
        )
    return StandfastError(f"the ledger {path} failed: {kind}; it may be damaged")


def refused(name: str) -> StandfastError:
    """What any other error of the driver means; `name` is the driver's name for it."""
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return Damaged(
            f"the ledger's file is damaged ({name}); keep a copy of it as it is, then bring it "
            "back from a backup; until then work by hand, from `standfast playbook show NAME`"
        )
    return StandfastError(
        f"the ledger refused a statement ({name}); nothing was changed; run `standfast check`"
    )


def no_ledger_at(path: str) -> ConfigurationError:
    """There is no such file."""
    return ConfigurationError(f"there is no ledger at {path}: {NO_LEDGER}")


def no_ledger_in(path: str) -> ConfigurationError:
    """There is a database, but no ledger in it."""
    return ConfigurationError(f"there is no ledger in {path}: {NO_LEDGER}")


def other_schema(path: str, version: str, needed: str) -> ConfigurationError:
    """There is a ledger, of another release."""
    release = "a newer release" if version > needed else "an earlier release"
    return ConfigurationError(
        f"the ledger {path} was made by {release} (schema {version}; this one needs {needed}), and "
        "nothing in it was changed; install that release again; until then work by hand, from "
        "`standfast playbook show NAME`"
    )
