"""An exercise rehearses the whole playbook and reaches nothing real."""

import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from standfast.adapters.senders.simulator import SimulatedSender
from standfast.config import SecretReference
from standfast.config.sections.senders import SenderConfig
from standfast.config.validation import kinds_of, sections_in
from standfast.errors import ApprovalRefused, ExitStatus, PlaybookInvalid
from standfast.playbook.engine import current_state
from standfast.records import Mode, StepState
from standfast.secrets import Secret
from standfast.usecases.approvals import step_decisions
from standfast.usecases.approvals.exercise_roles import missing_parts
from standfast.usecases.incidents import effect_undo, lifecycle
from standfast.usecases.playbooks import library
from tests.usecases.installations import PASSPHRASES, enrol_people, furnish, installation_at


class RaisingResolver:
    """A resolver that fails when a secret is requested."""

    def resolve(self, reference: SecretReference) -> Secret:
        raise AssertionError(f"an exercise asked for {reference}")


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("an exercise opened a connection")

    for name in ("connect", "connect_ex", "sendto", "bind"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.usefixtures("no_network")
def test_exercise_needs_no_network_and_no_secret(
    tmp_path: Path,
) -> None:
    config_file = furnish(tmp_path)
    (tmp_path / "crm.db").unlink()  # an exercise reads no customer data either
    hour = [datetime(2026, 3, 1, 2, 30, tzinfo=UTC)]
    with installation_at(
        config_file, resolver=RaisingResolver(), clock=lambda: hour[0]
    ) as installation:
        enrol_people(installation)
        case = lifecycle.open_incident(
            installation,
            "account-takeover",
            {"accounts": ["agent01", "agents:agent02"]},
            mode=Mode.EXERCISE,
            opened_by="dana",
        ).incident
        assert (
            lifecycle.advance(installation, case, "direct").exit_status
            is ExitStatus.WAITS_FOR_PEOPLE
        )
        step_decisions.answer(installation, case, "customers_affected", "yes", by="lee")
        lifecycle.advance(installation, case, "direct")
        step_decisions.decide(installation, case, None, "lee", PASSPHRASES["lee"])
        for step in ("clocks", "watch"):
            step_decisions.answer(installation, case, step, "rehearsed", by="lee")
        lifecycle.advance(installation, case, "direct")
        hour[0] += timedelta(minutes=30)
        lifecycle.advance(installation, case, "direct")
        step_decisions.answer(installation, case, "close", "rehearsed")
        outcome = lifecycle.advance(installation, case, "direct")
        assert outcome.exit_status is ExitStatus.DONE, outcome.summary
        effect_undo.undo(installation, case, requested_by="dana")
        outcome = lifecycle.advance(installation, case, "direct")
        assert outcome.exit_status is ExitStatus.DONE, outcome.summary
        assert installation.ledger.effects.locked_targets(case) == []
        assert installation.ledger.audit.verify().is_whole
    assert not (tmp_path / "evidence").exists()


EVERY_CHANNEL = """
[senders.grid]
kind = "sendgrid"
key = "env:SENDGRID_API_KEY"
sender_address = "security@example.com"

[senders.amazon]
kind = "ses"
region = "eu-west-1"
sender_address = "security@example.com"
access_key_id = "env:SES_KEY_ID"
secret_access_key = "env:SES_KEY"

[senders.chat]
kind = "apprise"
url = "env:STAFF_CHAT_URL"

[senders.post]
kind = "letters"
return_address = ["1 Example Street"]

[playbooks]
folder = "playbooks"
"""
BY_ANY = """
playbook: by-any
version: 1
title: Tell by any way
use_when: In a test.
steps:
"""
BY_ONE = """
  by_{0}:
    title: Tell by {0}
    do: notices.send
    with:
      template: staff-heads-up
      audience: staff
      sender: {0}
      context: {{what_happened: account-takeover}}
    approval: {{none_because: a test}}
"""


@pytest.mark.usefixtures("no_network")
def test_exercise_simulates_every_channel(
    tmp_path: Path,
) -> None:
    config_file = furnish(tmp_path)
    config_file.write_text(config_file.read_text() + EVERY_CHANNEL)
    names = ("mail", "grid", "amazon", "chat", "post")
    (tmp_path / "playbooks").mkdir()
    steps = "".join(map(BY_ONE.format, names))
    (tmp_path / "playbooks/by-any.yaml").write_text(BY_ANY + steps)
    with installation_at(config_file, resolver=RaisingResolver()) as installation:
        assert {one.kind for one in installation.config.senders.values()} == {
            kind for section in sections_in(SenderConfig) for kind in kinds_of(section)
        }
        case = lifecycle.open_incident(installation, "by-any", {}, mode=Mode.EXERCISE).incident
        adapters = installation.adapters_for(installation.ledger.incidents.get(case))
        assert {type(adapters.sender(name)) for name in names} == {SimulatedSender}
        outcome = lifecycle.advance(installation, case, "direct")
        assert outcome.exit_status is ExitStatus.DONE, outcome.summary
        told = {step: view.counts.done for step, view in outcome.state.steps.items()}
        assert told == {f"by_{name}": 3 for name in names}
    assert not (tmp_path / "letters").exists()


_BARE = """
[organisation]
name = "Example Contact Centres"
contact_line = "020 7946 0000"
"""


@pytest.mark.parametrize(
    "scenario",
    ["account-takeover", "agent-vishing", "customer-data-theft", "ransomware", "supplier-breach"],
)
def test_exercise_states_what_live_lacks(tmp_path: Path, scenario: str) -> None:
    config_file = furnish(tmp_path)
    config_file.write_text(_BARE)
    inputs: dict[str, str | list[str]] = {"accounts": ["alice"]}
    if scenario == "supplier-breach":
        inputs["supplier"] = "Acme"
    with installation_at(config_file) as installation:
        with pytest.raises(PlaybookInvalid):
            lifecycle.open_incident(installation, scenario, inputs, mode=Mode.LIVE)
        case = lifecycle.open_incident(installation, scenario, inputs, mode=Mode.EXERCISE).incident
        outcome = lifecycle.advance(installation, case, "direct")
        assert current_state(outcome.state.steps["lock"]) is StepState.DONE
        assert not outcome.troubles
        lacking = missing_parts(installation, outcome.state.playbook)
    assert "a directory of accounts: add [accounts.NAME]" in lacking
    assert any("[audiences.staff]" in one for one in lacking)


def test_missing_role_is_played_only_in_exercises(tmp_path: Path) -> None:
    config_file = furnish(tmp_path)
    with installation_at(config_file) as installation:
        case = lifecycle.open_incident(
            installation, "account-takeover", {"accounts": "alice"}, mode=Mode.EXERCISE
        ).incident
        outcome = lifecycle.advance(installation, case, "direct")
        lacking = missing_parts(installation, outcome.state.playbook)
        assert any("duty-manager" in one for one in lacking)
        step_decisions.answer(installation, case, "customers_affected", "no")
        real = lifecycle.open_incident(
            installation, "account-takeover", {"accounts": "bob"}, mode=Mode.LIVE
        ).incident
        with pytest.raises(ApprovalRefused, match="--role duty-manager"):
            step_decisions.answer(installation, real, "customers_affected", "no")


def test_an_exercise_lacks_nothing_where_all_is_configured(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        enrol_people(installation)
        playbook = library.find(installation.config, "account-takeover")
        assert missing_parts(installation, playbook) == []
