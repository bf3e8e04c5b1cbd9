"""A reassigned name is neither proven locked nor unlocked.

An intruder that may rename accounts renames the locked account and leaves another account under its
name.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from standfast.adapters.accounts import AccountState
from standfast.adapters.accounts.simulator import Fault
from standfast.errors import ExitStatus
from standfast.records import EffectState, Order, Result
from standfast.usecases.approvals import step_decisions
from standfast.usecases.incidents import effect_undo, lifecycle
from tests.usecases.conftest import Centre
from tests.usecases.installations import PASSPHRASES, undo_approved
from tests.usecases.twins import SimulatedInstallation, simulated_installation

pytestmark = pytest.mark.usefixtures("quick_looks")

NAME, FORMER = "agent01", "agent01.former"
THEN = """
playbook: then
version: 1
title: Lock, and then more
use_when: In a test.
inputs:
  accounts: {type: accounts, required: true}
steps:
  lock: {title: Lock, do: accounts.lock, with: {accounts: "{{ inputs.accounts }}"}}
  more:
    title: More
    needs: [lock]
    do: VERB
    approval: {none_because: It is a test.}
    with: {accounts: "{{ inputs.accounts }}"}
"""


def give_the_name_away(installation: SimulatedInstallation, *, is_enabled: bool) -> None:
    installation.directory.rename(NAME, FORMER)
    installation.directory.add(NAME, is_enabled=is_enabled)


@pytest.fixture
def renamed_after_its_lock(
    installation: SimulatedInstallation, monkeypatch: pytest.MonkeyPatch
) -> SimulatedInstallation:
    """Lock an account and reassign its name before the proof."""
    lock = installation.directory.lock

    def lock_and_rename(orders: Sequence[Order]) -> list[Result]:
        results = lock(orders)
        if FORMER not in installation.directory._accounts:
            give_the_name_away(installation, is_enabled=False)
        return results

    monkeypatch.setattr(installation.directory, "lock", lock_and_rename)
    return installation


def row_of(installation: SimulatedInstallation, case: str, verb: str) -> tuple[EffectState, str]:
    """Return the newest effect of a verb."""
    rows = [row for row in installation.ledger.effects.of_incident(case) if row.verb == verb]
    return rows[-1].state, rows[-1].reason


def test_disabled_namesake_is_no_proof(
    renamed_after_its_lock: SimulatedInstallation,
) -> None:
    installation = renamed_after_its_lock
    case = installation.open("account-takeover")
    outcome = installation.advance(case)
    state, reason = row_of(installation, case, "accounts.prove_locked")
    assert (state, "another account" in reason) == (EffectState.REFUSED, True)
    assert outcome.exit_status is ExitStatus.FAILED


def test_undo_restores_the_renamed_account(
    renamed_after_its_lock: SimulatedInstallation,
) -> None:
    installation = renamed_after_its_lock
    case = installation.run("account-takeover")
    plan = effect_undo.undo(installation, case, requested_by="dana")
    assert (plan.unproven, plan.needs_approvals) == (1, 1), "it was never proven shut"
    step_decisions.decide(installation, case, plan.step, "lee", PASSPHRASES["lee"])
    installation.advance(case)
    assert (installation.is_enabled(FORMER), installation.is_enabled(NAME)) == (True, False)


def test_namesake_can_be_locked_separately(
    installation: SimulatedInstallation,
) -> None:
    first = installation.run("account-takeover")
    give_the_name_away(installation, is_enabled=True)
    second = installation.run("account-takeover")
    for verb in ("accounts.lock", "accounts.prove_locked"):
        assert row_of(installation, second, verb)[0] is EffectState.DONE
    assert not installation.is_enabled(NAME)
    later = replace(installation, clock=lambda: installation.clock() + timedelta(minutes=31))
    later.advance(first)
    assert row_of(installation, first, "accounts.prove_locked")[0] is EffectState.REFUSED
    installation.ledger.incidents.close(second, "os:test", installation.clock())
    undo_approved(installation, first)
    installation.advance(first)
    assert (installation.is_enabled(FORMER), installation.is_enabled(NAME)) == (True, False)


@pytest.mark.parametrize("verb", ["accounts.revoke_sessions", "accounts.rotate"])
def test_acts_concern_only_the_locked_account(tmp_path: Path, verb: str) -> None:
    playbook = THEN.replace("VERB", verb)
    with simulated_installation(tmp_path, playbooks=[playbook]) as installation:
        case = installation.open("then")
        lock = installation.directory.lock

        def lock_and_rename(orders: Sequence[Order]) -> list[Result]:
            results = lock(orders)
            give_the_name_away(installation, is_enabled=True)
            return results

        installation.directory.lock = lock_and_rename
        session = installation.directory.open_session(NAME)
        installation.advance(case)
        installation.directory.lock = lock
        assert not installation.directory.admits(session)
        state, reason = row_of(installation, case, verb)
        assert (state, "another account" in reason) == (EffectState.REFUSED, True)
        assert installation.directory.changes(NAME) == 0


def test_disabled_namesake_does_not_settle_a_lock(
    renamed_after_its_lock: SimulatedInstallation,
) -> None:
    installation = renamed_after_its_lock
    installation.directory.script("lock", Fault.LOST_REQUEST, target=NAME)
    case = installation.run("account-takeover", (f"agents:{NAME}", "agents:agent02"))
    rows = installation.ledger.effects.of_incident(case)
    found = {(row.verb, row.target): row.state for row in rows if row.verb.startswith("accounts.")}
    refused, done = EffectState.REFUSED, EffectState.DONE
    assert found == {
        ("accounts.lock", f"agents:{NAME}"): refused,
        ("accounts.lock", "agents:agent02"): done,
        ("accounts.prove_locked", f"agents:{NAME}"): refused,
        ("accounts.prove_locked", "agents:agent02"): done,
    }
    assert installation.is_enabled(FORMER), "and nobody says that it is not"


def test_state_without_id_goes_by_name(
    installation: SimulatedInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    observe = installation.directory.observe

    def without_id(names: Sequence[str]) -> list[AccountState]:
        found = observe(names)
        return [replace(one, prior={"enabled": one.is_enabled}) for one in found]

    monkeypatch.setattr(installation.directory, "observe", without_id)
    case = installation.run("account-takeover")
    assert row_of(installation, case, "accounts.prove_locked")[0] is EffectState.DONE
    monkeypatch.undo()
    undo_approved(installation, case)
    installation.advance(case)
    assert installation.is_enabled(NAME)


def test_real_directory_proof_concerns_the_locked_account(
    centre: Centre,
) -> None:
    locked = centre.scim.create(NAME)
    case = centre.open("account-takeover", f"agents:{NAME}")
    centre.advance(case)
    centre.scim.rename(locked, FORMER)
    heir = centre.scim.create(NAME, is_active=False)
    later = replace(
        centre.installation, clock=lambda: centre.installation.clock() + timedelta(minutes=31)
    )
    lifecycle.advance(later, case, "direct")
    proofs = {
        row.step: (row.state, "another account" in row.reason)
        for row in later.ledger.effects.of_incident(case)
        if row.verb == "accounts.prove_locked"
    }
    assert proofs == {
        "prove": (EffectState.DONE, False),
        "still_shut": (EffectState.REFUSED, True),
    }
    undo_approved(later, case)
    lifecycle.advance(later, case, "direct")
    assert (centre.scim.is_active(locked), centre.scim.is_active(heir)) == (True, False)
