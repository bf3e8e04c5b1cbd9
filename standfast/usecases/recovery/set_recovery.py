"""Recovery of one backup set: restore next to the targets, check, replace.

Rules
- A call may be repeated after a crash at any point. Acts that the journal or the names on the disk
  show as done are not repeated.
- Nothing is replaced if content is missing or damaged, or if a check of a service failed. The
  restored data stays next to the target for a person.
- If a replacement fails, all targets get their previous data back, because a failed effect has no
  undo. The restored files are then next to the targets again, and a retry does not restore them
  again.
- If the incident is stopped, the call ends: within a few seconds while files are restored, and
  always before the replacement. The effect is then planned again, and the recovery continues after
  the incident is resumed.
- All times count from the opening of the incident. The RTO is measured only if a check of a service
  passed.
"""

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import cast

from backup.records import Progress, RestoreResult
from backup.repository import Repository
from backup.restorer.safe_paths import JOURNAL
from backup.system.durable_files import make_private_folder
from backup.system.tree_removal import remove_tree
from standfast.continuity.recovery_objectives import lost_work_ms, milliseconds
from standfast.errors import Damaged, Refused, StandfastError
from standfast.host_name import host_name
from standfast.plurals import counted
from standfast.records import Json, JsonObject, Order, moment, timestamp
from standfast.usecases.backups.damage_cause import is_damage_behind
from standfast.usecases.core.backup_repository import (
    identity_of,
    open_repository,
    translated_errors,
)
from standfast.usecases.core.installation import Installation
from standfast.usecases.core.run_record import recorded_if_possible
from standfast.usecases.drills.check_result import CheckResult, CheckState
from standfast.usecases.drills.drill_clocks import DrillClock
from standfast.usecases.drills.service_checks import run_checks
from standfast.usecases.recovery.bucket_recovery import (
    record_objects,
    replace_objects,
    return_objects,
    take_bucket_back,
)
from standfast.usecases.recovery.database_recovery import (
    give_databases_back,
    live_databases,
    load_databases,
    return_databases,
)
from standfast.usecases.recovery.directory_replay import (
    ReplayedDirectories,
    replayed_directories,
    write_directories,
)
from standfast.usecases.recovery.planned_buckets import PlannedBucket
from standfast.usecases.recovery.recovery_journal import (
    LOADED,
    RECOVERED,
    REPLACED,
    REPLACING,
    RESTORED,
    RESTORING,
    RETURNED,
    RETURNING,
    RecoveryJournal,
)
from standfast.usecases.recovery.set_plan import PlannedTarget, SetPlan

WAY = "incident"
_LOOK_SECONDS = 2.0  # between two reads of whether the incident was stopped


@dataclass(frozen=True, kw_only=True)
class RecoveredSet:
    """The result of the recovery of a set, as the receipt contains it."""

    point: str
    clocks: Mapping[DrillClock, datetime]
    files: int
    size_bytes: int
    set_aside: tuple[str, ...]  # paths
    passed: Mapping[str, Sequence[str]]  # names of checks by service
    skipped: Mapping[str, Mapping[str, str]]  # reasons by service and name of the check
    rpo_ms: int | None
    rto_ms: int | None  # None if no check of a service ran

    def as_json(self) -> JsonObject:
        return {
            "point": self.point,
            "clocks": {clock.value: timestamp(at) for clock, at in self.clocks.items()},
            "files": self.files,
            "size_bytes": self.size_bytes,
            "set_aside": list(self.set_aside),
            "passed": {service: list(names) for service, names in self.passed.items()},
            "skipped": {service: dict(checks) for service, checks in self.skipped.items()},
            "rpo_ms": self.rpo_ms,
            "rto_ms": self.rto_ms,
        }


def recover_set(installation: Installation, incident: str, order: Order) -> RecoveredSet:
    """Recover a set as it was planned; continue an earlier try.

    Raise `Stopped` if the incident is stopped. Raise another StandfastError if the recovery failed;
    its message states whether the previous data is back at all targets.
    """
    plan = SetPlan.from_json(order.details, incident)
    _refuse_other_machine(plan)
    recovery = _SetRecovery(installation, incident, order, plan)
    with recorded_if_possible(installation, "restore", order.target, WAY, is_shared=True) as run:
        recovered = recovery.run()
        summary = {key: value for key, value in recovered.as_json().items() if key != "set_aside"}
        run.ends("done", {**summary, "incident": incident})
    return recovered


def return_set(installation: Installation, incident: str, order: Order) -> None:
    """Undo a recovery: put the previous data back, keep the restored data."""
    plan = SetPlan.from_json(order.details, incident)
    _refuse_other_machine(plan)
    journal = RecoveryJournal(
        installation=installation, incident=incident, effect=order.token, set_name=order.target
    )
    return_databases(installation, plan, journal)
    for target in reversed(plan.targets):
        replacement = target.replacement
        journal.write(RETURNING, source=target.source, path=str(replacement.path))
        replacement.put_back(had_data=target.has_data)
        journal.write(
            RETURNED,
            source=target.source,
            path=str(replacement.path),
            withdrawn=str(replacement.withdrawn),
        )
    errors = []
    for bucket in plan.buckets:
        try:
            return_objects(installation, journal, bucket)
        except StandfastError as error:
            errors.append(error)
    if errors:
        raise errors[0]


def _refuse_other_machine(plan: SetPlan) -> None:
    if plan.machine != host_name():
        raise Refused(
            f"recovery: planned for the machine {plan.machine}, but this machine is {host_name()}. "
            f"Retry the step on {plan.machine}."
        )


def _staged(target: PlannedTarget) -> Path:
    """Return the path of a target's restored data before the rename."""
    staged = target.replacement.staging / target.source
    if target.replacement.is_data_directory:
        return target.replacement.staged_directory
    if target.replacement.is_database:
        return next(iter(sorted(staged.glob("*"))), staged / target.replacement.path.name)
    return staged


class _SetRecovery:
    """One call of a recovery; it continues the earlier calls in the journal."""

    def __init__(
        self, installation: Installation, incident: str, order: Order, plan: SetPlan
    ) -> None:
        self._installation = installation
        self._incident = incident
        self._set_name = order.target
        self._plan = plan
        self._journal = RecoveryJournal(
            installation=installation, incident=incident, effect=order.token, set_name=order.target
        )
        self._declared_at = installation.ledger.incidents.get(incident).opened_at
        self._clocks: dict[DrillClock, datetime] = {DrillClock.DECLARED: self._declared_at}
        self._looked_at = 0.0

    def run(self) -> RecoveredSet:
        restored = self._earlier_restore() or self._restored()
        clocks = cast("Mapping[str, str]", restored["clocks"])
        self._clocks |= {DrillClock(name): moment(at) for name, at in clocks.items()}
        self._journal.refuse_stopped()
        try:
            for bucket in self._plan.buckets:
                replace_objects(self._installation, self._journal, bucket)
            for target in self._plan.targets:
                self._replace(target)
        except StandfastError as error:
            self._take_back(error)
            raise
        self._reach(DrillClock.USABLE)
        for staged in self._plan.staged:
            remove_tree(staged.replacement.staging)
        passed = cast("Mapping[str, Sequence[str]]", restored["passed"])
        lost_since = moment(str(restored["lost_since"]))
        recovered = RecoveredSet(
            point=self._plan.point,
            clocks=self._clocks,
            files=cast("int", restored["files"]),
            size_bytes=cast("int", restored["size_bytes"]),
            set_aside=tuple(target.later_name for target in self._plan.replaces),
            passed=passed,
            skipped=cast("Mapping[str, Mapping[str, str]]", restored.get("skipped") or {}),
            rpo_ms=lost_work_ms(lost_since, self._declared_at),
            rto_ms=milliseconds(self._clocks[DrillClock.USABLE] - self._declared_at)
            if passed
            else None,
        )
        self._journal.write(
            RECOVERED, point=recovered.point, rto_ms=recovered.rto_ms, rpo_ms=recovered.rpo_ms
        )
        return recovered

    def _earlier_restore(self) -> JsonObject | None:
        """Return the event of an earlier restore, unless databases were returned."""
        names = [
            (database.source, database.replacement.database) for database in self._plan.databases
        ]
        is_returned = any(
            self._journal.last_of(source, name, LOADED, RETURNING, RETURNED)
            in (RETURNING, RETURNED)
            for source, name in names
        )
        return None if is_returned else self._journal.find(RESTORED)

    def _restored(self) -> JsonObject:
        """Restore and check the point next to the targets; return the event."""
        for target in self._plan.targets:  # before any replacement: unplanned data is new
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
            give_databases_back(self._installation, self._plan, self._journal)
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
            remove_tree(staging)  # an earlier try was restored, but did not pass its checks
        make_private_folder(staging)
        self._clocks.setdefault(DrillClock.PROVISIONED, self._installation.clock())
        with translated_errors(f"restoring {self._plan.point}"):
            point = repository.resolve(self._plan.point, self._set_name, of_any_host=True)
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
        """Run the checks of all services of the set on the restored data."""
        services = self._installation.config.services
        named = {name: services[name] for name in self._plan.services if name in services}
        checks: list[CheckResult] = []
        sources = frozenset(target.source for target in self._plan.everything)
        with (
            tempfile.TemporaryDirectory(prefix="standfast-") as name,
            live_databases(self._installation, self._set_name, self._plan) as databases,
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

    def _replace(self, target: PlannedTarget) -> None:
        replacement = target.replacement
        aside = str(replacement.set_aside) if target.has_data else None
        self._journal.write(
            REPLACING, source=target.source, path=str(replacement.path), set_aside=aside
        )
        replacement.put_in_place(_staged(target), had_data=target.has_data)
        self._journal.write(REPLACED, source=target.source, path=str(replacement.path))

    def _take_back(self, cause: StandfastError) -> None:
        """Put the previous data back at all targets after a failed replacement.

        The failed effect has no undo, so no target may remain replaced. Raise StandfastError with
        the names of the data that a person must rename.
        """
        left = []
        for bucket in self._plan.buckets:
            try:
                take_bucket_back(self._installation, self._journal, bucket)
            except StandfastError:
                left.append(f"remove the versions that {bucket.record_file} names")
        for target in reversed(self._plan.targets):
            replacement = target.replacement
            self._journal.write(RETURNING, source=target.source, path=str(replacement.path))
            try:
                replacement.take_back(_staged(target), had_data=target.has_data)
            except (StandfastError, OSError):
                left.append(f"rename {replacement.set_aside} to {replacement.path}")
                continue
            self._journal.write(RETURNED, source=target.source, path=str(replacement.path))
        give_databases_back(self._installation, self._plan, self._journal)
        if left:
            raise StandfastError(
                f"{cause} The previous data could not be put back everywhere: "
                f"{' and '.join(left)}, or retry the step."
            ) from cause

    def _reach(self, clock: DrillClock) -> None:
        self._clocks[clock] = self._installation.clock()
