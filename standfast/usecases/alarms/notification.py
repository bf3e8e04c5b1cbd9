"""Alarms (age, anomaly, damage, locks): notified when they begin and end.

An anomaly is a backup that changed far more than usual. The vault is the store of the backups.

Rules
- A notification is recorded in the ledger (the database of incidents and runs) as a run (a record
  with a state and a result) of kind `alarm`, before the first message is sent. Any number of
  watchdogs (processes that check for faults) on any number of hosts may check at once; only one of
  them notifies people.
- An alarm is about a backup set of this host, about the vault of this host, or about something that
  all hosts with the same ledger share. If another host has a set with the same name, its alarm is
  separate and ends separately.
- An alarm that reached nobody is sent again after an hour; meanwhile `status` shows it.
- The alarm about an anomaly is sent once and never ends: after ransomware has encrypted the files,
  the next backup is normal again.
- The ledger stores counts. It stores no address and no message of a mail server.
"""

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from standfast.continuity.backup_anomalies import BackupAnomaly
from standfast.continuity.clock_skew import newest_first
from standfast.errors import UnderWay
from standfast.ledger.people.enrolment import Person
from standfast.ledger.runs.run_record import RunRecord
from standfast.records import EffectState, Json, JsonObject
from standfast.usecases.alarms.alarm_status import Scope, scope_of
from standfast.usecases.alarms.recovery_point_age import Freshness
from standfast.usecases.core.incident_visibility import is_visible
from standfast.usecases.core.installation import Installation
from standfast.usecases.core.run_origins import runs_of_host, runs_of_vault
from standfast.usecases.core.run_record import is_first, recorded
from standfast.usecases.core.staff_messages import notify_each

RAISED, OVER, FAILED = "raised", "over", "failed"
VAULT_DAMAGED = "vault"
LOCKS_WRONG = "locks"

_KIND = "alarm"
_AGAIN_AFTER = timedelta(hours=1)
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """The state of one fault; `notify` compares it with earlier notifications."""

    subject: str  # such as "freshness.SET", "jump.SET", "vault", "locks" or "drill.SET"
    shown: str  # the name of the set or the vault, for people
    is_raised: bool
    values: JsonObject  # for the template
    about: str = ""  # the cause; an alarm with another cause is new and notified again
    template: str = "backup-alarm"
    roles: tuple[str, ...] | None = None  # the recipients; None means backup.alarm_roles
    incident: str = ""  # only people who may see this incident are notified

    def as_json(self) -> JsonObject:
        return {"subject": self.subject, "is_raised": self.is_raised}


def age_alarm(fresh: Freshness) -> Alarm:
    """Return the alarm about the age of a set's newest complete backup."""
    age = 0 if fresh.age is None else fresh.age // _HOUR
    return Alarm(
        subject=f"freshness.{fresh.set_name}",
        shown=fresh.set_name,
        is_raised=fresh.is_stale,
        values={
            "is_overdue": fresh.is_stale,
            "has_point": fresh.complete_at is not None,
            "age_hours": age,
            "allowed_hours": fresh.limit // _HOUR,
        },
    )


def anomaly_alarm(set_name: str, run: str, found: Sequence[BackupAnomaly]) -> Alarm:
    """Return the alarm about a backup with anomalies; `found` is not empty."""
    largest = max(found, key=lambda jump: jump.permille - jump.usual_permille)
    return Alarm(
        subject=f"jump.{set_name}",
        shown=set_name,
        is_raised=True,
        values={
            "has_jumped": True,
            "percent": largest.permille // 10,
            "usual_percent": largest.usual_permille // 10,
        },
        about=run,
    )


def damage_alarm(*, is_damaged: bool) -> Alarm:
    """Return the alarm about damage in the vault."""
    return Alarm(
        subject=VAULT_DAMAGED,
        shown="vault",
        is_raised=is_damaged,
        values={"is_damaged": is_damaged},
    )


def lock_alarm(*, is_unlocked: bool) -> Alarm:
    """Return the alarm about objects without the required lock."""
    return Alarm(
        subject=LOCKS_WRONG,
        shown="vault",
        is_raised=is_unlocked,
        values={"is_unlocked": is_unlocked},
    )


def notify(installation: Installation, alarm: Alarm, way: str) -> bool:
    """Notify people of a new alarm or of its end; return whether it tried.

    Do nothing if people were notified already, or if another watchdog is notifying them now.
    """
    if not _is_news(installation, alarm, _earlier_notifications(installation, alarm)):
        return False
    try:
        with recorded(installation, _KIND, alarm.subject, way) as run:
            # Read the notifications again after `is_first`: another watchdog may have notified
            # people since the first read.
            is_ours = is_first(installation, run, _KIND, alarm.subject, _AGAIN_AFTER)
            if not (
                is_ours
                and _is_news(installation, alarm, _earlier_notifications(installation, alarm))
            ):
                run.ends("done", {"about": alarm.about})
                return False
            counts, problem = notify_each(
                installation,
                alarm.template,
                _values(installation, alarm),
                _people(installation, alarm),
                run.token,
            )
            reached = counts.get(EffectState.DONE, 0)
            is_final = reached or not alarm.is_raised
            state = (RAISED if alarm.is_raised else OVER) if is_final else FAILED
            summary: dict[str, Json] = {"about": alarm.about, "people": sum(counts.values())}
            summary |= {outcome.value: count for outcome, count in sorted(counts.items())}
            run.ends(state, summary | ({"problem": problem} if problem else {}))
            return True
    except UnderWay:
        return False


def end_removed(installation: Installation, kind: str, kept: Collection[str], way: str) -> None:
    """End the alarms about subjects that were removed from the configuration.

    A subject is what an alarm is about, such as a backup set. `kind` selects the alarms; `kept` are
    the subjects that still exist. Nobody is notified, because nothing was repaired. Only alarms of
    this host end: another host may still have the subject in its configuration.
    """
    rows = installation.ledger.runs.all(_KIND, states=(RAISED, OVER, FAILED))
    own = newest_first(runs_of_host(installation.config, rows), installation.clock())
    newest = {run.subject: run.state for run in reversed(own)}
    for subject, state in newest.items():
        if subject.partition(".")[0] == kind and subject not in kept and state != OVER:
            with suppress(UnderWay), recorded(installation, _KIND, subject, way) as run:
                run.ends(OVER, {"about": ""})


def _earlier_notifications(installation: Installation, alarm: Alarm) -> list[RunRecord]:
    """Return the earlier notifications of the same alarm, newest first."""
    rows = installation.ledger.runs.all(_KIND, alarm.subject, states=(RAISED, OVER, FAILED))
    match scope_of(alarm.subject):
        case Scope.HOST:
            rows = runs_of_host(installation.config, rows)
        case Scope.VAULT:
            rows = runs_of_vault(installation.config, rows)
    return newest_first(rows, installation.clock())


def _is_news(installation: Installation, alarm: Alarm, earlier: Sequence[RunRecord]) -> bool:
    last = earlier[0] if earlier else None
    if not alarm.is_raised:
        return last is not None and last.state != OVER
    if last is None or last.state == OVER or last.summary.get("about", "") != alarm.about:
        return True
    # `abs`: an attempt that a fast clock dated in the future must not delay the next attempt.
    return last.state == FAILED and abs(installation.clock() - last.started_at) >= _AGAIN_AFTER


def _people(installation: Installation, alarm: Alarm) -> list[Person]:
    roles = installation.config.backup.alarm_roles if alarm.roles is None else alarm.roles
    people = installation.ledger.people.all(roles)
    if not alarm.incident:
        return people
    row = installation.ledger.incidents.get(alarm.incident)
    return [person for person in people if is_visible(row, person)]


def _values(installation: Installation, alarm: Alarm) -> JsonObject:
    return {
        "host": installation.config.backup.writer,
        "subject": alarm.shown,
        "is_over": not alarm.is_raised,
        "command": "standfast status",
        **alarm.values,
    }
