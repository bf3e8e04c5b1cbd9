"""Status of an installation as a record: its next step, JSON form.

A drill is a test restore of a backup set or of services.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from standfast.ledger.status_overview import LastRun
from standfast.records import Json, JsonObject, timestamp
from standfast.usecases.alarms.alarm_status import AlarmStatus
from standfast.usecases.backups.cloned_hosts import ClonedHost
from standfast.usecases.health.disk_space import DiskSpace
from standfast.usecases.key_ceremonies.custodian_answers import CustodianStatus

if TYPE_CHECKING:
    from standfast.usecases.health.incident_overview import IncidentStatus


@dataclass(frozen=True, kw_only=True)
class SetStatus:
    """The last backup and the last drill of one set."""

    name: str
    last_backup: LastRun | None  # the newest backup with a recovery point
    last_failed: datetime | None  # start of the newest failed backup, if newer than `last_backup`
    running_since: datetime | None
    last_drill: LastRun | None  # the newest drill that restored data
    drill_failed: datetime | None  # start of the newest failed drill, if newer than `last_drill`

    def as_json(self, now: datetime) -> JsonObject:
        """Return the JSON form."""
        return {
            "set": self.name,
            "last_backup": _run_json(self.last_backup, now),
            "failed_since": _written(self.last_failed),
            "running_since": _written(self.running_since),
            "last_drill": _run_json(self.last_drill, now),
            "drill_failed_since": _written(self.drill_failed),
        }


@dataclass(frozen=True, kw_only=True)
class UnnotifiedTrigger:
    """A trigger that could not page anybody about its open incident."""

    name: str
    since: datetime

    def as_json(self) -> JsonObject:
        """Return the JSON form."""
        return {"trigger": self.name, "since": timestamp(self.since)}


@dataclass(frozen=True, kw_only=True)
class DeadLetters:
    """Alerts of a trigger that could not be processed and were kept."""

    trigger: str
    count: int  # number since the creation of the ledger, the installation's database
    last: datetime

    def as_json(self) -> JsonObject:
        """Return the JSON form."""
        return {"trigger": self.trigger, "count": self.count, "last": timestamp(self.last)}


@dataclass(frozen=True, kw_only=True)
class UnstampedEvidence:
    """Evidence without a time stamp, although an authority is configured."""

    count: int
    incident: str  # the incident of the oldest evidence without a time stamp
    since: datetime  # the time when that evidence was signed

    def as_json(self) -> JsonObject:
        """Return the JSON form."""
        return {"count": self.count, "incident": self.incident, "since": timestamp(self.since)}


@dataclass(frozen=True, kw_only=True)
class Status:
    """The status at one moment."""

    at: datetime
    sets: tuple[SetStatus, ...]
    incidents: tuple["IncidentStatus", ...]
    events: int
    signed_events: int
    signed_at: datetime | None
    has_serve: bool
    serves_here: bool  # a `serve` runs on this machine; without it, no backup is scheduled here
    verify_failed: datetime | None = None  # None if a newer verification found no errors
    custodians: tuple[CustodianStatus, ...] = ()  # people that did not prove their key in time
    alarms: tuple[AlarmStatus, ...] = ()
    unnotified_triggers: tuple[UnnotifiedTrigger, ...] = ()
    dead_letters: tuple[DeadLetters, ...] = ()
    unstamped: UnstampedEvidence | None = None
    low_space: tuple[DiskSpace, ...] = ()  # disks with little free space
    time_zone: str = "UTC"  # time zone for display
    cloned_host: ClonedHost | None = None  # another machine that backs up under this host's name
    forked_at: datetime | None = None  # time of a point of another machine with this host's name
    misconfigured: str = ""  # the reason why other commands reject the configuration
    vault: str = ""  # the location of the backups, in words
    key_copies: tuple[str, ...] = ()  # names of the copies of the encrypted keys of the backups

    @property
    def not_notified(self) -> int:
        """The number of people in open incidents that no notice has reached."""
        return sum(incident.not_notified for incident in self.incidents)

    @property
    def next_step(self) -> str:
        """The most urgent action, or ""; incidents come before backups.

        Disk space and a valid configuration come first: without them no incident can continue.
        """
        for space in self.low_space:
            if space.is_full:
                return f"Free space now: {space.sentence}."
        if self.misconfigured:
            return "`standfast check` names every error in the configuration. Correct them."
        for incident in self.incidents:
            return f"{incident.id}: {incident.next_step}"
        if self.verify_failed:
            return "`standfast backup verify --read`: the last verification found errors."
        if self.cloned_host and self.cloned_host.is_sure:
            return (
                "`standfast check`: two machines back up under one name; the check names the "
                "correction."
            )
        for alarm in self.alarms:
            if alarm.kind == "jump" and not alarm.host:
                return f"`{alarm.command}`: {alarm.sentence}."
        for row in self.sets:
            if row.last_backup is None:
                return f"`standfast backup run {row.name}`: the set was never backed up."
            if row.last_failed:
                return f"`standfast backup run {row.name}`: the last backup failed."
        for row in self.sets:
            if row.drill_failed:
                return f"`standfast drill run {row.name} --identity FILE`: the last drill failed."
        for row in self.sets:
            if row.last_drill is None:
                return (
                    f"`standfast drill run {row.name} --identity FILE`: the set was never drilled."
                )
        for alarm in self.alarms:
            on_host = f" on {alarm.host}" if alarm.host else ""
            return f"`{alarm.command}`{on_host}: {alarm.sentence}."
        if self.unstamped:
            return f"`standfast evidence stamp {self.unstamped.incident}`: a time stamp is missing."
        for row in self.sets:
            if _is_partial(row.last_backup):
                return (
                    f"`standfast backup run {row.name}`: the last backup was partial. It names "
                    "the missing data; repair that first."
                )
            if _is_partial(row.last_drill):
                return (
                    f"`standfast drill run {row.name} --identity FILE`: the last drill missed an "
                    "objective, which its report names."
                )
        if self.custodians:
            return (
                "`standfast backup custodian challenge new --to FILE`: prove that the keys can "
                "open backups."
            )
        return ""

    def as_json(self) -> JsonObject:
        """Return the JSON form."""
        return {
            "at": timestamp(self.at),
            "sets": [row.as_json(self.at) for row in self.sets],
            "incidents": [incident.as_json() for incident in self.incidents],
            "not_notified": self.not_notified,
            "ledger": {
                "events": self.events,
                "signed_events": self.signed_events,
                "signed_at": _written(self.signed_at),
            },
            "verify_failed_since": _written(self.verify_failed),
            "custodians_overdue": [custodian.as_json(self.at) for custodian in self.custodians],
            "alarms": [alarm.as_json() for alarm in self.alarms],
            "unnotified_triggers": [trigger.as_json() for trigger in self.unnotified_triggers],
            "dead_letters": [alerts.as_json() for alerts in self.dead_letters],
            "unstamped": self.unstamped.as_json() if self.unstamped else None,
            "low_space": [
                {"for": list(space.names), "free_bytes": space.free_bytes, "is_full": space.is_full}
                for space in self.low_space
            ],
            "misconfigured": self.misconfigured or None,
            "restore_takes": {
                "vault": self.vault,
                "key_records": list(self.key_copies),
                "identity": "a custodian's",
            },
            "cloned_host": None if self.cloned_host is None else self.cloned_host.as_json(),
            "forked_at": _written(self.forked_at),
            "serve": self.has_serve,
            "serve_here": self.serves_here,
            "next_step": self.next_step,
        }


def _is_partial(run: LastRun | None) -> bool:
    return run is not None and run.state == "partial"


def _run_json(run: LastRun | None, now: datetime) -> Json:
    if run is None:
        return None
    return {
        "state": run.state,
        "started_at": timestamp(run.started_at),
        "ended_at": _written(run.ended_at),
        "age_seconds": int((now - run.started_at) / timedelta(seconds=1)),
    }


def _written(moment: datetime | None) -> str | None:
    return None if moment is None else timestamp(moment)
