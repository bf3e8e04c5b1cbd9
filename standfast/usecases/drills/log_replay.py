"""Log of a base backup in a drill: choice of log sources, and replay.

A drill is a test restore. A base backup is a copy of the files of a PostgreSQL server. The
write-ahead log that the server wrote after the base backup is a backup source of its own.

Rules
- A log belongs to a base backup if the configuration names the same folder of log files (`wal`) for
  both. The newest recovery point of each such log is replayed, even if it is in another backup set.
- The report of the drill contains the time of the last replayed commit. Changes after that time are
  not recovered.
"""

from datetime import datetime
from pathlib import Path

from backup.errors import NotFound
from backup.repository import Repository
from backup.sources.client_programs import ProgramFailed
from standfast.config.sections.backup_sources import (
    PostgresqlBaseSourceConfig,
    PostgresqlWalSourceConfig,
)
from standfast.continuity.recovery_objectives import milliseconds
from standfast.plurals import counted
from standfast.usecases.core.installation import Installation
from standfast.usecases.drills.check_result import CheckLevel, CheckResult, CheckState
from standfast.usecases.drills.throwaway.postgresql_recovery import RecoveredPostgresql


def replay(
    installation: Installation,
    repository: Repository,
    source: PostgresqlBaseSourceConfig,
    server: RecoveredPostgresql,
    folder: Path,
    until: datetime | None,
) -> CheckResult:
    """Restore the log that follows a base backup, and replay it up to a time.

    `folder` is the folder of the drill; `tree` in it contains the restored base backup.
    """
    started = installation.clock()
    base = folder / "tree" / source.name
    logs = [path for path in (base / "wal",) if path.is_dir()]
    state, reason, output = CheckState.PASSED, "", ""
    try:
        logs += restored_logs(installation, repository, source, folder / "logs")
        replayed_to = server.recover(base / "base.tar", logs, until)
        reason = f"replayed to {replayed_to or 'the end of the base'}"
    except ProgramFailed as error:
        state, reason, output = CheckState.FAILED, "the log was not replayed", str(error)
    return CheckResult(
        name=f"replay of {source.name}",
        service="",
        level=CheckLevel.STRUCTURE,
        state=state,
        reason=reason,
        took_ms=milliseconds(installation.clock() - started),
        output=output,
    )


def restored_logs(
    installation: Installation,
    repository: Repository,
    base: PostgresqlBaseSourceConfig,
    folder: Path,
) -> list[Path]:
    """Restore the newest log of each backup set that has a log for this base.

    Raise `ProgramFailed` if a segment cannot be restored, because a replay would end at the missing
    segment without an error.
    """
    restored = []
    for set_name, settings in installation.config.backup.sets.items():
        for source in settings.sources:
            if not isinstance(source, PostgresqlWalSourceConfig) or source.wal != base.wal:
                continue
            try:
                point = repository.resolve("latest", set_name, of_any_host=True)
            except NotFound:
                continue  # the set has no recovery point yet
            to = folder / set_name
            result = repository.restore(point, to, [source.name], now=installation.clock)
            lost = [
                problem for problem in result.problems if problem.is_missing or problem.is_damage
            ]
            if lost:
                raise ProgramFailed(
                    f"{counted(len(lost), 'file')} of {point.name} cannot be restored, the first is"
                    f" {lost[0].path}"
                )
            restored.append(to / source.name)
    return restored
