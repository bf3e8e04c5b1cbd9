"""Rota of the people on call: duties, their order and their changes.

The rota is the plan of the people on call. A duty is a period in which people are paged first.

Rules
- Times of the rota are local. A time that the clock skips in spring is read as an hour later. A
  time that occurs twice in autumn means its first occurrence. The end of a shift and the start of
  the next shift are computed in the same way, so that a change of the clock makes no gap.
- If shifts overlap, all their people are on duty, in the order of the shifts.
- An override is a configured exception for a period: its people replace everybody on duty. If
  overrides overlap, the people of all of them are on duty.
- A period includes its start and excludes its end.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from standfast.config.sections.on_call import DAYS, OverrideConfig, ShiftConfig
from standfast.records import Json, timestamp

_DAY = timedelta(days=1)
_WEEK_DAYS = 7


@dataclass(frozen=True, kw_only=True)
class Duty:
    """The people on duty from `start` to `end`, in the order of paging."""

    start: datetime
    end: datetime
    people: tuple[str, ...]  # sign-in names; empty: nobody is on duty

    def as_json(self) -> dict[str, Json]:
        """Return the JSON form."""
        return {
            "start": timestamp(self.start),
            "end": timestamp(self.end),
            "people": list(self.people),
        }


def shift_duties(
    shifts: Iterable[ShiftConfig], time_zone: str, since: datetime, until: datetime
) -> list[Duty]:
    """Return the duties of weekly shifts that overlap a period."""
    zone = ZoneInfo(time_zone)
    return [
        duty
        for shift in shifts
        for day in _days(since.astimezone(zone).date() - _DAY, until.astimezone(zone).date())
        if DAYS[day.weekday()] in shift.days
        and (duty := _duty_of_day(shift, day, zone)).end > since
        and duty.start < until
    ]


def override_duties(overrides: Iterable[OverrideConfig], time_zone: str) -> list[Duty]:
    """Return the duties of overrides, which replace those of shifts."""
    zone = ZoneInfo(time_zone)
    return [
        Duty(
            start=_in_utc(datetime.fromisoformat(override.start), zone),
            end=_in_utc(datetime.fromisoformat(override.end), zone),
            people=override.people,
        )
        for override in overrides
    ]


def merged(
    duties: Sequence[Duty], overrides: Sequence[Duty], since: datetime, until: datetime
) -> list[Duty]:
    """Return the duties of a period without gaps and overlaps, in order.

    If nobody is on duty for some time, this time has a duty without people.
    """
    bounds = {since, until}
    for duty in (*duties, *overrides):
        bounds |= {moment for moment in (duty.start, duty.end) if since < moment < until}
    found: list[Duty] = []
    for start, end in pairwise(sorted(bounds)):
        people = _people_at(overrides, start) or _people_at(duties, start)
        if found and found[-1].people == people:
            start = found.pop().start
        found.append(Duty(start=start, end=end, people=people))
    return found


def _people_at(duties: Iterable[Duty], moment: datetime) -> tuple[str, ...]:
    names = (name for duty in duties if duty.start <= moment < duty.end for name in duty.people)
    return tuple(dict.fromkeys(names))


def _days(first: date, last: date) -> Iterator[date]:
    for number in range((last - first).days + 1):
        yield first + number * _DAY


def _duty_of_day(shift: ShiftConfig, day: date, zone: ZoneInfo) -> Duty:
    start, end = time.fromisoformat(shift.start), time.fromisoformat(shift.end)
    last = day if end > start else day + _DAY
    week = (day - date.fromisoformat(shift.first_day)).days // _WEEK_DAYS
    return Duty(
        start=_in_utc(datetime.combine(day, start), zone),
        end=_in_utc(datetime.combine(last, end), zone),
        people=(shift.people[week % len(shift.people)],),
    )


def _in_utc(local: datetime, zone: ZoneInfo) -> datetime:
    return local.replace(tzinfo=zone).astimezone(UTC)
