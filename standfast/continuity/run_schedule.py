"""Due times of schedules, missed runs, and the age limit of backups.

Rules
- Schedules are cron expressions in a time zone, interpreted by cronsim like Debian's cron: a time
  that the clock skips in spring runs directly after, one that it repeats in autumn runs once.
  Prefect delays a skipped run by the jump of the clock, which the hour of grace covers.
- Of several missed runs, one is caught up: only the newest recovery point matters.
"""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from standfast.errors import ConfigurationError
from standfast.records import utc

_MINUTE = timedelta(minutes=1)
_FOLDS = timedelta(hours=4)  # twice the largest step back of any zone's clock


def last_due(cron: str, time_zone: str, now: datetime) -> datetime:
    """Return the newest due time of the schedule up to `now`, in UTC.

    Raise `ConfigurationError` for a schedule that never runs, such as February 30.
    """
    now, zone = utc(now), ZoneInfo(time_zone)
    # cronsim returns whole minutes strictly before its start, but `now` itself may be due. If it
    # starts within a repeated hour, it skips the first of the two; so it starts after both.
    start = (now + _FOLDS + _MINUTE).replace(second=0, microsecond=0)
    try:
        runs = CronSim(cron, start.astimezone(zone), reverse=True)
        return next(due for run in runs if (due := run.astimezone(UTC)) <= now)
    except (CronSimError, StopIteration):
        raise ConfigurationError(
            f"schedule {cron!r}: it never runs. Write minute, hour, day, month, weekday."
        ) from None


def is_missed(due: datetime, last_good: datetime | None) -> bool:
    """Return whether no good run, or none at all, began since the due time."""
    return last_good is None or last_good < due


def oldest_allowed(cron: str, time_zone: str, now: datetime) -> timedelta:
    """Return the allowed age of the newest run: two intervals of the schedule.

    A run at the due time before the last is also recent enough, however long ago that is, because a
    schedule may pause at night and on Sundays.
    """
    due = last_due(cron, time_zone, now)
    before = last_due(cron, time_zone, due - _MINUTE)
    return max(2 * (due - before), utc(now) - before)
