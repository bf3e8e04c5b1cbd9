"""Events of incidents, received by a server that checks signatures."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from standfast.config import load
from standfast.console import serve_parts
from standfast.errors import ConfigurationError
from standfast.records import Mode
from standfast.usecases.core.installation import Installation
from standfast.usecases.core.run_record import recorded
from standfast.usecases.health.check_results import Verdict
from standfast.usecases.health.installation_check import check_installation
from standfast.usecases.incidents.lifecycle import advance, close, open_incident
from standfast.usecases.setup.installation_opening import open_installation
from standfast.usecases.triggers.incident_events import KIND, due_events, send_event
from tests.console.test_quiet_incidents import QUIET
from tests.pages.blocks import blocks
from tests.servers import wait_until
from tests.servers.over_http import Answering, listening
from tests.servers.scim import ScimServer
from tests.usecases.installations import furnish

SECRET = "whsec_" + base64.b64encode(b"the secret of outgoing events").decode()
ENV = {"SCIM_TOKEN": "unused", "WEBHOOK_SECRET": SECRET}
SETTINGS = """
[playbooks]
folder = "own"

[requests.siem]
url = "{url}/events/{{event}}"
signing_secret = "env:WEBHOOK_SECRET"
parameters = {{ event = {{}}, incident = {{}}, playbook = {{}}, opened_at = {{ type = "text" }} }}

[requests.siem.body]
type = "incident.{{event}}"
timestamp = "{{opened_at}}"
data = {{ incident = "{{incident}}", playbook = "{{playbook}}" }}

[incident_events.siem]
opened = "siem"
contained = "siem"
closed = "siem"
"""


@dataclass(kw_only=True)
class Receiver:
    """A system that receives events and verifies them."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)  # returned in place of 204
    messages: list[tuple[str, dict[str, Any]]] = field(default_factory=list)  # id and body
    has_received: threading.Event = field(default_factory=threading.Event)

    @property
    def types(self) -> list[str]:
        return [body["type"].removeprefix("incident.") for _, body in self.messages]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()

    class Events(Answering):
        def do_POST(self) -> None:
            body = self.body()
            verified = Webhook(SECRET).verify(body, {k.lower(): v for k, v in self.headers.items()})
            found.messages.append((self.headers["webhook-id"], verified))
            self.answer(found.statuses.pop(0) if found.statuses else 204)

    with listening(Events) as port:
        found.url = f"http://127.0.0.1:{port}"
        yield found


class Clock:
    """The time of this test; it moves only when the test moves it."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


@contextmanager
def opened_at(
    folder: Path,
    receiver: Receiver,
    clock: Clock,
    scim_url: str = "http://127.0.0.1:9/v2",
    settings: str | None = None,
    **env: str,
) -> Iterator[Installation]:
    config_file = furnish(folder, scim_url=scim_url)
    (folder / "own").mkdir()
    (folder / "own/hush.yaml").write_text(QUIET)
    settings = settings or SETTINGS.format(url=receiver.url)
    config_file.write_text(config_file.read_text() + settings)
    with open_installation(
        config_file, env={**ENV, **env}, actor="os:test", clock=clock
    ) as installation:
        yield installation


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def installation(tmp_path: Path, receiver: Receiver, clock: Clock) -> Iterator[Installation]:
    with opened_at(tmp_path, receiver, clock) as found:
        yield found


def lock_incident(installation: Installation, playbook: str = "lock", **options: Any) -> str:
    settings = {"mode": Mode.LIVE, "opened_by": "os:test", **options}
    return open_incident(
        installation, playbook, {"accounts": ["agents:agent01"]}, **settings
    ).incident


def send_all(installation: Installation) -> list[str]:
    return [send_event(installation, event, "direct") for event in due_events(installation)]


def test_each_event_is_signed_and_sent_once(
    tmp_path: Path, receiver: Receiver, clock: Clock, scim_server: ScimServer
) -> None:
    scim_server.create("agent01")
    with opened_at(
        tmp_path, receiver, clock, scim_server.url, SCIM_TOKEN=scim_server.token
    ) as installation:
        case = lock_incident(installation)
        send_all(installation)
        assert receiver.types == ["opened"]
        advance(installation, case, "direct")
        send_all(installation)
        assert receiver.types == ["opened", "contained"]
        close(installation, case)
        send_all(installation)
        assert send_all(installation) == []
    assert receiver.types == ["opened", "contained", "closed"]
    assert {body["data"]["incident"] for _, body in receiver.messages} == {case}
    assert "agent01" not in json.dumps(receiver.messages)
    assert len({message_id for message_id, _ in receiver.messages}) == 3


def test_ticket_of_page_is_opened_noted_and_closed(
    tmp_path: Path, clock: Clock, scim_server: ScimServer
) -> None:
    scim_server.create("agent01")
    (example,) = (
        b.text for b in blocks("docs/monitoring.md") if b.begins == "[requests.alert-open]"
    )
    address = "https://api.opsgenie.com"
    assert example.count(address) == 3
    requests: list[tuple[str, str, str, Any]] = []

    class Alerts(Answering):
        def do_POST(self) -> None:
            header = self.headers
            body = json.loads(self.body())
            requests.append((self.path, header["Authorization"], header["Content-Type"], body))
            self.answer(202)

    with listening(Alerts) as port:
        receiver = Receiver(url=f"http://127.0.0.1:{port}")
        settings = example.replace(address, receiver.url)
        with opened_at(
            tmp_path,
            receiver,
            clock,
            scim_server.url,
            settings=settings,
            SCIM_TOKEN=scim_server.token,
        ) as installation:
            key = tmp_path / "keys/opsgenie"
            key.touch(mode=0o600)
            key.write_text("GenieKey 1234\n")
            organisation = installation.config.organisation.name
            case = lock_incident(installation)
            assert send_all(installation) == ["sent"]
            advance(installation, case, "direct")
            assert send_all(installation) == ["sent"]
            close(installation, case)
            assert send_all(installation) == ["sent"]
    alert = {
        "alias": case,
        "message": f"{case}: lock",
        "source": organisation,
        "priority": "P1",
    }
    headers = ("GenieKey 1234", "application/json")
    found = f"/v2/alerts/{case}"
    assert requests == [
        ("/v2/alerts", *headers, alert),
        (f"{found}/notes?identifierType=alias", *headers, {"note": "The accounts are locked."}),
        (f"{found}/close?identifierType=alias", *headers, {"note": "The incident is closed."}),
    ]


def test_refused_event_is_sent_again_with_its_id(
    installation: Installation, receiver: Receiver, clock: Clock
) -> None:
    receiver.statuses += [500, 403]
    lock_incident(installation)
    for _ in range(2):
        send_all(installation)
        assert due_events(installation) == []  # none is due before the pause is over
        clock.now += timedelta(minutes=2)
    assert send_all(installation) == ["sent"]
    assert len(receiver.messages) == 3
    assert len({message_id for message_id, _ in receiver.messages}) == 1


def test_event_of_a_killed_sender_is_sent_again(
    installation: Installation, receiver: Receiver
) -> None:
    lock_incident(installation)
    with pytest.raises(KeyboardInterrupt), recorded(installation, KIND, "siem", "serve"):
        raise KeyboardInterrupt  # a death between the request and its record
    assert send_all(installation) == ["sent"]


def test_second_sender_of_an_event_does_nothing(
    installation: Installation, receiver: Receiver
) -> None:
    lock_incident(installation)
    (event,) = due_events(installation)
    send_event(installation, event, "serve")
    send_event(installation, event, "serve")
    assert receiver.types == ["opened"]


def test_exercise_and_quiet_incident_are_not_reported(installation: Installation) -> None:
    lock_incident(installation, mode=Mode.EXERCISE)
    lock_incident(installation, "hush")
    assert due_events(installation) == []


def test_old_incidents_are_not_reported(installation: Installation, clock: Clock) -> None:
    lock_incident(installation)
    clock.now += timedelta(days=8)
    assert due_events(installation) == []


def test_serve_sends_events_in_a_thread(installation: Installation, receiver: Receiver) -> None:
    lock_incident(installation)
    parts = [part for part in serve_parts(installation, lambda _: None) if "events" in str(part)]
    for part in parts:
        part.begin()
    try:
        wait_until(lambda: receiver.types == ["opened"], "the event arrives")
    finally:
        for part in parts:
            part.end()


def test_check_names_an_event_that_was_refused(
    installation: Installation, receiver: Receiver, tmp_path: Path
) -> None:
    def verdicts() -> list[Verdict]:
        checks = check_installation(tmp_path / "standfast.toml", env=ENV).checks
        return [check.verdict for check in checks if check.part == "events"]

    assert verdicts() == [Verdict.OK]
    receiver.statuses.append(403)
    lock_incident(installation)
    send_all(installation)
    assert verdicts() == [Verdict.WARN]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('closed = "siem"', 'closed = "seim"'),
        ("event = {}", "event = {}, account = {}"),
    ],
)
def test_unusable_request_is_refused(
    installation: Installation, tmp_path: Path, before: str, after: str
) -> None:
    config_file = tmp_path / "standfast.toml"
    config_file.write_text(config_file.read_text().replace(before, after, 1))
    with pytest.raises(ConfigurationError):
        load(config_file)
