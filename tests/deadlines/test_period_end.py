"""Ends of periods: published examples, and each rule at its edges.

A day in `strict` or `lenient` is the last day: the period ends with it. A moment is a moment.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from standfast.deadlines.obligations import Unit
from standfast.deadlines.period_end import end_of, end_of_year, months_later
from standfast.deadlines.working_days import working_days

H, D, B, M = Unit.HOURS, Unit.CALENDAR_DAYS, Unit.BUSINESS_DAYS, Unit.MONTHS
NEW_YORK, CHICAGO, LONDON = "America/New_York", "America/Chicago", "Europe/London"
BERLIN, PARIS, TOKYO = "Europe/Berlin", "Europe/Paris", "Asia/Tokyo"


@dataclass(frozen=True)
class Example:
    """One count: a period, a local event, and the two ends of the period."""

    why: str
    value: int
    unit: Unit
    place: str
    zone: str
    event: str
    strict: str
    lenient: str
    country: str = ""  # of the European authority


EXAMPLES = [
    # Published: Fed. R. Civ. P. 6, Advisory Committee's Notes on the 2009 amendment.
    Example("6(a)(2): the hour that winter time gives back counts", 72, H, "US federal", NEW_YORK,
            "2007-11-02 10:23", "2007-11-05 09:23", "2007-11-05 09:23"),
    Example("6(a)(5): the tenth day is a Saturday before Labor Day", 10, D, "US federal", NEW_YORK,
            "2007-08-22 12:00", "2007-09-01", "2007-09-04"),
    # Published: the SEC's four business days (Form 8-K, General Instruction B.1).
    Example("8-K: an agreement of a Tuesday is due on Monday", 4, B, "US federal", NEW_YORK,
            "2024-06-04 09:00", "2024-06-10", "2024-06-10"),
    Example("8-K: the event of a Saturday counts from Monday", 4, B, "US federal", NEW_YORK,
            "2024-06-08 09:00", "2024-06-13", "2024-06-13"),
    Example("8-K: the event of a holiday counts from the next day", 4, B, "US federal", NEW_YORK,
            "2024-09-02 09:00", "2024-09-06", "2024-09-06"),
    Example("8-K: Thanksgiving does not count", 4, B, "US federal", NEW_YORK,
            "2024-11-26 18:00", "2024-12-03", "2024-12-03"),
    Example("8-K: Christmas and New Year do not count", 4, B, "US federal", NEW_YORK,
            "2025-12-24 10:00", "2025-12-31", "2025-12-31"),
    Example("8-K: over New Year", 4, B, "US federal", NEW_YORK,
            "2025-12-30 10:00", "2026-01-06", "2026-01-06"),
    # Published: GDPR Art. 33 in a calculator of 72 continuous hours.
    Example("Art. 33: from a Sunday to Wednesday, the same minute", 72, H, "UK", "UTC",
            "2026-06-14 04:52", "2026-06-17 04:52", "2026-06-17 04:52"),
    # Regulation 1182/71, Art. 3(1) and 3(2)(a): the hour of the event does not count.
    Example("1182/71: lenient starts with the next hour", 72, H, "EU/EEA", BERLIN,
            "2026-03-02 14:20", "2026-03-05 14:20", "2026-03-05 15:00", "DE"),
    Example("1182/71: an event on the hour still lies in that hour", 72, H, "EU/EEA", BERLIN,
            "2026-03-02 14:00", "2026-03-05 14:00", "2026-03-05 15:00", "DE"),
    Example("1182/71: the last minute of an hour", 24, H, "EU/EEA", BERLIN,
            "2026-03-02 14:59", "2026-03-03 14:59", "2026-03-03 15:00", "DE"),
    Example("1182/71 Art. 3(4): hours do not roll, though they end on Sunday", 72, H, "EU/EEA",
            BERLIN, "2026-03-05 10:30", "2026-03-08 10:30", "2026-03-08 11:00", "DE"),
    Example("1182/71 Art. 3(4): hours do not roll on a holiday", 24, H, "EU", PARIS,
            "2026-07-13 09:15", "2026-07-14 09:15", "2026-07-14 10:00", "FR"),
    Example("DORA: four hours across midnight", 4, H, "EU", BERLIN,
            "2026-12-31 22:30", "2027-01-01 02:30", "2027-01-01 03:00", "DE"),
    Example("hours across the spring change: 72 are 72", 72, H, "EU/EEA", BERLIN,
            "2026-03-27 12:30", "2026-03-30 13:30", "2026-03-30 14:00", "DE"),
    Example("hours across the autumn change: 72 are 72", 72, H, "EU/EEA", BERLIN,
            "2026-10-23 12:30", "2026-10-26 11:30", "2026-10-26 12:00", "DE"),
    Example("British summer time begins", 72, H, "UK", LONDON,
            "2026-03-28 09:00", "2026-03-31 10:00", "2026-03-31 10:00"),
    Example("American summer time begins", 36, H, "US federal", NEW_YORK,
            "2026-03-07 12:00", "2026-03-09 01:00", "2026-03-09 01:00"),
    Example("a zone half an hour off: the hour is UTC's, as the count's", 24, H, "EU", "UTC",
            "2026-03-02 23:59", "2026-03-03 23:59", "2026-03-04 00:00", "DE"),
    Example("six hours over the end of a leap day", 6, H, "India", "Asia/Kolkata",
            "2028-02-29 20:00", "2028-03-01 02:00", "2028-03-01 02:00"),
    Example("an hour that the spring change leaves out", 1, H, "UK", LONDON,
            "2026-03-29 00:30", "2026-03-29 02:30", "2026-03-29 02:30"),
    # Regulation 1182/71, Art. 3(2)(c): months.
    Example("a month: the same date", 1, M, "EU", BERLIN,
            "2026-03-10 09:00", "2026-04-10", "2026-04-10", "DE"),
    Example("a month from 31 January: the last of February", 1, M, "EU", BERLIN,
            "2026-01-31 09:00", "2026-02-28", "2026-03-02", "DE"),
    Example("a month from 31 January in a leap year", 1, M, "EU", BERLIN,
            "2028-01-31 09:00", "2028-02-29", "2028-02-29", "DE"),
    Example("a month from 30 January in a leap year", 1, M, "EU", BERLIN,
            "2028-01-30 09:00", "2028-02-29", "2028-02-29", "DE"),
    Example("a month from 29 February: the 29th of March", 1, M, "EU", BERLIN,
            "2028-02-29 09:00", "2028-03-29", "2028-03-29", "DE"),
    Example("a month from 31 March: 30 April", 1, M, "EU", BERLIN,
            "2026-03-31 09:00", "2026-04-30", "2026-04-30", "DE"),
    Example("a month over the year's end ends on New Year's second day", 1, M, "EU", BERLIN,
            "2026-12-02 09:00", "2027-01-02", "2027-01-04", "DE"),
    Example("a month that ends on a Saturday rolls to Monday", 1, M, "EU", BERLIN,
            "2026-04-09 09:00", "2026-05-09", "2026-05-11", "DE"),
    Example("a month that ends on Labour Day rolls over the weekend", 1, M, "EU", BERLIN,
            "2026-04-01 09:00", "2026-05-01", "2026-05-04", "DE"),
    Example("without a country of the authority only weekends roll", 1, M, "EU", BERLIN,
            "2026-04-01 09:00", "2026-05-01", "2026-05-01"),
    Example("a month that ends on Good Friday", 1, M, "EU", BERLIN,
            "2026-03-03 09:00", "2026-04-03", "2026-04-07", "DE"),
    Example("a month that ends on the French national day", 1, M, "EU", PARIS,
            "2026-06-14 09:00", "2026-07-14", "2026-07-15", "FR"),
    # Calendar days: the day of the event never counts, and the last one counts to its midnight.
    Example("HIPAA: sixty days", 60, D, "US federal", NEW_YORK,
            "2026-01-05 15:00", "2026-03-06", "2026-03-06"),
    Example("HIPAA: sixty days over a leap day", 60, D, "US federal", NEW_YORK,
            "2028-01-05 15:00", "2028-03-05", "2028-03-06"),
    Example("one minute before midnight is still that day", 30, D, "US-CA", "America/Los_Angeles",
            "2026-03-02 23:59", "2026-04-01", "2026-04-01"),
    Example("one minute later is the next", 30, D, "US-CA", "America/Los_Angeles",
            "2026-03-03 00:00", "2026-04-02", "2026-04-02"),
    Example("the last day is Independence Day, kept on Friday", 30, D, "US-CO", "America/Denver",
            "2026-06-03 10:00", "2026-07-03", "2026-07-06"),
    Example("the last day is a Sunday before a Monday holiday", 45, D, "US-IN", NEW_YORK,
            "2026-07-23 10:00", "2026-09-06", "2026-09-08"),
    Example("the last day is Christmas on a Friday", 30, D, "US-FL", NEW_YORK,
            "2026-11-25 10:00", "2026-12-25", "2026-12-28"),
    Example("the last day is New Year's Day", 30, D, "US-NY", NEW_YORK,
            "2025-12-02 10:00", "2026-01-01", "2026-01-02"),
    Example("the last day is a State's own holiday: lenient alone rolls", 30, D, "US-CA",
            "America/Los_Angeles", "2026-03-01 10:00", "2026-03-31", "2026-04-01"),
    Example("the same day in a State that does not keep it", 30, D, "US-NY", NEW_YORK,
            "2026-03-01 10:00", "2026-03-31", "2026-03-31"),
    Example("three days in Singapore count the weekend", 3, D, "Singapore", "Asia/Singapore",
            "2026-03-05 10:00", "2026-03-08", "2026-03-09"),
    Example("thirty days in Japan end in Golden Week", 30, D, "Japan", TOKYO,
            "2026-04-04 10:00", "2026-05-04", "2026-05-07"),
    Example("ten days in Texas end on Presidents' Day", 10, D, "US-TX", CHICAGO,
            "2026-02-06 10:00", "2026-02-16", "2026-02-17"),
    Example("days across the spring change end at the wall's midnight", 3, D, "US federal",
            NEW_YORK, "2026-03-06 12:00", "2026-03-09", "2026-03-09"),
    Example("days across the autumn change end at the wall's midnight", 3, D, "US federal",
            NEW_YORK, "2026-10-30 12:00", "2026-11-02", "2026-11-02"),
    Example("sixty days from New Year's Eve", 60, D, "US-TX", CHICAGO,
            "2026-12-31 23:00", "2027-03-01", "2027-03-01"),
    Example("the event's day is the zone's, not UTC's", 15, D, "US-CA", "America/Los_Angeles",
            "2026-03-02 20:00", "2026-03-17", "2026-03-17"),
    # Business days.
    Example("FCC: seven business days over Memorial Day", 7, B, "US federal", NEW_YORK,
            "2026-05-20 09:00", "2026-06-01", "2026-06-01"),
    Example("Vermont: fourteen business days", 14, B, "US-VT", NEW_YORK,
            "2026-04-01 09:00", "2026-04-21", "2026-04-21"),
    Example("Vermont: Town Meeting Day counts in the strict reading only", 14, B, "US-VT", NEW_YORK,
            "2026-02-20 09:00", "2026-03-12", "2026-03-13"),
    Example("California: fifteen business days over Cesar Chavez Day", 15, B, "US-CA",
            "America/Los_Angeles", "2026-03-20 09:00", "2026-04-10", "2026-04-13"),
    Example("Iowa: five business days over Juneteenth", 5, B, "US-IA", CHICAGO,
            "2026-06-15 09:00", "2026-06-23", "2026-06-23"),
    Example("Brazil: three working days over Carnival's Friday before", 3, B, "Brazil",
            "America/Sao_Paulo", "2026-04-17 09:00", "2026-04-23", "2026-04-23"),
    Example("Brazil: over the weekend", 3, B, "Brazil", "America/Sao_Paulo",
            "2026-03-12 09:00", "2026-03-17", "2026-03-17"),
    Example("a contract's business days know no holidays", 2, B, "contract:acme", LONDON,
            "2026-12-24 09:00", "2026-12-28", "2026-12-28"),
    Example("one business day from Friday is Monday", 1, B, "UK", LONDON,
            "2026-06-05 16:00", "2026-06-08", "2026-06-08"),
    Example("Easter Monday is a holiday in England, and none in Scotland", 1, B, "UK", LONDON,
            "2026-04-02 16:00", "2026-04-06", "2026-04-07"),
    Example("Visa: ten business days over Labor Day", 10, B, "US federal", NEW_YORK,
            "2026-08-28 09:00", "2026-09-14", "2026-09-14"),
]  # fmt: skip


def in_utc(text: str, zone: ZoneInfo) -> datetime:
    """Read a moment, or the end of a day, on the wall's clock."""
    if len(text) == len("2026-01-01"):
        after = date.fromisoformat(text) + timedelta(days=1)
        return datetime.combine(after, time(), zone).astimezone(UTC)
    return datetime.fromisoformat(text).replace(tzinfo=zone).astimezone(UTC)


def test_there_are_sixty_examples_or_more() -> None:
    assert len({example.why for example in EXAMPLES}) == len(EXAMPLES) >= 60


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.why)
def test_a_period_ends_when_the_example_says(example: Example) -> None:
    zone = ZoneInfo(example.zone)
    days = working_days(example.place, example.country)
    found = end_of(example.value, example.unit, in_utc(example.event, zone), zone, days)
    assert found.strict == in_utc(example.strict, zone)
    assert found.lenient == in_utc(example.lenient, zone)


@pytest.mark.parametrize(
    ("discovered", "strict", "lenient"),
    [
        # As the press and HHS published them: 60 days after the year, so 29 February in leap years.
        ("2019-08-01 10:00", "2020-02-29", "2020-03-02"),
        ("2023-05-05 10:00", "2024-02-29", "2024-02-29"),
        ("2022-12-31 23:59", "2023-03-01", "2023-03-01"),
        ("2024-01-01 00:00", "2025-03-01", "2025-03-03"),
    ],
)
def test_small_breaches_are_due_after_sixty_days(
    discovered: str, strict: str, lenient: str
) -> None:
    zone = ZoneInfo(NEW_YORK)
    found = end_of_year(60, in_utc(discovered, zone), zone, working_days("US federal"))
    assert found.strict == in_utc(strict, zone)
    assert found.lenient == in_utc(lenient, zone)


def test_month_later_may_be_in_next_year() -> None:
    assert months_later(date(2026, 12, 31), 1) == date(2027, 1, 31)
    assert months_later(date(2026, 12, 31), 2) == date(2027, 2, 28)
    assert months_later(date(2027, 11, 30), 15) == date(2029, 2, 28)


@pytest.mark.parametrize(("value", "unit"), [(0, H), (-1, D), (10**6, H), (4000, B), (121, M)])
def test_a_period_that_is_none_is_refused(value: int, unit: Unit) -> None:
    with pytest.raises(ValueError, match="a period of"):
        end_of(value, unit, datetime(2026, 1, 1, tzinfo=UTC), ZoneInfo("UTC"), working_days("UK"))


def test_a_country_without_known_holidays_is_refused() -> None:
    with pytest.raises(ValueError, match="holidays are not known"):
        working_days("EU/EEA", "XX")
