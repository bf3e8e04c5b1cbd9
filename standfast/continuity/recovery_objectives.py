"""Comparison with RTO and RPO: met or missed, lost work, rounding.

Rules
- A measured time that equals its objective meets it. A service that never recovered misses it.
- A recovery time is measured only if a check of the service was executed. Without a check, the
  objective is neither met nor missed.
- Times are whole milliseconds, rounded up, so that no report shows them too low.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from standfast.continuity.clock_skew import is_in_far_future

_MILLISECOND = timedelta(milliseconds=1)


class RpoBasis(StrEnum):
    """The moment from which the lost work (the actual RPO) is measured."""

    LAST_CHANGE = "last_change"  # the newest change in the restored data
    CONSISTENT_AT = "consistent_at"  # the moment to which the recovery point is consistent


@dataclass(frozen=True, kw_only=True)
class ObjectiveResult:
    """One service's objectives, and the measured times of a recovery.

    The recovery may be a drill (test restore). A measured time is None if the service did not
    recover.
    """

    service: str
    rto_promised_ms: int
    rto_actual_ms: int | None
    rpo_promised_ms: int
    rpo_actual_ms: int | None
    rpo_basis: RpoBasis
    mtpd_ms: int | None = None  # the maximum tolerable period of disruption, if set
    is_checked: bool = True  # False if no check of the service was executed: no measured RTO
    is_checked_elsewhere: bool = False  # all checks of the service use other backup sets

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
        """Return whether an objective was missed, or unmeasured without reason."""
        is_excused = self.is_checked_elsewhere and not self.is_checked
        return not (self.is_rpo_met if is_excused else self.is_met)

    @property
    def is_beyond_mtpd(self) -> bool:
        if self.mtpd_ms is None or not self.is_checked:
            return False
        return self.rto_actual_ms is None or self.rto_actual_ms > self.mtpd_ms


def milliseconds(duration: timedelta) -> int:
    """Return whole milliseconds, rounded up; 0 if the clock went back."""
    return max(0, -(-duration // _MILLISECOND))


def lost_work_ms(since: datetime, declared_at: datetime) -> int | None:
    """Return the lost work since a moment, in milliseconds.

    If the moment is in the future, a clock was wrong and the loss is unknown: return None.
    """
    return None if is_in_far_future(since, declared_at) else milliseconds(declared_at - since)


def minutes_to_ms(count: int) -> int:
    """Return minutes as milliseconds."""
    return milliseconds(timedelta(minutes=count))


def elapsed_ms(start: datetime, end: datetime | None) -> int | None:
    """Return the milliseconds from `start` to `end`; None without an end."""
    return None if end is None else milliseconds(end - start)
