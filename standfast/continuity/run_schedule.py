"""When a run was due last, whether it was missed, and how old the newest may become.

Rules
- Schedules are cron expressions in a time zone, read by cronsim as Debian's cron reads them: a time
  that the clock skips in spring is run right after, one that it repeats in autumn runs once.
  Prefect runs a skipped one as much later as the clock jumped: the watch's hour of grace covers it.
- However many runs were missed, one is caught up: the newest recovery point is what counts.
"""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from standfast.errors import ConfigurationError
from standfast.records import utc

_MINUTE = timedelta(minutes=1)
_FOLDS = timedelta(hours=4)  # twice as much as the clock of any zone is put back by


def last_due(cron: str, time_zone: str, now: datetime) -> datetime:
    """Give the newest moment, not after `now`, at which the schedule was due; in UTC.

    Raises `ConfigurationError` for a schedule that never comes, such as the 30th of February.
    """
    now, zone = utc(now), ZoneInfo(time_zone)
    # cronsim steps to whole minutes strictly before its start; `now` itself may be due. From within
    # an hour that comes a second time it would step over the first: it starts behind both.
    start = (now + _FOLDS + _MINUTE).replace(second=0, microsecond=0)
    try:
        runs = CronSim(cron, start.astimezone(zone), reverse=True)
        return next(due for run in runs if (due := run.astimezone(UTC)) <= now)
    except (CronSimError, StopIteration):
        raise ConfigurationError(
            f"the schedule {cron!r} never comes; write minute, hour, day, month, weekday"
        ) from None


def is_missed(due: datetime, last_good: datetime | None) -> bool:
    """Was nothing good begun since the schedule was due? A set that never ran is missed."""
    return last_good is None or last_good < due


def oldest_allowed(cron: str, time_zone: str, now: datetime) -> timedelta:
    """Give how old the newest of what comes by the schedule may be: two intervals of it.

    What came when the run before the last was due is not too old either, however long ago that is:
    a schedule may rest at night and on Sundays.
    """
    due = last_due(cron, time_zone, now)
    before = last_due(cron, time_zone, due - _MINUTE)
    return max(2 * (due - before), utc(now) - before)
