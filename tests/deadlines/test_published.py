"""Due dates that others published, compared with ours.

Each line is an event, a period and the day of the page. The pages count to the latest possible day
and roll a Saturday, Sunday or holiday over: our lenient reading. They were read on 2026-11-26.
Where two pages disagree, neither is included.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from standfast.deadlines.obligations import Unit
from standfast.deadlines.period_end import end_of
from standfast.deadlines.working_days import working_days

UNITS = {
    "h": Unit.HOURS,
    "d": Unit.CALENDAR_DAYS,
    "b": Unit.BUSINESS_DAYS,
    "m": Unit.MONTHS,
}


@dataclass(frozen=True)
class Page:
    """A published example: its page, event, period and end."""

    source: str
    lines: str
    place: str = "US federal"
    zone: str = "America/New_York"
    country: str = ""


# Periods of the Exchange Act, which Rule 0-3 rolls as Fed. R. Civ. P. 6(a)(1) does: annual reports
# 60, 75 and 90 days after the year, quarterly ones 40 and 45 after the quarter, 15 and 5 days more
# on a notice of lateness, which is due on the next business day.
PAGES = (
    Page(
        "https://docslib.org/doc/4491450/2020-edgar-filing-calendar",
        """
        2019-12-31 60d 2020-03-02
        2019-12-31 75d 2020-03-16
        2019-12-31 90d 2020-03-30
        2019-12-31 120d 2020-04-29
        2019-12-31 45d 2020-02-14
        2019-12-31 4m 2020-04-30
        2020-03-02 1b 2020-03-03
        2020-03-02 15d 2020-03-17
        2020-03-16 15d 2020-03-31
        2020-03-30 15d 2020-04-14
        2020-03-31 40d 2020-05-11
        2020-03-31 45d 2020-05-15
        2020-04-30 1b 2020-05-01
        2020-04-30 15d 2020-05-15
        2020-05-11 5d 2020-05-18
        2020-05-15 1b 2020-05-18
        2020-05-15 5d 2020-05-20
        2020-06-30 40d 2020-08-10
        2020-06-30 45d 2020-08-14
        2020-08-10 5d 2020-08-17
        2020-08-14 1b 2020-08-17
        2020-08-14 5d 2020-08-19
        2020-09-30 40d 2020-11-09
        2020-09-30 45d 2020-11-16
        2020-11-09 5d 2020-11-16
        2020-11-16 5d 2020-11-23
        """,
    ),
    Page(
        "https://docslib.org/doc/1135601/edgar-filing-calendar-customer-service-877-432-3342-2021-sec"
        "-filing-deadlines-and-holidays-edgarfilings-broadridge-com",
        """
        2020-12-31 60d 2021-03-01
        2020-12-31 75d 2021-03-16
        2020-12-31 90d 2021-03-31
        2020-12-31 120d 2021-04-30
        2020-12-31 45d 2021-02-16
        2020-12-31 4m 2021-04-30
        2021-03-16 15d 2021-03-31
        2021-03-31 15d 2021-04-15
        2021-03-31 40d 2021-05-10
        2021-03-31 45d 2021-05-17
        2021-04-30 1b 2021-05-03
        2021-04-30 15d 2021-05-17
        2021-05-10 5d 2021-05-17
        2021-05-17 5d 2021-05-24
        2021-06-30 40d 2021-08-09
        2021-06-30 45d 2021-08-16
        2021-08-09 5d 2021-08-16
        2021-08-16 5d 2021-08-23
        2021-09-30 40d 2021-11-09
        2021-09-30 45d 2021-11-15
        2021-11-09 5d 2021-11-15
        2021-11-15 5d 2021-11-22
        """,
    ),
    Page(
        "https://docslib.org/doc/2010039/calendar-2021-sec-filing-calendar",
        """
        2020-12-31 40d 2021-02-09
        2021-02-09 5d 2021-02-16
        2021-06-30 60d 2021-08-30
        2021-06-30 75d 2021-09-13
        2021-06-30 90d 2021-09-28
        2021-08-30 15d 2021-09-14
        """,
    ),
    Page(
        "https://edgarsolutions.com/resources/sec-filing-calendar/",
        """
        2021-12-31 60d 2022-03-01
        2021-12-31 75d 2022-03-16
        2021-12-31 90d 2022-03-31
        2022-03-31 15d 2022-04-15
        2022-03-31 45d 2022-05-16
        2022-05-10 5d 2022-05-16
        2022-05-16 5d 2022-05-23
        2022-06-30 45d 2022-08-15
        2022-08-15 5d 2022-08-22
        2022-09-30 45d 2022-11-14
        2022-11-14 5d 2022-11-21
        2022-12-31 60d 2023-03-01
        2023-03-31 15d 2023-04-17
        2023-05-15 5d 2023-05-22
        2023-08-14 5d 2023-08-21
        2023-11-14 5d 2023-11-20
        """,
    ),
    Page(
        "https://www.borerfinancial.com/sec-filing-deadlines/",
        """
        2023-12-31 60d 2024-02-29
        2023-12-31 75d 2024-03-15
        2023-12-31 90d 2024-04-01
        2024-02-29 1b 2024-03-01
        2024-02-29 15d 2024-03-15
        2024-03-15 1b 2024-03-18
        2024-03-15 15d 2024-04-01
        2024-04-01 15d 2024-04-16
        2024-03-31 45d 2024-05-15
        2024-05-10 1b 2024-05-13
        2024-06-30 40d 2024-08-09
        2024-09-30 40d 2024-11-12
        2024-09-30 45d 2024-11-14
        2024-11-12 5d 2024-11-18
        """,
    ),
    Page(
        "https://www.securexfilings.com/sec-holidays-deadlines-resources/",
        """
        2023-10-31 40d 2023-12-11
        2023-10-31 60d 2024-01-02
        2023-11-30 40d 2024-01-09
        2023-11-30 60d 2024-01-29
        """,
    ),
    # Art. 33 GDPR by Regulation 1182/71, the end on Christmas Day not rolled.
    Page(
        "https://mkm-datenschutz.de/72-stunden-sind-72-stunden-oder-doch-laenger/",
        """
        2020-12-22T12:17 72h 2020-12-25T13:00
        2020-12-22T12:59 72h 2020-12-25T13:00
        """,
        place="EU/EEA",
        zone="Europe/Berlin",
        country="DE",
    ),
    # A month by the British authority, which names no year: one in which no day of rest is met.
    Page(
        "https://ico.org.uk/global/sar-checklist-for-smes/i-need-to-complete-a-sar",
        "2025-09-03 1m 2025-10-03",
        place="UK",
        zone="Europe/London",
    ),
    Page(
        "https://www.lexology.com/library/detail.aspx?g=ff847e97-aa21-4a2d-be47-eb979808f6ae",
        """
        2025-08-01T23:59 1m 2025-09-01
        2025-01-30 1m 2025-02-28
        """,
        place="UK",
        zone="Europe/London",
    ),
)


@dataclass(frozen=True)
class Published:
    """One line of a page."""

    page: Page
    event: str
    value: int
    unit: Unit
    due: str


def published() -> Iterator[Published]:
    for page in PAGES:
        for line in page.lines.split("\n"):
            if line.strip():
                event, period, due = line.split()
                yield Published(page, event, int(period[:-1]), UNITS[period[-1]], due)


EXAMPLES = list(published())


def in_utc(text: str, zone: ZoneInfo, *, is_end: bool) -> datetime:
    """Convert a local moment; a day means its noon, an end its midnight."""
    if "T" in text:
        return datetime.fromisoformat(text).replace(tzinfo=zone).astimezone(UTC)
    day = date.fromisoformat(text) + timedelta(days=is_end)
    return datetime.combine(day, time(0 if is_end else 12), zone).astimezone(UTC)


def test_published_dates_cover_every_unit() -> None:
    told = {(one.event, one.value, one.unit, one.page.place) for one in EXAMPLES}
    assert len(told) == len(EXAMPLES) >= 60
    assert {one.unit for one in EXAMPLES} == set(Unit)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda one: f"{one.event} {one.value} {one.unit}")
def test_a_period_ends_when_the_page_says(example: Published) -> None:
    zone = ZoneInfo(example.page.zone)
    days = working_days(example.page.place, example.page.country)
    event = in_utc(example.event, zone, is_end=False)
    found = end_of(example.value, example.unit, event, zone, days)
    assert found.lenient == in_utc(example.due, zone, is_end=True)
    assert found.strict <= found.lenient
    if example.unit is Unit.CALENDAR_DAYS:  # strict, nothing rolls
        last = date.fromisoformat(example.event) + timedelta(days=example.value)
        assert found.strict == in_utc(last.isoformat(), zone, is_end=True)
