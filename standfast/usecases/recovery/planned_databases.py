"""Planned database of a recovery: its dump, and the replaced database.

A replaced database is set aside: it gets another name, so that an undo can return it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

from backup.format.canonical_json import to_path_text
from backup.records import RecoveryPoint
from backup.repository import Repository
from backup.sources.database_dumps import database_name
from backup.targets import Stream
from backup.targets.mariadb import MariadbTarget
from backup.targets.postgresql import PostgresqlTarget
from standfast.errors import Refused, UsageError
from standfast.records import Json, JsonObject
from standfast.usecases.core.backup_repository import translated_errors
from standfast.usecases.core.installation import Installation
from standfast.usecases.recovery.database_replacement import DatabaseReplacement, open_server
from standfast.usecases.recovery.mariadb_recovery import MariadbRecovery
from standfast.usecases.recovery.recovery_journal import RecoveryJournal


@dataclass(frozen=True, kw_only=True)
class PlannedDatabase:
    """One dump, its server, and the database that it replaces."""

    source: str
    into: str  # the server, as the configuration names it
    dump: str  # the path in the recovery point
    replacement: DatabaseReplacement
    size_bytes: int  # size of the existing database

    @property
    def has_data(self) -> bool:
        return self.replacement.has_data

    @property
    def place(self) -> str:
        """The target, in words."""
        return f"database {self.replacement.database}"

    @property
    def later_name(self) -> str:
        """The name of the previous database after it is set aside."""
        return self.replacement.set_aside

    def as_json(self) -> dict[str, Json]:
        return {
            "source": self.source,
            "into": self.into,
            "dump": self.dump,
            "database": self.replacement.database,
            "database_id": self.replacement.database_id,
            "has_data": self.has_data,
            "size_bytes": self.size_bytes,
            "set_aside": self.later_name if self.has_data else None,
        }

    @staticmethod
    def from_json(stored: JsonObject, incident: str) -> "PlannedDatabase":
        """Read a database from the JSON form of a plan."""
        return PlannedDatabase(
            source=str(stored["source"]),
            into=str(stored["into"]),
            dump=str(stored["dump"]),
            replacement=DatabaseReplacement(
                database=str(stored["database"]),
                incident=incident,
                database_id=str(stored["database_id"]),
                has_data=bool(stored["has_data"]),
            ),
            size_bytes=cast("int", stored["size_bytes"]),
        )


def plan_databases(
    installation: Installation,
    incident: str,
    source: str,
    into: str,
    repository: Repository,
    point: RecoveryPoint,
) -> Iterator[PlannedDatabase]:
    """Yield a plan for each dump of a source; change nothing.

    Raise UsageError if the recovery point has no dump of the source, and Refused for a database
    that cannot be replaced.
    """
    with (
        open_server(installation, into, point.set_name) as server,
        translated_errors(f"reading the databases of {into}"),
    ):
        dumps = [
            entry.path
            for entry in repository.entries(point, [source])
            if entry.kind == "file" and entry.path.decode().endswith(server.suffix)
        ]
        if not dumps:
            raise UsageError(f"{point.name}: no dump of {source}. Choose another point.")
        journal = RecoveryJournal(
            installation=installation, incident=incident, effect="", set_name=point.set_name
        )
        for dump in dumps:
            database = database_name(dump.partition(b"/")[2].decode(), server.suffix)
            stream = partial(repository.stream, point, to_path_text(dump))
            match server:
                case PostgresqlTarget():
                    replacement, size_bytes = _on_postgresql(server, database, incident, stream)
                case MariadbTarget():
                    replacement, size_bytes = _on_mariadb(server, database, source, journal, stream)
                case _:
                    raise UsageError(f"{into}: not a database server. Correct the recovery target.")
            yield PlannedDatabase(
                source=source,
                into=into,
                dump=to_path_text(dump),
                replacement=replacement,
                size_bytes=size_bytes,
            )


def _on_postgresql(
    server: PostgresqlTarget, database: str, incident: str, stream: Stream
) -> tuple[DatabaseReplacement, int]:
    database_id = server.database_id(database)
    size_bytes = server.size_bytes(database) if database_id else 0
    replacement = DatabaseReplacement(
        database=database, incident=incident, database_id=database_id, has_data=size_bytes > 0
    )
    if reason := replacement.obstacle(server):
        raise Refused(reason)
    if reason := server.plan_obstacle(database, stream):
        raise Refused(f"database {database}: {reason}")
    return replacement, size_bytes


def _on_mariadb(
    server: MariadbTarget, database: str, source: str, journal: RecoveryJournal, stream: Stream
) -> tuple[DatabaseReplacement, int]:
    size_bytes = server.size_bytes(database)
    replacement = DatabaseReplacement(
        database=database,
        incident=journal.incident,
        database_id=server.database_id(database) if size_bytes else "",
        has_data=size_bytes > 0,
    )
    recovery = MariadbRecovery(
        server=server, journal=journal, source=source, replacement=replacement
    )
    if recovery.is_away():  # a failed call of this incident moved the content and did not return it
        size_bytes = max(size_bytes, server.size_bytes(replacement.set_aside))
        replacement = replace(replacement, database_id="", has_data=True)
    elif reason := replacement.obstacle(server):
        raise Refused(reason)
    if reason := server.plan_obstacle(database, replacement.names_aside, stream):
        raise Refused(f"database {database}: {reason}")
    return replacement, size_bytes
