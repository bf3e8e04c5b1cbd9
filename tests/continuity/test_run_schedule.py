"""Due times of scheduled runs."""

from datetime import UTC, datetime, timedelta
from itertools import takewhile
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim

from standfast.continuity.run_schedule import is_missed, last_due, oldest_allowed
from standfast.errors import ConfigurationError

NIGHTLY = "30 2 * * *"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_the_moment_itself_is_due() -> None:
    assert last_due(NIGHTLY, "UTC", at("2026-11-25T02:30")) == at("2026-11-25T02:30")
    assert last_due(NIGHTLY, "UTC", at("2026-11-25T02:29:59")) == at("2026-11-24T02:30")


def test_a_schedule_stands_in_its_own_time_zone() -> None:
    assert last_due(NIGHTLY, "Europe/Berlin", at("2026-07-01T12:00")) == at("2026-07-01T00:30")
    assert last_due(NIGHTLY, "Europe/Berlin", at("2026-12-01T12:00")) == at("2026-12-01T01:30")


def test_skipped_time_is_due_right_after() -> None:
    # Berlin goes from 02:00 to 03:00 on 29 March 2026.
    assert last_due(NIGHTLY, "Europe/Berlin", at("2026-03-29T12:00")) == at("2026-03-29T01:00")


def test_repeated_time_is_due_once() -> None:
    # Berlin goes from 03:00 back to 02:00 on 25 October 2026, at 01:00 UTC.
    midnight = at("2026-10-25T00:00")
    for minutes in range(24 * 60):
        due = last_due(NIGHTLY, "Europe/Berlin", midnight + timedelta(minutes=minutes))
        assert due == at("2026-10-24T00:30" if minutes < 30 else "2026-10-25T00:30"), minutes


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        ("Europe/Berlin", "2027-03-27"),
        ("Europe/Berlin", "2027-10-30"),
        ("America/Los_Angeles", "2027-11-06"),
        ("Australia/Lord_Howe", "2027-04-03"),  # by half an hour
        ("Antarctica/Troll", "2027-10-30"),  # by two
        ("America/Santiago", "2027-04-03"),  # at midnight
        ("Europe/Berlin", "2028-02-28"),
        ("UTC", "2026-12-30"),
    ],
)
@pytest.mark.parametrize("cron", [NIGHTLY, "0 0 * * *", "*/20 * * * *", "0 1 1 * *"])
def test_newest_due_time_is_returned(cron: str, zone: str, day: str) -> None:
    begin = at(day)
    forward = CronSim(cron, (begin - timedelta(days=40)).astimezone(ZoneInfo(zone)))
    in_utc = (run.astimezone(UTC) for run in forward)
    runs = [*takewhile(lambda run: run < begin + timedelta(days=3), in_utc)]
    for minutes in range(0, 2 * 24 * 60, 7):
        now = begin + timedelta(minutes=minutes)
        assert last_due(cron, zone, now) == max(run for run in runs if run <= now), now


@pytest.mark.parametrize("cron", ["0 0 30 2 *", "nonsense"])
def test_a_schedule_that_never_comes_is_refused(cron: str) -> None:
    with pytest.raises(ConfigurationError, match="never runs"):
        last_due(cron, "UTC", at("2026-11-25T03:00"))


def test_run_at_the_due_time_is_not_missed() -> None:
    due = at("2026-11-25T02:30")
    assert not is_missed(due, due)
    assert is_missed(due, at("2026-11-25T02:29"))


def test_a_set_that_never_ran_is_missed() -> None:
    assert is_missed(at("2026-11-25T02:30"), None)


def test_twice_the_interval_is_too_old() -> None:
    assert oldest_allowed(NIGHTLY, "UTC", at("2026-11-25T02:30")) == timedelta(days=2)
    assert oldest_allowed(NIGHTLY, "UTC", at("2026-11-26T02:29")) == timedelta(days=2)


@pytest.mark.parametrize(
    ("cron", "newest", "later"),
    [
        ("0 2 * * 1-5", "2026-11-27T02:00", "2026-11-30T01:59"),  # Friday's, until Monday's comes
        ("0 8-18 * * *", "2026-11-27T18:00", "2026-11-28T07:59"),
        ("0 6 1 1,2 *", "2026-02-01T06:00", "2026-12-31T23:59"),
    ],
)
def test_nothing_is_too_old_because_its_schedule_rests(cron: str, newest: str, later: str) -> None:
    assert oldest_allowed(cron, "UTC", at(later)) >= at(later) - at(newest)


def test_pause_hides_no_two_missed_runs() -> None:
    sunday = at("2026-11-29T12:00")
    assert oldest_allowed("0 2 * * 1-5", "UTC", sunday) < sunday - at("2026-11-25T02:00")
