"""People on duty at a time: from shifts or a calendar, with overrides."""

from datetime import datetime, timedelta

from standfast.config import Config
from standfast.continuity.on_call_rota import Duty, merged, override_duties, shift_duties
from standfast.usecases.on_call.calendar_file import calendar_duties

_MOMENT = timedelta(microseconds=1)


def duties(config: Config, since: datetime, until: datetime) -> list[Duty]:
    """Return the duties from `since` to `until`, in order and without gaps.

    A duty without people covers each time in which nobody is on duty. Raise ConfigurationError if
    the calendar cannot be read.
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
