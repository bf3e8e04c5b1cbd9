"""SendGrid delivery events over HTTP: signatures and duplicates."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from standfast.errors import Unavailable
from standfast.records import DeliveryState, EffectState, Mode
from standfast.usecases.incidents import lifecycle
from tests.console.installations import ENV, Site, furnish_with, site_at
from tests.console.wire import answer_to, status_of
from tests.servers.sendgrid import KEY, Fault, SendGrid

TELL = """
playbook: tell
version: 1
title: Tell the staff
use_when: Somebody must know.
steps:
  tell:
    title: Warn our own staff
    do: notices.send
    with:
      template: staff-heads-up
      audience: staff
      sender: grid
      context:
        what_happened: account-takeover
    approval:
      none_because: It is a test.
"""
GRID = """
[senders.grid]
kind = "sendgrid"
key = "env:SENDGRID_KEY"
event_key = "env:SENDGRID_EVENTS"
sender_address = "security@example.com"
url = "{url}"
timeout_seconds = {seconds}

[playbooks]
folder = "playbooks"
"""


@pytest.fixture
def site(
    request: pytest.FixtureRequest, tmp_path: Path, sendgrid_server: SendGrid
) -> Iterator[Site]:
    (tmp_path / "playbooks").mkdir()
    (tmp_path / "playbooks/tell.yaml").write_text(TELL)
    seconds = getattr(request, "param", 20)
    config_file = furnish_with(tmp_path, GRID.format(url=sendgrid_server.url, seconds=seconds))
    env = {**ENV, "SENDGRID_KEY": KEY, "SENDGRID_EVENTS": sendgrid_server.event_key}
    with site_at(config_file, env) as found:
        yield found


def told(site: Site) -> str:
    """Notify three people through SendGrid; return the incident."""
    opened = lifecycle.open_incident(
        site.installation, "tell", {}, mode=Mode.LIVE, opened_by="dana"
    )
    lifecycle.advance(site.installation, opened.incident, "direct")
    return opened.incident


def tokens(site: Site, incident_id: str) -> list[str]:
    return [row.token for row in site.installation.ledger.effects.of_incident(incident_id)]


def states(site: Site, incident_id: str) -> list[EffectState]:
    return [row.state for row in site.installation.ledger.effects.of_incident(incident_id)]


def post(site: Site, body: bytes, headers: dict[str, str]) -> int:
    answer = httpx.post(
        f"{site.url}/events/sendgrid", content=body, headers=headers, trust_env=False, timeout=30
    )
    return answer.status_code


def tell(site: Site, account: SendGrid, events: Sequence[dict[str, Any]]) -> int:
    return post(site, *account.signed(events, int(time.time())))


def test_delivery_events_are_counted(site: Site, sendgrid_server: SendGrid) -> None:
    case = told(site)
    assert states(site, case) == [EffectState.DONE] * 3
    assert len(sendgrid_server.requests) == 1
    first, second, third = tokens(site, case)
    at = int(time.time())
    event = sendgrid_server.event
    words = [
        event(first, "delivered", at),
        event(second, "bounce", at, type="blocked"),
        event(third, "dropped", at, reason="Bounced Address"),
        event(third, "open", at),
    ]
    assert tell(site, sendgrid_server, [*words, words[0]]) == 204
    assert site.installation.ledger.deliveries.counts(case) == {
        ("tell", 1): {
            DeliveryState.DELIVERED: 1,
            DeliveryState.BOUNCED: 1,
            DeliveryState.DROPPED: 1,
        }
    }
    events = len(site.installation.ledger.timeline())
    late = [event(first, "processed", at - 60), event(second, "deferred", at - 30)]
    assert tell(site, sendgrid_server, [*late, *words]) == 204
    assert len(site.installation.ledger.timeline()) == events
    assert site.installation.ledger.audit.verify().is_whole


def test_rejected_events_show_in_health_until_one_succeeds(
    site: Site, sendgrid_server: SendGrid, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: object) -> None:
        raise Unavailable("the ledger cannot be written: its disk is full")

    def health() -> int:
        return httpx.get(f"{site.url}/health", trust_env=False).status_code

    first = tokens(site, told(site))[0]
    event = sendgrid_server.event(first, "delivered", int(time.time()))
    with monkeypatch.context() as patched:
        patched.setattr(type(site.installation.ledger.deliveries), "store_reports", full)
        assert tell(site, sendgrid_server, [event]) == 503
    assert health() == 503
    of_others = sendgrid_server.event("0" * 32, "delivered", int(time.time()))
    assert tell(site, sendgrid_server, [of_others]) == 204
    assert health() == 503, "nothing had to be written for it"
    assert tell(site, sendgrid_server, [event]) == 204
    assert health() == 200


@pytest.mark.parametrize("site", [1], indirect=True, ids=[""])
def test_event_settles_unknown_outcome_without_resending(
    site: Site, sendgrid_server: SendGrid
) -> None:
    sendgrid_server.faults.append(Fault(status=-1, takes_place=True))
    case = told(site)
    sendgrid_server.let_go.set()
    assert states(site, case) == [EffectState.UNKNOWN] * 3
    at = int(time.time())
    words = [sendgrid_server.event(token, "delivered", at) for token in tokens(site, case)[:2]]
    assert tell(site, sendgrid_server, words) == 204
    assert sorted(states(site, case)) == [EffectState.DONE, EffectState.DONE, EffectState.UNKNOWN]
    lifecycle.advance(site.installation, case, "direct")
    assert len(sendgrid_server.taken) == 3


def test_unsigned_event_changes_nothing(site: Site, sendgrid_server: SendGrid) -> None:
    case = told(site)
    at = int(time.time())
    words = [sendgrid_server.event(tokens(site, case)[0], "bounce", at)]
    events = len(site.installation.ledger.timeline())
    for what in ("key", "body", "time", "old", "ahead", "signature", "none"):
        signed_at = {"old": at - 27 * 3600, "ahead": at + 3600}.get(what, at)
        key = ec.generate_private_key(ec.SECP256R1()) if what == "key" else None
        body, headers = sendgrid_server.signed(words, signed_at, key=key)
        if what == "body":
            body = body.replace(b"bounce", b"deliver")
        if what == "time":
            headers["X-Twilio-Email-Event-Webhook-Timestamp"] = str(at - 1)
        if what == "signature":
            headers["X-Twilio-Email-Event-Webhook-Signature"] = "no base64!"
        if what == "none":
            headers = {}
        assert post(site, body, headers) == 401, what
    assert site.installation.ledger.deliveries.of_incident(case) == {}
    assert len(site.installation.ledger.timeline()) == events


def test_events_of_others_and_broken_ones_stop_nobody(
    site: Site, sendgrid_server: SendGrid, caplog: pytest.LogCaptureFixture
) -> None:
    case = told(site)
    token = tokens(site, case)[0]
    at = int(time.time())
    words: list[Any] = [
        "no event",
        {},
        sendgrid_server.event("0" * 32, "delivered", at),
        sendgrid_server.event(token, "delivered", at, timestamp="soon"),
        sendgrid_server.event(token, "delivered", at, timestamp=10**30),
        sendgrid_server.event(token, "exploded", at),
        {**sendgrid_server.event(token, "delivered", at), "sg_event_id": ["x"]},
    ]
    assert tell(site, sendgrid_server, words) == 204
    assert [
        one.state for one in site.installation.ledger.deliveries.of_incident(case).values()
    ] == [DeliveryState.DELIVERED]
    assert "events of SendGrid: 4 cannot be read" in caplog.text
    assert "@" not in "".join(one.getMessage() for one in caplog.records if "SendGrid" in one.msg)


def test_signed_message_without_list_changes_nothing(site: Site, sendgrid_server: SendGrid) -> None:
    events = len(site.installation.ledger.timeline())
    assert tell(site, sendgrid_server, []) == 204
    at = int(time.time())
    for body in (b"{", b"{}", b"[" * 100_000):
        assert post(site, body, sendgrid_server.headers_of(body, at)) == 204
        assert post(site, body, sendgrid_server.headers_of(b"[]", at)) == 401
    assert len(site.installation.ledger.timeline()) == events


def test_unsigned_messages_do_not_fill_the_log(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(30):
        assert post(site, b"ana@example.net", {}) == 401
    said = [one.getMessage() for one in caplog.records if "rejected" in one.getMessage()]
    assert 1 <= len(said) < 30
    assert "ana@" not in caplog.text


def test_too_large_a_message_is_refused(site: Site, sendgrid_server: SendGrid) -> None:
    _, headers = sendgrid_server.signed([], int(time.time()))
    sent = {**headers, "Host": "standfast", "Content-Length": str(4 * 1024 * 1024 + 1)}
    lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    # Announced only: an answer is lost to who is cut off while sending the rest.
    answer = answer_to(site.port, f"POST /events/sendgrid HTTP/1.1\r\n{lines}\r\n".encode())
    assert status_of(answer) == 413


def test_without_key_the_address_is_404(tmp_path: Path, sendgrid_server: SendGrid) -> None:
    with site_at(furnish_with(tmp_path)) as bare:
        assert tell(bare, sendgrid_server, []) == 404
