"""Load of a recovery's dumps into their production servers.

Rules
- A loaded database is not loaded again by a repeated try, unless its return was begun.
- A statement that the server refused fails the load: a table may be missing. The usual cause is a
  role that does not exist, and the message says how to restore roles.
- If the load of one database fails, all databases of the set get their earlier content back.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import cast

from backup.records import RecoveryPoint
from backup.repository import Repository
from backup.sources.mariadb.server import MariadbServer
from backup.sources.postgresql.server import PostgresqlServer, identifier
from backup.targets import Stream
from backup.targets.mariadb import MariadbTarget
from backup.targets.postgresql import PostgresqlTarget
from standfast.errors import StandfastError, UsageError
from standfast.plurals import counted
from standfast.usecases.backups.database_restore import find_address
from standfast.usecases.core.backup_repository import translated_errors
from standfast.usecases.core.installation import Installation
from standfast.usecases.drills.database_checks import QueriedServer
from standfast.usecases.recovery.database_replacement import open_server
from standfast.usecases.recovery.mariadb_recovery import MariadbRecovery
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
class _LivePostgresql:
    server: PostgresqlServer

    def value(self, sql: str, database: str) -> str:
        return self.server.value(sql, database=database)

    def row_count(self, table: str, database: str) -> int:
        name = ".".join(identifier(part) for part in table.split("."))
        return int(self.value(f"SELECT count(*) FROM {name}", database))  # noqa: S608 - quoted


@contextmanager
def live_databases(
    installation: Installation, set_name: str, plan: SetPlan
) -> Iterator[LiveDatabases]:
    """Open the servers of a plan; name the first of each kind for probes."""
    servers: dict[str, QueriedServer] = {}
    environment: dict[str, str] = {}
    with translated_errors("reading the loaded databases"), ExitStack() as stack:
        for source, databases in _by_source(plan).items():
            into = databases[0].into
            match find_address(installation, into, set_name).server:
                case PostgresqlServer() as server:
                    servers[source] = _LivePostgresql(server=server)
                case MariadbServer() as server:
                    target = stack.enter_context(open_server(installation, into, set_name))
                    names = [database.replacement.database for database in databases]
                    queries = cast("MariadbTarget", target).limited_queries(names)
                    servers[source] = stack.enter_context(queries)
            environment = _address(server) | environment
        yield LiveDatabases(servers=servers, environment=environment, earlier_rows={})


def _by_source(plan: SetPlan) -> Mapping[str, list[PlannedDatabase]]:
    found: dict[str, list[PlannedDatabase]] = {}
    for database in plan.databases:
        found.setdefault(database.source, []).append(database)
    return found


def _address(server: PostgresqlServer | MariadbServer) -> dict[str, str]:
    """Return the variables by which client programs find a server."""
    if isinstance(server, PostgresqlServer):
        return {"PGHOST": server.host, "PGPORT": str(server.port), "PGUSER": server.user}
    if server.host.startswith("/"):
        return {"MYSQL_UNIX_PORT": server.host, "MYSQL_USER": server.user}
    port = str(server.port)
    return {"MYSQL_HOST": server.host, "MYSQL_TCP_PORT": port, "MYSQL_USER": server.user}


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
        if journal.last_of(database.source, name, LOADING, LOADED, RETURNED) in (LOADING, LOADED):
            journal.write(RETURNING, source=database.source, database=name)
            with open_server(installation, database.into, journal.set_name) as server:
                match server:
                    case PostgresqlTarget():
                        database.replacement.give_back(server)
                    case MariadbTarget():
                        on_mariadb(server, database, journal).bring_back()
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
    last = journal.last_of(database.source, name, LOADING, LOADED, RETURNING, RETURNED)
    if last == LOADED:
        return 0
    stream = partial(_pieces, repository, point, database.dump, observe)
    with open_server(installation, database.into, journal.set_name) as server:
        match server:
            case PostgresqlTarget():
                if last == RETURNING:  # an earlier try could not end that
                    database.replacement.give_back(server)
                size = _load_postgresql(
                    server, database, journal, stream, was_loading=last == LOADING
                )
            case MariadbTarget():
                size = on_mariadb(server, database, journal).load(stream)
            case _:
                raise UsageError(f"{database.into}: not a database server. Correct the target.")
    journal.write(LOADED, source=database.source, database=name, size_bytes=size)
    return size


def on_mariadb(
    server: MariadbTarget, database: PlannedDatabase, journal: RecoveryJournal
) -> MariadbRecovery:
    """Return the recovery of a planned database of MariaDB."""
    return MariadbRecovery(
        server=server, journal=journal, source=database.source, replacement=database.replacement
    )


def _load_postgresql(
    server: PostgresqlTarget,
    database: PlannedDatabase,
    journal: RecoveryJournal,
    stream: Stream,
    *,
    was_loading: bool,
) -> int:
    name = database.replacement.database
    journal.write(
        REPLACING,
        source=database.source,
        database=name,
        set_aside=database.later_name if database.has_data else None,
    )
    database.replacement.make_room(server, was_loading=was_loading)
    # Record the load only now: before the rename, a database of this name may be somebody else's.
    journal.write(LOADING, source=database.source, database=name)
    with translated_errors(f"loading database {name}"):
        result = server.restore(name, name, stream)
    if result.problems_total:
        raise StandfastError(
            f"database {name}: {counted(result.problems_total, 'statement')} of the dump failed, "
            f"first: {result.problems[0] if result.problems else ''}. The previous database has "
            "its name back. Create missing roles, or restore them with `standfast backup restore "
            "--globals`. Then retry the step."
        )
    return result.bytes


def _pieces(
    repository: Repository, point: RecoveryPoint, dump: str, observe: Callable[[], None]
) -> Iterator[bytes]:
    for piece in repository.stream(point, dump):
        observe()
        yield piece
