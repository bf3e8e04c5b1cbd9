"""Alarms: people are told once that something is wrong, and once that it is over.

Owns whom an alarm reaches and that nobody is told twice. Leaves what is wrong to `freshness`,
`verification`, `continuity/jumps`, `upkeep` and `reminders`.

Rules
- What was told stands in the ledger as a run of kind `alarm`, written before the first message
  leaves. Any number of watchers, on any number of hosts, may look at once; one of them tells.
- An alarm is about this host's sets, about its vault, or about what all hosts of the ledger see;
  another host's of the same name is another alarm, and its end is not the end of ours.
- An alarm that reached nobody is tried again after an hour, and is in `status` meanwhile.
- A night that changed far more than usual is told once and never called over: that the next one is
  quiet says nothing, since what was encrypted stays as it is.
- The ledger gets counts; no address, and no server's words.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from standfast.continuity.backup_anomalies import BackupAnomaly
from standfast.continuity.clock_skew import newest_first
from standfast.errors import UnderWay
from standfast.ledger.people.enrolment import Person
from standfast.ledger.runs.run_record import RunRecord
from standfast.records import EffectState, Json, JsonObject
from standfast.usecases.alarms.alarm_scope import Scope, scope_of
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
    """One thing that is wrong, or right; what is to be told of it is decided by what was told."""

    subject: str  # such as "freshness.SET", "jump.SET", "vault", "locks" or "drill.SET"
    shown: str  # the set or the vault, for people
    is_raised: bool
    values: JsonObject  # of the template
    about: str = ""  # what an event is about, so that the next one is another
    template: str = "backup-alarm"
    roles: tuple[str, ...] | None = None  # who is told; those of the backups where None
    incident: str = ""  # whose quiet is kept: only people that may see it are told

    def as_json(self) -> JsonObject:
        return {"subject": self.subject, "is_raised": self.is_raised}


def stale(fresh: Freshness) -> Alarm:
    """The alarm of a set whose newest complete point is too old."""
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


def jumped(set_name: str, run: str, found: Sequence[BackupAnomaly]) -> Alarm:
    """The alarm of a run that changed far more than those before; `found` is not empty."""
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


def damaged(*, is_damaged: bool) -> Alarm:
    """The alarm of a vault in which a verification, or a backup, found damage."""
    return Alarm(
        subject=VAULT_DAMAGED,
        shown="vault",
        is_raised=is_damaged,
        values={"is_damaged": is_damaged},
    )


def unlocked(*, is_unlocked: bool) -> Alarm:
    """The alarm of a vault in which a verification found objects not locked as they must be."""
    return Alarm(
        subject=LOCKS_WRONG,
        shown="vault",
        is_raised=is_unlocked,
        values={"is_unlocked": is_unlocked},
    )


def tell(installation: Installation, alarm: Alarm, way: str) -> bool:
    """Tell people of an alarm, or that it is over, unless they know; give whether this call did.

    Another watcher that is telling this very thing is left to it.
    """
    if not _is_news(installation, alarm, _told(installation, alarm)):
        return False
    try:
        with recorded(installation, _KIND, alarm.subject, way) as run:
            # In this order: who was first, and has told by now, is in what was told.
            is_ours = is_first(installation, run, _KIND, alarm.subject, _AGAIN_AFTER)
            if not (is_ours and _is_news(installation, alarm, _told(installation, alarm))):
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


def _told(installation: Installation, alarm: Alarm) -> list[RunRecord]:
    """What was told before, newest first."""
    told = (RAISED, OVER, FAILED)
    rows = installation.ledger.runs.all(_KIND, alarm.subject, states=told)
    match scope_of(alarm.subject):
        case Scope.HOST:
            rows = runs_of_host(installation.config, rows)
        case Scope.VAULT:
            rows = runs_of_vault(installation.config, rows)
    return newest_first(rows, installation.clock())


def _is_news(installation: Installation, alarm: Alarm, told: Sequence[RunRecord]) -> bool:
    last = told[0] if told else None
    if not alarm.is_raised:
        return last is not None and last.state != OVER
    if last is None or last.state == OVER or last.summary.get("about", "") != alarm.about:
        return True
    # By whichever clock: one that stood ahead must not keep it from being tried again.
    return last.state == FAILED and abs(installation.clock() - last.started_at) >= _AGAIN_AFTER


def _people(installation: Installation, alarm: Alarm) -> list[Person]:
    roles = installation.config.backup.alarm_roles if alarm.roles is None else alarm.roles
    people = installation.ledger.people.all(roles)
    if not alarm.incident:
        return people
    row = installation.ledger.incidents.get(alarm.incident)
    return [one for one in people if is_visible(row, one)]


def _values(installation: Installation, alarm: Alarm) -> JsonObject:
    return {
        "host": installation.config.backup.writer,
        "subject": alarm.shown,
        "is_over": not alarm.is_raised,
        "command": "standfast status",
        **alarm.values,
    }
