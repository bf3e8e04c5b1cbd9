"""Events of incidents for other systems: when they are due and repeated.

An event is a message to another system: an incident was opened, contained or closed. A receiver is
one section of `incident_events` in the configuration. Each event is sent as a request of the
section `[requests]`, such as a signed webhook or the call that opens a ticket.

Rules
- Only live incidents are reported. Quiet incidents, which are hidden from most people, are not
  reported. An event names the incident and its playbook, but no account, no person and no input of
  the incident.
- An event is sent at least once: a run (a record with a state and a result) of kind `event` is
  stored before the request, and the event is sent again until the response has an expected status.
  Each attempt has the same idempotency key and the same parameters.
- A failed event is sent again after half a minute, and then after growing pauses of at most an
  hour.
- An opening that is older than a week is not reported, and neither is an incident that was closed
  more than a week ago. Otherwise a new receiver would be sent the events of old incidents.
- An incident is contained when each step that locks accounts has ended and left no account open.
- If several hosts find an event at once, each records a run in the shared ledger (the database of
  incidents and runs). The host with the first record sends the event.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta

from standfast.adapters.factory.live_adapters import build_procedure
from standfast.config import Config
from standfast.config.sections.monitoring import EventKind
from standfast.errors import StandfastError, UnderWay
from standfast.ledger import Ledger
from standfast.ledger.incidents.incident_store import IncidentRow
from standfast.ledger.runs.run_record import RunRecord
from standfast.playbook.status.headline import is_contained
from standfast.records import EffectState, Json, Mode, Order, digest, timestamp
from standfast.usecases.core.incident_visibility import is_quiet
from standfast.usecases.core.installation import Installation
from standfast.usecases.core.run_record import is_first, recorded

KIND = "event"
_SENT, _FAILED, _LEFT = "done", "failed", "left"  # _LEFT: another host has sent the event
_GIVEN_UP_AFTER = timedelta(days=7)
_FIRST_PAUSE = timedelta(seconds=30)
_LONGEST_PAUSE = timedelta(hours=1)
_LONGEST_SENDING = timedelta(minutes=6)  # a process that sends for longer is treated as dead


@dataclass(frozen=True, kw_only=True)
class IncidentEvent:
    """One event that is still to be sent to one receiver."""

    receiver: str
    kind: EventKind
    incident: IncidentRow
    request: str

    @property
    def key(self) -> str:
        """The event's name in the runs of its receiver."""
        return f"{self.incident.id}.{self.kind}"

    def parameters(self, organisation: str) -> dict[str, str]:
        """Return the values of `EVENT_PARAMETERS`, without personal data."""
        return {
            "event": self.kind.value,
            "incident": self.incident.id,
            "playbook": self.incident.scenario,
            "opened_at": timestamp(self.incident.opened_at),
            "organisation": organisation,
        }


def due_events(installation: Installation) -> list[IncidentEvent]:
    """Return the events to send now, oldest incident first."""
    receivers = installation.config.incident_events
    now = installation.clock()
    runs = {name: _attempts(installation.ledger, name) for name in receivers}
    rows = [row for row in installation.ledger.incidents.all() if _is_reported(row, now)]
    found = []
    for row in rows if receivers else ():
        for kind in EventKind:
            waiting = [
                IncidentEvent(receiver=name, kind=kind, incident=row, request=request)
                for name, settings in receivers.items()
                if (request := settings.request_of(kind)) is not None
            ]
            due = [event for event in waiting if _is_due(runs[event.receiver], event.key, now)]
            if due and _has_happened(installation, row, kind):
                found += due
    return found


def send_event(installation: Installation, event: IncidentEvent, way: str) -> str:
    """Send an event, unless another process does; return the result in words."""
    try:
        with recorded(installation, KIND, event.receiver, way) as run:
            # Read the attempts after `is_first`: another host may have recorded an attempt before.
            is_ours = is_first(installation, run, KIND, event.receiver, _LONGEST_SENDING)
            attempts = _attempts(installation.ledger, event.receiver).get(event.key, [])
            if not is_ours or any(attempt.state == _SENT for attempt in attempts):
                run.ends(_LEFT, {})
                return "another host is sending events, or has sent this event"
            problem = _send(installation, event, is_repeated=bool(attempts))
            summary: dict[str, Json] = {"event": event.key}
            run.ends(
                _FAILED if problem else _SENT, summary | ({"problem": problem} if problem else {})
            )
    except UnderWay:
        return "another process is sending events"
    return f"not sent: {problem}" if problem else "sent"


def unsent_events(config: Config, ledger: Ledger, now: datetime) -> dict[str, str]:
    """Return the error of each event that failed in the last week, by event."""
    since = now - _GIVEN_UP_AFTER
    return {
        f"{name}: {key}": str(attempts[0].summary.get("problem", ""))
        for name in config.incident_events
        for key, attempts in _attempts(ledger, name).items()
        if attempts[0].state == _FAILED and attempts[0].started_at >= since
    }


def _attempts(ledger: Ledger, receiver: str) -> dict[str, list[RunRecord]]:
    """Return the attempts for a receiver by event, the newest first.

    An attempt of a process that died names no event and is omitted. Its event is sent again.
    """
    found: dict[str, list[RunRecord]] = {}
    for run in ledger.runs.all(KIND, receiver, states=(_SENT, _FAILED)):
        if key := run.summary.get("event"):
            found.setdefault(str(key), []).append(run)
    return found


def _is_reported(row: IncidentRow, now: datetime) -> bool:
    ended_at = row.opened_at if row.closed_at is None else row.closed_at
    is_recent = row.is_open or ended_at >= now - _GIVEN_UP_AFTER
    return row.mode is Mode.LIVE and is_recent and not is_quiet(row.playbook, row.scenario)


def _has_happened(installation: Installation, row: IncidentRow, kind: EventKind) -> bool:
    match kind:
        case EventKind.OPENED:
            return row.opened_at >= installation.clock() - _GIVEN_UP_AFTER
        case EventKind.CONTAINED:
            return is_contained(installation.ledger.incidents.state(row.id))
        case EventKind.CLOSED:
            return not row.is_open


def _is_due(attempts: Mapping[str, Sequence[RunRecord]], key: str, now: datetime) -> bool:
    earlier = attempts.get(key, ())
    if not earlier or earlier[0].state == _SENT:
        return not earlier
    pause = min(_FIRST_PAUSE * 2 ** min(len(earlier) - 1, 10), _LONGEST_PAUSE)
    # `abs`: an attempt that a fast clock dated in the future must not delay the next attempt.
    return bool(abs(now - earlier[0].started_at) >= pause)


def _send(installation: Installation, event: IncidentEvent, *, is_repeated: bool) -> str:
    """Send the request of an event; return "" if accepted, else the error."""
    config, resolver = installation.config, installation.resolver
    declared = config.requests[event.request].parameters
    values = event.parameters(config.organisation.name)
    order = Order(
        token=digest([event.receiver, event.key])[:32],
        verb="http.request",
        target=event.incident.id,
        details={"parameters": {name: values[name] for name in declared}},
    )
    try:
        procedure = build_procedure(
            config,
            f"requests.{event.request}",
            lambda reference: resolver.resolve(reference).reveal(),
            installation.clock,
        )
    except StandfastError as error:
        return str(error)
    with closing(procedure):
        if is_repeated and procedure.can_observe and procedure.observe([order])[0].happened:
            return ""
        (result,) = procedure.run([order])
    return "" if result.state is EffectState.DONE else result.reason
