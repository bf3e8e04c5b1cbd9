"""Manual steps: prompted, answered once, awaited, accepted, skipped."""

from datetime import timedelta

import pytest

from standfast.errors import UsageError
from standfast.ledger import Ledger
from standfast.records import EffectState, Limits, StepState
from tests.ledger.ledger_files import NOW
from tests.ledger.stage import (
    REVOKE,
    begin,
    claimed,
    drafts,
    open_incident,
    results,
    runner,
)

PLAYBOOK_STEP = "lock"


@pytest.fixture
def incident(ledger: Ledger) -> str:
    return open_incident(ledger)


def test_manual_step_begins_once_and_is_answered_once(ledger: Ledger, incident: str) -> None:
    assert ledger.steps.prompt(incident, PLAYBOOK_STEP, 1, NOW)
    assert not ledger.steps.prompt(incident, PLAYBOOK_STEP, 1, NOW)
    ledger.decisions.answer(incident, PLAYBOOK_STEP, "yes", "olga", NOW)
    view = ledger.incidents.state(incident).steps[PLAYBOOK_STEP]
    assert (view.state, view.answer) == (StepState.PROMPTED, "yes")
    with pytest.raises(UsageError, match="waits for no answer"):
        ledger.decisions.answer(incident, PLAYBOOK_STEP, "no", "otto", NOW)
    assert ledger.incidents.state(incident).steps[PLAYBOOK_STEP].answer == "yes"


def test_corrected_answer_is_a_further_round(ledger: Ledger, incident: str) -> None:
    with pytest.raises(UsageError, match="has no answer"):
        ledger.decisions.answer_again(incident, PLAYBOOK_STEP, "no", "otto", NOW)
    ledger.steps.prompt(incident, PLAYBOOK_STEP, 1, NOW)
    with pytest.raises(UsageError, match="has no answer"):
        ledger.decisions.answer_again(incident, PLAYBOOK_STEP, "no", "otto", NOW)
    ledger.decisions.answer(incident, PLAYBOOK_STEP, "yes", "olga", NOW)
    ledger.steps.finish(incident, PLAYBOOK_STEP, 1, StepState.DONE, "answered", NOW)
    with pytest.raises(UsageError, match="--again"):
        ledger.decisions.answer(incident, PLAYBOOK_STEP, "no", "otto", NOW)
    ledger.decisions.answer_again(incident, PLAYBOOK_STEP, "no", "otto", NOW)
    view = ledger.incidents.state(incident).steps[PLAYBOOK_STEP]
    assert (view.round, view.state, view.answer) == (2, StepState.PROMPTED, "no")
    said = [one for one in ledger.timeline(incident) if one.action == "step.answered"]
    assert [(one.actor, one.detail["round"], one.detail.get("again")) for one in said] == [
        ("olga", 1, None),
        ("otto", 2, True),
    ]
    assert ledger.audit.verify().findings == ()


def test_unreached_step_waits_for_no_answer(ledger: Ledger, incident: str) -> None:
    with pytest.raises(UsageError, match="not reached yet"):
        ledger.decisions.answer(incident, PLAYBOOK_STEP, "yes", "olga", NOW)


def test_wait_ends_at_its_planned_time(ledger: Ledger, incident: str) -> None:
    due = NOW + timedelta(hours=2)
    assert ledger.steps.wait_until(incident, PLAYBOOK_STEP, 1, due, NOW)
    assert not ledger.steps.wait_until(incident, PLAYBOOK_STEP, 1, due + due.resolution, NOW)
    assert ledger.incidents.state(incident).steps[PLAYBOOK_STEP].due_at == due


def test_a_skipped_step_is_closed_as_it_begins(ledger: Ledger, incident: str) -> None:
    for expected in (True, False):
        assert (
            ledger.steps.finish(incident, PLAYBOOK_STEP, 1, StepState.SKIPPED, "not needed", NOW)
            is expected
        )
    assert ledger.incidents.state(incident).steps[PLAYBOOK_STEP].state is StepState.SKIPPED


@pytest.mark.parametrize("state", [StepState.DONE, StepState.SKIPPED])
def test_complete_step_cannot_be_accepted(ledger: Ledger, incident: str, state: StepState) -> None:
    ledger.steps.finish(incident, PLAYBOOK_STEP, 1, state, "whole", NOW)
    with pytest.raises(UsageError, match=f"is {state}. Nothing is left to"):
        ledger.decisions.accept(incident, PLAYBOOK_STEP, "olga", NOW)
    assert not ledger.incidents.state(incident).steps[PLAYBOOK_STEP].is_accepted
    assert ledger.timeline(incident)[-1].action != "step.accepted"


def test_incomplete_step_may_be_accepted(ledger: Ledger, incident: str) -> None:
    begin(ledger, incident, drafts(REVOKE, "alice"))
    with pytest.raises(UsageError, match="has not ended"):
        ledger.decisions.accept(incident, PLAYBOOK_STEP, "olga", NOW)
    who = runner(ledger, incident)
    batch = claimed(ledger, incident, who)
    ledger.attempts.receipt(batch, results(batch, EffectState.FAILED), who, NOW)
    ledger.steps.finish(incident, PLAYBOOK_STEP, 1, StepState.FAILED, "0 of 1 done", NOW)
    ledger.decisions.accept(incident, PLAYBOOK_STEP, "olga", NOW)
    assert ledger.incidents.state(incident).steps[PLAYBOOK_STEP].is_accepted
    assert ledger.timeline(incident)[-1].action == "step.accepted"


def test_step_with_due_effects_cannot_be_accepted(ledger: Ledger, incident: str) -> None:
    begin(ledger, incident, drafts(REVOKE, "alice", "bob"))
    who = runner(ledger, incident)
    claimed(ledger, incident, who, limits=Limits(batch=1))
    assert ledger.unknown_outcomes.expire_calls(incident, lambda _: True, NOW) == 1
    with pytest.raises(UsageError, match="has not ended"):
        ledger.decisions.accept(incident, PLAYBOOK_STEP, "olga", NOW)
    claimed(ledger, incident, who)


def test_step_under_way_is_not_finished(ledger: Ledger, incident: str) -> None:
    """The effect may have been planned again since the runner looked."""

    def finish() -> bool:
        return ledger.steps.finish(
            incident, PLAYBOOK_STEP, 1, StepState.DONE, "", NOW, only_settled=True
        )

    begin(ledger, incident, drafts(REVOKE, "alice"))
    assert not finish()
    who = runner(ledger, incident)
    batch = claimed(ledger, incident, who)
    assert not finish()
    assert ledger.timeline(incident)[-1].action == "attempt.claimed"
    ledger.attempts.receipt(batch, results(batch), who, NOW)
    assert finish()
    assert not finish()
