"""An open incident grows: new accounts are locked on a real OpenLDAP."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from standfast.errors import Refused, UsageError
from standfast.records import EffectState, Mode, Proof, StepState
from standfast.usecases.core.installation import Installation
from standfast.usecases.incidents.lifecycle import (
    add_to_incident,
    advance,
    close,
    open_incident,
    stop,
)
from standfast.usecases.reports.result_pages import incident_report
from standfast.usecases.setup.installation_opening import open_installation
from tests.kill.people import CONNECTOR, PASSWORD, Agents, running_directory
from tests.servers import need
from tests.servers.slapd import PEOPLE
from tests.usecases.installations import (
    approve_as,
    enrol_people,
    furnish,
    undo_approved,
)

PLAYBOOK = """\
playbook: shut
version: 1
title: Lock, prove and freeze
use_when: A test adds accounts.
inputs:
  accounts: {type: accounts, required: true}
  reason: {type: text}
steps:
  lock:
    title: Lock
    do: accounts.lock
    with: {accounts: "{{ inputs.accounts }}"}
    approval: {count: 1, roles: [duty-manager], reason: A lock shuts out people at work.}
  prove:
    title: Prove
    needs: [lock]
    do: accounts.prove_locked
    with: {accounts: "{{ inputs.accounts }}"}
  freeze:
    title: Freeze
    needs: [prove]
    do: evidence.snapshot
"""


@pytest.fixture(scope="module")
def agents() -> Iterator[Agents]:
    need("slapd", "it is the directory")
    with running_directory() as found:
        yield found


@pytest.fixture
def installation(tmp_path: Path, agents: Agents) -> Iterator[Installation]:
    config_file = furnish(tmp_path)
    ldap = f"""\
[accounts.agents]
kind = "openldap"
host = "localhost"
port = {agents.slapd.port}
tls = "none"
bind_dn = "{CONNECTOR}"
password = "env:LDAP_PASSWORD"
base = "{PEOPLE}"
"""
    text = re.sub(r"\[accounts.agents\].*?\n\n", ldap + "\n", config_file.read_text(), flags=re.S)
    config_file.write_text(text + '\n[playbooks]\nfolder = "playbooks"\n')
    (tmp_path / "playbooks").mkdir()
    (tmp_path / "playbooks/shut.yaml").write_text(PLAYBOOK)
    env = {"LDAP_PASSWORD": PASSWORD}
    with open_installation(config_file, env=env, actor="os:test") as opened:
        enrol_people(opened)
        yield opened


def contained(installation: Installation, account: str) -> str:
    """Open an incident about one account and lock it; return its id."""
    inputs = {"accounts": [account]}
    opened = open_incident(installation, "shut", inputs, mode=Mode.LIVE, opened_by="dana")
    advance(installation, opened.incident, "direct")
    approve_as(installation, opened.incident, "lock", "lee")
    advance(installation, opened.incident, "direct")
    return opened.incident


def test_added_accounts_need_their_own_approval(installation: Installation, agents: Agents) -> None:
    first, second = agents.hire(2)
    incident = contained(installation, first)
    assert add_to_incident(installation, incident, {"accounts": second}, by="dana") == 1
    view = advance(installation, incident, "direct").state.steps["lock"]
    assert (view.state, view.round, view.approvals_needed) == (StepState.ASKING, 2, 2)
    assert (agents.signs_in(first), agents.signs_in(second)) == (False, True)
    approve_as(installation, incident, "lock", "lee")
    advance(installation, incident, "direct")
    assert agents.signs_in(second)
    approve_as(installation, incident, "lock", "kim")
    state = advance(installation, incident, "direct").state
    assert not agents.signs_in(second)
    assert (agents.changes(first).locks, agents.changes(second).locks) == (1, 1)
    assert state.steps["prove"].counts.done == 2
    undo_approved(installation, incident)
    advance(installation, incident, "direct")
    assert (agents.signs_in(first), agents.signs_in(second)) == (True, True)
    assert installation.ledger.audit.verify().is_whole


def test_added_accounts_are_proven_and_frozen(installation: Installation, agents: Agents) -> None:
    first, second = agents.hire(2)
    incident = contained(installation, first)
    add_to_incident(installation, incident, {"accounts": [second]}, by="lee")
    advance(installation, incident, "direct")
    for name in ("lee", "kim"):
        approve_as(installation, incident, "lock", name)
    advance(installation, incident, "direct")
    done = {
        (effect.verb, effect.target, effect.round): effect.proof
        for effect in installation.ledger.effects.of_incident(incident)
        if effect.state is EffectState.DONE
    }
    assert done["accounts.prove_locked", f"agents:{second}", 2].reaches(Proof.READ_BACK)
    assert ("evidence.snapshot", "evidence:telephony", 2) in done
    lines = incident_report(installation, incident).events
    assert ("lee", "added 1 account, signed in") in [(line.actor, line.action) for line in lines]


def test_commit_alone_is_enough_for_runners(installation: Installation, agents: Agents) -> None:
    """The process may die after the commit; a repetition adds nothing."""
    first, second = agents.hire(2)
    incident = contained(installation, first)
    add_to_incident(installation, incident, {"accounts": second})
    events = installation.ledger.newest_event()
    assert add_to_incident(installation, incident, {"accounts": second}) == 0
    assert installation.ledger.newest_event() == events
    with open_installation(
        installation.config.folder / "standfast.toml",
        env={"LDAP_PASSWORD": PASSWORD},
        actor="os:other",
    ) as other:
        advance(other, incident, "direct")
        for name in ("lee", "kim"):
            approve_as(other, incident, "lock", name)
        advance(other, incident, "direct")
    assert not agents.signs_in(second)


def test_only_open_incidents_and_lists_grow(installation: Installation, agents: Agents) -> None:
    first, second = agents.hire(2)
    incident = contained(installation, first)
    for inputs in ({}, {"reason": "why"}, {"nothing": "x"}, {"accounts": " , "}):
        with pytest.raises(UsageError):
            add_to_incident(installation, incident, inputs)
    stop(installation, incident, by="dana")
    assert add_to_incident(installation, incident, {"accounts": second}) == 1
    advance(installation, incident, "direct")
    assert agents.signs_in(second)
    close(installation, incident, by="dana")
    with pytest.raises(Refused):
        add_to_incident(installation, incident, {"accounts": "another"})
