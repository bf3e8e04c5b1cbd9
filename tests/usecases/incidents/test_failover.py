"""Failover of messages, row by row; unknown outcomes are not handed on."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from standfast.adapters.factory import Adapters
from standfast.errors import ExitStatus, Unavailable
from standfast.playbook.actions.people_page import PAGE
from standfast.records import EffectState, Mode
from standfast.usecases.core.installation import Installation
from standfast.usecases.incidents import lifecycle
from standfast.usecases.setup.installation_opening import open_installation
from tests.servers.sendgrid import KEY, Fault, SendGrid
from tests.servers.smtp import SmtpServer
from tests.usecases.installations import enrol_people, furnish

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
sender_address = "security@example.com"
url = "{url}"
timeout_seconds = {seconds}
failover = "{failover}"

[playbooks]
folder = "playbooks"
"""


def installation_with(
    folder: Path, grid: SendGrid, relay: SmtpServer, failover: str, seconds: int = 20
) -> Path:
    config_file = furnish(folder, smtp_port=relay.port)
    (folder / "playbooks").mkdir()
    (folder / "playbooks/tell.yaml").write_text(TELL)
    with config_file.open("a") as file:
        file.write(GRID.format(url=grid.url, failover=failover, seconds=seconds))
    return config_file


# The pause before an unknown outcome is looked up is longer than the time-out of the test.
awaits_unknown = pytest.mark.parametrize("installation", [1], indirect=True, ids=[""])


@pytest.fixture
def installation(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    sendgrid_server: SendGrid,
    smtp_server: SmtpServer,
) -> Iterator[Installation]:
    seconds = getattr(request, "param", 20)
    config_file = installation_with(tmp_path, sendgrid_server, smtp_server, "mail", seconds)
    env = {"SCIM_TOKEN": "unused", "SENDGRID_KEY": KEY}
    with open_installation(config_file, env=env, actor="os:test") as found:
        yield found


def tell(installation: Installation) -> tuple[ExitStatus, dict[str, tuple[str, EffectState]]]:
    """Notify three people; return the outcome and the channel of each."""
    opened = lifecycle.open_incident(installation, "tell", {}, mode=Mode.LIVE, opened_by="dana")
    outcome = lifecycle.advance(installation, opened.incident, "direct")
    rows = installation.ledger.effects.of_incident(opened.incident)
    return outcome.exit_status, {row.target: (row.connector, row.state) for row in rows}


def test_suspended_sender_account_uses_the_next_sender(
    installation: Installation, sendgrid_server: SendGrid, smtp_server: SmtpServer
) -> None:
    sendgrid_server.is_suspended = True
    status, told = tell(installation)
    assert status is ExitStatus.DONE
    assert set(told.values()) == {("mail", EffectState.DONE)}
    assert len(smtp_server.delivered) == 3
    assert sendgrid_server.taken == []


def test_refused_recipient_uses_the_next_sender(
    installation: Installation, sendgrid_server: SendGrid, smtp_server: SmtpServer
) -> None:
    sendgrid_server.unknown_people.add("staff2@example.com")
    status, told = tell(installation)
    assert status is ExitStatus.DONE
    assert [one.recipients for one in smtp_server.delivered] == [("staff2@example.com",)]
    assert told == {
        "mail:staff1@example.com": ("grid", EffectState.DONE),
        "mail:staff2@example.com": ("mail", EffectState.DONE),
        "mail:staff3@example.com": ("grid", EffectState.DONE),
    }


@awaits_unknown
def test_possibly_accepted_message_is_not_handed_on(
    installation: Installation, sendgrid_server: SendGrid, smtp_server: SmtpServer
) -> None:
    sendgrid_server.faults.append(Fault(status=500, takes_place=True))
    _, told = tell(installation)
    assert set(told.values()) == {("grid", EffectState.UNKNOWN)}
    assert smtp_server.delivered == ()


@awaits_unknown
@pytest.mark.parametrize("error", [RuntimeError, Unavailable])
def test_broken_call_is_not_handed_on(
    installation: Installation,
    smtp_server: SmtpServer,
    monkeypatch: pytest.MonkeyPatch,
    error: type[Exception],
) -> None:
    """Otherwise a recipient could get the message twice."""

    def break_off(*_: object) -> None:
        raise error("the channel broke off")

    monkeypatch.setattr(Adapters, "call", break_off)
    _, told = tell(installation)
    assert set(told.values()) == {("grid", EffectState.UNKNOWN)}
    assert smtp_server.delivered == ()


def test_sender_without_key_hands_on(
    tmp_path: Path, sendgrid_server: SendGrid, smtp_server: SmtpServer
) -> None:
    config_file = installation_with(tmp_path, sendgrid_server, smtp_server, "mail")
    with open_installation(
        config_file, env={"SCIM_TOKEN": "unused"}, actor="os:test"
    ) as installation:
        _, told = tell(installation)
    assert set(told.values()) == {("mail", EffectState.DONE)}


def test_unreachable_approver_is_paged_through_next_channel(
    installation: Installation, sendgrid_server: SendGrid, smtp_server: SmtpServer
) -> None:
    sendgrid_server.is_suspended = True
    enrol_people(installation)
    by_grid = installation.config.notices.model_copy(update={"sender": "grid"})
    installation = replace(
        installation, config=installation.config.model_copy(update={"notices": by_grid})
    )
    asks = "count: 1\n      roles: [duty-manager]"
    text = TELL.replace("playbook: tell", "playbook: ask").replace(
        "none_because: It is a test.", asks
    )
    (installation.config.folder / "playbooks/ask.yaml").write_text(text)
    opened = lifecycle.open_incident(installation, "ask", {}, mode=Mode.LIVE, opened_by="dana")
    lifecycle.advance(installation, opened.incident, "direct")
    paged = sorted(mail.recipients for mail in smtp_server.delivered)
    assert paged == [("kim@example.com",), ("lee@example.com",)]
    rows = installation.ledger.effects.of_incident(opened.incident)
    assert {(row.connector, row.state) for row in rows if row.verb == PAGE} == {
        ("mail", EffectState.DONE)
    }
