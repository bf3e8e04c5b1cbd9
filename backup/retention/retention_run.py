"""Retention run: order of its steps, expiries, removals, longer locks.

The keeper, the machine that may expire backups, makes such runs. It records its decisions in keep
records, which it signs. A run has these steps:

1. Read the records, snapshots and pack names. If a clock is not plausible, stop without a change.
2. Extend the locks of objects that recovery points need. If more than a fifth of the recovery
   points would expire, stop without a keep record. In this case, the packs of these recovery points
   remain needed, and their locks are extended too.
3. Remove packs that an earlier run has dropped (recorded as removed) but not removed.
4. Put a keep record with the recovery points that expire, and the packs that are marked (for
   removal), unmarked or distrusted (damaged).
5. Read again. Put a keep record of the packs to drop: packs that were marked at least seven days
   ago, that no recovery point needs, and that are not locked. Only then remove these packs.

Rules
- If another keeper has put a record under the same number, the run reads and plans again.
- An interrupted run leaves either no keep record, or a keep record with removals that the next run
  completes.
- A pack that is still locked remains marked and is reported. The next run tries to drop it again.
- The run needs no decryption key, and opens no pack.
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
from backup.retention.vault_state import (
    ProgressCallback,
    Reader,
    VaultState,
    no_progress,
    with_progress,
)
from backup.stores.keeper import KeeperStore
from backup.stores.parallel_reads import run_concurrently

_ATTEMPTS = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class SizedPack:
    """A pack and its size, which is 0 if the store does not have the pack."""

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
    """Changes of a run, or planned changes."""

    is_plan: bool  # whether nothing was changed
    clock: datetime  # time of the store
    records: tuple[str, ...]  # the keep records that were put
    expired: tuple[SnapshotId, ...]
    marked: tuple[SizedPack, ...]
    unmarked: tuple[PackId, ...]
    distrusted: tuple[PackId, ...]
    dropped: tuple[SizedPack, ...]  # packs that this run recorded as removed
    removed: tuple[SizedPack, ...]  # removed packs, also packs that an earlier run dropped
    locked: tuple[LockedPack, ...]  # not removed because of a lock; the next run tries again
    extended: tuple[str, ...]  # names of objects with an extended lock
    problems: tuple[str, ...]  # failures and anomalies that did not stop the run
    refusal: str | None = None  # in a plan: the reason for which a run would stop
    hold: str | None = None  # reason of a retention hold: nothing expires, locks are extended

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
    progress: ProgressCallback = no_progress,
) -> RetentionResult:
    """Run retention once; after any error, it may be repeated.

    - `now` is this machine's clock, which is compared with the store's clock. If `is_clock_right`
      is true, a person has checked both clocks, and they are not compared.
    - At most `max_percent` of the recovery points may expire.
    - `hold` is the reason of a retention hold. With it, nothing expires or is dropped, and the
      locks of all packs that recovery points need are extended.
    - `progress` is called with the action, the number of objects done, and their total.

    Raise `RetentionStopped` (nothing was recorded), `UsageError` (the owner of the repository has
    not authorized this keeper, or the store refuses it) or `StoreUnavailable` (try again later).
    """
    run = _Run(
        vault, keeper, rules, now, frozenset(distrust), is_clock_right, max_percent, hold, progress
    )
    for _ in range(_ATTEMPTS):
        try:
            return run.run()
        except AlreadyThere:
            continue  # another keeper was first: read its record and plan again
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
    progress: ProgressCallback = no_progress,
) -> tuple[RetentionResult, StorageForecast]:
    """Plan a run, without changes and without a key; return also a forecast.

    If a clock is not plausible, the `refusal` of the result says so.
    """
    clock = vault.clock()
    state = Reader(vault=vault, owner=owner, progress=progress).read()
    plan = plan_retention(state, rules, clock, distrust=distrust, max_percent=max_percent)
    refusal = None if hold is not None else plan.refusal
    if hold is not None:
        plan = plan.without_changes(hold)
    if not is_clock_right:
        try:
            check_clocks(clock, now(), state.log.created)
        except RetentionStopped as error:
            refusal = str(error)
    names, problems = find_expiring_locks(vault, state, plan.packs_to_protect, clock, progress)
    droppable, locked = _split_by_lock(vault, state, plan.drop, clock, progress)
    leftover, locked_leftover = _split_by_lock(vault, state, plan.leftover, clock, progress)
    return (
        RetentionResult(
            is_plan=True,
            clock=clock,
            records=(),
            expired=plan.expire,
            marked=tuple(_with_size(state, pack) for pack in plan.mark),
            unmarked=plan.unmark,
            distrusted=plan.distrust,
            dropped=tuple(_with_size(state, pack) for pack in droppable),
            removed=tuple(_with_size(state, pack) for pack in (*leftover, *droppable)),
            locked=(*locked, *locked_leftover),
            extended=names,
            problems=(*_warnings(state, plan), *problems),
            refusal=refusal,
            hold=hold,
        ),
        forecast_storage(vault, state, plan, progress),
    )


class _Run:
    """State of one call of `run_retention`: the changes of all its attempts."""

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
        progress: ProgressCallback,
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
        """Run all steps; raise `AlreadyThere` if another keeper put a record."""
        clock, state = self._read_state()
        plan = self._plan(state, clock)
        if self._hold is not None:
            plan = plan.without_changes(self._hold)
        names, problems = find_expiring_locks(
            self._vault, state, plan.packs_to_protect, clock, self._progress
        )
        extended, extension_problems = extend_locks(self._vault, names, clock, self._progress)
        self._extended += extended
        self._add_problems(*_warnings(state, plan), *problems, *extension_problems)
        if self._hold is not None:
            return replace(self._result(clock), hold=self._hold)
        if plan.refusal is not None:
            raise RetentionStopped(plan.refusal)
        self._remove(state, plan.leftover, clock)
        if plan.has_first_record:
            self._put(
                state,
                clock,
                expired=plan.expire,
                marked=plan.mark,
                unmarked=plan.unmark,
                distrusted=plan.distrust,
            )
            self._recorded_plans.append((plan, state))
        if plan.drop:
            self._drop()
        return self._result(clock)

    def _drop(self) -> None:
        clock, state = self._read_state()
        due = self._plan(state, clock).drop
        drop, locked = _split_by_lock(self._vault, state, due, clock, self._progress)
        self._locked.update((pack.pack, pack) for pack in locked)
        if drop:
            self._put(state, clock, dropped=drop)
            self._dropped += [_with_size(state, pack) for pack in drop]
            self._remove(state, drop, clock)

    def _read_state(self) -> tuple[datetime, VaultState]:
        state = self._reader.read()
        root = state.trust.root
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
            check_clocks(clock, self._now(), state.log.created)
        return clock, state

    def _plan(self, state: VaultState, clock: datetime) -> RetentionPlan:
        return plan_retention(
            state, self._rules, clock, distrust=self._distrust, max_percent=self._max_percent
        )

    def _put(
        self,
        state: VaultState,
        clock: datetime,
        *,
        expired: Collection[SnapshotId] = (),
        marked: Collection[PackId] = (),
        unmarked: Collection[PackId] = (),
        distrusted: Collection[PackId] = (),
        dropped: Collection[PackId] = (),
    ) -> None:
        number = state.log.next_number
        record = KeepRecord(
            repository=self._keeper.repository,
            number=number,
            previous=state.log.head,
            root_record=state.trust.links[-1],
            created=clock,
            expired=tuple(expired),
            marked=tuple(marked),
            unmarked=tuple(unmarked),
            dropped=tuple(dropped),
            distrusted=tuple(distrusted),
        )
        self._vault.put(keep_name(number), keep_to_bytes(record, self._keeper.key))
        self._records.append(keep_name(number))

    def _remove(self, state: VaultState, packs: Collection[PackId], clock: datetime) -> None:
        def remove(pack: PackId) -> SizedPack | LockedPack | UsageError:
            sized = _with_size(state, pack)
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
        recorded = self._recorded_plans
        return RetentionResult(
            is_plan=False,
            clock=clock,
            records=tuple(self._records),
            expired=tuple(id_ for plan, _ in recorded for id_ in plan.expire),
            marked=tuple(_with_size(state, pack) for plan, state in recorded for pack in plan.mark),
            unmarked=tuple(pack for plan, _ in recorded for pack in plan.unmark),
            distrusted=tuple(pack for plan, _ in recorded for pack in plan.distrust),
            dropped=tuple(self._dropped),
            removed=tuple(self._removed.values()),
            locked=tuple(self._locked.values()),
            extended=tuple(dict.fromkeys(self._extended)),
            problems=tuple(self._problems),
        )


def _split_by_lock(
    vault: KeeperStore,
    state: VaultState,
    packs: Collection[PackId],
    clock: datetime,
    progress: ProgressCallback,
) -> tuple[tuple[PackId, ...], tuple[LockedPack, ...]]:
    """Return the packs that may be removed now, and the locked packs."""
    names = {pack: pack_name(*pack) for pack in packs if pack in state.packs}
    locks = find_locks(vault, list(names.values()), clock, progress)
    locked = tuple(
        LockedPack(pack=pack, size_bytes=state.packs[pack].size_bytes, until=locks[name])
        for pack, name in names.items()
        if name in locks
    )
    locked_packs = {pack.pack for pack in locked}
    return tuple(pack for pack in packs if pack not in locked_packs), locked


def _with_size(state: VaultState, pack: PackId) -> SizedPack:
    stat = state.packs.get(pack)
    return SizedPack(pack=pack, size_bytes=0 if stat is None else stat.size_bytes)


def _warnings(state: VaultState, plan: RetentionPlan) -> list[str]:
    warnings = [problem for _, problem in (*state.trust.problems, *state.log.problems)]
    warnings += [
        f"writer {writer}: nothing expires or is freed until this is repaired: {reason}"
        for writer, reason in state.blocked.items()
    ]
    missing = [pack for pack in plan.live if pack not in state.packs]
    if missing:
        warnings.append(
            f"{len(missing)} packs that recovery points need are missing. `verify` names them; "
            "pass its report to `standfast backup keep --distrust`."
        )
    revived = [pack for pack in plan.live if pack in state.log.dropped and pack in state.packs]
    if revived:
        warnings.append(f"{len(revived)} dropped packs are needed again and are not removed.")
    return warnings
