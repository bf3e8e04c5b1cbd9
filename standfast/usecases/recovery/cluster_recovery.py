"""Replay of PostgreSQL base backups next to their data directories.

Rules
- A throwaway server replays the base and its log in a folder next to the data directory, and the
  checks run there. It is shut down cleanly, and its data is then renamed like a restored folder.
- A data directory is never renamed while a server uses it. A person stops that server, and starts
  it after the recovery.
- The plan names the log. For a clean point, only the log of that point is replayed, because later
  log may repeat the damage.
- The settings of ALTER SYSTEM return with the base. Settings outside of the data directory stay.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from backup.repository import Repository
from backup.sources.client_programs import ProgramFailed
from backup.system.durable_files import sync_folder
from backup.system.tree_removal import remove_tree
from standfast.config.sections.backup_sources import PostgresqlBaseSourceConfig
from standfast.errors import StandfastError
from standfast.usecases.core.backup_repository import (
    private_key_paths,
    set_of,
    translated_errors,
)
from standfast.usecases.core.installation import Installation
from standfast.usecases.drills.database_checks import parse_moment
from standfast.usecases.drills.log_replay import restore_log
from standfast.usecases.drills.throwaway.postgresql import installed_programs
from standfast.usecases.drills.throwaway.postgresql_recovery import RecoveredPostgresql
from standfast.usecases.drills.throwaway.server_process import end_processes, find_isolation
from standfast.usecases.recovery.cluster_target import data_owner
from standfast.usecases.recovery.replacement import Replacement
from standfast.usecases.recovery.set_plan import PlannedTarget, SetPlan

_SERVER, _LOGS = "server", "logs"  # folders next to the restored base


@dataclass(frozen=True, kw_only=True)
class ReplayedCluster:
    """A running throwaway server with the replayed data, for the checks."""

    server: RecoveredPostgresql
    replacement: Replacement
    base: Path
    replayed_to: datetime | None  # time of the last replayed commit, or None

    @property
    def environment(self) -> Mapping[str, str]:
        return self.server.environment

    def value(self, sql: str, database: str) -> str:
        return self.server.value(sql, database)

    def row_count(self, table: str, database: str) -> int:
        return self.server.row_count(table, database)

    def shut_down(self) -> None:
        """Shut the server down, and rename its data like a restored folder."""
        with _translated(self.replacement):
            data = self.server.shut_down(self.base)
            _hand_over(data, self.replacement.path)
            data.rename(self.replacement.cluster)
            sync_folder(data.parent)
            sync_folder(self.replacement.staging)


@contextmanager
def replayed_clusters(
    installation: Installation, repository: Repository, set_name: str, plan: SetPlan
) -> Iterator[Mapping[str, ReplayedCluster]]:
    """Replay the base backups of a plan; yield their running servers."""
    clusters: dict[str, ReplayedCluster] = {}
    try:
        for source in set_of(installation, set_name).sources:
            for target in plan.targets:
                if target.source == source.name and isinstance(source, PostgresqlBaseSourceConfig):
                    clusters[source.name] = _replay(installation, repository, source, target, plan)
        yield clusters
    finally:
        for cluster in clusters.values():
            cluster.server.end()


def remove_replayed(replacement: Replacement) -> None:
    """Remove the data that an earlier try replayed, and kill its server."""
    end_processes(replacement.staging / _SERVER)
    for path in (replacement.staging / _SERVER, replacement.staging / _LOGS, replacement.cluster):
        remove_tree(path)


def _replay(
    installation: Installation,
    repository: Repository,
    source: PostgresqlBaseSourceConfig,
    target: PlannedTarget,
    plan: SetPlan,
) -> ReplayedCluster:
    staging = target.replacement.staging
    restored = staging / source.name
    logs = [path for path in (restored / "wal",) if path.is_dir()]
    for log in target.logs:
        with translated_errors(f"restoring {log.point}"):
            point = repository.resolve(log.point, log.set_name, of_any_host=True)
            logs.append(restore_log(repository, point, log.source, staging / _LOGS))
    with _translated(target.replacement):
        server = RecoveredPostgresql(
            staging / _SERVER,
            installed_programs(source.programs),
            find_isolation(),
            private_key_paths(installation.config, None),
            source.user,
        )
        try:
            server.start()
            replayed_to = server.recover(restored / "base.tar", logs, plan.until)
        except BaseException:
            server.end()
            raise
    return ReplayedCluster(
        server=server,
        replacement=target.replacement,
        base=restored / "base.tar",
        replayed_to=parse_moment(replayed_to),
    )


@contextmanager
def _translated(replacement: Replacement) -> Iterator[None]:
    try:
        with translated_errors(f"replaying {replacement.path}"):
            yield
    except ProgramFailed as error:
        raise StandfastError(
            f"{replacement.path}: the log was not replayed, and nothing was replaced: {error}. "
            "Correct that, or choose another point."
        ) from error


def _hand_over(data: Path, path: Path) -> None:
    """Give the data to the owner of the data directory that it replaces."""
    if os.geteuid() != 0:
        return
    owner = data_owner(path)
    for folder, _, names in os.walk(data):
        for entry in (folder, *(os.path.join(folder, name) for name in names)):  # noqa: PTH118 - many paths
            os.chown(entry, owner.st_uid, owner.st_gid, follow_symlinks=False)
