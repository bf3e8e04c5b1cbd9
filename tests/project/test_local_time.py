"""Moments in the time zone of their readers."""

from datetime import UTC, datetime

import pytest

from standfast.local_time import is_zone, minute, second
from standfast.notices.localized_dates import in_language, is_unclear
from standfast.reports.html_page import Clock

WINTER = datetime(2026, 1, 15, 23, 30, 5, tzinfo=UTC)
SUMMER = datetime(2026, 7, 15, 23, 30, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "winter", "summer"),
    [
        ("UTC", "2026-01-15 23:30 UTC", "2026-07-15 23:30 UTC"),
        ("Europe/Berlin", "2026-01-16 00:30 CET", "2026-07-16 01:30 CEST"),
        ("Asia/Kolkata", "2026-01-16 05:00 IST", "2026-07-16 05:00 IST"),
        ("America/Sao_Paulo", "2026-01-15 20:30 UTC-03", "2026-07-15 20:30 UTC-03"),
    ],
)
def test_moment_names_its_zone(zone: str, winter: str, summer: str) -> None:
    assert (minute(WINTER, zone), minute(SUMMER, zone)) == (winter, summer)
    assert second(WINTER, zone) == winter.replace(":30 ", ":30:05 ").replace(":00 ", ":00:05 ")
    # A reminder carries it as a date, in each language.
    assert not is_unclear(winter)
    assert in_language(winter, "de").endswith(winter[10:])
    assert "Januar" in in_language(winter, "de")


def test_what_is_no_zone_is_told_apart() -> None:
    assert [is_zone(name) for name in ("Europe/London", "Mars/Olympus", "Europe", "", "../x")] == [
        True,
        False,
        False,
        False,
        False,
    ]


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York", "UTC"])
def test_extreme_moments_can_be_shown(zone: str) -> None:
    """A compromised host may give a recovery point such a date."""
    assert second(datetime.max.replace(tzinfo=UTC), zone).startswith("9999-12-31 ")
    assert "-01-01 " in second(datetime.min.replace(tzinfo=UTC), zone)
    assert Clock(zone).day(datetime.max.replace(tzinfo=UTC)).startswith("31 Dec 9999")
