"""When a run was due last, and whether it was missed.

Rules
- Schedules are cron expressions in a time zone, read by cronsim as Debian's cron reads them: a time
  that the clock skips in spring is run right after, one that it repeats in autumn runs once.
- However many runs were missed, one is caught up: the newest recovery point is what counts.
"""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from standfast.errors import ConfigurationError
from standfast.records import utc


def last_due(cron: str, time_zone: str, now: datetime) -> datetime:
    """Give the newest moment, not after `now`, at which the schedule was due; in UTC.

    Raises `ConfigurationError` for a schedule that never comes, such as the 30th of February.
    """
    # cronsim steps to whole minutes strictly before its start; `now` itself may be due.
    start = (utc(now) + timedelta(minutes=1)).replace(second=0, microsecond=0)
    try:
        found = next(CronSim(cron, start.astimezone(ZoneInfo(time_zone)), reverse=True))
    except (CronSimError, StopIteration):
        raise ConfigurationError(
            f"the schedule {cron!r} never comes; write minute, hour, day, month, weekday"
        ) from None
    return found.astimezone(UTC)


def is_missed(due: datetime, last_good: datetime | None) -> bool:
    """Was nothing good begun since the schedule was due? A set that never ran is missed."""
    return last_good is None or last_good < due
