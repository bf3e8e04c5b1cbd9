"""The watch: what would otherwise stand still unseen is carried on, ended or named.

Rules
- Every open incident that has work and nobody working on it is carried on.
- Runs whose process died are marked failed, and what dead drills left behind is destroyed.
- A set whose scheduled backup did not come is named, with the age of its last good one.
- People are told, once, of a set whose newest complete point is too old, of a night that changed
  far more than usual, of a damaged vault, of objects in it that are not locked as they must be, and
  of a keeper, a verification or a drill that does not come; and once that it is over. Legal
  clocks remind them.
- One incident's fault stops nothing else; it is named.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from standfast.errors import ConfigurationError, ExitStatus, StandfastError
from standfast.records import Json
from standfast.usecases.alarms.notification import Alarm, damaged, jumped, stale, tell, unlocked
from standfast.usecases.alarms.recovery_point_age import Freshness, freshness
from standfast.usecases.backups.backup_run import newest_jumps, set_age
from standfast.usecases.backups.maintenance_schedule import lateness
from standfast.usecases.backups.outcomes import BackupAge
from standfast.usecases.backups.verification import (
    are_retention_locks_wrong,
    is_vault_damaged,
    verifications,
)
from standfast.usecases.core.installation import Installation
from standfast.usecases.core.run_record import mark_dead_runs_failed
from standfast.usecases.deadlines.reminders import reminders
from standfast.usecases.drills.restore_drill import destroy_leftovers
from standfast.usecases.incidents.lifecycle import advance, has_work

# A nightly run that has not begun an hour after its time has not merely queued.
GRACE = timedelta(hours=1)
_BEATS_WAIT = timedelta(hours=1)  # for a signature; what else happens is signed at the next watch

ResumeFunction = Callable[[Installation, str, str], object]
Tell = Callable[[Installation, Alarm, str], bool]


@dataclass(frozen=True, kw_only=True)
class WatchOutcome:
    """What one watch found and did."""

    carried_on: tuple[str, ...]  # incidents
    died: tuple[tuple[str, str], ...]  # kind and set of each run whose process had died
    sets: tuple[BackupAge, ...]
    troubles: tuple[str, ...]
    head: int  # the audit event that the newest signed head covers
    fresh: tuple[Freshness, ...] = ()
    told: tuple[Alarm, ...] = ()  # alarms that this watch told people of

    @property
    def missed(self) -> tuple[str, ...]:
        """Name the sets whose scheduled backup did not come."""
        return tuple(age.set_name for age in self.sets if age.is_missed)

    @property
    def stale(self) -> tuple[str, ...]:
        """Name the sets whose newest complete point is too old."""
        return tuple(one.set_name for one in self.fresh if one.is_stale)

    @property
    def exit_status(self) -> ExitStatus:
        is_quiet = not (self.missed or self.stale or self.troubles)
        return ExitStatus.DONE if is_quiet else ExitStatus.PARTIAL

    def as_json(self) -> dict[str, Json]:
        return {
            "carried_on": list(self.carried_on),
            "died": [{"kind": kind, "set": subject} for kind, subject in self.died],
            "sets": [age.as_json() for age in self.sets],
            "missed": list(self.missed),
            "fresh": [one.as_json() for one in self.fresh],
            "stale": list(self.stale),
            "told": [alarm.as_json() for alarm in self.told],
            "troubles": list(self.troubles),
            "head": self.head,
            "exit_status": int(self.exit_status),
        }


def keep_watch(
    installation: Installation,
    way: str,
    carry_on: ResumeFunction = advance,
    ring: Tell | None = None,
) -> WatchOutcome:
    """Look at everything once; safe at any time, by any number of watchers.

    `carry_on` is called for each incident that needs it: `advance` works it off here and now.
    `ring` is called with each alarm, wrong or right, and gives whether people were told: without
    it they are told here and now, which takes as long as the mail server takes.
    """
    ring = ring or tell
    carried_on, troubles = resume_incidents(installation, way, carry_on)
    died = mark_dead_runs_failed(installation, {"drill": destroy_leftovers})
    sets: list[BackupAge] = []
    fresh: list[Freshness] = []
    for name in installation.config.backup.sets:
        try:
            sets.append(set_age(installation, name, grace=GRACE))
            fresh.append(freshness(installation, name))
        except ConfigurationError as error:
            troubles.append(f"set {name}: {error}")
    told: list[Alarm] = []
    late: list[Alarm] = []
    try:
        late += lateness(installation)
    except ConfigurationError as error:
        troubles.append(str(error))
    for alarm in (*_alarms(installation, fresh), *late):
        try:
            told += [alarm] if ring(installation, alarm, way) else []
        except StandfastError as error:
            troubles.append(f"alarm {alarm.subject}: {error}")
    return WatchOutcome(
        carried_on=tuple(carried_on),
        died=died,
        sets=tuple(sets),
        fresh=tuple(fresh),
        told=tuple(told),
        troubles=tuple(troubles),
        head=installation.ledger.audit.sign_head(installation.clock(), beats_wait=_BEATS_WAIT),
    )


def _alarms(installation: Installation, fresh: Sequence[Freshness]) -> Iterator[Alarm]:
    yield from map(stale, fresh)
    for name in installation.config.backup.sets:
        found = newest_jumps(installation, name)
        if found is not None:
            yield jumped(name, *found)
    yield damaged(is_damaged=is_vault_damaged(installation))
    yield unlocked(is_unlocked=are_retention_locks_wrong(verifications(installation)))
    yield from reminders(installation)


def resume_incidents(
    installation: Installation, way: str, carry_on: ResumeFunction = advance
) -> tuple[list[str], list[str]]:
    """Carry on every open incident that has work and no live runner; give those, and troubles."""
    carried_on: list[str] = []
    troubles: list[str] = []
    for incident in installation.ledger.incidents.all(only_open=True):
        try:
            if needs_runner(installation, incident.id):
                carry_on(installation, incident.id, way)
                carried_on.append(incident.id)
        except StandfastError as error:
            troubles.append(f"{incident.id}: {error}")
        except Exception as error:
            # Only the class: a foreign error may quote an account.
            troubles.append(f"{incident.id}: unexpected {type(error).__name__}")
    return carried_on, troubles


def needs_runner(installation: Installation, incident_id: str) -> bool:
    """Has this incident work, and nobody alive who does it?"""
    is_alone = not installation.ledger.runners.alive(incident_id, installation.clock())
    return is_alone and has_work(installation, incident_id)
