"""What an incident gave back is no failure of its second proof; what it holds again is proven."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from standfast.errors import ExitStatus
from standfast.operations import decisions, incident, undoing
from standfast.records import EffectState, StepState
from tests.operations.twins import TwinPlace, twin_place

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
        incident.expand_step(place, state, outside, "lock", 1)
    plan = undoing.undo(place, case)
    assert (plan.restores, plan.keeps) == (0, StepState.FAILED)
    assert plan.kept == ("its lock is still to be carried out; undo it after that",)
    place.advance(case)
    assert undoing.undo(place, case).restores == 1


@pytest.mark.parametrize("back", [BOTH[:1], BOTH], ids=["one", "all"])
def test_what_was_given_back_is_left_out_of_the_next_proof(
    place: TwinPlace, back: tuple[str, ...]
) -> None:
    case = place.run("shut", BOTH)
    undoing.undo(place, case, targets=back)
    place.advance(case)
    decisions.answer(place, case, "look", "no")
    outcome = place.advance(case)
    assert outcome.exit_status is ExitStatus.DONE
    assert proofs(place, case) == {name: EffectState.DONE for name in BOTH if name not in back}


def test_what_was_locked_again_after_it_was_given_back_is_proven_again(place: TwinPlace) -> None:
    case = place.run("shut", BOTH)
    undoing.undo(place, case, targets=BOTH[:1])
    place.advance(case)
    decisions.answer(place, case, "look", "yes")
    assert place.advance(case).exit_status is ExitStatus.DONE
    assert proofs(place, case) == dict.fromkeys(BOTH, EffectState.DONE)
    assert not place.is_enabled("agent01")


def test_what_was_opened_by_somebody_else_still_fails_the_proof(place: TwinPlace) -> None:
    case = place.run("shut", BOTH)
    directory = place.twins.directory
    directory.set_enabled("agent02", True)  # type: ignore[attr-defined]  # a directory in memory
    decisions.answer(place, case, "look", "no")
    assert place.advance(case).exit_status is ExitStatus.PARTIAL
    assert proofs(place, case)["agents:agent02"] is EffectState.FAILED
