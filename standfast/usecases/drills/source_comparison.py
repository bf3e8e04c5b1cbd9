"""Comparison of a restored tree with its source: files, links, rows.

Content, mode, time of the last change, links and database rows are compared. A drill (test restore)
compares only on request, because a live source has usually changed since its backup. The comparison
is useful if nobody changes the source between the backup and the drill.

Rules
- The code that reads a source for a backup reads the source and the restored tree. Thus the same
  excluded files are omitted from both.
- A SQLite database is compared by rows, because the bytes of its restored copy may differ.
- Owners of files are not compared, because a restore sets owners only on request.
- Sources that are dumps or buckets have no local file to compare with. The result names them.
"""

import hashlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from backup.format.canonical_json import to_path_text
from backup.records import Unread
from backup.sources import Found, OpenSource
from backup.sources.files.files_source import FilesSource
from standfast.config.sections.backup import BackupSetConfig, FilesSourceConfig, SqliteSourceConfig
from standfast.records import Json, Now
from standfast.usecases.backups.configured_sources import NONE, OwnFiles, files_source
from standfast.usecases.drills.service_checks import quoted, read_only

_MOST_NAMED = 100
_READ_BYTES = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The differences, and the numbers of compared files and rows."""

    files: int
    directories: int
    tables: int
    rows: int
    differences: tuple[str, ...]  # at most `_MOST_NAMED`
    differences_total: int
    left_out: tuple[str, ...] = ()  # sources that cannot be compared, such as dumps

    @property
    def is_equal(self) -> bool:
        return not self.differences_total

    @property
    def is_empty(self) -> bool:
        """Return whether no content was compared."""
        return not (self.files or self.tables)

    def counts(self) -> dict[str, Json]:
        """Return the JSON form for a report: counts without file names."""
        return {
            "files": self.files,
            "directories": self.directories,
            "tables": self.tables,
            "rows": self.rows,
            "differences": self.differences_total,
        }


@dataclass(kw_only=True)
class _Tally:
    files: int = 0
    directories: int = 0
    tables: int = 0
    rows: int = 0
    differences: int = 0


@dataclass(frozen=True, kw_only=True)
class _Item:
    """The compared properties of one path."""

    kind: str
    mode: int
    modified_ns: int
    content: str  # the hash of a file, or the target of a link
    first_name: bytes  # the first of several names of a file (hard links)

    def differs(self, other: "_Item") -> str:
        """Return the names of the properties that differ, or ""."""
        names = ("kind", "mode", "modified_ns", "content", "first_name")
        return ", ".join(name for name in names if getattr(self, name) != getattr(other, name))


def compare(
    settings: BackupSetConfig, tree: Path, scratch: Path, clock: Now, own: OwnFiles = NONE
) -> Comparison:
    """Compare restored files with their sources; change neither.

    `tree` is the folder of the restored files. `own` are the files of Standfast itself, which are
    not compared. `scratch` is a folder for temporary files.
    """
    tally = _Tally()
    named: list[str] = []
    left_out: list[str] = []
    for source in settings.sources:
        if isinstance(source, SqliteSourceConfig):
            found = _compare_database(source, tree, tally)
        elif isinstance(source, FilesSourceConfig):
            reader = files_source(source, settings.exclude, own)
            found = _compare_files(source, reader, tree, scratch, clock, tally)
        else:
            left_out.append(source.name)
            continue
        for difference in found:
            tally.differences += 1
            if len(named) < _MOST_NAMED:
                named.append(difference)
    return Comparison(
        files=tally.files,
        directories=tally.directories,
        tables=tally.tables,
        rows=tally.rows,
        differences=tuple(named),
        differences_total=tally.differences,
        left_out=tuple(left_out),
    )


def _compare_files(
    source: FilesSourceConfig,
    reader: FilesSource,
    tree: Path,
    scratch: Path,
    clock: Now,
    tally: _Tally,
) -> Iterator[str]:
    live = dict(_items(reader, "live", scratch, clock))
    root = tree / source.name
    restored = dict(_items(FilesSource(source.name, root), "restored", scratch, clock))
    for path in sorted(live.keys() | restored.keys()):
        shown = to_path_text(os.fsencode(source.name) + b"/" + path)
        if path not in restored:
            yield f"{shown}: was not restored"
        elif path not in live:
            yield f"{shown}: is not in the source"
        else:
            tally.files += live[path].kind == "file"
            tally.directories += live[path].kind == "directory"
            if properties := live[path].differs(restored[path]):
                yield f"{shown}: {properties} differ"


def _items(
    source: FilesSource, side: str, scratch: Path, clock: Now
) -> Iterator[tuple[bytes, _Item]]:
    first_names: dict[tuple[int, int], bytes] = {}
    with source.opened(scratch, clock) as opened:
        for found in opened.scan():
            if isinstance(found, Unread):
                continue  # the file cannot be read; it is reported as missing on this side
            content = os.fsdecode(found.target or b"")
            if found.kind == "file":
                content = _hash(opened, found, side)
            first = found.path
            if found.same_file is not None:
                first = first_names.setdefault(found.same_file, found.path)
            yield (
                found.path,
                _Item(
                    kind=found.kind,
                    mode=found.mode,
                    modified_ns=found.modified_ns,
                    content=content,
                    first_name=first,
                ),
            )


def _hash(opened: OpenSource, found: Found, side: str) -> str:
    """Return the hash of a file, or a text if the file cannot be read.

    The file is opened relative to its open folder, because its path may be too long for the kernel.
    """
    hashed = hashlib.sha256()
    buffer = memoryview(bytearray(_READ_BYTES))
    position = 0
    try:
        with opened.read(found) as content:
            for start, length in (*content.holes, (content.size, 0)):
                while position < start and (count := content.readinto(buffer[: start - position])):
                    hashed.update(buffer[:count])
                    position += count
                for at in range(0, length, _READ_BYTES):
                    hashed.update(bytes(min(_READ_BYTES, length - at)))
                position += length
    except OSError as error:
        # The text contains the side, so that two unreadable files are never reported as equal.
        return f"the {side} file cannot be read: {error.strerror}"
    return hashed.hexdigest()


def _compare_database(source: SqliteSourceConfig, tree: Path, tally: _Tally) -> Iterator[str]:
    restored = tree / source.name / source.path.name
    if not restored.is_file():
        yield f"{source.name}/{source.path.name}: was not restored"
        return
    live = f"file:{quote(os.fsencode(source.path.absolute()))}?mode=ro"
    try:
        with (
            closing(sqlite3.connect(live, uri=True)) as ours,
            closing(sqlite3.connect(read_only(restored), uri=True)) as theirs,
        ):
            schemas = [_schema(database) for database in (ours, theirs)]
            if schemas[0] != schemas[1]:
                yield f"{source.name}: the schemas differ"
            for table in sorted(schemas[0].keys() & schemas[1].keys()):
                tally.tables += 1
                rows = [_rows(database, table) for database in (ours, theirs)]
                tally.rows += rows[0][0]
                if rows[0] != rows[1]:
                    yield f"{source.name}: the rows of table {table} differ"
    except sqlite3.Error as error:
        yield (
            f"{source.name}: SQLite cannot read the source or the restored copy "
            f"({type(error).__name__})"
        )


def _schema(database: sqlite3.Connection) -> dict[str, str]:
    query = "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    return dict(database.execute(query).fetchall())


def _rows(database: sqlite3.Connection, table: str) -> tuple[int, str]:
    """Count and hash the rows in the order in which the file contains them.

    A restored copy contains the rows in the same order.
    """
    count, hashed = 0, hashlib.sha256()
    for row in database.execute(f"SELECT * FROM {quoted(table)}"):  # noqa: S608 - a quoted name
        count += 1
        hashed.update(repr(row).encode("utf-8", "surrogatepass"))
    return count, hashed.hexdigest()
