"""Load of a recovery's dumps into their production servers.

Rules
- A loaded database is not loaded again by a repeated try.
- A statement that the server refused fails the load: a table may be missing. The usual cause is a
  role that does not exist, and the message says how to restore roles.
- If the load of one database fails, all databases of the set get their earlier content back.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from backup.records import RecoveryPoint
from backup.repository import Repository
from backup.sources.postgresql.server import PostgresqlServer, identifier
from standfast.errors import StandfastError
from standfast.plurals import counted
from standfast.usecases.backups.database_restore import find_address
from standfast.usecases.core.backup_repository import translated_errors
from standfast.usecases.core.installation import Installation
from standfast.usecases.drills.database_checks import QueriedServer
from standfast.usecases.recovery.database_replacement import open_server
from standfast.usecases.recovery.planned_databases import PlannedDatabase
from standfast.usecases.recovery.recovery_journal import (
    LOADED,
    LOADING,
    REPLACING,
    RETURNED,
    RETURNING,
    RecoveryJournal,
)
from standfast.usecases.recovery.set_plan import SetPlan


@dataclass(frozen=True, kw_only=True)
class LiveDatabases:
    """The production servers of a set, for its checks."""

    servers: Mapping[str, QueriedServer]
    environment: Mapping[str, str]
    earlier_rows: Mapping[str, int]

    def reason_missing(self, _source: str) -> str:
        """Return why a source has no server."""
        return "its databases are not in this recovery"


@dataclass(frozen=True, kw_only=True)
class _LiveServer:
    server: PostgresqlServer

    def value(self, sql: str, database: str) -> str:
        return self.server.value(sql, database=database)

    def row_count(self, table: str, database: str) -> int:
        name = ".".join(identifier(part) for part in table.split("."))
        return int(self.value(f"SELECT count(*) FROM {name}", database))  # noqa: S608 - quoted


def live_databases(installation: Installation, set_name: str, plan: SetPlan) -> LiveDatabases:
    """Return the servers of a plan; probes get the address of the first one."""
    servers: dict[str, QueriedServer] = {}
    environment: dict[str, str] = {}
    for database in plan.databases:
        server = find_address(installation, database.into, set_name).server
        if isinstance(server, PostgresqlServer):
            servers[database.source] = _LiveServer(server=server)
            environment.setdefault("PGHOST", server.host)
            environment.setdefault("PGPORT", str(server.port))
            environment.setdefault("PGUSER", server.user)
    return LiveDatabases(servers=servers, environment=environment, earlier_rows={})


def load_databases(
    installation: Installation,
    repository: Repository,
    plan: SetPlan,
    journal: RecoveryJournal,
    observe: Callable[[], None],
) -> int:
    """Load every database of a plan; return the bytes that were loaded now.

    `observe` is called before each piece, and may raise to end the load.
    """
    if not plan.databases:
        return 0
    with translated_errors("loading databases"):
        point = repository.resolve(plan.point, journal.set_name, of_any_host=True)
    return sum(
        _load(installation, repository, point, database, journal, observe)
        for database in plan.databases
    )


def give_databases_back(
    installation: Installation, plan: SetPlan, journal: RecoveryJournal
) -> None:
    """Restore the names of the previous databases after a failed try."""
    for database in reversed(plan.databases):
        name = database.replacement.database
        if journal.last_of(name, LOADING, LOADED, RETURNED) in (LOADING, LOADED):
            journal.write(RETURNING, source=database.source, database=name)
            server = open_server(installation, database.into, journal.set_name)
            database.replacement.give_back(server)
            journal.write(RETURNED, source=database.source, database=name)


def _load(
    installation: Installation,
    repository: Repository,
    point: RecoveryPoint,
    database: PlannedDatabase,
    journal: RecoveryJournal,
    observe: Callable[[], None],
) -> int:
    name = database.replacement.database
    last = journal.last_of(name, LOADING, LOADED, RETURNED)
    if last == LOADED:
        return 0
    server = open_server(installation, database.into, journal.set_name)
    journal.write(
        REPLACING,
        source=database.source,
        database=name,
        set_aside=database.later_name if database.has_data else None,
    )
    database.replacement.make_room(server, was_loading=last == LOADING)
    # Record the load only now: before the rename, a database of this name may be somebody else's.
    journal.write(LOADING, source=database.source, database=name)
    stream = partial(_pieces, repository, point, database.dump, observe)
    with translated_errors(f"loading database {name}"):
        result = server.restore(name, name, stream)
    if result.problems_total:
        raise StandfastError(
            f"database {name}: {counted(result.problems_total, 'statement')} of the dump failed, "
            f"first: {result.problems[0] if result.problems else ''}. The previous database has "
            "its name back. Create missing roles, or restore them with `standfast backup restore "
            "--globals`. Then retry the step."
        )
    journal.write(LOADED, source=database.source, database=name, size_bytes=result.bytes)
    return result.bytes


def _pieces(
    repository: Repository, point: RecoveryPoint, dump: str, observe: Callable[[], None]
) -> Iterator[bytes]:
    for piece in repository.stream(point, dump):
        observe()
        yield piece
