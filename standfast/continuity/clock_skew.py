"""Moments from wrong clocks: a time in the far future counts as oldest.

If a clock was ahead for a day or a year, it recorded moments that are still in the future. A backup
with such a moment would always seem to be the newest, and missing backups would not be noticed.

Rules
- A moment more than an hour in the future comes from a wrong clock, and is treated as the oldest.
- A moment that is less far in the future is plausible: a clock was corrected by seconds, or the
  clock of another machine recorded the moment.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

_MOST_AHEAD = timedelta(hours=1)


class WithStartTime(Protocol):
    """An object that has a start time."""

    @property
    def started_at(self) -> datetime: ...


B = TypeVar("B", bound=WithStartTime)


def latest_plausible(now: datetime) -> datetime:
    """Return the latest plausible moment: an hour after `now`."""
    return now + _MOST_AHEAD


def is_in_far_future(moment: datetime, now: datetime) -> bool:
    """Return whether a moment is implausibly far in the future."""
    return moment > latest_plausible(now)


def newest(moments: Iterable[datetime], now: datetime) -> datetime | None:
    """Return the newest plausible moment, or None."""
    return max((moment for moment in moments if not is_in_far_future(moment, now)), default=None)


def newest_first(rows: Iterable[B], now: datetime) -> list[B]:
    """Return the rows newest first; rows in the implausible future are last."""
    return sorted(
        rows,
        key=lambda row: (not is_in_far_future(row.started_at, now), row.started_at),
        reverse=True,
    )
