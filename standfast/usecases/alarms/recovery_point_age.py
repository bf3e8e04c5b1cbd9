"""Age of a set's newest complete recovery point, and whether it is late.

Rules
- A recovery point is the state of a backup set that one backup stored. Its age is the time since
  that state, not since the end of the backup. A recovery point without files is ignored, because
  the backup of an unmounted disk creates such a recovery point.
- The limit is `max_age_hours` of the set. Without this setting, it is the shortest RPO of the
  services that need the set. Without such a service, it is two intervals of the set's schedule. A
  pause of the schedule, for example at night, is part of an interval.
- Backups of a set with the same name on another host are ignored.
- A set without any attempt of a backup is not late. Its missed backup is reported by
  `health.watchdog`.
- A recovery point with a time that is implausibly far in the future is ignored.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from standfast.continuity.clock_skew import is_in_far_future, newest
from standfast.continuity.run_schedule import oldest_allowed
from standfast.records import Json, moment, timestamp
from standfast.usecases.core.backup_repository import set_of
from standfast.usecases.core.installation import Installation
from standfast.usecases.core.run_origins import runs_of_host


@dataclass(frozen=True, kw_only=True)
class Freshness:
    """The age of one set's newest complete recovery point."""

    set_name: str
    complete_at: datetime | None  # the moment of the data in the recovery point
    age: timedelta | None  # without a complete recovery point: the time since the first attempt
    limit: timedelta

    @property
    def is_stale(self) -> bool:
        """True if the recovery point is older than the limit."""
        return self.age is not None and self.age > self.limit

    def as_json(self) -> dict[str, Json]:
        return {
            "set": self.set_name,
            "complete_at": timestamp(self.complete_at) if self.complete_at else None,
            "age_seconds": None if self.age is None else int(self.age.total_seconds()),
            "limit_seconds": int(self.limit.total_seconds()),
            "is_stale": self.is_stale,
        }


def freshness(installation: Installation, set_name: str) -> Freshness:
    """Return the age of a backup set's newest complete recovery point.

    Raise `UsageError` for an unknown set, and the errors of `oldest_allowed`.
    """
    now = installation.clock()
    runs = runs_of_host(installation.config, installation.ledger.runs.all("backup", set_name))
    complete = [
        moment(run.summary["consistent_at"])
        for run in runs
        if run.summary.get("is_complete") and run.summary.get("files")
    ]
    complete_at = newest(complete, now)
    tries = [run.started_at for run in runs if not is_in_far_future(run.started_at, now)]
    since = complete_at or min(tries, default=None)
    return Freshness(
        set_name=set_name,
        complete_at=complete_at,
        age=None if since is None else now - since,
        limit=_limit(installation, set_name),
    )


def _limit(installation: Installation, set_name: str) -> timedelta:
    settings = set_of(installation, set_name)
    if settings.max_age_hours is not None:
        return timedelta(hours=settings.max_age_hours)
    promised = [
        service.rpo_minutes
        for service in installation.config.services.values()
        if set_name in service.sets
    ]
    if promised:
        return timedelta(minutes=min(promised))
    zone = settings.time_zone or installation.config.organisation.time_zone
    return oldest_allowed(settings.schedule, zone, installation.clock())
