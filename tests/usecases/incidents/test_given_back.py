"""What an incident gave back is no failure of its second proof; what it holds again is proven."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from standfast.adapters.accounts.simulator import Fault, MemoryDirectory
from standfast.errors import ExitStatus
from standfast.records import EffectState, Order, Proof, Result, StepState
from standfast.usecases.approvals import step_decisions
from standfast.usecases.incidents import effect_undo, lifecycle
from tests.usecases.places import PASSPHRASES, undo_approved
from tests.usecases.twins import TwinPlace, twin_place

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
def place(tmp_path: Path) -> Iterator[TwinPlace]:
    with twin_place(tmp_path, playbooks=[PLAYBOOK]) as place:
        yield place


def proofs(place: TwinPlace, case: str) -> dict[str, EffectState]:
    """What the second proof came to, by account."""
    rows = place.ledger.effects.of_incident(case)
    return {row.target: row.state for row in rows if (row.step, row.round) == ("still_shut", 1)}


def test_a_lock_that_is_still_to_be_carried_out_is_not_said_to_be_undone(place: TwinPlace) -> None:
    """The runner died before it: whoever carries the undo on carries out the lock as well."""
    case = place.open("shut")
    state = place.ledger.incidents.state(case)
    with closing(place.outside(place.ledger.incidents.get(case))) as outside:
        lifecycle.expand_step(place, state, outside, "lock", 1)
    plan = effect_undo.undo(place, case, requested_by="dana")
    assert (plan.restores, plan.keeps) == (0, StepState.FAILED)
    assert plan.kept == ("its lock is still to be carried out; undo it after that",)
    place.advance(case)
    assert effect_undo.undo(place, case, requested_by="dana").restores == 1


@pytest.mark.parametrize("back", [BOTH[:1], BOTH], ids=["one", "all"])
def test_what_was_given_back_is_left_out_of_the_next_proof(
    place: TwinPlace, back: tuple[str, ...]
) -> None:
    case = place.run("shut", BOTH)
    undo_approved(place, case, targets=back)
    place.advance(case)
    step_decisions.answer(place, case, "look", "no")
    outcome = place.advance(case)
    assert outcome.exit_status is ExitStatus.DONE
    assert proofs(place, case) == {name: EffectState.DONE for name in BOTH if name not in back}


def test_what_was_locked_again_after_it_was_given_back_is_proven_again(place: TwinPlace) -> None:
    case = place.run("shut", BOTH)
    undo_approved(place, case, targets=BOTH[:1])
    place.advance(case)
    step_decisions.answer(place, case, "look", "yes")
    assert place.advance(case).exit_status is ExitStatus.DONE
    assert proofs(place, case) == dict.fromkeys(BOTH, EffectState.DONE)
    assert not place.is_enabled("agent01")


def test_what_was_opened_by_somebody_else_still_fails_the_proof(place: TwinPlace) -> None:
    case = place.run("shut", BOTH)
    directory = place.twins.directory
    directory.set_enabled("agent02", True)  # type: ignore[attr-defined]  # a directory in memory
    step_decisions.answer(place, case, "look", "no")
    assert place.advance(case).exit_status is ExitStatus.PARTIAL
    assert proofs(place, case)["agents:agent02"] is EffectState.FAILED


def test_who_was_not_proven_shut_is_given_back_once_two_approve_or_one_of_who_signed(
    place: TwinPlace,
) -> None:
    place.directory.script("prove", Fault.FAIL, target="agent02")
    case = place.run("shut", BOTH)
    proven, failed = (effect_undo.plan_undo(place, case, targets=[one]) for one in BOTH)
    assert (proven.restores, proven.unproven, proven.needs_approvals) == (1, 0, 2)
    assert (failed.restores, failed.unproven, failed.needs_approvals) == (1, 1, 2)
    needs = {
        by: effect_undo.plan_undo(place, case, requested_by=by).needs_approvals
        for by in (None, "dana", "lee")
    }
    assert needs == {None: 2, "dana": 1, "lee": 2}
    undone = effect_undo.undo(place, case, requested_by="dana")
    assert undone.unproven == 1
    place.advance(case)
    assert not any(place.is_enabled(name) for name in ("agent01", "agent02"))

    # What an approver refused never happens, and is undone when it is asked for again.
    step_decisions.decide(place, case, undone.step, "kim", PASSPHRASES["kim"], approves=False)
    place.advance(case)
    again = effect_undo.undo(place, case, requested_by="lee")
    assert (again.restores, again.step == undone.step) == (2, False)
    assert effect_undo.undo(place, case, requested_by="dana").restores == 0
    for person in ("kim", "lee"):
        step_decisions.decide(place, case, again.step, person, PASSPHRASES[person])
    place.advance(case)
    assert all(place.is_enabled(name) for name in ("agent01", "agent02"))


def test_a_proof_of_an_earlier_lock_spares_the_undo_of_a_later_one_no_approval(
    place: TwinPlace,
) -> None:
    case = place.run("shut", BOTH)
    assert undo_approved(place, case, targets=BOTH[:1]).unproven == 0
    place.advance(case)
    step_decisions.answer(place, case, "look", "yes")
    place.directory.script("prove", Fault.FAIL, target="agent01")
    assert place.advance(case).exit_status is ExitStatus.PARTIAL
    again, other = (effect_undo.plan_undo(place, case, targets=[one]) for one in BOTH)
    assert (again.restores, again.unproven, again.needs_approvals) == (1, 1, 2)
    assert (other.restores, other.unproven, other.needs_approvals) == (2, 0, 2)  # locked twice


def test_a_proof_below_what_the_directory_can_reach_is_none(
    place: TwinPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_back(_: MemoryDirectory, order: Order, __: object) -> Result:
        return Result(target=order.target, state=EffectState.DONE, proof=Proof.READ_BACK)

    monkeypatch.setattr(MemoryDirectory, "_prove_one", read_back)
    plan = effect_undo.plan_undo(place, place.run("shut", BOTH))
    assert (plan.restores, plan.unproven, plan.needs_approvals) == (2, 2, 2)
