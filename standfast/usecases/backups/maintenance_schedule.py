"""What runs by a schedule beside the nightly backups, and whether it came.

Rules
- The keeper runs where `backup.keeping.schedule` says when: it has a machine of its own. A vault in
  a folder is looked at daily, any vault when `backup.verify_schedule` says so, and read through
  when `backup.read_schedule` does. Sets are drilled weekly where `drills.identity` opens them.
- Late is what came to no end within two intervals of its schedule, which may rest, and an hour.
  What never did counts from the ledger's beginning.
- It may have come on any host that has the same vault.
- A check that found damage came: the damage is an alarm of its own. A drill or a keeping run that
  failed did not come.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from standfast.config import Config
from standfast.continuity.clock_skew import newest
from standfast.continuity.run_schedule import oldest_allowed
from standfast.ledger.runs.run_record import RunRecord
from standfast.usecases.alarms.notification import Alarm
from standfast.usecases.backups.verification import VAULT
from standfast.usecases.core.installation import Installation
from standfast.usecases.core.run_origins import runs_of_vault

_DRILL_SCHEDULE = "0 5 * * 0"  # after the night of the weekend, when a restore disturbs least
_LOOK_SCHEDULE = "30 6 * * *"  # behind the night
_GRACE = timedelta(hours=1)
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True)
class ScheduledTask:
    """One thing that runs by a schedule, in the organisation's time zone."""

    kind: str  # "keep", "look", "read" or "drill"
    subject: str  # the set, or the vault
    schedule: str  # as cron writes it

    def has_come(self, run: RunRecord) -> bool:
        """Is this run, which has ended, one that counts?"""
        if self.kind in ("keep", "drill"):
            return run.state in ("done", "partial")
        return "is_read" in run.summary and (self.kind == "look" or run.summary["is_read"])


def scheduled_tasks(config: Config) -> Iterator[ScheduledTask]:
    """Give all that runs by a schedule here, beside the nightly backups and the watch."""
    backup = config.backup
    if backup.keeping.schedule is not None:
        yield ScheduledTask(kind="keep", subject=VAULT, schedule=backup.keeping.schedule)
    looks = backup.verify_schedule
    if looks is None and backup.sets and backup.s3 is None:
        looks = _LOOK_SCHEDULE
    if looks is not None:
        yield ScheduledTask(kind="look", subject=VAULT, schedule=looks)
    if backup.read_schedule is not None:
        yield ScheduledTask(kind="read", subject=VAULT, schedule=backup.read_schedule)
    if config.drills.identity is not None:
        for name in backup.sets:
            yield ScheduledTask(kind="drill", subject=name, schedule=_DRILL_SCHEDULE)


def lateness(installation: Installation) -> Iterator[Alarm]:
    """Give the alarm of each chore, raised where it is late; raises what `oldest_allowed` does."""
    for chore in scheduled_tasks(installation.config):
        run_kind = "verify" if chore.kind in ("look", "read") else chore.kind
        runs = runs_of_vault(
            installation.config, installation.ledger.runs.all(run_kind, chore.subject)
        )
        came = [run.ended_at for run in runs if run.ended_at is not None and chore.has_come(run)]
        yield _alarm(installation, chore, newest(came, installation.clock()))


def _alarm(installation: Installation, chore: ScheduledTask, came_at: datetime | None) -> Alarm:
    now = installation.clock()
    began_at = installation.ledger.audit.began_at()
    since = came_at or began_at
    age = timedelta(0) if since is None else now - since
    zone = installation.config.organisation.time_zone
    limit = oldest_allowed(chore.schedule, zone, now) + _GRACE
    return Alarm(
        subject=chore.kind if chore.subject == VAULT else f"{chore.kind}.{chore.subject}",
        shown=chore.subject,
        is_raised=age > limit,
        values={
            f"is_{chore.kind}_late": age > limit,
            "has_come": came_at is not None,
            "age_hours": age // _HOUR,
            "allowed_hours": limit // _HOUR,
        },
    )
