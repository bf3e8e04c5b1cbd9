"""What was measured, against what was promised.

Rules
- Equal to the objective is met; what was never reached is missed.
- A recovery time counts only after a check of the service; without one it is not measured, and
  the promise counts neither as kept nor as missed.
- Times are whole milliseconds, rounded up, so that a report never flatters.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from standfast.continuity.clock_skew import is_to_come

_MILLISECOND = timedelta(milliseconds=1)


class RpoBasis(StrEnum):
    """From what the actual recovery point was measured."""

    LAST_CHANGE = "last_change"  # the newest change that was found in the restored data
    CONSISTENT_AT = "consistent_at"  # the moment that the recovery point is consistent at


@dataclass(frozen=True, kw_only=True)
class ObjectiveResult:
    """One service's objectives in one drill; None = not reached, so not measured."""

    service: str
    rto_promised_ms: int
    rto_actual_ms: int | None
    rpo_promised_ms: int
    rpo_actual_ms: int | None
    rpo_basis: RpoBasis
    mtpd_ms: int | None = None  # the maximum tolerable period of disruption, if one is named
    is_checked: bool = True  # a check of the service was made; without one the RTO is not measured
    is_checked_elsewhere: bool = False  # it has checks, and each is of another set

    @property
    def is_rto_met(self) -> bool:
        return (
            self.is_checked
            and self.rto_actual_ms is not None
            and self.rto_actual_ms <= self.rto_promised_ms
        )

    @property
    def is_rpo_met(self) -> bool:
        return self.rpo_actual_ms is not None and self.rpo_actual_ms <= self.rpo_promised_ms

    @property
    def is_met(self) -> bool:
        return self.is_rto_met and self.is_rpo_met

    @property
    def is_short(self) -> bool:
        """Return whether a promise was missed, or not measured though this drill was to do it."""
        is_excused = self.is_checked_elsewhere and not self.is_checked
        return not (self.is_rpo_met if is_excused else self.is_met)

    @property
    def is_beyond_mtpd(self) -> bool:
        if self.mtpd_ms is None or not self.is_checked:
            return False
        return self.rto_actual_ms is None or self.rto_actual_ms > self.mtpd_ms


def milliseconds(duration: timedelta) -> int:
    """Give whole milliseconds, rounded up; a clock that went backwards gives 0."""
    return max(0, -(-duration // _MILLISECOND))


def lost(since: datetime, declared_at: datetime) -> int | None:
    """Give the milliseconds of work that is lost since a moment.

    None where that is still to come: a clock stood wrong, and nobody can say how much it is.
    """
    return None if is_to_come(since, declared_at) else milliseconds(declared_at - since)


def minutes(count: int) -> int:
    """Give minutes as milliseconds."""
    return milliseconds(timedelta(minutes=count))


def between(start: datetime, end: datetime | None) -> int | None:
    """Give the milliseconds from `start` to `end`, or None when there was no end."""
    return None if end is None else milliseconds(end - start)
