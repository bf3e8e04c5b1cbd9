"""Load of dumps into production servers, and return after a failure.

Rules
- After an interruption, the call is repeated. It skips the databases that are already loaded. A
  database is loaded again if its previous content was put back, even in part.
- If the load of one database fails, all databases of the backup set get their previous content
  back.
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
from backup.targets.mariadb import MariadbTarget
from backup.targets.postgresql import PostgresqlTarget
from standfast.errors import UsageError
from standfast.usecases.backups.database_restore import find_address
from standfast.usecases.core.backup_repository import translated_errors
from standfast.usecases.core.installation import Installation
from standfast.usecases.drills.database_checks import QueriedServer
from standfast.usecases.recovery.database_replacement import open_server
from standfast.usecases.recovery.directory_replay import ReplayedDirectories
from standfast.usecases.recovery.mariadb_recovery import MariadbRecovery
from standfast.usecases.recovery.planned_databases import PlannedDatabase
from standfast.usecases.recovery.postgresql_recovery import PostgresqlRecovery
from standfast.usecases.recovery.recovery_journal import (
    LOADED,
    LOADING,
    RETURNED,
    RETURNING,
    RecoveryJournal,
)
from standfast.usecases.recovery.set_plan import SetPlan


@dataclass(frozen=True, kw_only=True)
class LiveDatabases:
    """The production servers of a backup set, which its checks query."""

    servers: Mapping[str, QueriedServer]
    environment: Mapping[str, str]
    earlier_rows: Mapping[str, int]

    def reason_missing(self, _source: str) -> str:
        """Return the reason that messages state for a source without a server."""
        return "its databases are not in this recovery"

    def with_replayed(self, replayed: ReplayedDirectories) -> "LiveDatabases":
        """Add the throwaway servers that replayed the logs of data directories."""
        return LiveDatabases(
            servers={**self.servers, **replayed.servers},
            environment={**replayed.environment, **self.environment},
            earlier_rows=self.earlier_rows,
        )


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
    """Open the servers that a recovery loaded, for the checks of its services.

    The checks may be commands. Their environment variables contain the address of the first server
    of each kind.
    """
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
    """Return the environment variables that make client programs connect."""
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
    """Load the planned databases that are not loaded yet; return the bytes.

    `observe` is called before each piece of a dump; an exception that it raises ends the load.
    """
    if not plan.databases:
        return 0
    with translated_errors("loading databases"):
        point = repository.resolve(plan.point, journal.set_name, of_any_host=True)
    return sum(
        _load(installation, repository, point, database, journal, observe)
        for database in plan.databases
    )


def revert_databases(installation: Installation, plan: SetPlan, journal: RecoveryJournal) -> None:
    """Give the previous databases their names back after a failed recovery."""
    for database in reversed(plan.databases):
        name = database.replacement.database
        if journal.last_of(database.source, name, LOADING, LOADED, RETURNED) in (LOADING, LOADED):
            journal.write(RETURNING, source=database.source, database=name)
            with _open_recovery(installation, database, journal) as recovery:
                recovery.revert()
            journal.write(RETURNED, source=database.source, database=name)


def undo_databases(installation: Installation, plan: SetPlan, journal: RecoveryJournal) -> None:
    """Give the previous databases their names back; keep the restored ones."""
    for database in reversed(plan.databases):
        name, withdrawn = database.replacement.database, database.replacement.withdrawn
        journal.write(RETURNING, source=database.source, database=name)
        with _open_recovery(installation, database, journal) as recovery:
            recovery.undo()
        journal.write(RETURNED, source=database.source, database=name, withdrawn=withdrawn)


def _load(
    installation: Installation,
    repository: Repository,
    point: RecoveryPoint,
    database: PlannedDatabase,
    journal: RecoveryJournal,
    observe: Callable[[], None],
) -> int:
    name = database.replacement.database
    if journal.last_of(database.source, name, LOADING, LOADED, RETURNING, RETURNED) == LOADED:
        return 0
    stream = partial(_pieces, repository, point, database.dump, observe)
    with _open_recovery(installation, database, journal) as recovery:
        size = recovery.load(stream)
    journal.write(LOADED, source=database.source, database=name, size_bytes=size)
    return size


@contextmanager
def _open_recovery(
    installation: Installation, database: PlannedDatabase, journal: RecoveryJournal
) -> Iterator[PostgresqlRecovery | MariadbRecovery]:
    """Open the server of a planned database.

    Raise UsageError if it is not a PostgreSQL or MariaDB server.
    """
    source, replacement = database.source, database.replacement
    with open_server(installation, database.into, journal.set_name) as server:
        match server:
            case PostgresqlTarget():
                yield PostgresqlRecovery(
                    server=server, journal=journal, source=source, replacement=replacement
                )
            case MariadbTarget():
                yield MariadbRecovery(
                    server=server, journal=journal, source=source, replacement=replacement
                )
            case _:
                raise UsageError(f"{database.into}: not a database server. Correct the target.")


def _pieces(
    repository: Repository, point: RecoveryPoint, dump: str, observe: Callable[[], None]
) -> Iterator[bytes]:
    for piece in repository.stream(point, dump):
        observe()
        yield piece
