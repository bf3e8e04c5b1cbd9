"""Due times of schedules, missed runs, and the age limit of backups.

Rules
- Schedules are cron expressions in a time zone. cronsim interprets them in the same way as Debian's
  cron. If the clock skips the time of a run in spring, the run begins directly after the skipped
  hour. If the clock repeats the time in autumn, the run begins once.
- Prefect starts a skipped run later, by the length of the skipped time. The alarms for late backups
  allow this delay.
- After several missed runs, one run is started, because only the newest recovery point matters.
"""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from standfast.errors import ConfigurationError
from standfast.records import utc

_MINUTE = timedelta(minutes=1)
_FOLDS = timedelta(hours=4)  # twice the largest amount by which any zone sets its clock back


def last_due(cron: str, time_zone: str, now: datetime) -> datetime:
    """Return the newest due time of the schedule up to `now`, in UTC.

    Raise `ConfigurationError` for a schedule that never runs, such as February 30.
    """
    now, zone = utc(now), ZoneInfo(time_zone)
    # cronsim returns whole minutes strictly before its start, but `now` itself may be due. Also, if
    # the search starts within a repeated hour, cronsim skips the first occurrence of that hour.
    # Therefore the search starts after `now`.
    start = (now + _FOLDS + _MINUTE).replace(second=0, microsecond=0)
    try:
        runs = CronSim(cron, start.astimezone(zone), reverse=True)
        return next(due for run in runs if (due := run.astimezone(UTC)) <= now)
    except (CronSimError, StopIteration):
        raise ConfigurationError(
            f"schedule {cron!r}: it never runs. Write minute, hour, day, month, weekday."
        ) from None


def is_missed(due: datetime, last_good: datetime | None) -> bool:
    """Return whether no successful run began since the due time."""
    return last_good is None or last_good < due


def oldest_allowed(cron: str, time_zone: str, now: datetime) -> timedelta:
    """Return the allowed age of the newest run: two intervals of the schedule.

    The age of a run at the second-newest due time is always allowed, even if that was long ago,
    because a schedule may pause at night and on Sundays.
    """
    due = last_due(cron, time_zone, now)
    before = last_due(cron, time_zone, due - _MINUTE)
    return max(2 * (due - before), utc(now) - before)
