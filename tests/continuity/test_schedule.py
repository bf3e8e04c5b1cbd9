"""When a run was due last."""

from datetime import UTC, datetime

import pytest

from standfast.continuity.schedule import is_missed, last_due
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


def test_a_time_that_the_clock_skips_is_due_right_after() -> None:
    # Berlin goes from 02:00 to 03:00 on 29 March 2026.
    assert last_due(NIGHTLY, "Europe/Berlin", at("2026-03-29T12:00")) == at("2026-03-29T01:00")


def test_a_time_that_the_clock_repeats_is_due_once() -> None:
    # Berlin goes from 03:00 back to 02:00 on 25 October 2026, at 01:00 UTC.
    due = {last_due(NIGHTLY, "Europe/Berlin", at(f"2026-10-25T{hour:02}:59")) for hour in range(24)}
    assert due == {at("2026-10-24T00:30"), at("2026-10-25T00:30")}


@pytest.mark.parametrize("cron", ["0 0 30 2 *", "nonsense"])
def test_a_schedule_that_never_comes_is_refused(cron: str) -> None:
    with pytest.raises(ConfigurationError, match="never comes"):
        last_due(cron, "UTC", at("2026-11-25T03:00"))


def test_a_run_at_the_due_moment_is_not_missed() -> None:
    due = at("2026-11-25T02:30")
    assert not is_missed(due, due)
    assert is_missed(due, at("2026-11-25T02:29"))


def test_a_set_that_never_ran_is_missed() -> None:
    assert is_missed(at("2026-11-25T02:30"), None)
