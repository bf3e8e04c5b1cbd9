"""Unlocked accounts fail no proof; accounts locked again are proven."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from standfast.adapters.accounts.simulator import Fault, SimulatedConnector
from standfast.errors import ExitStatus
from standfast.records import EffectState, Proof, StepState
from standfast.usecases.approvals import step_decisions
from standfast.usecases.incidents import effect_undo, step_expansion
from tests.usecases.installations import PASSPHRASES, undo_approved
from tests.usecases.twins import SimulatedInstallation, simulated_installation

PLAYBOOK = """
playbook: shut
version: 1
title: Shut, look, and prove
use_when: A test gives accounts back between two proofs.
inputs:
  accounts: {type: accounts, required: true}
steps:
  lock: {title: Lock, do: accounts.lock, with: {accounts: "{{ inputs.accounts }}"}}
  prove:
    {title: Prove, needs: [lock], do: accounts.prove_locked,
     with: {accounts: "{{ inputs.accounts }}"}}
  look: {title: Look, needs: [prove], decide: Lock again?, options: ["yes", "no"]}
  again:
    {title: Lock again, needs: [look], when: answers.look == "yes", do: accounts.lock,
     with: {accounts: "{{ inputs.accounts }}"}}
  still_shut:
    {title: Prove again, needs: [again], do: accounts.prove_locked,
     with: {accounts: "{{ inputs.accounts }}"}}
"""
BOTH = ("agents:agent01", "agents:agent02")


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[SimulatedInstallation]:
    with simulated_installation(tmp_path, playbooks=[PLAYBOOK]) as installation:
        yield installation


def proofs(installation: SimulatedInstallation, case: str) -> dict[str, EffectState]:
    """Return the results of the second proof, by account."""
    rows = installation.ledger.effects.of_incident(case)
    return {row.target: row.state for row in rows if (row.step, row.round) == ("still_shut", 1)}


def test_planned_lock_is_not_undone(
    installation: SimulatedInstallation,
) -> None:
    """The runner died before the lock; the runner of the undo also locks."""
    case = installation.open("shut")
    state = installation.ledger.incidents.state(case)
    with closing(installation.adapters_for(installation.ledger.incidents.get(case))) as adapters:
        step_expansion.expand_step(installation, state, adapters, "lock", 1)
    plan = effect_undo.undo(installation, case, requested_by="dana")
    assert (plan.restores, plan.kept_result) == (0, StepState.FAILED)
    (kept,) = plan.kept
    assert kept.startswith("its lock is planned and has not run yet")
    installation.advance(case)
    assert effect_undo.undo(installation, case, requested_by="dana").restores == 1


@pytest.mark.parametrize("back", [BOTH[:1], BOTH], ids=["one", "all"])
def test_unlocked_account_is_not_proven(
    installation: SimulatedInstallation, back: tuple[str, ...]
) -> None:
    case = installation.run("shut", BOTH)
    undo_approved(installation, case, targets=back)
    installation.advance(case)
    step_decisions.answer(installation, case, "look", "no")
    outcome = installation.advance(case)
    assert outcome.exit_status is ExitStatus.DONE
    assert proofs(installation, case) == {
        name: EffectState.DONE for name in BOTH if name not in back
    }


def test_relocked_account_is_proven_again(
    installation: SimulatedInstallation,
) -> None:
    case = installation.run("shut", BOTH)
    undo_approved(installation, case, targets=BOTH[:1])
    installation.advance(case)
    step_decisions.answer(installation, case, "look", "yes")
    assert installation.advance(case).exit_status is ExitStatus.DONE
    assert proofs(installation, case) == dict.fromkeys(BOTH, EffectState.DONE)
    assert not installation.is_enabled("agent01")


def test_foreign_unlock_fails_the_proof(
    installation: SimulatedInstallation,
) -> None:
    case = installation.run("shut", BOTH)
    directory = installation.twins.directory
    directory.set_enabled("agent02", True)  # type: ignore[attr-defined]  # a directory in memory
    step_decisions.answer(installation, case, "look", "no")
    assert installation.advance(case).exit_status is ExitStatus.PARTIAL
    assert proofs(installation, case)["agents:agent02"] is EffectState.FAILED


def test_unproven_undo_needs_two_approvals(
    installation: SimulatedInstallation,
) -> None:
    installation.directory.script("prove", Fault.FAIL, target="agent02")
    case = installation.run("shut", BOTH)
    proven, failed = (effect_undo.plan_undo(installation, case, targets=[one]) for one in BOTH)
    assert (proven.restores, proven.unproven, proven.needs_approvals) == (1, 0, 2)
    assert (failed.restores, failed.unproven, failed.needs_approvals) == (1, 1, 2)
    needs = {
        by: effect_undo.plan_undo(installation, case, requested_by=by).needs_approvals
        for by in (None, "dana", "lee")
    }
    assert needs == {None: 2, "dana": 1, "lee": 2}
    undone = effect_undo.undo(installation, case, requested_by="dana")
    assert undone.unproven == 1
    installation.advance(case)
    assert not any(installation.is_enabled(name) for name in ("agent01", "agent02"))

    # A refused undo is not executed; another request needs a new approval.
    step_decisions.decide(
        installation, case, undone.step, "kim", PASSPHRASES["kim"], approves=False
    )
    installation.advance(case)
    again = effect_undo.undo(installation, case, requested_by="lee")
    assert (again.restores, again.step == undone.step) == (2, False)
    assert effect_undo.undo(installation, case, requested_by="dana").restores == 0
    for person in ("kim", "lee"):
        step_decisions.decide(installation, case, again.step, person, PASSPHRASES[person])
    installation.advance(case)
    assert all(installation.is_enabled(name) for name in ("agent01", "agent02"))


def test_proof_of_earlier_lock_spares_no_approval(
    installation: SimulatedInstallation,
) -> None:
    case = installation.run("shut", BOTH)
    assert undo_approved(installation, case, targets=BOTH[:1]).unproven == 0
    installation.advance(case)
    step_decisions.answer(installation, case, "look", "yes")
    installation.directory.script("prove", Fault.FAIL, target="agent01")
    assert installation.advance(case).exit_status is ExitStatus.PARTIAL
    again, other = (effect_undo.plan_undo(installation, case, targets=[one]) for one in BOTH)
    assert (again.restores, again.unproven, again.needs_approvals) == (1, 1, 2)
    # Two incidents locked this account.
    assert (other.restores, other.unproven, other.needs_approvals) == (2, 0, 2)


def test_proof_below_possible_level_counts_as_none(
    installation: SimulatedInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(SimulatedConnector, "proof", Proof.READ_BACK)
        case = installation.run("shut", BOTH)
    plan = effect_undo.plan_undo(installation, case)
    assert (plan.restores, plan.unproven, plan.needs_approvals) == (2, 2, 2)
