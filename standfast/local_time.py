"""Moments in the time zone of people; storage and `--json` use UTC."""

from datetime import date, datetime
from zoneinfo import ZoneInfo


def minute(moment: datetime, time_zone: str) -> str:
    """Return a moment with its zone: `2026-03-02 14:20 CET`."""
    return _format(moment, time_zone, "%Y-%m-%d %H:%M")


def second(moment: datetime, time_zone: str) -> str:
    """Return a moment to the second, with its zone: `2026-03-02 14:20:05 CET`."""
    return _format(moment, time_zone, "%Y-%m-%d %H:%M:%S")


def day(moment: datetime, time_zone: str) -> date:
    """Return the date of a moment in a zone."""
    return in_zone(moment, _zone(time_zone)).date()


def is_zone(name: str) -> bool:
    """Return whether a time zone has this name."""
    try:
        _zone(name)
    except (KeyError, ValueError, OSError):  # OSError: the name is a folder of zones
        return False
    return True


def in_zone(moment: datetime, zone: ZoneInfo) -> datetime:
    """Convert a moment to a zone; the extreme moments stay unchanged."""
    try:
        return moment.astimezone(zone)
    except OverflowError:
        return moment


def _format(moment: datetime, time_zone: str, form: str) -> str:
    local = in_zone(moment, _zone(time_zone))
    name = local.tzname() or ""
    # A zone without letters of its own is shown as UTC-03.
    return f"{local:{form}} {name if name[:1].isalpha() else f'UTC{name}'}"


def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)
