"""SQLite source: a consistent copy, made by the online backup of SQLite.

- The copy is made in one step. If the database is in WAL mode, writers continue during the copy. In
  rollback mode, they wait.
- The recovery point (the restorable backup) is consistent at the moment before the copy started. It
  contains every transaction that was committed before this moment.
- The copy is a complete database without -wal and -shm files, so a restore needs only one file.
- The copy is in `scratch`, a private folder of the run. It needs as much space as the database, and
  only the user that runs the backup can read it.
- For SQLite, a file of 0 bytes is an empty database. But such a file may also be left by a failed
  copy. An empty file is stored, and the recovery point counts as partial (incomplete).
"""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from backup.errors import SourceFailed
from backup.format.canonical_json import to_path_text
from backup.records import Unread
from backup.sources import Content, Found, Obstacle, OpenSource, Source
from backup.sources.chunk_sizes import EDITED_CHUNK_BYTES
from backup.sources.files.file_content import FileContent
from backup.sources.files.file_status import found_from_status

BUSY_SECONDS = 60.0
_EMPTY = (
    "it has 0 bytes: nobody wrote to this database yet, or a failed copy left it. If it had"
    " content, restore it from an earlier recovery point"
)
_UNREADABLE = (
    "SQLite cannot read it; a database in WAL mode that no program has open needs write permission"
    " for its folder"
)


class SqliteSource(Source):
    """One database file."""

    kind = "sqlite"

    def __init__(self, name: str, path: Path | str) -> None:
        super().__init__(name)
        self.path = Path(path)

    def obstacles(self, scratch: Path) -> list[Obstacle]:
        del scratch
        try:
            size = self.path.stat().st_size
        except OSError:
            return []  # a run reports the missing file
        if not size:
            return [Obstacle(problem=f"{self.path}: {_EMPTY}")]
        try:
            with closing(sqlite3.connect(_read_only(self.path), uri=True, timeout=0.1)) as source:
                source.execute("SELECT 1 FROM sqlite_master").fetchone()
        except sqlite3.Error as error:
            is_locked = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY
            return [] if is_locked else [Obstacle(problem=f"{self.path}: {_UNREADABLE}: {error}")]
        return []

    @contextmanager
    def _open(self, scratch: Path, now: Callable[[], datetime]) -> Iterator[OpenSource]:
        copy = scratch / f"{self.name}.sqlite"
        consistent_at = now()
        try:
            os.close(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            self._copy_database(copy)
            yield _OpenSqlite(self.name, consistent_at, self.path, copy)
        finally:
            with suppress(FileNotFoundError):
                copy.unlink()

    def _copy_database(self, copy: Path) -> None:
        if not self.path.is_file():
            # Check this first, because SQLite's message for a missing file and for a missing
            # permission is the same.
            raise SourceFailed(
                f"source {self.name}: {self.path} is not a file. Name the database's file."
            )
        deadline = time.monotonic() + BUSY_SECONDS

        def give_up_when_locked(status: int, remaining: int, total: int) -> None:
            # Python's backup() waits for a locked database forever.
            is_locked = status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
            if is_locked and time.monotonic() > deadline:
                raise SourceFailed(
                    f"source {self.name}: another program locked it for more than"
                    f" {BUSY_SECONDS:.0f} s. End its long transaction, then run again."
                )

        try:
            with (
                closing(sqlite3.connect(_read_only(self.path), uri=True, timeout=0.1)) as source,
                closing(sqlite3.connect(copy)) as target,
            ):
                target.execute("PRAGMA synchronous=OFF")
                source.backup(target, pages=-1, progress=give_up_when_locked)
        except sqlite3.Error as error:
            raise SourceFailed(
                f"source {self.name}: cannot be copied, SQLite reports {error}."
                " Check that the file is a readable database, then run again."
            ) from error


class _OpenSqlite(OpenSource):
    def __init__(self, name: str, consistent_at: datetime, original: Path, copy: Path) -> None:
        super().__init__(name, consistent_at)
        self._original = original
        self._copy = copy

    def _scan(self) -> Iterator[Found | Unread]:
        yield found_from_status(b"", self._original.parent.stat(), None)
        status = self._original.stat()
        yield found_from_status(
            os.fsencode(self._original.name),
            status,
            None,
            # A change may be only in the -wal file, and then size and times of this file do not
            # show it.
            always_read=True,
            size=self._copy.stat().st_size,
        )
        if status.st_size == 0:
            path = to_path_text(os.fsencode(f"{self.name}/{self._original.name}"))
            yield Unread(path=path, reason=_EMPTY)

    def read(self, found: Found) -> AbstractContextManager[Content]:
        return self._open_copy()

    @contextmanager
    def _open_copy(self) -> Iterator[Content]:
        descriptor = os.open(self._copy, os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield FileContent(descriptor, os.fstat(descriptor))
        finally:
            os.close(descriptor)

    def xattrs(self, found: Found) -> tuple[tuple[bytes, bytes], ...]:
        return ()

    def chunk_bytes(self, found: Found) -> int:
        return EDITED_CHUNK_BYTES


def _read_only(path: Path) -> str:
    return f"file:{quote(os.fsencode(path.absolute()))}?mode=ro"
