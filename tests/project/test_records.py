"""Text form of moments."""

from datetime import UTC, datetime

import pytest

from standfast.records import moment, timestamp


@pytest.mark.parametrize("year", [1, 226, 2026, 9999])
def test_moment_round_trips_in_any_year(year: int) -> None:
    then = datetime(year, 3, 2, 14, 20, tzinfo=UTC)
    assert moment(timestamp(then)) == then
