"""The keeper: lets points expire by the rules, frees the packs that none needs, extends locks.

One run, in this order:

1. Read everything.  Stop when a clock is not to be believed: nothing was changed.
2. Extend the locks of what is live.  Stop when more than a fifth of the points would go: no record
   was written, and what those points need was locked for longer too.
3. Remove what an earlier run dropped and did not live to remove.
4. Put a record: what expires, what is marked or unmarked, what is distrusted.
5. Read everything again.  Put a record of what is dropped: marked for seven days, needed by no
   point, not locked.  Only then remove it.

- The put of a record decides: a keeper that finds its number taken reads again and decides anew.
- A run that dies anywhere leaves either nothing, or a record that the next run completes.
- A pack whose lock is not over stays marked, is told, and is tried again by the next run.
- No domain's key is needed, and none of this looks into a pack.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime

from backup.errors import AlreadyThere, Locked, RetentionStopped, UsageError
from backup.format.keep_record import KeepRecord, PackId, SnapshotId, keep_to_bytes
from backup.format.object_names import keep_name, pack_name
from backup.retention.keeper_key import Keeper
from backup.retention.lock_extension import extend, locked_until, to_extend
from backup.retention.retention_plan import MAX_EXPIRED_PERCENT, Plan, check_clocks, plan_retention
from backup.retention.rules import Rules
from backup.retention.storage_forecast import StorageForecast, forecast_storage
from backup.retention.vault_state import Reader, View, Watch, no_progress, with_progress
from backup.stores.keeper import KeeperStore
from backup.stores.parallel_reads import run_concurrently

_ATTEMPTS = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class SizedPack:
    """A pack and its size; 0 when it is gone already."""

    pack: PackId
    size_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class LockedPack:
    """A pack that would be dropped, and until when its lock forbids it."""

    pack: PackId
    size_bytes: int
    until: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class RetentionResult:
    """What a run changed, or would change where `is_plan`; `clock` is the store's."""

    is_plan: bool
    clock: datetime
    records: tuple[str, ...]  # the keep records that were put
    expired: tuple[SnapshotId, ...]
    marked: tuple[SizedPack, ...]
    unmarked: tuple[PackId, ...]
    distrusted: tuple[PackId, ...]
    dropped: tuple[SizedPack, ...]  # recorded in this run
    removed: tuple[SizedPack, ...]  # also what an earlier run had dropped
    locked: tuple[LockedPack, ...]  # tried again by the next run
    extended: tuple[str, ...]  # names whose lock was extended
    problems: tuple[str, ...]  # what could not be done, and what is odd; the rest was done
    refusal: str | None = None  # of a plan: why a run would stop
    hold: str | None = None  # why nothing goes, though locks are extended

    @property
    def freed_bytes(self) -> int:
        """The size of what was removed."""
        return sum(one.size_bytes for one in self.removed)


def keep(
    vault: KeeperStore,
    keeper: Keeper,
    rules: Rules,
    *,
    now: Callable[[], datetime],
    distrust: Collection[PackId] = (),
    is_clock_right: bool = False,
    most_percent: int = MAX_EXPIRED_PERCENT,
    hold: str | None = None,
    watch: Watch = no_progress,
) -> RetentionResult:
    """Make one keeping run; to run it again after any error is safe, and completes it.

    `now` is this machine's clock, held against the store's; `is_clock_right` is for a person who
    has looked.  `most_percent` of the points may expire in one run.  While there is a `hold`,
    nothing expires and nothing is dropped; the locks of all that any point needs are extended.
    `watch` is told how far it is.  `RetentionStopped`: nothing was recorded; `UsageError`: the
    owner has not signed this keeper's key in, or the store refuses it; `StoreUnavailable`: try
    again later.
    """
    run = _Run(
        vault, keeper, rules, now, frozenset(distrust), is_clock_right, most_percent, hold, watch
    )
    for _ in range(_ATTEMPTS):
        try:
            return run.once()
        except AlreadyThere:
            continue  # another keeper was first: what it recorded is read before anything else
    raise AlreadyThere(
        f"other keepers put {_ATTEMPTS} keep records while this one decided; let one run at a time"
    )


def plan_retention_run(
    vault: KeeperStore,
    owner: bytes,
    rules: Rules,
    *,
    now: Callable[[], datetime],
    distrust: Collection[PackId] = (),
    is_clock_right: bool = False,
    most_percent: int = MAX_EXPIRED_PERCENT,
    hold: str | None = None,
    watch: Watch = no_progress,
) -> tuple[RetentionResult, StorageForecast]:
    """Say what a run would do now, and what is there; nothing is changed, and no key is needed.

    What would be dropped is what is due by the marks that there are; while there is a `hold`,
    nothing.  A clock that is not to be believed is given as the plan's `refusal`.
    """
    clock = vault.clock()
    view = Reader(vault=vault, owner=owner, watch=watch).look()
    plan = plan_retention(view, rules, clock, distrust=distrust, most_percent=most_percent)
    refusal = None if hold is not None else plan.refusal
    if hold is not None:
        plan = plan.held(hold)
    if not is_clock_right:
        try:
            check_clocks(clock, now(), view.keeps.created)
        except RetentionStopped as error:
            refusal = str(error)
    names, problems = to_extend(vault, view, plan.to_protect, clock, watch)
    drop, held = _past_locks(vault, view, plan.drop, clock, watch)
    leftover, held_too = _past_locks(vault, view, plan.leftover, clock, watch)
    return (
        RetentionResult(
            is_plan=True,
            clock=clock,
            records=(),
            expired=plan.expire,
            marked=tuple(_sized(view, pack) for pack in plan.mark),
            unmarked=plan.unmark,
            distrusted=plan.distrust,
            dropped=tuple(_sized(view, pack) for pack in drop),
            removed=tuple(_sized(view, pack) for pack in (*leftover, *drop)),
            locked=(*held, *held_too),
            extended=names,
            problems=(*_oddities(view, plan), *problems),
            refusal=refusal,
            hold=hold,
        ),
        forecast_storage(vault, view, plan, watch),
    )


class _Run:
    """One call of `keep`; what was done is gathered over all its attempts."""

    def __init__(
        self,
        vault: KeeperStore,
        keeper: Keeper,
        rules: Rules,
        now: Callable[[], datetime],
        distrust: frozenset[PackId],
        is_clock_right: bool,
        most_percent: int,
        hold: str | None,
        watch: Watch,
    ) -> None:
        self._vault = vault
        self._keeper = keeper
        self._rules = rules
        self._now = now
        self._distrust = distrust
        self._is_clock_right = is_clock_right
        self._most_percent = most_percent
        self._hold = hold
        self._watch = watch
        self._reader = Reader(vault=vault, owner=keeper.owner, watch=watch)
        self._records: list[str] = []
        self._first: list[tuple[Plan, View]] = []
        self._dropped: list[SizedPack] = []
        self._removed: dict[PackId, SizedPack] = {}
        self._locked: dict[PackId, LockedPack] = {}
        self._extended: list[str] = []
        self._problems: dict[str, None] = {}

    def once(self) -> RetentionResult:
        """Go through the steps; `AlreadyThere` when another keeper's record came in between."""
        clock, view = self._look()
        plan = self._plan(view, clock)
        if self._hold is not None:
            plan = plan.held(self._hold)
        names, problems = to_extend(self._vault, view, plan.to_protect, clock, self._watch)
        extended, more = extend(self._vault, names, clock, self._watch)
        self._extended += extended
        self._tell(*_oddities(view, plan), *problems, *more)
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
            self._first.append((plan, view))
        if plan.drop:
            self._drop()
        return self._result(clock)

    def _drop(self) -> None:
        clock, view = self._look()
        due = self._plan(view, clock).drop
        drop, held = _past_locks(self._vault, view, due, clock, self._watch)
        self._locked.update((one.pack, one) for one in held)
        if drop:
            self._put(view, clock, dropped=drop)
            self._dropped += [_sized(view, pack) for pack in drop]
            self._remove(view, drop, clock)

    def _look(self) -> tuple[datetime, View]:
        view = self._reader.look()
        root = view.trust.root
        if root.repository != self._keeper.repository:
            raise UsageError("this store holds another repository than this keeper is of")
        grant = next((k for k in root.keepers if k.key == self._keeper.public_key), None)
        if grant is None or grant.trusted_through is not None:
            raise UsageError(
                "the root record does not name this keeper, or ends the trust in it;"
                " the owner must sign a record that does"
            )
        clock = self._vault.clock()
        if not self._is_clock_right:
            check_clocks(clock, self._now(), view.keeps.created)
        return clock, view

    def _plan(self, view: View, clock: datetime) -> Plan:
        return plan_retention(
            view,
            self._rules,
            clock,
            distrust=self._distrust,
            most_percent=self._most_percent,
        )

    def _put(
        self,
        view: View,
        clock: datetime,
        *,
        expired: Collection[SnapshotId] = (),
        marked: Collection[PackId] = (),
        unmarked: Collection[PackId] = (),
        distrusted: Collection[PackId] = (),
        dropped: Collection[PackId] = (),
    ) -> None:
        number = view.keeps.next_number
        record = KeepRecord(
            repository=self._keeper.repository,
            number=number,
            previous=view.keeps.head,
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

    def _remove(self, view: View, packs: Collection[PackId], clock: datetime) -> None:
        def remove(pack: PackId) -> SizedPack | LockedPack | UsageError:
            sized = _sized(view, pack)
            try:
                self._vault.remove(pack_name(*pack))
            except Locked:
                until = self._vault.lock_until(pack_name(*pack)) or clock
                return LockedPack(pack=pack, size_bytes=sized.size_bytes, until=until)
            except UsageError as error:
                return error
            return sized

        removing = run_concurrently(remove, packs, self._vault.calls_at_once)
        for found in with_progress(removing, "removing packs", len(packs), self._watch):
            if isinstance(found, UsageError):
                self._tell(str(found))
            elif isinstance(found, LockedPack):
                self._locked[found.pack] = found
            elif found.size_bytes:
                self._removed[found.pack] = found

    def _tell(self, *problems: str) -> None:
        self._problems.update(dict.fromkeys(problems))

    def _result(self, clock: datetime) -> RetentionResult:
        first = self._first
        return RetentionResult(
            is_plan=False,
            clock=clock,
            records=tuple(self._records),
            expired=tuple(id_ for plan, _ in first for id_ in plan.expire),
            marked=tuple(_sized(view, pack) for plan, view in first for pack in plan.mark),
            unmarked=tuple(pack for plan, _ in first for pack in plan.unmark),
            distrusted=tuple(pack for plan, _ in first for pack in plan.distrust),
            dropped=tuple(self._dropped),
            removed=tuple(self._removed.values()),
            locked=tuple(self._locked.values()),
            extended=tuple(dict.fromkeys(self._extended)),
            problems=tuple(self._problems),
        )


def _past_locks(
    vault: KeeperStore, view: View, packs: Collection[PackId], clock: datetime, watch: Watch
) -> tuple[tuple[PackId, ...], tuple[LockedPack, ...]]:
    """Part the packs into those that may be removed now and those that are locked."""
    names = {pack: pack_name(*pack) for pack in packs if pack in view.packs}
    locks = locked_until(vault, list(names.values()), clock, watch)
    held = tuple(
        LockedPack(pack=pack, size_bytes=view.packs[pack].size_bytes, until=locks[name])
        for pack, name in names.items()
        if name in locks
    )
    are_held = {one.pack for one in held}
    return tuple(pack for pack in packs if pack not in are_held), held


def _sized(view: View, pack: PackId) -> SizedPack:
    stat = view.packs.get(pack)
    return SizedPack(pack=pack, size_bytes=0 if stat is None else stat.size_bytes)


def _oddities(view: View, plan: Plan) -> list[str]:
    found = [problem for _, problem in (*view.trust.problems, *view.keeps.problems)]
    found += [
        f"nothing of writer {writer} expires or goes until this is mended: {why}"
        for writer, why in view.blocked.items()
    ]
    missing = [pack for pack in plan.live if pack not in view.packs]
    if missing:
        found.append(
            f"{len(missing)} packs that recovery points need are not there;"
            " `verify` names them, and its report can be given as distrusted"
        )
    revived = [pack for pack in plan.live if pack in view.keeps.dropped and pack in view.packs]
    if revived:
        found.append(f"{len(revived)} packs are needed again although they were dropped; they stay")
    return found
