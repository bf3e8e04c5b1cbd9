"""Revocation of sessions without a lock."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from standfast.adapters.accounts.simulator import Fault, SimulatedConnector
from standfast.errors import ExitStatus
from standfast.records import EffectState
from standfast.usecases.incidents.plan import plan_incident
from tests.usecases.twins import SimulatedInstallation, simulated_installation

PLAYBOOK = """
playbook: sign-out
version: 1
title: Sign accounts out
use_when: A session was stolen, and the holder must go on working.
inputs:
  accounts: {type: accounts, required: true}
steps:
  sign_out:
    title: End their sessions
    do: accounts.revoke_sessions
    with: {accounts: "{{ inputs.accounts }}"}
"""
NAMES = ("agent01", "agent02")
TARGETS = tuple(f"agents:{name}" for name in NAMES)


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[SimulatedInstallation]:
    with simulated_installation(tmp_path, playbooks=[PLAYBOOK]) as installation:
        yield installation


@pytest.fixture
def directory(installation: SimulatedInstallation) -> SimulatedConnector:
    """A fake directory in which each of two people has a session."""
    assert isinstance(installation.twins.directory, SimulatedConnector)
    return installation.twins.directory


def ends(installation: SimulatedInstallation, case: str) -> dict[str, EffectState]:
    return {row.target: row.state for row in installation.ledger.effects.of_incident(case)}


def test_revoked_sessions_end_and_accounts_stay_enabled(
    installation: SimulatedInstallation, directory: SimulatedConnector
) -> None:
    sessions = [directory.open_session(name) for name in NAMES]
    case = installation.open("sign-out", TARGETS)
    assert installation.advance(case).exit_status is ExitStatus.DONE
    assert not any(directory.admits(session) for session in sessions)
    assert all(installation.is_enabled(name) for name in NAMES)
    assert directory.admits(directory.open_session("agent01")), "the holder signs in again"
    assert ends(installation, case) == dict.fromkeys(TARGETS, EffectState.DONE)


@pytest.mark.parametrize("fault", [Fault.BUSY, Fault.LOST_REQUEST, Fault.LOST_ANSWER], ids=str)
def test_unknown_revocation_is_repeated(
    installation: SimulatedInstallation, directory: SimulatedConnector, fault: Fault
) -> None:
    session = directory.open_session("agent01")
    directory.script("revoke", fault, target="agent01")
    case = installation.open("sign-out", TARGETS)
    assert installation.advance(case).exit_status is ExitStatus.DONE
    assert not directory.admits(session)
    calls = [call for call in directory.calls if call.verb == "revoke"]
    assert sum("agent01" in call.targets for call in calls) == 2
    assert sum("agent02" in call.targets for call in calls) == 1


def test_plan_names_directory_without_revocation(
    installation: SimulatedInstallation,
    directory: SimulatedConnector,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(directory, "verbs", directory.verbs - {"revoke"})
    (step,) = plan_incident(installation, "sign-out", {"accounts": list(TARGETS)}).steps
    assert step.targets == 0
    ((why, count),) = dict(step.refused).items()
    assert (count, "cannot revoke" in why) == (2, True)
    assert step.impossible
    case = installation.open("sign-out", TARGETS)
    assert installation.advance(case).exit_status is ExitStatus.FAILED
    assert ends(installation, case) == dict.fromkeys(TARGETS, EffectState.REFUSED)
