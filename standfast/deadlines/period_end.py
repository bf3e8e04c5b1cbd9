"""End of a period of hours, calendar days, working days or months.

A period starts with an event, such as the detection of an incident. It has two ends:
- The strict end: an act until then is in time under every interpretation of the rules. Hours run
  from the minute of the event. Weekends and holidays do not move the last day. Business days skip
  only nation-wide holidays.
- The lenient end: the latest end that the law's rules of counting allow.

Rules
- The European rules are in Regulation (EEC, Euratom) No 1182/71, Art. 3. The hour or the day of the
  event is not counted. A period that is not in hours and ends on a Saturday, Sunday or holiday ends
  with the next working day. A period of months ends on the same date of the last month, or on its
  last day.
- In American law, Fed. R. Civ. P. 6(a)(1) and equivalent State rules extend the last day in the
  same way. 6(a)(2) also extends periods of hours, but no American duty in `obligations.jsonl` has
  such a period.
- Hours are elapsed hours: 72 hours are 72 hours, even if summer time begins or ends. Days end at
  local midnight in the given time zone.
- In a hold (a period in which a notice must not be sent), `legal_clocks` uses the later end as the
  strict end: after it, a notice is allowed under every interpretation.
"""

from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from zoneinfo import ZoneInfo

from standfast.deadlines.obligations import Unit
from standfast.deadlines.working_days import WorkingDays

_LONGEST_DAYS = 3660


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The strict and the lenient end of a period, in UTC."""

    strict: datetime
    lenient: datetime


def end_of(value: int, unit: Unit, start: datetime, zone: ZoneInfo, days: WorkingDays) -> Reading:
    """Return the end of a period of `value` units after an event at `start`.

    Raise ValueError for a period that is not positive or longer than ten years.
    """
    if not 0 < value <= {Unit.HOURS: _LONGEST_DAYS * 24, Unit.MONTHS: 120}.get(unit, _LONGEST_DAYS):
        raise ValueError(f"a period of {value} {unit} is out of range")
    match unit:
        case Unit.HOURS:
            return _hours(value, start, days)
        case Unit.CALENDAR_DAYS:
            last = _day_of(start, zone) + timedelta(days=value)
            return _ends(last, days.next_working_day(last), zone)
        case Unit.MONTHS:
            last = months_later(_day_of(start, zone), value)
            return _ends(last, days.next_working_day(last), zone)
        case Unit.BUSINESS_DAYS:
            event = _day_of(start, zone)
            return _ends(
                days.nth_working_day_after(event, value, is_strict=True),
                days.nth_working_day_after(event, value),
                zone,
            )


def end_of_year(value: int, start: datetime, zone: ZoneInfo, days: WorkingDays) -> Reading:
    """Return the end of a period of `value` days after the year of `start`.

    Source: 45 CFR 164.408(c).
    """
    last = date(_day_of(start, zone).year, 12, 31) + timedelta(days=value)
    return _ends(last, days.next_working_day(last), zone)


def months_later(day: date, months: int) -> date:
    """Return the same date `months` later, or the last day of that month.

    Source: Regulation 1182/71, Art. 3(2)(c).
    """
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))


def _hours(value: int, start: datetime, days: WorkingDays) -> Reading:
    start = start.astimezone(UTC)
    strict = start + timedelta(hours=value)
    if not days.skips_hour_of_event:
        return Reading(strict=strict, lenient=strict)
    whole = start.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    return Reading(strict=strict, lenient=whole + timedelta(hours=value))


def _ends(strict: date, lenient: date, zone: ZoneInfo) -> Reading:
    return Reading(strict=_midnight_after(strict, zone), lenient=_midnight_after(lenient, zone))


def _day_of(moment: datetime, zone: ZoneInfo) -> date:
    return moment.astimezone(zone).date()


def _midnight_after(day: date, zone: ZoneInfo) -> datetime:
    """Return the local midnight at the end of a day.

    The day has 23, 24 or 25 hours, because summer time may begin or end on it.
    """
    return datetime.combine(day + timedelta(days=1), time_of_day(), zone).astimezone(UTC)
