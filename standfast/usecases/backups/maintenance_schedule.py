"""Schedules of retention, verification, drills; alarms for late tasks.

Rules
- Retention is scheduled only if `backup.keeping.schedule` is set, because the keeper (the machine
  that may expire backups) may be another machine.
- The vault (the folder or bucket with the encrypted backups) is verified by the schedule
  `backup.verify_schedule`. Its default is daily if the vault is a folder. A verification by the
  schedule `backup.read_schedule` reads every byte.
- If `drills.identity` is set, drills (measured test restores) of sets and services run by
  `drills.schedule`. By default, each set is drilled weekly. The schedule of a surprise drill only
  determines the period in which the drill starts at a random time.
- A task is late if its last run ended more than two intervals of its schedule plus one hour ago. A
  pause of the schedule, for example at night, is part of the interval. If a task never ran, the
  time is measured from the creation of the ledger (the database of runs).
- A run of another host with the same vault fulfils the task too.
- A verification that found damage fulfils its task, because another alarm reports the damage. A
  failed drill or retention run does not fulfil its task.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from standfast.config import Config
from standfast.config.sections.backup import VERIFY_SCHEDULE
from standfast.config.sections.drills import DRILL_SCHEDULE
from standfast.continuity.clock_skew import newest
from standfast.continuity.run_schedule import oldest_allowed
from standfast.ledger.runs.run_record import RunRecord
from standfast.usecases.alarms.notification import Alarm
from standfast.usecases.backups.verification import VAULT
from standfast.usecases.core.installation import Installation
from standfast.usecases.core.run_origins import runs_of_vault
from standfast.usecases.core.run_record import SERVICE_SUBJECT, SURPRISE_SUBJECT

_GRACE = timedelta(hours=1)
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True)
class ScheduledTask:
    """One task with a schedule in the organisation's time zone."""

    kind: str  # "keep" (retention), "look" (verification), "read" (of every byte), or "drill"
    subject: str  # the set, the service after the prefix `SERVICE_SUBJECT`, or the vault
    schedule: str  # in cron syntax

    def is_fulfilled_by(self, run: RunRecord) -> bool:
        """Return whether this ended run fulfils the task."""
        if self.kind in ("keep", "drill"):
            return run.state in ("done", "partial")
        return "is_read" in run.summary and (self.kind == "look" or run.summary["is_read"])


def scheduled_tasks(config: Config) -> Iterator[ScheduledTask]:
    """Yield this machine's scheduled retention, verifications and drills."""
    backup = config.backup
    if backup.keeping.schedule is not None:
        yield ScheduledTask(kind="keep", subject=VAULT, schedule=backup.keeping.schedule)
    verify_schedule = backup.verify_schedule
    if verify_schedule is None and backup.sets and backup.s3 is None:
        verify_schedule = VERIFY_SCHEDULE
    if verify_schedule is not None:
        yield ScheduledTask(kind="look", subject=VAULT, schedule=verify_schedule)
    if backup.read_schedule is not None:
        yield ScheduledTask(kind="read", subject=VAULT, schedule=backup.read_schedule)
    if config.drills.identity is not None:
        yield from _drills(config)


def _drills(config: Config) -> Iterator[ScheduledTask]:
    chosen = config.drills.schedule
    sets = dict.fromkeys(config.backup.sets, DRILL_SCHEDULE) if chosen is None else chosen.set
    for name, schedule in sets.items():
        yield ScheduledTask(kind="drill", subject=name, schedule=schedule)
    services = {} if chosen is None else chosen.service
    for name, schedule in services.items():
        yield ScheduledTask(kind="drill", subject=f"{SERVICE_SUBJECT}{name}", schedule=schedule)
    if chosen is not None and chosen.surprise is not None:
        yield ScheduledTask(kind="drill", subject=SURPRISE_SUBJECT, schedule=chosen.surprise.begins)


def lateness(installation: Installation, kinds: Collection[str] | None = None) -> Iterator[Alarm]:
    """Yield the alarm of each task; the alarm is raised if the task is late.

    `kinds` selects the tasks; None selects all.
    """
    for task in scheduled_tasks(installation.config):
        if kinds is not None and task.kind not in kinds:
            continue
        run_kind = "verify" if task.kind in ("look", "read") else task.kind
        runs = runs_of_vault(
            installation.config, installation.ledger.runs.all(run_kind, task.subject)
        )
        ended = [
            run.ended_at for run in runs if run.ended_at is not None and task.is_fulfilled_by(run)
        ]
        yield _alarm(installation, task, newest(ended, installation.clock()))


def _alarm(installation: Installation, task: ScheduledTask, ended_at: datetime | None) -> Alarm:
    now = installation.clock()
    began_at = installation.ledger.audit.began_at()
    since = ended_at or began_at
    age = timedelta(0) if since is None else now - since
    zone = installation.config.organisation.time_zone
    limit = oldest_allowed(task.schedule, zone, now) + _GRACE
    return Alarm(
        subject=task.kind if task.subject == VAULT else f"{task.kind}.{task.subject}",
        shown=task.subject,
        is_raised=age > limit,
        values={
            f"is_{task.kind}_late": age > limit,
            "has_come": ended_at is not None,
            "age_hours": age // _HOUR,
            "allowed_hours": limit // _HOUR,
        },
    )
