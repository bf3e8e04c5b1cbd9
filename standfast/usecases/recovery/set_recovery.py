"""Recovery of one set: order of restore, check, replacement, undo.

Rules
- A call may be repeated after a crash at any point. The events in the incident's timeline, and the
  names of the files, show the work of earlier calls; this work is not repeated.
- Nothing is replaced if the restore or a check of a service failed (`staged_restore`). The restored
  data stays next to the target, so that a person can use it.
- If a replacement fails, all targets get their previous data back, because a failed recovery cannot
  be undone later. The restored files are moved next to their targets again, so that the next call
  need not restore them.
- If a person stops the incident, the call ends soon, and in any case before it replaces files or
  objects. After the incident is resumed, the recovery is planned again and continues.
- All times are measured from the opening of the incident. The RTO is measured only if a check of a
  service passed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import cast

from backup.system.tree_removal import remove_tree
from standfast.continuity.recovery_objectives import lost_work_ms, milliseconds
from standfast.errors import Refused, StandfastError
from standfast.host_name import host_name
from standfast.records import JsonObject, Order, moment, timestamp
from standfast.usecases.core.installation import Installation
from standfast.usecases.core.run_record import recorded_if_possible
from standfast.usecases.drills.drill_clocks import DrillClock
from standfast.usecases.recovery.bucket_recovery import (
    replace_objects,
    revert_bucket,
    undo_bucket,
)
from standfast.usecases.recovery.database_recovery import (
    revert_databases,
    undo_databases,
)
from standfast.usecases.recovery.recovery_journal import (
    RECOVERED,
    REPLACED,
    REPLACING,
    RETURNED,
    RETURNING,
    RecoveryJournal,
)
from standfast.usecases.recovery.set_plan import PlannedTarget, SetPlan
from standfast.usecases.recovery.staged_restore import restore_next_to_targets

WAY = "incident"


@dataclass(frozen=True, kw_only=True)
class RecoveredSet:
    """The result of the recovery of a set, as the ledger (database) stores it."""

    point: str
    clocks: Mapping[DrillClock, datetime]
    files: int
    size_bytes: int
    set_aside: tuple[str, ...]  # new names of the data that was replaced
    passed: Mapping[str, Sequence[str]]  # names of checks by service; "" for checks of no service
    skipped: Mapping[str, Mapping[str, str]]  # reason by service and by name of the check
    rpo_ms: int | None
    rto_ms: int | None  # None if no check of a service passed

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
    """Recover a set as it was planned; continue an interrupted call.

    Raise `Stopped` if a person stopped the incident. Raise another StandfastError if the recovery
    failed; its message states whether the previous data is back at all targets.
    """
    plan = SetPlan.from_json(order.details, incident)
    _refuse_other_machine(plan)
    recovery = _SetRecovery(installation, incident, order, plan)
    with recorded_if_possible(installation, "restore", order.target, WAY, is_shared=True) as run:
        recovered = recovery.run()
        summary = {key: value for key, value in recovered.as_json().items() if key != "set_aside"}
        run.ends("done", {**summary, "incident": incident})
    return recovered


def undo_set(installation: Installation, incident: str, order: Order) -> None:
    """Undo a recovery: put the previous data back, keep the restored data."""
    plan = SetPlan.from_json(order.details, incident)
    _refuse_other_machine(plan)
    journal = RecoveryJournal(
        installation=installation, incident=incident, effect=order.token, set_name=order.target
    )
    undo_databases(installation, plan, journal)
    for target in reversed(plan.targets):
        replacement = target.replacement
        journal.write(RETURNING, source=target.source, path=str(replacement.path))
        replacement.undo(had_data=target.has_data)
        journal.write(
            RETURNED,
            source=target.source,
            path=str(replacement.path),
            withdrawn=str(replacement.withdrawn),
        )
    errors = []
    for bucket in plan.buckets:
        try:
            undo_bucket(installation, journal, bucket)
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
    """Return the path of the restored data before it gets the target's name."""
    staged = target.replacement.staging / target.source
    if target.replacement.is_data_directory:
        return target.replacement.staged_directory
    if target.replacement.is_database:
        return next(iter(sorted(staged.glob("*"))), staged / target.replacement.path.name)
    return staged


class _SetRecovery:
    """One call that recovers a set; it continues the work of earlier calls."""

    def __init__(
        self, installation: Installation, incident: str, order: Order, plan: SetPlan
    ) -> None:
        self._installation = installation
        self._plan = plan
        self._journal = RecoveryJournal(
            installation=installation, incident=incident, effect=order.token, set_name=order.target
        )
        self._declared_at = installation.ledger.incidents.get(incident).opened_at
        self._clocks: dict[DrillClock, datetime] = {DrillClock.DECLARED: self._declared_at}

    def run(self) -> RecoveredSet:
        restored = restore_next_to_targets(self._installation, self._plan, self._journal)
        clocks = cast("Mapping[str, str]", restored["clocks"])
        self._clocks |= {DrillClock(name): moment(at) for name, at in clocks.items()}
        self._journal.refuse_stopped()
        try:
            for bucket in self._plan.buckets:
                replace_objects(self._installation, self._journal, bucket)
            for target in self._plan.targets:
                self._replace(target)
        except StandfastError as error:
            self._revert(error)
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
            if any(passed)  # the key of checks that belong to no service is "", which is false
            else None,
        )
        self._journal.write(
            RECOVERED, point=recovered.point, rto_ms=recovered.rto_ms, rpo_ms=recovered.rpo_ms
        )
        return recovered

    def _replace(self, target: PlannedTarget) -> None:
        replacement = target.replacement
        aside = str(replacement.set_aside) if target.has_data else None
        self._journal.write(
            REPLACING, source=target.source, path=str(replacement.path), set_aside=aside
        )
        replacement.put_in_place(_staged(target), had_data=target.has_data)
        self._journal.write(REPLACED, source=target.source, path=str(replacement.path))

    def _revert(self, cause: StandfastError) -> None:
        """Put the previous data back at all targets after a failed replacement.

        A failed recovery cannot be undone later, so no target may remain replaced. If data cannot
        be put back, raise StandfastError with the names that a person must rename.
        """
        left = []
        for bucket in self._plan.buckets:
            try:
                revert_bucket(self._installation, self._journal, bucket)
            except StandfastError:
                left.append(f"remove the versions that {bucket.record_file} names")
        for target in reversed(self._plan.targets):
            replacement = target.replacement
            self._journal.write(RETURNING, source=target.source, path=str(replacement.path))
            try:
                replacement.revert(_staged(target), had_data=target.has_data)
            except (StandfastError, OSError):
                left.append(f"rename {replacement.set_aside} to {replacement.path}")
                continue
            self._journal.write(RETURNED, source=target.source, path=str(replacement.path))
        revert_databases(self._installation, self._plan, self._journal)
        if left:
            raise StandfastError(
                f"{cause} The previous data could not be put back everywhere: "
                f"{' and '.join(left)}, or retry the step."
            ) from cause

    def _reach(self, clock: DrillClock) -> None:
        self._clocks[clock] = self._installation.clock()
