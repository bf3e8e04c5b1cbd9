"""Record of a bucket recovery: objects, acts begun and done, versions.

    record.replace_all(rows)                          # the objects of the recovery point
    record.replace_listing(rows, hides_others=False)  # the listing of all versions in the bucket
    record.mark(acts, ActState.BEGUN)                 # written to the disk before the first call
    record.record_added_versions([(act, versions)])   # written after the calls

A recovery does one act on each object that it changes: it adds the restored object as a new
version, or it adds a delete marker that hides the object.

Rules
- The record is an SQLite file, because a bucket may have a million objects.
- An act is recorded as begun before its call to the bucket. After a crash, the program searches the
  bucket only for the versions of the begun acts.
- This search is repeated later, because the bucket may store the object of an interrupted call
  after the first search.
- If the search finds a delete marker, another program may have added it. The marker is then not
  recorded as an added version but as unknown, and no further marker is added.
- The ledger (the installation's database) contains a digest of all added versions. An undo compares
  it with the record. Thus the undo removes exactly the versions that the recovery added.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from standfast.errors import Refused

if TYPE_CHECKING:
    from backup.targets.s3 import VersionRow

_TABLES = """
CREATE TABLE IF NOT EXISTS objects (
    key TEXT PRIMARY KEY,
    path BLOB,          -- of the restored file; NULL for an object that the recovery point lacks
    size INTEGER,       -- of the restored file
    headers TEXT,       -- of the restored object, as JSON
    version TEXT,       -- the version of the object that the backup read
    present TEXT,       -- the current version; NULL if there is none
    present_size INTEGER,
    newest_version TEXT NOT NULL DEFAULT '',
    newest_marker TEXT NOT NULL DEFAULT '',
    is_interrupted INTEGER NOT NULL DEFAULT 0,
    state TEXT NOT NULL DEFAULT 'none'
);
CREATE INDEX IF NOT EXISTS states ON objects (state, key);
CREATE TABLE IF NOT EXISTS added (key TEXT, version TEXT, PRIMARY KEY (key, version));
CREATE TABLE IF NOT EXISTS unknown_markers (key TEXT, version TEXT, PRIMARY KEY (key, version));
"""


class ActState(StrEnum):
    """State of the act on one object."""

    NONE = "none"  # nothing to do, or a delete marker of unknown origin hides the object
    PLANNED = "planned"
    BEGUN = "begun"
    DONE = "done"
    REMOVING = "removing"  # the added version is being removed
    REMOVED = "removed"
    CHANGED = "changed"  # another program added a version after the bucket was listed


@dataclass(frozen=True, kw_only=True)
class ObjectAct:
    """The act on one object: put the restored object, or hide it.

    `newest_version` and `newest_marker` are the ids of the object's newest version and delete
    marker when the bucket was listed.
    """

    key: str
    path: bytes | None  # path of the restored file below the source; None to hide the object
    size: int  # in bytes
    headers: Mapping[str, Any]
    newest_version: str
    newest_marker: str


@dataclass(frozen=True, kw_only=True)
class RestoredObject:
    """One object of the recovery point."""

    key: str
    path: bytes  # below the source
    size: int  # in bytes
    headers: Mapping[str, Any]
    version: str  # id of the version that the backup read


@dataclass(frozen=True, kw_only=True)
class ObjectCounts:
    """Numbers of objects, and sizes in bytes."""

    new: int = 0  # in the point, and not in the bucket
    replaced: int = 0  # in the point; the bucket has another version
    unchanged: int = 0  # in the point; the bucket has the version that the backup read
    others: int = 0  # in the bucket, and not in the point
    restored_bytes: int = 0
    replaced_bytes: int = 0  # of the present versions
    other_bytes: int = 0


class VersionRecord:
    """The record of one bucket, in a file."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def replace_all(self, rows: Iterable[RestoredObject]) -> None:
        """Replace the whole record by the objects of a recovery point."""
        with self._database as database:
            database.execute("DELETE FROM objects")
            database.execute("DELETE FROM added")
            try:
                database.executemany(
                    "INSERT INTO objects (key, path, size, headers, version) "
                    "VALUES (?, ?, ?, ?, ?)",
                    (
                        (row.key, row.path, row.size, json.dumps(dict(row.headers)), row.version)
                        for row in rows
                    ),
                )
            except sqlite3.IntegrityError as error:
                raise Refused("recovery point: two of its objects have the same key.") from error

    def replace_listing(self, rows: Iterable["VersionRow"], *, hides_others: bool) -> None:
        """Replace the listing of the bucket, and plan the acts again."""
        with self._database as database:
            database.execute("DELETE FROM objects WHERE path IS NULL")
            database.execute("DELETE FROM added")
            database.execute(
                "UPDATE objects SET present = NULL, present_size = NULL, newest_version = '', "
                "newest_marker = '', is_interrupted = 0, state = 'none'"
            )
            database.executemany(
                "INSERT INTO objects (key, present, present_size, newest_version, newest_marker) "
                "VALUES (:key, :present, :size, :version, :marker) ON CONFLICT (key) DO UPDATE SET "
                "present = coalesce(present, excluded.present), "
                "present_size = coalesce(present_size, excluded.present_size), "
                "newest_version = iif(newest_version = '', excluded.newest_version, "
                "newest_version), "
                "newest_marker = iif(newest_marker = '', excluded.newest_marker, newest_marker)",
                (_columns_of(row) for row in rows if not _is_folder(row)),
            )
            database.execute("DELETE FROM objects WHERE path IS NULL AND present IS NULL")
            database.execute(
                "UPDATE objects SET state = 'planned' WHERE path IS NOT NULL AND "
                "(present IS NULL OR version = '' OR present != version)"
            )
            if hides_others:
                database.execute("UPDATE objects SET state = 'planned' WHERE path IS NULL")

    def counts(self) -> ObjectCounts:
        """Count the objects of the point and of the listing."""
        select = (
            "SELECT count(*) FILTER (WHERE path IS NOT NULL AND present IS NULL), "
            "count(*) FILTER (WHERE path IS NOT NULL AND present IS NOT NULL AND state != 'none'), "
            "count(*) FILTER (WHERE path IS NOT NULL AND state = 'none'), "
            "count(*) FILTER (WHERE path IS NULL), "
            "total(size) FILTER (WHERE path IS NOT NULL AND state != 'none'), "
            "total(present_size) FILTER (WHERE path IS NOT NULL AND state != 'none'), "
            "total(present_size) FILTER (WHERE path IS NULL) FROM objects"
        )
        found = [int(value) for value in self._database.execute(select).fetchone()]
        return ObjectCounts(
            new=found[0],
            replaced=found[1],
            unchanged=found[2],
            others=found[3],
            restored_bytes=found[4],
            replaced_bytes=found[5],
            other_bytes=found[6],
        )

    def acts(self, state: ActState, limit: int) -> list[ObjectAct]:
        """Return the first `limit` acts in a state, in order of their keys."""
        return self._acts("state = ? ORDER BY key LIMIT ?", state, limit)

    def interrupted_acts(self) -> list[ObjectAct]:
        """Return the acts that a crash interrupted."""
        return self._acts("is_interrupted ORDER BY key")

    def _acts(self, condition: str, *values: object) -> list[ObjectAct]:
        columns = "key, path, size, headers, newest_version, newest_marker"
        select = f"SELECT {columns} FROM objects WHERE {condition}"  # noqa: S608 - of this class
        return [
            ObjectAct(
                key=key,
                path=path,
                size=size or 0,
                headers=json.loads(headers or "{}"),
                newest_version=version,
                newest_marker=marker,
            )
            for key, path, size, headers, version, marker in self._database.execute(select, values)
        ]

    def has(self, *states: ActState) -> bool:
        """Return whether an act is in one of the states."""
        select = "SELECT EXISTS (SELECT 1 FROM objects WHERE state = ?)"
        return any(self._database.execute(select, (state,)).fetchone()[0] for state in states)

    def count(self, state: ActState) -> int:
        """Return the number of acts in a state."""
        select = "SELECT count(*) FROM objects WHERE state = ?"
        return int(self._database.execute(select, (state,)).fetchone()[0])

    def mark(self, acts: Iterable[ObjectAct], state: ActState) -> None:
        """Set the state of acts, and write it to the disk."""
        with self._database as database:
            database.executemany(
                "UPDATE objects SET state = ? WHERE key = ?", ((state, act.key) for act in acts)
            )

    def record_added_versions(self, found: Iterable[tuple[ObjectAct, Sequence[str]]]) -> None:
        """Record the versions that calls added.

        An act remains begun if its call returned no version.
        """
        with self._database as database:
            for act, versions in found:
                database.executemany(
                    "INSERT OR IGNORE INTO added VALUES (?, ?)",
                    ((act.key, version) for version in versions),
                )
                state = ActState.DONE if versions else ActState.BEGUN
                database.execute("UPDATE objects SET state = ? WHERE key = ?", (state, act.key))

    def record_found_versions(self, found: Iterable[tuple[ObjectAct, Sequence[str]]]) -> None:
        """Record the versions that a search for interrupted acts found."""
        with self._database as database:
            for act, versions in found:
                table = "unknown_markers" if act.path is None else "added"
                database.executemany(
                    f"INSERT OR IGNORE INTO {table} "  # noqa: S608 - a name from above
                    "SELECT ?1, ?2 WHERE (?1, ?2) NOT IN (SELECT key, version FROM added)",
                    ((act.key, version) for version in versions),
                )
                done = ActState.NONE if act.path is None else ActState.DONE
                database.execute(
                    "UPDATE objects SET is_interrupted = 1, state = CASE WHEN state NOT IN "
                    "('begun', 'planned') THEN state WHEN ? THEN ? ELSE 'planned' END "
                    "WHERE key = ?",
                    (bool(versions), done, act.key),
                )

    def added_versions(self, act: ObjectAct) -> list[str]:
        """Return the versions that were added to an object."""
        select = "SELECT version FROM added WHERE key = ?"
        return [version for (version,) in self._database.execute(select, (act.key,))]

    def compare(self, rows: Iterable["VersionRow"]) -> None:
        """Compare with a new listing; mark objects that another program changed.

        The state of a done act becomes CHANGED if the added version is no longer current, or if the
        new listing has a version that is neither an added version nor in the earlier listing.
        """
        with self._database as database:
            database.execute("UPDATE objects SET state = 'done' WHERE state = 'changed'")
            for table in ("current", "newer"):
                database.execute(
                    f"CREATE TEMP TABLE IF NOT EXISTS {table} (key TEXT, version TEXT)"
                )
                database.execute(f"DELETE FROM {table}")  # noqa: S608 - a name from above
            known = ("", "")  # key and kind whose remaining rows are in the earlier listing
            for row in rows:
                version = (row.key, row.version_id)
                if row.is_current:
                    database.execute("INSERT INTO current VALUES (?, ?)", version)
                kind = "newest_marker" if row.is_marker else "newest_version"
                if known != (row.key, kind):
                    if self._is_known(kind, *version):
                        known = (row.key, kind)
                    else:
                        database.execute("INSERT INTO newer VALUES (?, ?)", version)
            database.execute(
                "UPDATE objects SET state = 'changed' WHERE state = 'done' AND (key NOT IN "
                "(SELECT key FROM current JOIN added USING (key, version)) OR key IN "
                "(SELECT key FROM (SELECT * FROM newer EXCEPT SELECT * FROM added)))"
            )

    def _is_known(self, kind: str, key: str, version: str) -> bool:
        """Return whether a version was the newest one in the earlier listing.

        Return True for every version of an object that the recovery does not change.
        """
        select = f"SELECT {kind} FROM objects WHERE key = ? AND state != 'none'"  # noqa: S608
        found = self._database.execute(select, (key,)).fetchone()
        return found is None or found[0] == version

    def count_lost(self) -> int:
        """Count unchanged objects that another program has changed since then."""
        select = (
            "SELECT count(*) FROM objects WHERE path IS NOT NULL AND state = 'none' "
            "AND (key, present) NOT IN (SELECT key, version FROM current)"
        )
        return int(self._database.execute(select).fetchone()[0])

    def count_unknown(self) -> int:
        """Count objects that a marker of unknown origin hides."""
        select = "SELECT count(*) FROM unknown_markers JOIN current USING (key, version)"
        return int(self._database.execute(select).fetchone()[0])

    def digest(self) -> str:
        """Return the SHA-256 of all added versions."""
        digest = hashlib.sha256()
        for row in self._database.execute("SELECT key, version FROM added ORDER BY key, version"):
            digest.update(json.dumps(row).encode() + b"\n")
        return digest.hexdigest()


@contextmanager
def open_record(file: Path) -> Iterator[VersionRecord]:
    """Open a record; create it if it does not exist."""
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA synchronous=FULL")
        database.executescript(_TABLES)
        yield VersionRecord(database)


def _columns_of(row: "VersionRow") -> dict[str, object]:
    is_present = row.is_current and not row.is_marker
    return {
        "key": row.key,
        "present": row.version_id if is_present else None,
        "size": row.size if is_present else None,
        "version": "" if row.is_marker else row.version_id,
        "marker": row.version_id if row.is_marker else "",
    }


def _is_folder(row: "VersionRow") -> bool:
    """Return whether an object is empty and only represents a folder."""
    return row.key.endswith("/") and row.size == 0
