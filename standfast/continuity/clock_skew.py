"""What came last, although the clock once stood wrong. Pure.

A clock that stood ahead for a day or a year leaves moments that are still to come. Whoever takes
the highest for the newest finds those for as long, and nothing that came since: no night would be
missed, and nothing be too old.

Rules
- A moment that lies over an hour ahead was told by such a clock, and counts as the oldest.
- What lies ahead by less is a clock that was put right by seconds, or another machine's.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

_MOST_AHEAD = timedelta(hours=1)


class Begun(Protocol):
    """Anything that began once."""

    @property
    def started_at(self) -> datetime: ...


B = TypeVar("B", bound=Begun)


def horizon(now: datetime) -> datetime:
    """Give the latest moment at which something can have happened, as clocks go."""
    return now + _MOST_AHEAD


def is_to_come(moment: datetime, now: datetime) -> bool:
    """Can nothing have happened then, yet?"""
    return moment > horizon(now)


def newest(moments: Iterable[datetime], now: datetime) -> datetime | None:
    """Give the newest moment that can have been; None where there is none."""
    return max((moment for moment in moments if not is_to_come(moment, now)), default=None)


def newest_first(rows: Iterable[B], now: datetime) -> list[B]:
    """Sort what began, the newest first and what is still to come last."""
    return sorted(
        rows, key=lambda row: (not is_to_come(row.started_at, now), row.started_at), reverse=True
    )
