"""HTTP server, control socket and message senders of `standfast serve`.

All of them run in threads next to the main loop of `standfast serve`. A page is an urgent message,
such as a mail, to a person that must act. A call-out pages one person after another, until somebody
acknowledges it. An incident event is a message to another system, for example that an incident was
opened. The ledger is the database of incidents and approvals.

Rules
- Each process that receives requests or continues incidents also sends pages, call-outs and events,
  so that no single host must be up. The ledger prevents that two hosts send the same message. A
  call-out records each page by compare-and-swap before it is sent. Other pages, and events, are
  recorded before they are sent. If two hosts record the same message, only the host whose record is
  first in the audit chain (the ledger's sequence of audit events) sends it.
- The loop and the HTTP server never wait for each other; they share only the ledger.
- An incident is opened in one commit; slow services are called only after the response.
- All input is limited: bytes, headers, time, connections and rate.
- No response and no log line repeats input. An unauthenticated sender receives no information, not
  even whether a name exists.
"""

from collections.abc import Iterator, Mapping, Sequence

from flows.roles import EVERYTHING, Role
from flows.serve_loop import BeginWork, ServePart
from standfast.console.application import App
from standfast.console.control_socket_server import ControlSocketServer
from standfast.console.http_server import HttpServer
from standfast.console.ledger_follower import LedgerFollower
from standfast.console.suricata_watcher import suricata_watchers
from standfast.usecases.core.installation import Installation
from standfast.usecases.on_call.call_outs import attend
from standfast.usecases.triggers.incident_events import due_events, send_event
from standfast.usecases.triggers.message_intake import Trigger, triggers_of, trusted_proxies
from standfast.usecases.triggers.trigger_pages import due, send


def serve_parts(
    installation: Installation, begin_work: BeginWork, role: Role = EVERYTHING
) -> Sequence[ServePart]:
    """Return the parts of a role that `serve` runs next to its loop.

    The parts call `begin_work` with each incident that they open. An invalid trigger (a configured
    way to open an incident from outside) raises ConfigurationError, so that the error appears when
    `serve` starts.
    """
    if not role.sends_pages:
        return ()
    triggers = triggers_of(installation.config)
    parts: list[ServePart] = []
    if role.listens:
        app = App(
            installation=installation,
            triggers=triggers,
            trusted=trusted_proxies(installation.config),
            begin_work=begin_work,
        )
        serve = installation.config.serve
        parts = [
            ControlSocketServer(installation=installation, begin_work=begin_work),
            HttpServer(app=app, host=serve.host, port=serve.port),
            *suricata_watchers(installation, triggers),
        ]
    return [*parts, *_followers(installation, triggers)]


def _followers(
    installation: Installation, triggers: Mapping[str, Trigger]
) -> Iterator[LedgerFollower]:
    """Yield the threads that send pages, call-outs and events of incidents."""

    def send_pages() -> Iterator[str]:
        for page in due(installation):
            yield f"trigger {page.trigger}: {send(installation, page, triggers, 'serve')}"

    def send_events() -> Iterator[str]:
        for event in due_events(installation):
            result = send_event(installation, event, "serve")
            yield f"event {event.key} for {event.receiver}: {result}"

    yield LedgerFollower(installation=installation, name="paging", send_due=send_pages)
    if installation.config.on_call.is_used:
        yield LedgerFollower(
            installation=installation,
            name="call-outs",
            send_due=lambda: attend(installation, triggers),
            look_seconds=1.0,
        )
    if installation.config.incident_events:
        yield LedgerFollower(
            installation=installation, name="events", send_due=send_events, look_seconds=2.0
        )
