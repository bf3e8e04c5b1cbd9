"""Retention plan: recovery points to expire, packs to mark and to drop.

- The keeper, the machine that may expire backups, records each change in a signed keep record. A
  recovery point has expired if a keep record names it as expired. A remaining recovery point has
  not expired, and this run does not expire it.
- A pack is removed in two steps. It is marked if no remaining recovery point needs it, and it is
  more than 30 days old by the store's clock. At least seven days later a keep record names the pack
  as dropped, if all recovery points that need it have expired by earlier keep records. Then it is
  removed.
- A marked pack that a remaining recovery point needs is unmarked.
- If an earlier run has dropped a pack and the pack still exists, the next run removes it, unless an
  unexpired recovery point needs it.
- A writer (backup host) is blocked if one of its snapshots is missing or unreadable, because the
  packs that this snapshot needs are unknown. No pack of a blocked writer is removed, even if its
  drop was recorded, and the locks of all its packs are extended.
- One run marks and drops as many packs as fit into its records. The next runs continue.
- A run that would expire more than a fifth of the recovery points is refused as a whole. Two types
  of recovery points do not count: interim ones, which a run commits before its end, and those of an
  erased domain (backup sets that share one key), which nobody can decrypt.
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
MAX_PER_RECORD = MAX_LISTED // 4  # most packs in a list; a record has four lists of packs
_CLOCKS_DIFFER = timedelta(hours=1)
_CLOCK_JUMPED = timedelta(days=60)


@dataclass(frozen=True, kw_only=True, slots=True)
class RetentionPlan:
    """Changes of a run; locks may still prevent the removal of packs."""

    clock: datetime  # time of the store
    expire: tuple[SnapshotId, ...] = ()
    mark: tuple[PackId, ...] = ()
    unmark: tuple[PackId, ...] = ()
    distrust: tuple[PackId, ...] = ()
    drop: tuple[PackId, ...] = ()
    leftover: tuple[PackId, ...] = ()  # packs that an earlier run dropped and that still exist
    live: frozenset[PackId] = frozenset()  # needed by a remaining recovery point
    # Packs of unexpired recovery points, with the time at which the last of these points expires,
    # or None if it does not expire.
    last_needed: Mapping[PackId, datetime | None]
    blocked_packs: frozenset[PackId] = frozenset()  # packs of blocked writers
    refusal: str | None = None  # why the plan must not be executed

    @property
    def packs_to_protect(self) -> Collection[PackId]:
        """Return the packs that must remain locked.

        If the plan is refused, the packs of recovery points that it would expire are among them.
        """
        needed = self.live if self.refusal is None else self.last_needed.keys()
        return needed | self.blocked_packs

    def without_changes(self, reason: str) -> "RetentionPlan":
        """Return a plan that only extends locks, with the reason for this."""
        return RetentionPlan(
            clock=self.clock,
            live=self.live,
            last_needed=self.last_needed,
            blocked_packs=self.blocked_packs,
            refusal=reason,
        )

    @property
    def has_first_record(self) -> bool:
        """Return whether the plan has other changes than drops."""
        return bool(self.expire or self.mark or self.unmark or self.distrust)


def check_clocks(store: datetime, local: datetime, last: datetime | None) -> None:
    """Raise `RetentionStopped` if a clock is not plausible.

    `store` and `local` are the times of the store and of this machine, `last` is the time of the
    newest keep record.
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
    state: VaultState,
    rules: RetentionRules,
    clock: datetime,
    *,
    distrust: Collection[PackId] = (),
    max_percent: int = MAX_EXPIRED_PERCENT,
) -> RetentionPlan:
    """Plan a run; packs of blocked writers are only unmarked or distrusted.

    Distrusted packs are damaged; their content is sent again.
    """
    log = state.log
    ends = expiry_times(state.points, rules)
    expiring = {
        point.id: point
        for point in state.points
        if (end := ends[point.id]) is not None and end <= clock and point.id[0] not in state.blocked
    }
    lost = [
        id_
        for id_, stored in state.unreadable
        if stored + rules.longest <= clock and id_[0] in state.blocked
    ]
    last_needed, live = _needed_packs(state, ends, expiring)
    free = [
        pack
        for pack in state.packs
        if pack not in live and pack[0] not in state.blocked and pack not in log.dropped
    ]
    counted = {
        point.id for point in state.points if point.state != "interim" and point.erased is None
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
            if pack not in log.marked and state.packs[pack].modified + MARK_AGE < clock
        ),
        unmark=_limit(pack for pack in log.marked if pack in live),
        distrust=_limit(
            pack
            for pack in set(distrust) - log.distrusted
            if any(grant.id == pack[0] for grant in state.trust.root.writers)
        ),
        drop=_limit(
            pack
            for pack, since in log.marked.items()
            if since + DROP_AFTER <= clock
            and pack not in last_needed
            and pack[0] not in state.blocked
        ),
        leftover=tuple(
            sorted(
                pack
                for pack in log.dropped
                if pack in state.packs and pack not in last_needed and pack[0] not in state.blocked
            )
        ),
        live=frozenset(live),
        last_needed=last_needed,
        blocked_packs=frozenset(pack for pack in state.packs if pack[0] in state.blocked),
        refusal=refusal,
    )


def _limit(packs: Iterable[PackId]) -> tuple[PackId, ...]:
    return tuple(sorted(packs)[:MAX_PER_RECORD])


def _needed_packs(
    state: VaultState, ends: Mapping[SnapshotId, datetime | None], expiring: Container[SnapshotId]
) -> tuple[dict[PackId, datetime | None], set[PackId]]:
    """Return `last_needed` and the live packs; see `RetentionPlan`."""
    last_needed: dict[PackId, datetime | None] = {}
    live: set[PackId] = set()

    def expiry_or_infinity(id_: SnapshotId) -> float:
        end = ends[id_]
        return float("inf") if end is None else end.timestamp()

    # Sort by expiry, so that for each pack the recovery point that expires last decides.
    for point in sorted(state.points, key=lambda point: expiry_or_infinity(point.id)):
        needs = [(point.id[0], sha256) for sha256 in state.find_needed_packs(point.id)]
        last_needed.update(dict.fromkeys(needs, ends[point.id]))
        if point.id not in expiring:
            live.update(needs)
    return last_needed, live
