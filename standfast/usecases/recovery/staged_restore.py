"""Restore next to the targets of a recovery, with the checks.

Rules
- Files and objects are restored next to their targets and replace nothing here. A dump, however,
  restores all settings of a database only under the original name. Therefore a database is replaced
  before the checks. If the restore or a check then fails, it gets its previous content back.
- A completed restore is not repeated, unless databases got their previous content back.
- If a person stops the incident, the restore of files ends within a few seconds. The load of a
  database ends before the next piece of the dump.
"""

import os
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import cast

from backup.records import Progress, RestoreResult
from backup.repository import Repository
from backup.restorer.safe_paths import JOURNAL
from backup.system.durable_files import make_private_folder
from backup.system.tree_removal import remove_tree
from standfast.errors import Damaged, StandfastError
from standfast.plurals import counted
from standfast.records import Json, JsonObject, timestamp
from standfast.usecases.backups.restore_warnings import is_damage_behind
from standfast.usecases.core.backup_repository import (
    identity_of,
    open_repository,
    translated_errors,
)
from standfast.usecases.core.installation import Installation
from standfast.usecases.drills.check_result import CheckResult, CheckState
from standfast.usecases.drills.drill_clocks import DrillClock
from standfast.usecases.drills.service_checks import run_checks
from standfast.usecases.recovery.bucket_recovery import record_objects
from standfast.usecases.recovery.database_recovery import (
    live_databases,
    load_databases,
    revert_databases,
)
from standfast.usecases.recovery.directory_replay import (
    ReplayedDirectories,
    replayed_directories,
    write_directories,
)
from standfast.usecases.recovery.planned_buckets import PlannedBucket
from standfast.usecases.recovery.recovery_journal import (
    LOADED,
    RESTORED,
    RESTORING,
    RETURNED,
    RETURNING,
    RecoveryJournal,
)
from standfast.usecases.recovery.set_plan import PlannedTarget, SetPlan

_LOOK_SECONDS = 2.0  # between two checks whether a person has stopped the incident


def restore_next_to_targets(
    installation: Installation, plan: SetPlan, journal: RecoveryJournal
) -> JsonObject:
    """Restore and check the data of a plan; return the result.

    The result is the detail of the event `RESTORED` in the incident's timeline. Raise `Stopped` if
    a person stopped the incident. Raise another StandfastError if content is missing or damaged, or
    if a check failed.
    """
    restore = _StagedRestore(installation, plan, journal)
    return restore.find_earlier() or restore.run()


class _StagedRestore:
    """One restore of a set, and the times of its phases."""

    def __init__(self, installation: Installation, plan: SetPlan, journal: RecoveryJournal) -> None:
        self._installation = installation
        self._plan = plan
        self._journal = journal
        self._clocks: dict[DrillClock, datetime] = {}
        self._looked_at = 0.0

    def find_earlier(self) -> JsonObject | None:
        """Return the result of an earlier restore if it is still valid."""
        names = [
            (database.source, database.replacement.database) for database in self._plan.databases
        ]
        is_returned = any(
            self._journal.last_of(source, name, LOADED, RETURNING, RETURNED)
            in (RETURNING, RETURNED)
            for source, name in names
        )
        return None if is_returned else self._journal.find(RESTORED)

    def run(self) -> JsonObject:
        """Restore the recovery point next to the targets, and check it."""
        for target in self._plan.targets:  # before any change: refuse unplanned data
            target.replacement.refuse_new_data(had_data=target.has_data)
        repository = self._open_repository()
        self._journal.write(RESTORING, point=self._plan.point)
        results = [self._restore(repository, target) for target in self._plan.staged]
        try:
            self._clocks.setdefault(DrillClock.PROVISIONED, self._installation.clock())
            loaded = load_databases(
                self._installation, repository, self._plan, self._journal, self._observe_piece
            )
            self._reach(DrillClock.DATA_COMPLETE)
            with replayed_directories(
                self._installation, repository, self._plan, self._journal
            ) as replayed:
                self._reach(DrillClock.REPLAY_DONE)
                checks = self._checks(replayed)
            write_directories(self._plan)
        except StandfastError:
            revert_databases(self._installation, self._plan, self._journal)
            raise
        self._reach(DrillClock.CHECKS_PASSED)
        changes = [check.last_change for check in checks if check.last_change is not None]
        changes = changes or replayed.last_commits
        passed: dict[str, list[str]] = {}
        skipped: dict[str, dict[str, str]] = {}
        for check in checks:
            if check.state is CheckState.PASSED:
                passed.setdefault(check.service, []).append(check.name)
            else:
                skipped.setdefault(check.service, {})[check.name] = check.reason
        detail: dict[str, Json] = {
            "clocks": {clock.value: timestamp(at) for clock, at in self._clocks.items()},
            "files": sum(result.files for result in results) + len(self._plan.databases),
            "size_bytes": sum(result.bytes for result in results) + loaded,
            "passed": passed,
            "skipped": cast("Json", skipped),
            "lost_since": timestamp(min(changes, default=self._plan.consistent_at)),
        }
        self._journal.write(RESTORED, **detail)
        return detail

    def _open_repository(self) -> Repository:
        identity = identity_of(self._installation, None)
        self._reach(DrillClock.KEY_OBTAINED)
        with translated_errors("opening the repository"):
            return open_repository(self._installation, identity)

    def _restore(
        self, repository: Repository, target: PlannedTarget | PlannedBucket
    ) -> RestoreResult:
        staging = target.replacement.staging
        if staging.exists() and not (staging / os.fsdecode(JOURNAL)).exists():
            remove_tree(staging)  # an earlier call restored it, but its checks did not pass
        make_private_folder(staging)
        self._clocks.setdefault(DrillClock.PROVISIONED, self._installation.clock())
        with translated_errors(f"restoring {self._plan.point}"):
            point = repository.resolve(self._plan.point, self._journal.set_name, of_any_host=True)
            result = repository.restore(
                point,
                staging,
                [target.source],
                self._observe,
                owner=os.geteuid() == 0,
                now=self._installation.clock,
            )
        missing = [problem for problem in result.problems if problem.is_missing]
        if is_damage_behind(result.problems):
            raise Damaged(
                f"{self._plan.point}: part of it is damaged, and nothing was replaced. Choose "
                f"another point, or use what was restored to {staging}."
            )
        if missing:
            raise StandfastError(
                f"{self._plan.point}: {counted(len(missing), 'path')} could not be restored, and "
                f"nothing was replaced. Use what was restored to {staging}, or choose another "
                "point."
            )
        if isinstance(target, PlannedBucket):
            record_objects(self._installation, self._journal, target, repository, point)
        return result

    def _observe_piece(self) -> None:
        self._clocks.setdefault(DrillClock.FIRST_BYTE, self._installation.clock())
        self._journal.refuse_stopped()

    def _observe(self, progress: Progress) -> None:
        if progress.bytes_done:
            self._clocks.setdefault(DrillClock.FIRST_BYTE, self._installation.clock())
        if time.monotonic() - self._looked_at > _LOOK_SECONDS:
            self._looked_at = time.monotonic()
            self._journal.refuse_stopped()

    def _checks(self, replayed: ReplayedDirectories) -> list[CheckResult]:
        """Run the checks of the set's services; add those of replayed logs."""
        services = self._installation.config.services
        named = {name: services[name] for name in self._plan.services if name in services}
        checks = [*replayed.checks]
        sources = frozenset(target.source for target in self._plan.everything)
        with (
            tempfile.TemporaryDirectory(prefix="standfast-") as name,
            live_databases(self._installation, self._journal.set_name, self._plan) as databases,
        ):
            tree = Path(name)
            databases = databases.with_replayed(replayed)
            for target in self._plan.staged:
                (tree / target.source).symlink_to(target.replacement.staging / target.source)
            for service_name, service in named.items():
                checks += run_checks(
                    service_name, service, tree, sources, databases, self._installation.clock
                )
        failed = [check for check in checks if check.state is CheckState.FAILED]
        if failed:
            reasons = "; ".join(f"{check.name}: {check.reason}" for check in failed)
            raise StandfastError(
                f"{self._plan.point}: a check failed, and nothing was replaced: {reasons}. Choose "
                "another point, or correct the check and retry the step."
            )
        return checks

    def _reach(self, clock: DrillClock) -> None:
        self._clocks[clock] = self._installation.clock()
