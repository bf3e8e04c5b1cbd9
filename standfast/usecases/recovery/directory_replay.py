"""Replay of the log of recovered data directories, in throwaway servers.

A recovered PostgreSQL data directory consists of a base backup and the write-ahead log after it.

Rules
- As in a drill (a test restore), a throwaway server on this machine replays the log, and the checks
  query that server. Nothing is replaced before the checks have passed. The data of the throwaway
  server is deleted, because restored code may have changed it.
- As in a drill, the log comes from the sources that name the same folder of log files as the base
  backup. The newest log of each such source is used.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from backup.repository import Repository
from backup.sources.client_programs import ProgramFailed
from standfast.config.sections.backup_sources import PostgresqlBaseSourceConfig
from standfast.errors import StandfastError
from standfast.usecases.core.backup_repository import private_key_paths, translated_errors
from standfast.usecases.core.installation import Installation
from standfast.usecases.drills.check_result import CheckResult
from standfast.usecases.drills.database_checks import parse_moment
from standfast.usecases.drills.drill_folders import drill_folder, server_folder
from standfast.usecases.drills.log_replay import restored_logs
from standfast.usecases.drills.structure_checks import check_cluster
from standfast.usecases.drills.throwaway.postgresql import installed_programs
from standfast.usecases.drills.throwaway.postgresql_recovery import RecoveredPostgresql
from standfast.usecases.drills.throwaway.server_process import find_isolation
from standfast.usecases.recovery.data_directory import write_data_directory
from standfast.usecases.recovery.recovery_journal import RecoveryJournal
from standfast.usecases.recovery.set_plan import PlannedTarget, SetPlan

_BASE = "base.tar"


@dataclass(kw_only=True)
class ReplayedDirectories:
    """The throwaway servers with the replayed data, and their checks."""

    servers: dict[str, RecoveredPostgresql] = field(default_factory=dict)
    last_commits: list[datetime] = field(default_factory=list)
    checks: list[CheckResult] = field(default_factory=list)  # of the constraints

    @property
    def environment(self) -> Mapping[str, str]:
        """Return the variables that make client programs use the first server."""
        return next((server.environment for server in self.servers.values()), {})


@contextmanager
def replayed_directories(
    installation: Installation, repository: Repository, plan: SetPlan, journal: RecoveryJournal
) -> Iterator[ReplayedDirectories]:
    """Replay the logs of all restored base backups; end the servers at exit.

    Raise StandfastError if a log cannot be replayed up to the planned time.
    """
    replayed = ReplayedDirectories()
    with ExitStack() as stack:
        for number, target in enumerate(plan.directories):
            source = _source(installation, journal.set_name, target)
            name = f"{number}{journal.effect}"
            folder = stack.enter_context(drill_folder(installation, journal.set_name, name))
            base = target.replacement.staging / target.source
            hidden = private_key_paths(installation.config, None)
            try:
                with translated_errors(f"restoring the log of {target.source}"):
                    restored_logs(installation, repository, source, _logs(target))
                server = RecoveredPostgresql(
                    server_folder(folder),
                    installed_programs(source.programs),
                    find_isolation(),
                    hidden,
                    source.user,
                )
                stack.callback(server.end)
                with translated_errors(f"replaying the log of {target.source}"):
                    server.start()
                    last = server.recover(base / _BASE, _log_folders(target), target.until)
            except ProgramFailed as error:
                raise StandfastError(
                    f"{plan.point}: the log of {target.source} was not replayed, and nothing was "
                    f"replaced: {error}. Choose another time, or correct the cause and "
                    "retry the step."
                ) from error
            replayed.servers[target.source] = server
            replayed.checks += check_cluster(target.source, server, installation.clock)
            if (at := parse_moment(last)) is not None:
                replayed.last_commits.append(at)
        yield replayed


def write_directories(plan: SetPlan) -> None:
    """Write the new data directories next to the targets."""
    for target in plan.directories:
        replacement = target.replacement
        with translated_errors(f"writing {replacement.staged_directory}"):
            write_data_directory(
                replacement.staged_directory,
                replacement.staging / target.source / _BASE,
                _log_folders(target),
                target.until,
                replacement.path,
            )


def _log_folders(target: PlannedTarget) -> list[Path]:
    """Return the folders with log segments, the oldest first."""
    own = target.replacement.staging / target.source / "wal"
    restored = sorted(path for path in _logs(target).glob("*/*") if path.is_dir())
    return [*([own] if own.is_dir() else []), *restored]


def _logs(target: PlannedTarget) -> Path:
    return target.replacement.staging / "logs"


def _source(
    installation: Installation, set_name: str, target: PlannedTarget
) -> PostgresqlBaseSourceConfig:
    for source in installation.config.backup.sets[set_name].sources:
        if source.name == target.source and isinstance(source, PostgresqlBaseSourceConfig):
            return source
    raise StandfastError(
        f"set {set_name}: its source {target.source} was removed. Correct the configuration, then "
        "retry the step."
    )
