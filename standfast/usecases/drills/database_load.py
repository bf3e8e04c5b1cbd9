"""Load of a drill's databases: missing programs, throwaway servers, rows.

A drill is a test restore. For each database source, it starts a database server in its own folder
(a throwaway server), loads the restored dumps into this server, and deletes the server.

Rules
- The installed database programs are searched before anything is restored. If a program is missing,
  or older than the server that a dump came from, the databases of that source are not checked. The
  report states the reason.
- A throwaway server is reached only through a socket in its folder, which is next to the folder of
  the restored files. This module never reads the address or the password of a production server.
- Each source has a server of its own, because two sources may have databases with the same name.
- The number of rows of each table is compared with the number of rows in the text of the dump. The
  backup authenticates the dump; therefore this number can be counted in the drill.
- The servers are killed at the end of the `with` block of `started_servers`. A drill with `keep`
  keeps the restored files, but no server.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import assert_never

from backup.format.canonical_json import to_path_text
from backup.records import RecoveryPoint
from backup.repository import Repository
from backup.sources.client_programs import ProgramFailed
from backup.sources.database_dumps import database_name
from backup.system.tree_removal import remove_tree
from backup.targets import Stream, TargetResult
from backup.targets.mariadb import MariadbTarget
from backup.targets.postgresql import PostgresqlTarget
from standfast.config import Config
from standfast.config.sections.backup import BackupSetConfig
from standfast.config.sections.backup_sources import (
    MariadbSourceConfig,
    PostgresqlBaseSourceConfig,
    PostgresqlSourceConfig,
)
from standfast.continuity.recovery_objectives import milliseconds
from standfast.errors import StandfastError
from standfast.plurals import counted
from standfast.records import Now
from standfast.usecases.core.backup_repository import private_key_paths, translated_errors
from standfast.usecases.core.installation import Installation
from standfast.usecases.core.run_origins import runs_of_vault
from standfast.usecases.drills.check_result import CheckLevel, CheckResult, CheckState
from standfast.usecases.drills.drill_folders import server_folder
from standfast.usecases.drills.log_replay import replay
from standfast.usecases.drills.structure_checks import (
    check_cluster,
    check_constraints,
    check_pages,
)
from standfast.usecases.drills.throwaway import ThrowawayServer, mariadb, postgresql
from standfast.usecases.drills.throwaway.mariadb import ThrowawayMariadb
from standfast.usecases.drills.throwaway.postgresql import ThrowawayPostgresql
from standfast.usecases.drills.throwaway.postgresql_recovery import RecoveredPostgresql
from standfast.usecases.drills.throwaway.server_process import find_isolation

_Loaded = PostgresqlSourceConfig | PostgresqlBaseSourceConfig | MariadbSourceConfig
_READ_BYTES = 1024 * 1024


@dataclass(kw_only=True)
class LoadedDatabases:
    """The throwaway servers of a drill, by source."""

    servers: dict[str, ThrowawayServer] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)  # why a source has no server
    earlier_rows: Mapping[str, int] = field(default_factory=dict)  # counted in the last good drill

    def reason_missing(self, source: str) -> str:
        """Return the reason why a source has no server."""
        return self.missing.get(source, "its databases are not in the recovery point")

    @property
    def environment(self) -> Mapping[str, str]:
        """Return the environment variables for commands that use the servers.

        The usual variables of a client, such as PGHOST, contain the first server of each kind. The
        variables `STANDFAST_DRILL_SOURCE_…` contain the server of each source.
        """
        common: dict[str, str] = {}
        named: dict[str, str] = {}
        for source, server in self.servers.items():
            prefix = f"STANDFAST_DRILL_{source.upper().replace('-', '_')}_"
            for variable, value in server.environment.items():
                common.setdefault(variable, value)
                named[prefix + variable] = value
        return {**common, **named}


def missing_programs(config: Config, sets: Iterable[str]) -> dict[str, str]:
    """Return the sources that a drill here cannot load, with reasons.

    Return no source if the configuration turns the loading of databases off.
    """
    missing = {}
    for set_name in sets if config.drills.loads_databases else ():
        for source in config.backup.sets[set_name].sources:
            try:
                match source:
                    case PostgresqlSourceConfig() | PostgresqlBaseSourceConfig():
                        postgresql.installed_programs(source.programs)
                    case MariadbSourceConfig():
                        mariadb.find_programs(source.programs, ())
            except ProgramFailed as error:
                missing[source.name] = str(error)
    return missing


@contextmanager
def started_servers(
    installation: Installation,
    repository: Repository,
    point: RecoveryPoint,
    folder: Path,
    identity_file: Path | None,
    report_missing: Callable[[str, str], None] | None = None,
) -> Iterator[LoadedDatabases]:
    """Start a throwaway server for each database source of a recovery point.

    If a server cannot be started, `missing` of the result has the reason, and `report_missing` is
    called with the source and the reason.
    """
    config = installation.config
    databases = LoadedDatabases(earlier_rows=_earlier_rows(installation, point))
    in_point = {source.name for source in (point.details.sources if point.details else ())}
    hidden = private_key_paths(config, identity_file)
    try:
        for number, source in enumerate(config.backup.sets[point.set_name].sources):
            if not isinstance(source, _Loaded) or source.name not in in_point:
                continue
            if not config.drills.loads_databases:
                databases.missing[source.name] = "drills.loads_databases is false"
                continue
            try:
                server = _new_server(
                    source, repository, point, server_folder(folder) / str(number), hidden
                )
                databases.servers[source.name] = server
                server.start()
            except ProgramFailed as error:
                databases.missing[source.name] = str(error)
                if failed := databases.servers.pop(source.name, None):
                    failed.end()
                if report_missing is not None:
                    report_missing(source.name, str(error))
        yield databases
    finally:
        for started in databases.servers.values():
            started.end()
        remove_tree(server_folder(folder))


def _earlier_rows(installation: Installation, point: RecoveryPoint) -> Mapping[str, int]:
    """Return the row counts of the last good drill.

    Only drills of recovery points of the same host, not newer than `point`, are considered. Use the
    drill of the newest of these points.
    """
    runs = installation.ledger.runs.all("drill", point.set_name, states=("done", "partial"))
    found: dict[str, Mapping[str, int]] = {}
    for run in runs_of_vault(installation.config, runs):
        name = str(run.summary.get("point", ""))
        is_of_host = name.startswith(f"{point.writer}/")
        if is_of_host and name <= point.name and run.summary.get("rows"):
            found.setdefault(name, run.summary["rows"])
    return found[max(found)] if found else {}


def _new_server(
    source: _Loaded,
    repository: Repository,
    point: RecoveryPoint,
    folder: Path,
    hidden: tuple[Path, ...],
) -> ThrowawayServer:
    """Return a server for a source; `ProgramFailed` if it cannot be loaded."""
    match source:
        case PostgresqlSourceConfig():
            dumps = _stored_dumps(source, repository, point, PostgresqlTarget.suffix)
            return ThrowawayPostgresql(
                folder, postgresql.find_programs(source.programs, dumps), find_isolation(), hidden
            )
        case PostgresqlBaseSourceConfig():
            installed = postgresql.installed_programs(source.programs)
            return RecoveredPostgresql(folder, installed, find_isolation(), hidden, source.user)
        case MariadbSourceConfig():
            dumps = _stored_dumps(source, repository, point, MariadbTarget.suffix)
            return ThrowawayMariadb(
                folder, mariadb.find_programs(source.programs, dumps), find_isolation(), hidden
            )
        case never:
            assert_never(never)


def _stored_dumps(
    source: _Loaded, repository: Repository, point: RecoveryPoint, suffix: str
) -> list[Stream]:
    return [
        partial(repository.stream, point, entry.path)
        for entry in repository.entries(point, [source.name])
        if entry.kind == "file" and entry.text.endswith(suffix)
    ]


def load_databases(
    installation: Installation,
    repository: Repository,
    databases: LoadedDatabases,
    settings: BackupSetConfig,
    folder: Path,
    until: datetime | None,
) -> list[CheckResult]:
    """Load the dumps, and replay the logs of base backups; return the checks.

    `folder` is the target folder of the drill. Logs are replayed up to `until`, or to their end.
    """
    results = [
        CheckResult(
            name=f"load of {source}",
            service="",
            level=CheckLevel.STRUCTURE,
            state=CheckState.SKIPPED,
            reason=reason,
        )
        for source, reason in databases.missing.items()
    ]
    for source in settings.sources:
        server = databases.servers.get(source.name)
        if server is None:
            continue
        if isinstance(source, PostgresqlBaseSourceConfig) and isinstance(
            server, RecoveredPostgresql
        ):
            replayed = replay(installation, repository, source, server, folder, until)
            results.append(replayed)
            if replayed.state is CheckState.FAILED:
                databases.missing[source.name] = "its log was not replayed"
                databases.servers.pop(source.name).end()
                continue
            results += check_cluster(source.name, server, installation.clock)
            results.append(check_pages(source.name, server, installation.clock))
        results.append(_isolation(source.name, server))
        loader = _Loader(source.name, server, folder / "tree" / source.name, installation.clock)
        results += loader.load()
    return results


def _isolation(source: str, server: ThrowawayServer) -> CheckResult:
    gap = server.isolation_gap
    return CheckResult(
        name=f"network isolation of {source}",
        service="",
        level=CheckLevel.ISOLATION,
        state=CheckState.SKIPPED if gap else CheckState.PASSED,
        reason=f"missing: {gap}" if gap else "no network interface and no port",
    )


class _Loader:
    """The dumps of one source, and the server that loads them."""

    def __init__(self, source: str, server: ThrowawayServer, folder: Path, clock: Now) -> None:
        self._source = source
        self._server = server
        self._folder = folder
        self._clock = clock

    def load(self) -> Iterator[CheckResult]:
        """Load roles, dumps, then roles again, because a grant may need a table."""
        target = self._server.target
        roles = self._folder / target.globals_name
        if roles.is_file():
            self._attempt(roles)
        for dump in sorted(self._folder.glob(f"*{target.suffix}")):
            result = self._attempt(dump)
            yield result
            if result.state is CheckState.PASSED:
                database = database_name(dump.name, target.suffix)
                yield check_constraints(self._source, self._server, database, self._clock)
                yield self._rows(dump, database)
        if roles.is_file():
            yield self._attempt(roles)

    def _attempt(self, path: Path) -> CheckResult:
        target, started = self._server.target, self._clock()
        name = f"load of {self._source}/{to_path_text(path.name.encode())}"
        taken: TargetResult | None = None
        output = ""
        try:
            with translated_errors(f"loading {path.name}"):
                if path.name == target.globals_name:
                    taken = target.restore_globals(lambda: _pieces(path))
                else:
                    database = database_name(path.name, target.suffix)
                    taken = target.restore(database, database, lambda: _pieces(path))
        except StandfastError as error:
            output = str(error)
        if taken is not None and taken.problems_total:
            output = "\n".join(taken.problems)
        reason = "the server did not accept it"
        if taken is not None:
            reason = ""
            if taken.problems_total:
                refused = counted(taken.problems_total, "statement was", "statements were")
                reason = f"{refused} refused"
        return CheckResult(
            name=name,
            service="",
            level=CheckLevel.STRUCTURE,
            state=CheckState.FAILED if reason else CheckState.PASSED,
            reason=reason,
            took_ms=milliseconds(self._clock() - started),
            output=output,
        )

    def _rows(self, dump: Path, database: str) -> CheckResult:
        """Compare the number of rows of each table with the number in the dump.

        More rows in the server are no fault: an extension may create rows of its own.
        """
        started = self._clock()
        state, reason, output = CheckState.PASSED, "", ""
        try:
            dumped = self._server.dumped_rows(dump)
            loaded = self._server.loaded_rows([*dumped], database)
            lacking = [
                f"table {table} has {counted(rows, 'row')}, the dump has {dumped[table]:,}"
                for table, rows in zip(dumped, loaded, strict=True)
                if rows < dumped[table]
            ]
            reason = f"{counted(sum(dumped.values()), 'row')} in {counted(len(dumped), 'table')}"
            if lacking:
                state, reason = CheckState.FAILED, "; ".join(lacking)
        except ProgramFailed as error:
            state, reason, output = CheckState.SKIPPED, "the rows cannot be counted", str(error)
        return CheckResult(
            name=f"rows of {self._source}/{database}",
            service="",
            level=CheckLevel.CONTENT,
            state=state,
            reason=reason,
            took_ms=milliseconds(self._clock() - started),
            output=output,
        )


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_READ_BYTES):
            yield piece
