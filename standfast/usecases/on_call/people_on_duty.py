"""People on duty: by shifts, overrides or an iCalendar file (RFC 5545).

The rota is the plan of the people on duty. A duty is a period with its people. An override replaces
the people on duty for some time.

Rules
- The title of an event in the file is the sign-in name of the person on duty. Repetitions of an
  event are read, with their exceptions and moved occurrences. A cancelled event is ignored.
- An event without a time zone, and an event of whole days, is in the time zone of the rota.
- Another system may write the file. Its size and the time to read it are therefore limited, and
  only people that are enrolled (registered) in Standfast can be paged.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from itertools import takewhile
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from standfast.config import Config
from standfast.continuity.on_call_rota import Duty, merged, override_duties, shift_duties
from standfast.errors import ConfigurationError
from standfast.time_limit import Deadline, within

_LARGEST_BYTES = 1024 * 1024
_LONGEST_SECONDS = 10.0
_LONGEST_NAME = 64
_FREQUENCIES = ("DAILY", "WEEKLY", "MONTHLY", "YEARLY")  # at most one repetition a day
_TIMES = ("BYHOUR", "BYMINUTE", "BYSECOND")  # with a list of values: several times a day


def calendar_duties(
    file: Path,
    time_zone: str,
    since: datetime,
    until: datetime,
    *,
    longest_seconds: float = _LONGEST_SECONDS,
) -> list[Duty]:
    """Return the duty of each event that overlaps the given period.

    The period is from `since` to `until`. Raise ConfigurationError for a file that cannot be read
    within `longest_seconds`.
    """
    zone, deadline = ZoneInfo(time_zone), Deadline(longest_seconds)
    try:
        found = within(longest_seconds, lambda: list(_duties(file, zone, since, until, deadline)))
    except ConfigurationError:
        raise
    except TimeoutError:
        raise _unreadable(file, f"it was not read in {longest_seconds:g} s") from None
    except Exception as error:  # the libraries name no class for their errors
        raise _unreadable(file, "it is not a calendar in iCalendar format") from error
    return sorted(found, key=lambda duty: (duty.start, duty.people))


def _duties(
    file: Path, zone: ZoneInfo, since: datetime, until: datetime, deadline: Deadline
) -> Iterator[Duty]:
    from icalendar import Calendar  # takes 0.1 s

    events = [
        _Event(event, zone)
        for event in Calendar.from_ical(_content(file)).walk("VEVENT")
        if str(event.get("STATUS", "")).upper() != "CANCELLED"
    ]
    moved = {(event.uid, event.replaces) for event in events if event.replaces is not None}
    for event in events:
        for start in event.starts(until, deadline):
            is_moved = event.replaces is None and (event.uid, event.in_utc(start)) in moved
            duty = Duty(
                start=event.in_utc(start),
                end=event.in_utc(start + event.length),
                people=(event.name,),
            )
            if not is_moved and duty.start < until and duty.end > since:
                yield duty


class _Event:
    """One event; its local times are in the time zone of its start."""

    def __init__(self, event: Mapping[str, Any], rota_zone: ZoneInfo) -> None:
        self.zone: tzinfo = getattr(event["DTSTART"].dt, "tzinfo", None) or rota_zone
        self.uid = str(event.get("UID", ""))
        title = "".join(filter(str.isprintable, str(event.get("SUMMARY", ""))))
        self.name = title.strip().casefold()[:_LONGEST_NAME]
        self.start = self._local(event["DTSTART"].dt)
        self.length: timedelta = (
            self._local(event["DTEND"].dt) - self.start
            if "DTEND" in event
            else event["DURATION"].dt
        )
        replaced = event.get("RECURRENCE-ID")
        self.replaces = self.in_utc(self._local(replaced.dt)) if replaced is not None else None
        self._rule: Any = event.get("RRULE")
        self._exceptions = {self._local(value) for value in _values(event, "EXDATE")}
        self._more = {self._local(value) for value in _values(event, "RDATE")}

    def in_utc(self, local: datetime) -> datetime:
        return local.replace(tzinfo=self.zone).astimezone(UTC)

    def starts(self, until: datetime, deadline: Deadline) -> Iterator[datetime]:
        """Yield the local start of each occurrence before `until`.

        Raise TimeoutError at the deadline: the caller no longer waits, and its thread must end.
        """
        found = {self.start, *self._more}
        if self._rule is not None:
            end = until.astimezone(self.zone).replace(tzinfo=None)
            for start in self._repeated(end):
                if not deadline.left_seconds():
                    raise TimeoutError
                found.add(start)
        yield from sorted(found - self._exceptions)

    def _repeated(self, until: datetime) -> Iterator[datetime]:
        from dateutil.rrule import rrulestr

        rule = dict(self._rule)
        if rule["FREQ"][0] not in _FREQUENCIES or any(
            len(rule.get(part, ())) > 1 for part in _TIMES
        ):
            raise ValueError("an event repeats more than once a day")
        # `UNTIL` may be a day, or a time in UTC; all other times of the rule are local.
        ends = [self._last(value) for value in rule.pop("UNTIL", ())]
        text = type(self._rule)(rule).to_ical().decode()
        last = min([until, *ends])
        yield from takewhile(lambda start: start <= last, rrulestr(text, dtstart=self.start))

    def _local(self, moment: date | datetime) -> datetime:
        if not isinstance(moment, datetime):
            return datetime.combine(moment, time())
        return moment.astimezone(self.zone).replace(tzinfo=None) if moment.tzinfo else moment

    def _last(self, moment: date | datetime) -> datetime:
        if not isinstance(moment, datetime):
            return datetime.combine(moment, time.max)
        return self._local(moment)


def _values(event: Mapping[str, Any], name: str) -> list[date | datetime]:
    """Return the values of EXDATE or RDATE, which may occur several times."""
    found = event.get(name)
    parts = found if isinstance(found, list) else [] if found is None else [found]
    return [value.dt for part in parts for value in part.dts]


def _content(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            content = stream.read(_LARGEST_BYTES + 1)
    except OSError as error:
        raise _unreadable(file, str(error.strerror)) from error
    if len(content) > _LARGEST_BYTES:
        raise _unreadable(file, "it is larger than 1 MiB")
    return content


def _unreadable(file: Path, cause: str) -> ConfigurationError:
    return ConfigurationError(
        f"on_call.calendar {file}: {cause}. Correct it; until then, the fallback is paged."
    )


_MOMENT = timedelta(microseconds=1)


def duties(config: Config, since: datetime, until: datetime) -> list[Duty]:
    """Return the duties from `since` to `until`, in order and without gaps.

    For a time in which nobody is on duty, the list has a duty without people. Raise
    ConfigurationError if the calendar cannot be read.
    """
    rota, zone = config.on_call, time_zone(config)
    found = shift_duties(rota.shifts, zone, since, until)
    if rota.calendar is not None:
        found = calendar_duties(rota.calendar, zone, since, until)
    return merged(found, override_duties(rota.overrides, zone), since, until)


def on_duty(config: Config, at: datetime) -> tuple[str, ...]:
    """Return the sign-in names of the people on duty, in the order of paging."""
    return duties(config, at, at + _MOMENT)[0].people


def time_zone(config: Config) -> str:
    """Return the time zone of the rota, the plan of the people on duty."""
    return config.on_call.time_zone or config.organisation.time_zone
