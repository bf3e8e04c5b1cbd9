"""What a keeping run would change, decided from what there is; pure.

- A pack is marked when no point needs it that stays, and it is over 30 days old by the store's
  clock; it is dropped when it has been marked for seven days and no point needs it whose expiry
  is not on record.
- A marked pack that a point needs is unmarked.
- A pack that was dropped and is still there is removed by the next run, unless a point needs it
  whose expiry is not on record.
- Of a blocked writer nothing is removed, whatever was on record, and everything is locked on: what
  its points need is not known.
- One run marks and drops as many as fit into its records; the next runs go on.
- A run that would let more than a fifth of the points expire is refused, as a whole.  Interim
  points that a later run replaced, and points that nobody can open any more, are not counted.
"""

from collections.abc import Collection, Container, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from backup.errors import RetentionStopped
from backup.format.keep_record import MAX_LISTED, PackId, SnapshotId
from backup.retention.rules import Rules, expiries
from backup.retention.vault_state import View

MARK_AGE = timedelta(days=30)
DROP_AFTER = timedelta(days=7)
MAX_EXPIRED_PERCENT = 20
MOST_IN_A_RECORD = MAX_LISTED // 4  # of each list: four share a record; the next run goes on
_CLOCKS_DIFFER = timedelta(hours=1)
_CLOCK_JUMPED = timedelta(days=60)


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What would change; `drop` and `leftover` still have to pass the locks."""

    clock: datetime  # the store's
    expire: tuple[SnapshotId, ...] = ()
    mark: tuple[PackId, ...] = ()
    unmark: tuple[PackId, ...] = ()
    distrust: tuple[PackId, ...] = ()
    drop: tuple[PackId, ...] = ()
    leftover: tuple[PackId, ...] = ()  # dropped by an earlier run, and still there
    live: frozenset[PackId] = frozenset()  # needed by a point that stays
    last_needed: Mapping[PackId, datetime | None]  # of what is needed now; None: no end in sight
    held_up: frozenset[PackId] = frozenset()  # of blocked writers, needed or not
    refusal: str | None = None  # why nothing of it may be done

    @property
    def to_protect(self) -> Collection[PackId]:
        """What must stay locked: where nothing may expire, all that any point needs."""
        needed = self.live if self.refusal is None else self.last_needed.keys()
        return needed | self.held_up

    def held(self, why: str) -> "Plan":
        """What is left of it while all that there is shall stay: locks, and nothing else."""
        return Plan(
            clock=self.clock,
            live=self.live,
            last_needed=self.last_needed,
            held_up=self.held_up,
            refusal=why,
        )

    @property
    def has_first_record(self) -> bool:
        """Whether there is anything to say before packs are dropped."""
        return bool(self.expire or self.mark or self.unmark or self.distrust)


def check_clocks(store: datetime, here: datetime, last: datetime | None) -> None:
    """Raise RetentionStopped where the clocks disagree; `last` is a keep record's time."""
    what_now = "find out which clock is right; if the store's is, run again with --clock-is-right"
    if abs(store - here) > _CLOCKS_DIFFER:
        raise RetentionStopped(
            f"the store's clock says {store:%Y-%m-%d %H:%M}Z and this machine's"
            f" {here:%Y-%m-%d %H:%M}Z: {what_now}"
        )
    if last is not None and store < last:
        raise RetentionStopped(
            f"the store's clock says {store:%Y-%m-%d %H:%M:%S}Z, and the last keep record is of"
            f" {last:%Y-%m-%d %H:%M:%S}Z: it went back; {what_now}"
        )
    if last is not None and store - last > _CLOCK_JUMPED:
        raise RetentionStopped(
            f"the store's clock says {store:%Y-%m-%d %H:%M}Z, and the last keep record is of"
            f" {last:%Y-%m-%d %H:%M}Z, over {_CLOCK_JUMPED.days} days ago: {what_now}"
        )


def plan_retention(
    view: View,
    rules: Rules,
    clock: datetime,
    *,
    distrust: Collection[PackId] = (),
    most_percent: int = MAX_EXPIRED_PERCENT,
) -> Plan:
    """Decide; nothing of a blocked writer changes, except that what is needed is unmarked."""
    keeps = view.keeps
    ends = expiries(view.points, rules)
    going = {
        point.id: point
        for point in view.points
        if (end := ends[point.id]) is not None and end <= clock and point.id[0] not in view.blocked
    }
    lost = [
        id_
        for id_, stored in view.unreadable
        if stored + rules.longest <= clock and id_[0] in view.blocked
    ]
    last_needed, live = _needed(view, ends, going)
    free = [
        pack
        for pack in view.packs
        if pack not in live and pack[0] not in view.blocked and pack not in keeps.dropped
    ]
    counted = {p.id for p in view.points if p.state != "interim" and p.erased is None}
    leaving = counted & going.keys()
    refusal = None
    if len(leaving) * 100 > most_percent * len(counted):
        enough = -(-len(leaving) * 100 // len(counted))
        refusal = (
            f"{len(leaving)} of {len(counted)} recovery points would expire in one run, more than"
            f" {most_percent} %, and none goes before a person has looked. See the plan, the rules"
            f" and the clocks; if it is right, as after a long hold, run once with --most {enough}"
        )
    return Plan(
        clock=clock,
        expire=(*sorted(going), *sorted(lost)),
        mark=_some(
            pack
            for pack in free
            if pack not in keeps.marked and view.packs[pack].modified + MARK_AGE < clock
        ),
        unmark=_some(pack for pack in keeps.marked if pack in live),
        distrust=_some(
            pack
            for pack in set(distrust) - keeps.distrusted
            if any(grant.id == pack[0] for grant in view.trust.root.writers)
        ),
        drop=_some(
            pack
            for pack, since in keeps.marked.items()
            if since + DROP_AFTER <= clock
            and pack not in last_needed
            and pack[0] not in view.blocked
        ),
        leftover=tuple(
            sorted(
                pack
                for pack in keeps.dropped
                if pack in view.packs and pack not in last_needed and pack[0] not in view.blocked
            )
        ),
        live=frozenset(live),
        last_needed=last_needed,
        held_up=frozenset(pack for pack in view.packs if pack[0] in view.blocked),
        refusal=refusal,
    )


def _some(packs: Iterable[PackId]) -> tuple[PackId, ...]:
    return tuple(sorted(packs)[:MOST_IN_A_RECORD])


def _needed(
    view: View, ends: Mapping[SnapshotId, datetime | None], going: Container[SnapshotId]
) -> tuple[dict[PackId, datetime | None], set[PackId]]:
    """Until when each pack is needed, and which are by a point that stays."""
    last_needed: dict[PackId, datetime | None] = {}
    live: set[PackId] = set()

    def late(id_: SnapshotId) -> float:
        end = ends[id_]
        return float("inf") if end is None else end.timestamp()

    # The last that says so decides: each point overrides those that expire before it.
    for point in sorted(view.points, key=lambda point: late(point.id)):
        needs = [(point.id[0], sha256) for sha256 in view.needs(point.id)]
        last_needed.update(dict.fromkeys(needs, ends[point.id]))
        if point.id not in going:
            live.update(needs)
    return last_needed, live
