"""Alarms as `status` shows them: which are not over, whose each is, and what is run to see to it.

Leaves raising and telling them to `alarms`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from standfast.ledger.runs.run_record import Origin
from standfast.ledger.status_overview import LedgerOverview
from standfast.records import JsonObject, timestamp
from standfast.usecases.alarms.alarm_scope import Scope, scope_of

JUMP_SHOWN = timedelta(days=7)  # nothing calls it over, so it goes when a week has passed
_OTHERS_SHOWN = timedelta(days=31)  # nobody calls over what was of a host that is gone

_ALARMS = {  # what is said of each to people, and what a person runs to see to it
    "freshness": (
        "{set}: the newest complete recovery point is too old",
        "standfast backup run {set}",
    ),
    "jump": (
        "{set}: a night changed far more than usual; ask who did it",
        "standfast backup list --set {set}",
    ),
    "vault": ("the vault: damage was found in it", "standfast backup verify --read"),
    "locks": (
        "the vault: objects in it are not locked as they must be",
        "standfast backup verify",
    ),
    "keep": (
        "the keeper's run does not come; without it locks run out",
        "standfast backup keep",
    ),
    "look": (
        "the vault: the scheduled verification does not come",
        "standfast backup verify",
    ),
    "read": (
        "the vault: the verification that reads all of it does not come",
        "standfast backup verify --read",
    ),
    "drill": (
        "{set}: the scheduled restore drill does not come, or fails",
        "standfast drill run {set} --identity FILE",
    ),
    "deadline": ("a legal clock runs: {duty}", "standfast deadline list"),
}


@dataclass(frozen=True, kw_only=True)
class AlarmStatus:
    """An alarm about backups that is not over, or a legal clock of which nobody could be told."""

    what: str  # a key of _ALARMS
    set_name: str  # empty for the vault; of a legal clock INCIDENT.DUTY
    since: datetime
    is_told: bool  # it reached somebody
    host: str = ""  # whose it is, where it is another's: what to run is run there

    @property
    def sentence(self) -> str:
        """Say it for people."""
        whose = f"{self.host}, " if self.host else ""
        return whose + self._filled(_ALARMS[self.what][0])

    @property
    def command(self) -> str:
        """What a person runs to see to it."""
        return self._filled(_ALARMS[self.what][1])

    def _filled(self, text: str) -> str:
        return text.format(set=self.set_name, duty=self.set_name.replace(".", ", ", 1))

    def as_json(self) -> JsonObject:
        """Give the alarm for `--json`."""
        return {
            "what": self.what,
            "set": self.set_name,
            "since": timestamp(self.since),
            "is_told": self.is_told,
            "host": self.host,
        }


def alarms_of(seen: LedgerOverview, own: Origin, now: datetime) -> tuple[AlarmStatus, ...]:
    """Give the alarms that are not over, by whose they are (ours first) and about what."""
    return tuple(_alarms(seen, own, now))


def _alarms(seen: LedgerOverview, own: Origin, now: datetime) -> Iterator[AlarmStatus]:
    rows: dict[tuple[str, str], dict[str, datetime]] = {}  # by whose it is, and about what
    hosts: dict[str, str] = {}
    for one in seen.alarms:  # the newest first
        whose = _whose(one.subject, one.origin, own)
        hosts.setdefault(whose, f"{one.origin.host} on {one.origin.machine}" if whose else "")
        rows.setdefault((whose, one.subject), {}).setdefault(one.state, one.started_at)
    for (whose, subject), told in sorted(rows.items()):
        what, _, set_name = subject.partition(".")
        raised = [told[state] for state in ("raised", "failed") if state in told]
        over = told.get("over")
        if not raised or (over is not None and over >= max(raised)):
            continue
        shown_for = JUMP_SHOWN if what == "jump" else _OTHERS_SHOWN if whose else None
        if shown_for is not None and now - max(raised) > shown_for:
            continue
        if what == "deadline":
            # The clock stands with its incident; here only a mark that reached nobody.
            raised = [max(raised)]
            if told.get("failed") not in raised:
                continue
        yield AlarmStatus(
            what=what,
            set_name=set_name,
            since=min(one for one in raised if over is None or one > over),
            is_told=told.get("raised") in raised and (over is None or told["raised"] > over),
            host=hosts[whose],
        )


def _whose(subject: str, origin: Origin, own: Origin) -> str:
    """Tell another host's alarms, and another vault's, apart; nothing for ours and everybody's."""
    scope = scope_of(subject)
    vault = origin.vault if own.vault and origin.vault != own.vault else ""
    host = origin.host if own.host and origin.host != own.host else ""
    if scope is Scope.LEDGER or (scope is Scope.VAULT and not vault):
        return ""
    return vault if scope is Scope.VAULT else " ".join(filter(None, (vault, host)))
