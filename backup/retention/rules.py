"""How long recovery points are kept: rules by time, and by nothing else.

- Every point is kept for `everything`; the last complete one of a day, an ISO week and a month
  (UTC) for `daily`, `weekly` and `monthly`.  Where a day has no complete point, its last partial
  one stands for it.  Never by count: a count lets whoever can add points push others out.
- Nothing expires below the floor.  The newest complete point of each set of a writer never
  expires, nor the newest one of a run that came to its end.
- An interim point goes once it is over the floor and a later run of its set came to its end.
- A point whose domain was erased can be opened by nobody; it goes a floor after that.
- A point's moment is what its writer says, held between the moment of the writer's point before
  and the store's own time of it.  So a writer that was taken over cannot claim to be a day that is
  past, or to be younger than it is.

Pure: times and points go in, times come out.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from backup.errors import UsageError
from backup.format.keep_record import SnapshotId
from backup.format.snapshot import State

_DAYS_OF = {"d": 1, "w": 7, "m": 31, "y": 366}
_PERIOD = re.compile(r"([1-9]\d{0,3})([dwmy])")
LOWEST_FLOOR = timedelta(days=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """For how long what is kept."""

    everything: timedelta = timedelta(days=35)
    daily: timedelta = timedelta(days=90)
    weekly: timedelta = timedelta(days=366)
    monthly: timedelta = timedelta(days=7 * 366)
    floor: timedelta = timedelta(days=30)

    def __post_init__(self) -> None:
        if self.floor < LOWEST_FLOOR:
            raise UsageError("the floor of keeping is a day at least: a mistake must be noticed")

    @property
    def longest(self) -> timedelta:
        """After which no rule keeps anything."""
        return max(self.everything, self.daily, self.weekly, self.monthly, self.floor)


@dataclass(frozen=True, kw_only=True, slots=True)
class AgedPoint:
    """A recovery point as the rules see it."""

    id: SnapshotId
    set_name: str
    state: State
    moment: datetime
    stored: datetime  # by the store's clock
    erased: datetime | None = None  # when its domain's key was given up


def period(text: str) -> timedelta:
    """Read "35d", "12w", "6m" or "7y"; a month has 31 days and a year 366, so nothing is short."""
    found = _PERIOD.fullmatch(text)
    if found is None:
        raise UsageError(f"{text!r} is no time to keep something for: write it like 35d, 12w or 7y")
    return timedelta(days=int(found[1]) * _DAYS_OF[found[2]])


def moments(claims: Iterable[tuple[datetime, datetime]]) -> list[datetime]:
    """Give the moments of one writer's points, in order, from (what it says, the store's time)."""
    found: list[datetime] = []
    for claimed, stored in claims:
        after = max(claimed, found[-1]) if found else claimed
        found.append(min(after, stored))
    return found


def expiries(points: Sequence[AgedPoint], rules: Rules) -> Mapping[SnapshotId, datetime | None]:
    """Say when each point expires if nothing is added; None for one that does not.

    `points` are those that have not expired, each writer's in the order of its sequence.
    """
    sets: dict[tuple[str, str], list[AgedPoint]] = {}
    for point in points:
        sets.setdefault((point.id[0], point.set_name), []).append(point)
    found: dict[SnapshotId, datetime | None] = {}
    for of_set in sets.values():
        found.update(_of_set(of_set, rules))
    return found


def _of_set(points: list[AgedPoint], rules: Rules) -> dict[SnapshotId, datetime | None]:
    ended = [point for point in points if point.state != "interim" and point.erased is None]
    newest = {point.id for point in ended[-1:]}
    newest |= {point.id for point in [p for p in ended if p.state == "complete"][-1:]}
    kept_for = dict.fromkeys((point.id for point in ended), rules.everything)
    for rule, name in ((rules.daily, _day), (rules.weekly, _week), (rules.monthly, _month)):
        for id_ in _last_of_each(ended, name):
            kept_for[id_] = max(kept_for[id_], rule)
    last_ended = ended[-1].id[1] if ended else 0
    found: dict[SnapshotId, datetime | None] = {}
    for point in points:
        floor = point.stored + rules.floor
        if point.erased is not None:
            found[point.id] = max(floor, point.erased + rules.floor)
        elif point.state == "interim":
            found[point.id] = floor if point.id[1] < last_ended else None
        elif point.id in newest:
            found[point.id] = None
        else:
            found[point.id] = max(floor, point.moment + kept_for[point.id])
    return found


def _last_of_each(
    points: list[AgedPoint], name: Callable[[date], tuple[int, ...]]
) -> Iterable[SnapshotId]:
    last: dict[tuple[int, ...], AgedPoint] = {}
    for point in points:
        key = name(point.moment.date())
        before = last.get(key)
        if before is None or point.state == "complete" or before.state != "complete":
            last[key] = point
    return [point.id for point in last.values()]


def _day(day: date) -> tuple[int, ...]:
    return (day.toordinal(),)


def _week(day: date) -> tuple[int, ...]:
    return tuple(day.isocalendar()[:2])


def _month(day: date) -> tuple[int, ...]:
    return (day.year, day.month)
