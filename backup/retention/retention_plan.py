"""Retention plan: what a run would expire and remove, and its limit.

- A pack is marked if no remaining recovery point needs it and it is over 30 days old by the store's
  clock. It is dropped after seven days with a mark, if no recovery point without a recorded expiry
  needs it.
- A marked pack that a recovery point needs is unmarked.
- A dropped pack that still exists is removed by the next run, unless a recovery point without a
  recorded expiry needs it.
- Nothing of a blocked writer is removed, even if its removal was recorded, and all its locks are
  extended: the needs of its recovery points are unknown.
- One run marks and drops as many packs as fit into its records; the next runs continue.
- A run that would expire more than a fifth of the recovery points is refused as a whole. Interim
  recovery points that a later run replaced, and those that nobody can open any more, do not count.
"""

from collections.abc import Collection, Container, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from backup.errors import RetentionStopped
from backup.format.keep_record import MAX_LISTED, PackId, SnapshotId
from backup.retention.rules import RetentionRules, expiry_times
from backup.retention.vault_state import VaultState

MARK_AGE = timedelta(days=30)
DROP_AFTER = timedelta(days=7)
MAX_EXPIRED_PERCENT = 20
MAX_PER_RECORD = MAX_LISTED // 4  # of each list: four share a record; the next run continues
_CLOCKS_DIFFER = timedelta(hours=1)
_CLOCK_JUMPED = timedelta(days=60)


@dataclass(frozen=True, kw_only=True, slots=True)
class RetentionPlan:
    """Changes of a run; locks may still prevent `drop` and `leftover`."""

    clock: datetime  # the store's
    expire: tuple[SnapshotId, ...] = ()
    mark: tuple[PackId, ...] = ()
    unmark: tuple[PackId, ...] = ()
    distrust: tuple[PackId, ...] = ()
    drop: tuple[PackId, ...] = ()
    leftover: tuple[PackId, ...] = ()  # dropped by an earlier run, but still there
    live: frozenset[PackId] = frozenset()  # needed by a remaining recovery point
    # When each needed pack is needed last; None: no end known.
    last_needed: Mapping[PackId, datetime | None]
    blocked_packs: frozenset[PackId] = frozenset()  # packs of blocked writers
    refusal: str | None = None  # why the plan must not be executed

    @property
    def packs_to_protect(self) -> Collection[PackId]:
        """Return the packs that must stay locked.

        If nothing may expire, these are all packs that any recovery point needs.
        """
        needed = self.live if self.refusal is None else self.last_needed.keys()
        return needed | self.blocked_packs

    def without_changes(self, reason: str) -> "RetentionPlan":
        """Return the plan without changes, which only extends locks."""
        return RetentionPlan(
            clock=self.clock,
            live=self.live,
            last_needed=self.last_needed,
            blocked_packs=self.blocked_packs,
            refusal=reason,
        )

    @property
    def has_first_record(self) -> bool:
        """Return whether there is anything to record before packs are dropped."""
        return bool(self.expire or self.mark or self.unmark or self.distrust)


def check_clocks(store: datetime, local: datetime, last: datetime | None) -> None:
    """Raise `RetentionStopped` if the clocks disagree.

    `last` is the time of the newest keep record.
    """
    what_now = "Find out which clock is right; if the store's is, run again with --clock-is-right."
    if abs(store - local) > _CLOCKS_DIFFER:
        raise RetentionStopped(
            f"clocks: the store's shows {store:%Y-%m-%d %H:%M}Z, this machine's"
            f" {local:%Y-%m-%d %H:%M}Z. {what_now}"
        )
    if last is not None and store < last:
        raise RetentionStopped(
            f"clock of the store: it shows {store:%Y-%m-%d %H:%M:%S}Z, but the last keep record is"
            f" dated {last:%Y-%m-%d %H:%M:%S}Z; it went back. {what_now}"
        )
    if last is not None and store - last > _CLOCK_JUMPED:
        raise RetentionStopped(
            f"clock of the store: it shows {store:%Y-%m-%d %H:%M}Z, but the last keep record is"
            f" dated {last:%Y-%m-%d %H:%M}Z, over {_CLOCK_JUMPED.days} days ago. {what_now}"
        )


def plan_retention(
    view: VaultState,
    rules: RetentionRules,
    clock: datetime,
    *,
    distrust: Collection[PackId] = (),
    max_percent: int = MAX_EXPIRED_PERCENT,
) -> RetentionPlan:
    """Plan a run; packs of blocked writers change only by being unmarked."""
    log = view.log
    ends = expiry_times(view.points, rules)
    expiring = {
        point.id: point
        for point in view.points
        if (end := ends[point.id]) is not None and end <= clock and point.id[0] not in view.blocked
    }
    lost = [
        id_
        for id_, stored in view.unreadable
        if stored + rules.longest <= clock and id_[0] in view.blocked
    ]
    last_needed, live = _needed_packs(view, ends, expiring)
    free = [
        pack
        for pack in view.packs
        if pack not in live and pack[0] not in view.blocked and pack not in log.dropped
    ]
    counted = {
        point.id for point in view.points if point.state != "interim" and point.erased is None
    }
    leaving = counted & expiring.keys()
    refusal = None
    if len(leaving) * 100 > max_percent * len(counted):
        needed_percent = -(-len(leaving) * 100 // len(counted))
        refusal = (
            f"retention: {len(leaving)} of {len(counted)} recovery points would expire in one run,"
            f" more than {max_percent} %; nothing was changed. Check the plan, the rules and the"
            f" clocks; if it is right, as after a long hold, run once with --most {needed_percent}."
        )
    return RetentionPlan(
        clock=clock,
        expire=(*sorted(expiring), *sorted(lost)),
        mark=_limit(
            pack
            for pack in free
            if pack not in log.marked and view.packs[pack].modified + MARK_AGE < clock
        ),
        unmark=_limit(pack for pack in log.marked if pack in live),
        distrust=_limit(
            pack
            for pack in set(distrust) - log.distrusted
            if any(grant.id == pack[0] for grant in view.trust.root.writers)
        ),
        drop=_limit(
            pack
            for pack, since in log.marked.items()
            if since + DROP_AFTER <= clock
            and pack not in last_needed
            and pack[0] not in view.blocked
        ),
        leftover=tuple(
            sorted(
                pack
                for pack in log.dropped
                if pack in view.packs and pack not in last_needed and pack[0] not in view.blocked
            )
        ),
        live=frozenset(live),
        last_needed=last_needed,
        blocked_packs=frozenset(pack for pack in view.packs if pack[0] in view.blocked),
        refusal=refusal,
    )


def _limit(packs: Iterable[PackId]) -> tuple[PackId, ...]:
    return tuple(sorted(packs)[:MAX_PER_RECORD])


def _needed_packs(
    view: VaultState, ends: Mapping[SnapshotId, datetime | None], expiring: Container[SnapshotId]
) -> tuple[dict[PackId, datetime | None], set[PackId]]:
    """Return the last time each pack is needed, and the live packs."""
    last_needed: dict[PackId, datetime | None] = {}
    live: set[PackId] = set()

    def expiry_or_infinity(id_: SnapshotId) -> float:
        end = ends[id_]
        return float("inf") if end is None else end.timestamp()

    # In order of expiry, so that the last recovery point that needs a pack decides.
    for point in sorted(view.points, key=lambda point: expiry_or_infinity(point.id)):
        needs = [(point.id[0], sha256) for sha256 in view.needs(point.id)]
        last_needed.update(dict.fromkeys(needs, ends[point.id]))
        if point.id not in expiring:
            live.update(needs)
    return last_needed, live
