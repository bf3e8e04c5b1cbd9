"""Watchdog for work that stopped silently: resume, end or report it.

Rules
- A runner is a process that executes the steps of incidents. An open incident that has work and no
  live runner is resumed.
- If the process of a backup, drill or other run died, the run is marked as failed, and the folders
  of drills (test restores) are deleted.
- If a scheduled backup is missing, its backup set is reported, with the age of its last good
  backup.
- People are notified once when one of these faults appears, and once when it ends: the newest
  complete recovery point of a set is too old, a backup changed far more than usual, stored backups
  are damaged or lack the required Object Lock, retention runs, verifications or drills are missing,
  or a machine does not report any more. Reminders are sent for legal clocks (running deadlines) and
  for overdue entries of the calendar.
- An error in one incident is reported; the watchdog continues with the next incident.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from standfast.errors import ConfigurationError, ExitStatus, StandfastError
from standfast.records import Json
from standfast.usecases.alarms.missing_hosts import HOST, missing_host_alarms
from standfast.usecases.alarms.notification import (
    Alarm,
    age_alarm,
    anomaly_alarm,
    damage_alarm,
    end_removed,
    lock_alarm,
    notify,
)
from standfast.usecases.alarms.recovery_point_age import Freshness, freshness
from standfast.usecases.backups.backup_run import newest_jumps, set_age
from standfast.usecases.backups.maintenance_schedule import lateness
from standfast.usecases.backups.outcomes import BackupAge
from standfast.usecases.backups.verification import (
    are_retention_locks_wrong,
    is_vault_damaged,
    verifications,
)
from standfast.usecases.continuity.calendar import PRACTICE, practice_alarms
from standfast.usecases.core.installation import Installation
from standfast.usecases.core.run_record import mark_dead_runs_failed
from standfast.usecases.deadlines.reminders import reminders
from standfast.usecases.drills.drill_folders import destroy_dead_scans, destroy_leftovers
from standfast.usecases.incidents.lifecycle import advance, has_work

# A nightly run may wait in a queue. Therefore it is reported as missed an hour after its due time.
GRACE = timedelta(hours=1)
# The watchdog signs the newest audit event of the ledger. If all events since the last signature
# are heartbeats of `serve`, it signs only when this signature is older (decision 0048).
_BEATS_WAIT = timedelta(hours=1)

ResumeFunction = Callable[[Installation, str, str], object]
NotifyFunction = Callable[[Installation, Alarm, str], bool]


@dataclass(frozen=True, kw_only=True)
class WatchOutcome:
    """The results of one check by the watchdog."""

    resumed: tuple[str, ...]  # ids of the resumed incidents
    died: tuple[tuple[str, str], ...]  # kind and backup set of each run that was marked as failed
    sets: tuple[BackupAge, ...]
    troubles: tuple[str, ...]
    head: int  # number of the audit event up to which the chain is signed
    fresh: tuple[Freshness, ...] = ()
    notified: tuple[Alarm, ...] = ()  # alarms about which people were notified now

    @property
    def missed(self) -> tuple[str, ...]:
        """The sets with a missing scheduled backup."""
        return tuple(age.set_name for age in self.sets if age.is_missed)

    @property
    def stale(self) -> tuple[str, ...]:
        """The sets that have no recent complete recovery point."""
        return tuple(fresh.set_name for fresh in self.fresh if fresh.is_stale)

    @property
    def exit_status(self) -> ExitStatus:
        is_quiet = not (self.missed or self.stale or self.troubles)
        return ExitStatus.DONE if is_quiet else ExitStatus.PARTIAL

    def as_json(self) -> dict[str, Json]:
        return {
            "resumed": list(self.resumed),
            "died": [{"kind": kind, "set": subject} for kind, subject in self.died],
            "sets": [age.as_json() for age in self.sets],
            "missed": list(self.missed),
            "fresh": [fresh.as_json() for fresh in self.fresh],
            "stale": list(self.stale),
            "notified": [alarm.as_json() for alarm in self.notified],
            "troubles": list(self.troubles),
            "head": self.head,
            "exit_status": int(self.exit_status),
        }


def keep_watch(
    installation: Installation,
    way: str,
    resume: ResumeFunction = advance,
    on_alarm: NotifyFunction | None = None,
    *,
    only_drills: bool = False,
) -> WatchOutcome:
    """Check everything once; several watchdogs may run at the same time.

    `resume` is called for each incident that needs a runner; by default, `advance` executes the
    incident immediately. `on_alarm` is called for each possible alarm, with or without a fault, and
    returns whether people were notified. By default they are notified immediately, and the call
    waits for the mail server. With `only_drills`, only dead and late drills are searched, because a
    machine that only drills may have a ledger (database) without other runs.
    """
    on_alarm = on_alarm or notify
    resumed, troubles = ([], []) if only_drills else resume_incidents(installation, way, resume)
    died = mark_dead_runs_failed(installation, {"drill": destroy_leftovers})
    for name in installation.config.backup.sets:
        destroy_dead_scans(installation, name)
    sets: list[BackupAge] = []
    fresh: list[Freshness] = []
    for name in () if only_drills else installation.config.backup.sets:
        try:
            sets.append(set_age(installation, name, grace=GRACE))
            fresh.append(freshness(installation, name))
        except ConfigurationError as error:
            troubles.append(f"set {name}: {error}")
    notified: list[Alarm] = []
    late: list[Alarm] = []
    try:
        late += lateness(installation, {"drill"} if only_drills else None)
    except ConfigurationError as error:
        troubles.append(str(error))
    for alarm in (*(() if only_drills else _alarms(installation, fresh)), *late):
        try:
            notified += [alarm] if on_alarm(installation, alarm, way) else []
        except StandfastError as error:
            troubles.append(f"alarm {alarm.subject}: {error}")
    if not only_drills:
        calendar = installation.config.continuity.calendar
        end_removed(installation, PRACTICE, {f"{PRACTICE}.{name}" for name in calendar}, way)
        hosts = installation.config.serve.hosts
        end_removed(installation, HOST, {f"{HOST}.{name}" for name in hosts}, way)
    return WatchOutcome(
        resumed=tuple(resumed),
        died=died,
        sets=tuple(sets),
        fresh=tuple(fresh),
        notified=tuple(notified),
        troubles=tuple(troubles),
        head=installation.ledger.audit.sign_head(installation.clock(), beats_wait=_BEATS_WAIT),
    )


def _alarms(installation: Installation, fresh: Sequence[Freshness]) -> Iterator[Alarm]:
    yield from map(age_alarm, fresh)
    for name in installation.config.backup.sets:
        found = newest_jumps(installation, name)
        if found is not None:
            yield anomaly_alarm(name, *found)
    yield damage_alarm(is_damaged=is_vault_damaged(installation))
    yield lock_alarm(is_unlocked=are_retention_locks_wrong(verifications(installation)))
    yield from reminders(installation)
    yield from practice_alarms(installation)
    yield from missing_host_alarms(installation)


def resume_incidents(
    installation: Installation, way: str, resume: ResumeFunction = advance
) -> tuple[list[str], list[str]]:
    """Resume open incidents without a runner; return their ids and the errors."""
    resumed: list[str] = []
    troubles: list[str] = []
    for incident in installation.ledger.incidents.all(only_open=True):
        try:
            if needs_runner(installation, incident.id):
                resume(installation, incident.id, way)
                resumed.append(incident.id)
        except StandfastError as error:
            troubles.append(f"{incident.id}: {error}")
        except Exception as error:
            # Record only the class: the text of another library's error may contain an account.
            troubles.append(f"{incident.id}: unexpected {type(error).__name__}")
    return resumed, troubles


def needs_runner(installation: Installation, incident_id: str) -> bool:
    """Return whether an incident has work and no live runner."""
    is_alone = not installation.ledger.runners.live(incident_id, installation.clock())
    return is_alone and has_work(installation, incident_id)
