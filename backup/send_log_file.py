"""The send-log's file: its tables, its lock, and what happens when it cannot be read.

- The lock is the kernel's and ends with the process, so a crash leaves none behind.
- A file that is damaged or belongs to another writer is put aside under `.put-aside`, and a new
  one begun.
"""

import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import zstandard

from backup.errors import Busy, NotWritable
from backup.local_files import make_private_folder
from backup.places import Outline

_VERSION = 1
_SCHEMA = """
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE pack (
    number INTEGER PRIMARY KEY AUTOINCREMENT,  -- pages name packs by it: never used twice
    name BLOB NOT NULL UNIQUE,
    size INTEGER NOT NULL,
    set_name TEXT NOT NULL,
    sequence INTEGER,           -- the snapshot that named it first; NULL until then
    ordinal INTEGER             -- its place among that snapshot's packs
);
CREATE TABLE blob (
    id BLOB PRIMARY KEY,
    pack INTEGER NOT NULL,
    "offset" INTEGER NOT NULL,
    stored INTEGER NOT NULL,
    inner INTEGER NOT NULL,
    length INTEGER NOT NULL,
    next INTEGER NOT NULL       -- -1: the frame ends in its first pack
) WITHOUT ROWID;
CREATE INDEX blob_pack ON blob (pack);
CREATE INDEX blob_next ON blob (next) WHERE next >= 0;
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
    content BLOB NOT NULL,
    PRIMARY KEY (run, ordinal)
);
CREATE TABLE live (
    set_name TEXT NOT NULL,
    pack INTEGER NOT NULL,
    PRIMARY KEY (set_name, pack)
) WITHOUT ROWID;
"""
# Pages without an outline are looked at row by row, so a file from before it is as good as any.
_ADDED = """
CREATE TABLE IF NOT EXISTS outline (
    run INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    content BLOB NOT NULL,
    PRIMARY KEY (run, ordinal)
);
"""


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
        database = _try_open(path, binding)
        if database is not None:
            return database, warnings
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        path.replace(path.with_name(path.name + ".put-aside"))
        warnings.append(
            "the send-log was damaged or belonged to another repository, and was put aside:"
            " everything is sent again"
        )
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    database = _configured(path)
    database.executescript(f"BEGIN; {_SCHEMA} {_ADDED} PRAGMA user_version={_VERSION}; COMMIT;")
    with database:
        database.execute("INSERT INTO about VALUES ('binding', ?)", (binding,))
    return database, warnings


def outline_to_bytes(outline: Outline) -> bytes:
    """Encode an outline for its table."""
    value = {
        "leaf": outline.leaf,
        "packs": sorted(outline.packs),
        # All paths in one text: taking it apart costs one call a page.
        "paths": b"\0".join(outline.paths).decode("latin-1"),
        "vectors": outline.vectors,
        "marks": outline.marks,
    }
    return zstandard.ZstdCompressor(level=1).compress(
        json.dumps(value, separators=(",", ":")).encode()
    )


def outline_from_bytes(data: bytes) -> Outline:
    """Decode what `outline_to_bytes` made."""
    value = json.loads(zstandard.ZstdDecompressor().decompress(data))
    return Outline(
        leaf=value["leaf"],
        packs=frozenset(value["packs"]),
        paths=value["paths"].encode("latin-1").split(b"\0"),
        vectors=value["vectors"],
        marks=value["marks"],
    )


def _try_open(path: Path, binding: str) -> sqlite3.Connection | None:
    database = None
    try:
        database = _configured(path)
        (version,) = database.execute("PRAGMA user_version").fetchone()
        found = database.execute("SELECT value FROM about WHERE key = 'binding'").fetchone()
        if version == _VERSION and found == (binding,):
            database.execute(_ADDED)
            return database
    except sqlite3.DatabaseError:
        pass
    if database is not None:
        database.close()
    return None


def _configured(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    # NORMAL may lose the newest rows in a power cut: that costs sending again, and is much faster.
    database.execute("PRAGMA synchronous=NORMAL")
    return database
