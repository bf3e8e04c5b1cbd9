"""Record of one event in a log, and the conversion of its values.

Rules
- Every parser fills the same fields. A field that the log does not have is empty.
- Times are microseconds since 1970, UTC. A time without a zone is read as UTC, and marked.
- A sign-in has the action `sign-in`, and the result `success` or `failure`, in every format.
"""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

SIGN_IN, SUCCESS, FAILURE = "sign-in", "success", "failure"
LONGEST_TEXT = 64 * 1024  # characters of one event or value that are read
_LONGEST_COUNTRY = 100
_LAST_SECOND = 59  # the last second of a minute
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_AFTER = 253_402_300_800 * 10**6  # the beginning of the year 10000
_ISO = re.compile(
    r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))?\s?"
    r"(Z|UTC|GMT|[+-]\d\d(?::?\d\d)?(?::\d\d)?)?",
    re.ASCII,
)
LogTime: TypeAlias = tuple[int, bool]  # microseconds since 1970; `is_zone_assumed`


class Record(NamedTuple):
    """One event of a log."""

    at: int  # microseconds since 1970, UTC
    line: int  # the first line of the event in its file, from 1
    is_zone_assumed: bool = False
    account: str = ""
    address: str = ""
    action: str = ""
    object: str = ""
    result: str = ""
    device: str = ""
    place: str = ""  # COUNTRY, or COUNTRY LATITUDE LONGITUDE
    text: str = ""
    is_cut: bool = False  # True if a value or its line was longer than LONGEST_TEXT


def within_limits(record: Record) -> Record:
    """Return the record with each value cut to LONGEST_TEXT characters."""
    if max(map(len, record[3:11])) <= LONGEST_TEXT:
        return record
    return Record._make([*record[:3], *(value[:LONGEST_TEXT] for value in record[3:11]), True])


def parse_time(value: Any) -> LogTime | None:
    """Return the time of a value: ISO 8601, or a number since 1970; else None.

    The magnitude of a number decides its unit: seconds, milliseconds, microseconds or nanoseconds.
    """
    if isinstance(value, str):
        if match := _ISO.match(value):
            return _parse_iso(*match.groups(""))
        if not value.isdecimal() or len(value) > 19:
            return None
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        return None
    for limit, factor in ((10**11, 10**6), (10**14, 10**3), (10**17, 1)):
        if value < limit:
            return _in_range(int(value * factor), False)
    return _in_range(int(value) // 1000, False) if value < 10**20 else None


def find_time(text: str) -> LogTime | None:
    """Return the first ISO time in a text."""
    match = _ISO.search(text)
    return _parse_iso(*match.groups("")) if match else None


def time_of_datetime(value: datetime) -> LogTime | None:
    """Return the time of an aware datetime; None out of range."""
    return _in_range(microseconds(value), False)


def microseconds(value: datetime) -> int:
    """Return an aware datetime in microseconds since 1970."""
    return (value - _EPOCH) // _MICROSECOND


def as_datetime(at: int) -> datetime:
    """Return the time of a record."""
    return _EPOCH + timedelta(microseconds=at)


def text_of(value: Any) -> str:
    """Return a value of JSON as text; "" for null, lists and objects."""
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, list | dict):
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def inner(value: Any, *path: str | int) -> Any:
    """Return the value at a path of keys and indexes; None if one is missing."""
    for key in path:
        if isinstance(value, dict):
            value = value.get(key)
        elif isinstance(value, list) and isinstance(key, int) and key < len(value):
            value = value[key]
        else:
            return None
    return value


def place(country: Any, latitude: Any, longitude: Any) -> str:
    """Return a place as text; omit coordinates that are not valid."""
    name = text_of(country)[:_LONGEST_COUNTRY].replace(" ", "-")
    are_numbers = isinstance(latitude, int | float) and isinstance(longitude, int | float)
    if are_numbers and -90 <= latitude <= 90 and -180 <= longitude <= 180:
        return f"{name or '-'} {latitude:g} {longitude:g}"
    return name


def _parse_iso(day: str, clock: str, fraction: str, zone: str) -> LogTime | None:
    minute, second = _minute(f"{day} {clock[:5]}", zone), int(clock[6:])
    if minute is None or second > _LAST_SECOND:
        return None
    at = minute + second * 10**6
    return _in_range(at + int(f"{fraction[:6]:0<6}") if fraction else at, not zone)


@lru_cache(maxsize=4096)
def _minute(text: str, zone: str) -> int | None:
    """Return the start of a minute; cached, because most lines repeat it."""
    offset = "+00:00" if zone in ("", "Z", "UTC", "GMT") else zone
    try:
        read = datetime.fromisoformat(text + offset)
    except ValueError:
        return None
    return microseconds(read)


def _in_range(at: int, is_assumed: bool) -> LogTime | None:
    return (at, is_assumed) if 0 <= at < _AFTER else None
