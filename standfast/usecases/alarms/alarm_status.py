"""Open alarms for `status`: by host, vault or ledger, with a command each.

The module `notification` raises the alarms and notifies people. An alarm about an anomaly ("jump")
reports a backup that changed far more than usual.

Several hosts may share one ledger, the database in which alarms are recorded, and one vault, the
store of the backups. An alarm is about one host, one vault, or the whole ledger.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from standfast.ledger.runs.run_record import Origin
from standfast.ledger.status_overview import LedgerOverview
from standfast.records import JsonObject, timestamp


class Scope(StrEnum):
    """The group of hosts that sends one notification about a fault."""

    HOST = "host"  # one backup host, for an alarm about its backups
    VAULT = "vault"  # all hosts with the same vault
    LEDGER = "ledger"  # all hosts


_OF_HOST = ("freshness", "jump")  # the age of the newest recovery point, an anomaly of a backup
_OF_LEDGER = ("deadline", "host", "practice", "worker")


def scope_of(subject: str) -> Scope:
    """Return the scope of an alarm's subject, such as `freshness.SET`."""
    kind = subject.partition(".")[0]
    if kind in _OF_HOST:
        return Scope.HOST
    return Scope.LEDGER if kind in _OF_LEDGER else Scope.VAULT


# No event ends an alarm about an anomaly, so `status` shows it for a week only.
JUMP_SHOWN = timedelta(days=7)
# Alarms of a removed host never end, so alarms of other hosts are shown for a limited time.
_OTHERS_SHOWN = timedelta(days=31)

_ALARMS = {  # by kind: the sentence for people, and the command that examines the fault
    "freshness": (
        "{set}: the newest complete recovery point is too old",
        "standfast backup run {set}",
    ),
    "jump": (
        "{set}: one backup changed far more than usual; ask who changed the data",
        "standfast backup list --set {set}",
    ),
    "vault": ("the vault: damage was found", "standfast backup verify --read"),
    "locks": ("the vault: objects are not locked as required", "standfast backup verify"),
    "keep": (
        "scheduled retention runs are missing; without them object locks expire",
        "standfast backup keep",
    ),
    "look": ("the vault: the scheduled verification is missing", "standfast backup verify"),
    "read": (
        "the vault: the scheduled verification that reads everything is missing",
        "standfast backup verify --read",
    ),
    "drill": (
        "{set}: the scheduled restore drill is missing or fails",
        "standfast drill run {set} --identity FILE",
    ),
    "host": ("{set}: `standfast serve` does not run as `serve.hosts` requires", "standfast check"),
    "worker": ("{set}: no worker of this host reports to Prefect", "standfast check"),
    "practice": ("{set}: an entry of the calendar is overdue", "standfast continuity calendar"),
    "deadline": ("a legal clock is running: {obligation}", "standfast deadline list"),
}


@dataclass(frozen=True, kw_only=True)
class AlarmStatus:
    """An open alarm, or a running legal deadline with an undelivered reminder."""

    kind: str  # a key of _ALARMS
    set_name: str  # "" for the vault; INCIDENT.OBLIGATION for a legal deadline
    since: datetime
    is_notified: bool  # a notification reached somebody
    host: str = ""  # the other host on which to run the command; "" for this host

    @property
    def sentence(self) -> str:
        """The alarm in words."""
        host_prefix = f"{self.host}, " if self.host else ""
        return host_prefix + self._filled(_ALARMS[self.kind][0])

    @property
    def command(self) -> str:
        """The command that examines the alarm."""
        return self._filled(_ALARMS[self.kind][1])

    def _filled(self, text: str) -> str:
        return text.format(set=self.set_name, obligation=self.set_name.replace(".", ", ", 1))

    def as_json(self) -> JsonObject:
        """Return the JSON form."""
        return {
            "what": self.kind,
            "set": self.set_name,
            "since": timestamp(self.since),
            "is_notified": self.is_notified,
            "host": self.host,
        }


def alarms_of(seen: LedgerOverview, own: Origin, now: datetime) -> tuple[AlarmStatus, ...]:
    """Return the open alarms in order of host (this host first) and subject."""
    return tuple(_alarms(seen, own, now))


def _alarms(seen: LedgerOverview, own: Origin, now: datetime) -> Iterator[AlarmStatus]:
    rows: dict[tuple[str, str], dict[str, datetime]] = {}  # by host and subject: state to time
    hosts: dict[str, str] = {}
    for event in seen.alarms:  # newest first
        other_origin = _other_origin(event.subject, event.origin, own)
        hosts.setdefault(
            other_origin, f"{event.origin.host} on {event.origin.machine}" if other_origin else ""
        )
        rows.setdefault((other_origin, event.subject), {}).setdefault(event.state, event.started_at)
    for (other_origin, subject), times in sorted(rows.items()):
        kind, _, set_name = subject.partition(".")
        raised = [times[state] for state in ("raised", "failed") if state in times]
        ended_at = times.get("over")
        if not raised or (ended_at is not None and ended_at >= max(raised)):
            continue
        shown_for = JUMP_SHOWN if kind == "jump" else _OTHERS_SHOWN if other_origin else None
        if shown_for is not None and now - max(raised) > shown_for:
            continue
        if kind == "deadline":
            # The status of the incident shows each legal deadline. This list contains a deadline
            # only if its last reminder reached nobody.
            raised = [max(raised)]
            if times.get("failed") not in raised:
                continue
        yield AlarmStatus(
            kind=kind,
            set_name=set_name,
            since=min(at for at in raised if ended_at is None or at > ended_at),
            is_notified=times.get("raised") in raised
            and (ended_at is None or times["raised"] > ended_at),
            host=hosts[other_origin],
        )


def _other_origin(subject: str, origin: Origin, own: Origin) -> str:
    """Return the host or vault of an alarm that does not concern this host.

    Return "" for an alarm of this host, of its vault, or of the whole ledger (the database that
    several hosts may share).
    """
    scope = scope_of(subject)
    vault = origin.vault if own.vault and origin.vault != own.vault else ""
    host = origin.host if own.host and origin.host != own.host else ""
    if scope is Scope.LEDGER or (scope is Scope.VAULT and not vault):
        return ""
    return vault if scope is Scope.VAULT else " ".join(filter(None, (vault, host)))
