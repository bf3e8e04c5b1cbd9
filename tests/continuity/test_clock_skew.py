"""The newest moment is found although a clock was once ahead."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from standfast.continuity.clock_skew import newest, newest_first

NOW = datetime(2026, 12, 1, 3, tzinfo=UTC)
HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Run:
    started_at: datetime


def test_a_moment_far_ahead_is_not_the_newest() -> None:
    assert newest([NOW - 2 * HOUR, NOW + 9000 * HOUR, NOW - 3 * HOUR], NOW) == NOW - 2 * HOUR
    assert newest([NOW + 2 * HOUR], NOW) is None
    assert newest([], NOW) is None


def test_corrected_clock_changes_no_order() -> None:
    assert newest([NOW - 24 * HOUR, NOW + HOUR], NOW) == NOW + HOUR


def test_future_moments_come_after_all_others() -> None:
    runs = [Run(NOW + hours * HOUR) for hours in (9000, 5000, -1, -50, 0)]
    order = [(run.started_at - NOW) / HOUR for run in newest_first(runs, NOW)]
    assert order == [0, -1, -50, 9000, 5000]
