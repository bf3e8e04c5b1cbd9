"""Order of moments after a clock was wrong.

A clock that was ahead for a day or a year leaves moments in the future. Code that treated the
highest moment as the newest would find only those, and report no backup as missed or too old.

Rules
- A moment more than an hour in the future comes from such a clock, and counts as the oldest.
- A moment that is less far in the future comes from a clock that was corrected by seconds, or from
  another machine.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

_MOST_AHEAD = timedelta(hours=1)


class Begun(Protocol):
    """An object with a start."""

    @property
    def started_at(self) -> datetime: ...


B = TypeVar("B", bound=Begun)


def horizon(now: datetime) -> datetime:
    """Return the latest plausible moment, given inaccurate clocks."""
    return now + _MOST_AHEAD


def is_to_come(moment: datetime, now: datetime) -> bool:
    """Return whether a moment is implausibly far in the future."""
    return moment > horizon(now)


def newest(moments: Iterable[datetime], now: datetime) -> datetime | None:
    """Return the newest plausible moment, or None."""
    return max((moment for moment in moments if not is_to_come(moment, now)), default=None)


def newest_first(rows: Iterable[B], now: datetime) -> list[B]:
    """Return the rows newest first, with those of the future last."""
    return sorted(
        rows, key=lambda row: (not is_to_come(row.started_at, now), row.started_at), reverse=True
    )
