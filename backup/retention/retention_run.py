"""Retention run: expires recovery points, frees packs, extends locks.

One run, in this order:

1. Read everything. Stop if a clock is not plausible; nothing was changed.
2. Extend the locks of live objects. Stop if more than a fifth of the recovery points would expire:
   no record was written, and the packs of those recovery points were locked for longer too.
3. Remove packs that an earlier run dropped but did not remove.
4. Put a record: what expires, what is marked or unmarked, what is distrusted.
5. Read everything again. Put a record of the packs to drop: marked for seven days, needed by no
   recovery point, not locked. Only then remove them.

Rules
- The first put of a record number wins: a keeper that finds its number taken reads again and plans
  again.
- A run that is interrupted leaves either nothing, or a record that the next run completes.
- A pack that is still locked stays marked, is reported, and is tried again by the next run.
- No domain key is needed, and no pack is opened.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime

from backup.errors import AlreadyThere, Locked, RetentionStopped, UsageError
from backup.format.keep_record import KeepRecord, PackId, SnapshotId, keep_to_bytes
from backup.format.object_names import keep_name, pack_name
from backup.retention.keeper_key import Keeper
from backup.retention.lock_extension import extend_locks, find_expiring_locks, find_locks
from backup.retention.retention_plan import (
    MAX_EXPIRED_PERCENT,
    RetentionPlan,
    check_clocks,
    plan_retention,
)
from backup.retention.rules import RetentionRules
from backup.retention.storage_forecast import StorageForecast, forecast_storage
from backup.retention.vault_state import Reader, VaultState, Watch, no_progress, with_progress
from backup.stores.keeper import KeeperStore
from backup.stores.parallel_reads import run_concurrently

_ATTEMPTS = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class SizedPack:
    """A pack and its size; 0 if it is gone."""

    pack: PackId
    size_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class LockedPack:
    """A pack that a lock protects from removal, and the end of the lock."""

    pack: PackId
    size_bytes: int
    until: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class RetentionResult:
    """Changes of a run, or of a planned run; `clock` is the store's."""

    is_plan: bool
    clock: datetime
    records: tuple[str, ...]  # the keep records that were put
    expired: tuple[SnapshotId, ...]
    marked: tuple[SizedPack, ...]
    unmarked: tuple[PackId, ...]
    distrusted: tuple[PackId, ...]
    dropped: tuple[SizedPack, ...]  # recorded in this run
    removed: tuple[SizedPack, ...]  # including packs that an earlier run dropped
    locked: tuple[LockedPack, ...]  # tried again by the next run
    extended: tuple[str, ...]  # names whose lock was extended
    problems: tuple[str, ...]  # failures and anomalies; everything else was done
    refusal: str | None = None  # of a plan: why a run would stop
    hold: str | None = None  # why nothing expires, though locks are extended

    @property
    def freed_bytes(self) -> int:
        """Return the size of the removed packs."""
        return sum(pack.size_bytes for pack in self.removed)


def run_retention(
    vault: KeeperStore,
    keeper: Keeper,
    rules: RetentionRules,
    *,
    now: Callable[[], datetime],
    distrust: Collection[PackId] = (),
    is_clock_right: bool = False,
    max_percent: int = MAX_EXPIRED_PERCENT,
    hold: str | None = None,
    progress: Watch = no_progress,
) -> RetentionResult:
    """Run retention once; repeating it after any error is safe.

    `now` is this machine's clock, compared with the store's; `is_clock_right` states that a person
    has checked both. At most `max_percent` of the recovery points may expire. During a `hold`,
    nothing expires or is dropped; the locks of everything that a recovery point needs are extended.
    `progress` is called with phase, amount done and total.

    Raise `RetentionStopped` (nothing was recorded), `UsageError` (the owner has not granted this
    keeper, or the store refuses it) or `StoreUnavailable` (try again later).
    """
    run = _Run(
        vault, keeper, rules, now, frozenset(distrust), is_clock_right, max_percent, hold, progress
    )
    for _ in range(_ATTEMPTS):
        try:
            return run.run()
        except AlreadyThere:
            continue  # another keeper was first: read its record and start over
    raise AlreadyThere(
        f"keep records: other keepers wrote {_ATTEMPTS} records while this run was planning. Run "
        "one keeper at a time."
    )


def plan_retention_run(
    vault: KeeperStore,
    owner: bytes,
    rules: RetentionRules,
    *,
    now: Callable[[], datetime],
    distrust: Collection[PackId] = (),
    is_clock_right: bool = False,
    max_percent: int = MAX_EXPIRED_PERCENT,
    hold: str | None = None,
    progress: Watch = no_progress,
) -> tuple[RetentionResult, StorageForecast]:
    """Plan a run without changes and without a key.

    The plan drops only packs that earlier runs have marked, and none during a `hold`. An
    implausible clock is the plan's `refusal`.
    """
    clock = vault.clock()
    view = Reader(vault=vault, owner=owner, progress=progress).read()
    plan = plan_retention(view, rules, clock, distrust=distrust, max_percent=max_percent)
    refusal = None if hold is not None else plan.refusal
    if hold is not None:
        plan = plan.without_changes(hold)
    if not is_clock_right:
        try:
            check_clocks(clock, now(), view.log.created)
        except RetentionStopped as error:
            refusal = str(error)
    names, problems = find_expiring_locks(vault, view, plan.packs_to_protect, clock, progress)
    droppable, locked = _split_by_lock(vault, view, plan.drop, clock, progress)
    leftover, locked_leftover = _split_by_lock(vault, view, plan.leftover, clock, progress)
    return (
        RetentionResult(
            is_plan=True,
            clock=clock,
            records=(),
            expired=plan.expire,
            marked=tuple(_with_size(view, pack) for pack in plan.mark),
            unmarked=plan.unmark,
            distrusted=plan.distrust,
            dropped=tuple(_with_size(view, pack) for pack in droppable),
            removed=tuple(_with_size(view, pack) for pack in (*leftover, *droppable)),
            locked=(*locked, *locked_leftover),
            extended=names,
            problems=(*_warnings(view, plan), *problems),
            refusal=refusal,
            hold=hold,
        ),
        forecast_storage(vault, view, plan, progress),
    )


class _Run:
    """One call of `run_retention`; collects the changes of all attempts."""

    def __init__(
        self,
        vault: KeeperStore,
        keeper: Keeper,
        rules: RetentionRules,
        now: Callable[[], datetime],
        distrust: frozenset[PackId],
        is_clock_right: bool,
        max_percent: int,
        hold: str | None,
        progress: Watch,
    ) -> None:
        self._vault = vault
        self._keeper = keeper
        self._rules = rules
        self._now = now
        self._distrust = distrust
        self._is_clock_right = is_clock_right
        self._max_percent = max_percent
        self._hold = hold
        self._progress = progress
        self._reader = Reader(vault=vault, owner=keeper.owner, progress=progress)
        self._records: list[str] = []
        self._recorded_plans: list[tuple[RetentionPlan, VaultState]] = []
        self._dropped: list[SizedPack] = []
        self._removed: dict[PackId, SizedPack] = {}
        self._locked: dict[PackId, LockedPack] = {}
        self._extended: list[str] = []
        self._problems: dict[str, None] = {}

    def run(self) -> RetentionResult:
        """Run all steps; `AlreadyThere` if another keeper's record came between."""
        clock, view = self._read_state()
        plan = self._plan(view, clock)
        if self._hold is not None:
            plan = plan.without_changes(self._hold)
        names, problems = find_expiring_locks(
            self._vault, view, plan.packs_to_protect, clock, self._progress
        )
        extended, extension_problems = extend_locks(self._vault, names, clock, self._progress)
        self._extended += extended
        self._add_problems(*_warnings(view, plan), *problems, *extension_problems)
        if self._hold is not None:
            return replace(self._result(clock), hold=self._hold)
        if plan.refusal is not None:
            raise RetentionStopped(plan.refusal)
        self._remove(view, plan.leftover, clock)
        if plan.has_first_record:
            self._put(
                view,
                clock,
                expired=plan.expire,
                marked=plan.mark,
                unmarked=plan.unmark,
                distrusted=plan.distrust,
            )
            self._recorded_plans.append((plan, view))
        if plan.drop:
            self._drop()
        return self._result(clock)

    def _drop(self) -> None:
        clock, view = self._read_state()
        due = self._plan(view, clock).drop
        drop, locked = _split_by_lock(self._vault, view, due, clock, self._progress)
        self._locked.update((pack.pack, pack) for pack in locked)
        if drop:
            self._put(view, clock, dropped=drop)
            self._dropped += [_with_size(view, pack) for pack in drop]
            self._remove(view, drop, clock)

    def _read_state(self) -> tuple[datetime, VaultState]:
        view = self._reader.read()
        root = view.trust.root
        if root.repository != self._keeper.repository:
            raise UsageError(
                "store: it belongs to another repository than this keeper. Check the keeper's file."
            )
        grant = next(
            (keeper for keeper in root.keepers if keeper.key == self._keeper.public_key), None
        )
        if grant is None or grant.trusted_through is not None:
            raise UsageError(
                "keeper: the root record does not trust it, or no longer trusts it. The owner "
                "must sign a root record that trusts it."
            )
        clock = self._vault.clock()
        if not self._is_clock_right:
            check_clocks(clock, self._now(), view.log.created)
        return clock, view

    def _plan(self, view: VaultState, clock: datetime) -> RetentionPlan:
        return plan_retention(
            view, self._rules, clock, distrust=self._distrust, max_percent=self._max_percent
        )

    def _put(
        self,
        view: VaultState,
        clock: datetime,
        *,
        expired: Collection[SnapshotId] = (),
        marked: Collection[PackId] = (),
        unmarked: Collection[PackId] = (),
        distrusted: Collection[PackId] = (),
        dropped: Collection[PackId] = (),
    ) -> None:
        number = view.log.next_number
        record = KeepRecord(
            repository=self._keeper.repository,
            number=number,
            previous=view.log.head,
            root=view.trust.links[-1],
            created=clock,
            expired=tuple(expired),
            marked=tuple(marked),
            unmarked=tuple(unmarked),
            dropped=tuple(dropped),
            distrusted=tuple(distrusted),
        )
        self._vault.put(keep_name(number), keep_to_bytes(record, self._keeper.key))
        self._records.append(keep_name(number))

    def _remove(self, view: VaultState, packs: Collection[PackId], clock: datetime) -> None:
        def remove(pack: PackId) -> SizedPack | LockedPack | UsageError:
            sized = _with_size(view, pack)
            try:
                self._vault.remove(pack_name(*pack))
            except Locked:
                until = self._vault.lock_until(pack_name(*pack)) or clock
                return LockedPack(pack=pack, size_bytes=sized.size_bytes, until=until)
            except UsageError as error:
                return error
            return sized

        removing = run_concurrently(remove, packs, self._vault.calls_at_once)
        for found in with_progress(removing, "removing packs", len(packs), self._progress):
            if isinstance(found, UsageError):
                self._add_problems(str(found))
            elif isinstance(found, LockedPack):
                self._locked[found.pack] = found
            elif found.size_bytes:
                self._removed[found.pack] = found

    def _add_problems(self, *problems: str) -> None:
        self._problems.update(dict.fromkeys(problems))

    def _result(self, clock: datetime) -> RetentionResult:
        first = self._recorded_plans
        return RetentionResult(
            is_plan=False,
            clock=clock,
            records=tuple(self._records),
            expired=tuple(id_ for plan, _ in first for id_ in plan.expire),
            marked=tuple(_with_size(view, pack) for plan, view in first for pack in plan.mark),
            unmarked=tuple(pack for plan, _ in first for pack in plan.unmark),
            distrusted=tuple(pack for plan, _ in first for pack in plan.distrust),
            dropped=tuple(self._dropped),
            removed=tuple(self._removed.values()),
            locked=tuple(self._locked.values()),
            extended=tuple(dict.fromkeys(self._extended)),
            problems=tuple(self._problems),
        )


def _split_by_lock(
    vault: KeeperStore,
    view: VaultState,
    packs: Collection[PackId],
    clock: datetime,
    progress: Watch,
) -> tuple[tuple[PackId, ...], tuple[LockedPack, ...]]:
    """Split packs into those that may be removed now and those locked."""
    names = {pack: pack_name(*pack) for pack in packs if pack in view.packs}
    locks = find_locks(vault, list(names.values()), clock, progress)
    without_changes = tuple(
        LockedPack(pack=pack, size_bytes=view.packs[pack].size_bytes, until=locks[name])
        for pack, name in names.items()
        if name in locks
    )
    locked_packs = {pack.pack for pack in without_changes}
    return tuple(pack for pack in packs if pack not in locked_packs), without_changes


def _with_size(view: VaultState, pack: PackId) -> SizedPack:
    stat = view.packs.get(pack)
    return SizedPack(pack=pack, size_bytes=0 if stat is None else stat.size_bytes)


def _warnings(view: VaultState, plan: RetentionPlan) -> list[str]:
    warnings = [problem for _, problem in (*view.trust.problems, *view.log.problems)]
    warnings += [
        f"writer {writer}: nothing expires or is freed until this is repaired: {reason}"
        for writer, reason in view.blocked.items()
    ]
    missing = [pack for pack in plan.live if pack not in view.packs]
    if missing:
        warnings.append(
            f"{len(missing)} packs that recovery points need are missing. `verify` names them, "
            "and `standfast backup keep --distrust` takes its report."
        )
    revived = [pack for pack in plan.live if pack in view.log.dropped and pack in view.packs]
    if revived:
        warnings.append(f"{len(revived)} dropped packs are needed again and stay.")
    return warnings
