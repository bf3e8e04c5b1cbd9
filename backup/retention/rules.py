"""Retention rules: periods such as `6m`, and when recovery points expire.

- Every recovery point is kept for the period `everything`. The last complete recovery point of each
  day, ISO week and month (UTC) is kept for `daily`, `weekly` and `monthly`. If a day, week or month
  has no complete recovery point, its last partial recovery point, in which paths are missing, is
  kept instead.
- No rule keeps a fixed number of recovery points, such as the last seven. With such a rule,
  somebody that adds recovery points could make older recovery points expire.
- No recovery point expires before it is older than `floor`. A writer is a backup host. Two recovery
  points of each of its backup sets never expire: the newest complete recovery point, and the newest
  one of a run that ended.
- An interim recovery point is committed by a run before its end. It expires when it is older than
  the floor, if a later run of its set has ended.
- Nobody can open a recovery point of an erased domain (backup sets that share one key). It expires
  when the time `floor` has passed since the erasure.
- The time of a recovery point is the time that its writer claims, within two limits. If the claimed
  time is before the writer's previous recovery point, or after the store received the recovery
  point, the limit is used instead. So a compromised writer can neither date a recovery point back
  nor make it seem younger than it is.

The functions do no I/O.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from backup.errors import UsageError
from backup.format.keep_record import SnapshotId
from backup.format.snapshot import State

_DAYS_PER_UNIT = {"d": 1, "w": 7, "m": 31, "y": 366}
_PERIOD = re.compile(r"([1-9]\d{0,3})([dwmy])")
LOWEST_FLOOR = timedelta(days=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class RetentionRules:
    """Retention periods."""

    everything: timedelta = timedelta(days=35)
    daily: timedelta = timedelta(days=90)
    weekly: timedelta = timedelta(days=366)
    monthly: timedelta = timedelta(days=7 * 366)
    floor: timedelta = timedelta(days=30)

    def __post_init__(self) -> None:
        if self.floor < LOWEST_FLOOR:
            raise UsageError(
                "floor of retention: too short. Use at least 1d, which leaves time to notice a"
                " mistake."
            )

    @property
    def longest(self) -> timedelta:
        """Return the longest time for which a rule keeps a recovery point."""
        return max(self.everything, self.daily, self.weekly, self.monthly, self.floor)


@dataclass(frozen=True, kw_only=True, slots=True)
class AgedPoint:
    """A recovery point with the fields that the rules need."""

    id: SnapshotId
    set_name: str
    state: State
    moment: datetime  # its time, from `point_times`
    stored: datetime  # time of its put, by the store's clock
    erased: datetime | None = None  # time of the erasure of its domain


def parse_period(text: str) -> timedelta:
    """Parse "35d", "12w", "6m" or "7y".

    A month counts as 31 days and a year as 366, so no recovery point expires too early.
    """
    match = _PERIOD.fullmatch(text)
    if match is None:
        raise UsageError(f"period {text!r}: not valid. Write it like 35d, 12w or 7y.")
    return timedelta(days=int(match[1]) * _DAYS_PER_UNIT[match[2]])


def point_times(claims: Iterable[tuple[datetime, datetime]]) -> list[datetime]:
    """Return the times of a writer's recovery points, in order of sequence.

    `claims` has the writer's time and the store's time of each recovery point.
    """
    times: list[datetime] = []
    for claimed, stored in claims:
        not_earlier = max(claimed, times[-1]) if times else claimed
        times.append(min(not_earlier, stored))
    return times


def expiry_times(
    points: Sequence[AgedPoint], rules: RetentionRules
) -> Mapping[SnapshotId, datetime | None]:
    """Return the time at which each recovery point expires, or None if never.

    `points` are all unexpired recovery points; those of a writer are in order of sequence. The
    result assumes that no recovery point is added.
    """
    sets: dict[tuple[str, str], list[AgedPoint]] = {}
    for point in points:
        sets.setdefault((point.id[0], point.set_name), []).append(point)
    times: dict[SnapshotId, datetime | None] = {}
    for set_points in sets.values():
        times.update(_set_expiry_times(set_points, rules))
    return times


def _set_expiry_times(
    points: list[AgedPoint], rules: RetentionRules
) -> dict[SnapshotId, datetime | None]:
    ended = [point for point in points if point.state != "interim" and point.erased is None]
    newest = {point.id for point in ended[-1:]}
    newest |= {point.id for point in [p for p in ended if p.state == "complete"][-1:]}
    kept_for = dict.fromkeys((point.id for point in ended), rules.everything)
    for rule, name in ((rules.daily, _day), (rules.weekly, _week), (rules.monthly, _month)):
        for id_ in _last_per_period(ended, name):
            kept_for[id_] = max(kept_for[id_], rule)
    last_ended = ended[-1].id[1] if ended else 0
    times: dict[SnapshotId, datetime | None] = {}
    for point in points:
        floor = point.stored + rules.floor
        if point.erased is not None:
            times[point.id] = max(floor, point.erased + rules.floor)
        elif point.state == "interim":
            times[point.id] = floor if point.id[1] < last_ended else None
        elif point.id in newest:
            times[point.id] = None
        else:
            times[point.id] = max(floor, point.moment + kept_for[point.id])
    return times


def _last_per_period(
    points: list[AgedPoint], name: Callable[[date], tuple[int, ...]]
) -> Iterable[SnapshotId]:
    last: dict[tuple[int, ...], AgedPoint] = {}
    for point in points:
        key = name(point.moment.date())
        previous = last.get(key)
        if previous is None or point.state == "complete" or previous.state != "complete":
            last[key] = point
    return [point.id for point in last.values()]


def _day(day: date) -> tuple[int, ...]:
    return (day.toordinal(),)


def _week(day: date) -> tuple[int, ...]:
    return tuple(day.isocalendar()[:2])


def _month(day: date) -> tuple[int, ...]:
    return (day.year, day.month)
