"""Events that let a step run again, and events that do not."""

from datetime import timedelta

import pytest

from standfast.errors import ApprovalRefused
from standfast.ledger import Ledger
from standfast.ledger.approvals.decisions import REFUSE
from standfast.ledger.effects.effect_rows import Batch, EffectQueue
from standfast.playbook.actions.people_page import PAGE
from standfast.playbook.run_state import StepView
from standfast.records import EffectState, Limits, Observed, Result, StepState
from standfast.retry_rules import MOST_TRIES
from tests.ledger.ledger_files import NOW
from tests.ledger.stage import (
    OWNER,
    REVOKE,
    begin,
    claim,
    claimed,
    decide,
    drafts,
    enrol,
    open_incident,
    results,
    runner,
    states,
)

LATER = NOW + timedelta(minutes=5)
PAGES = EffectQueue(verb=PAGE, connector="agents")


def step_of(ledger: Ledger, incident: str) -> StepView:
    return ledger.incidents.state(incident).steps["lock"]


def asked(ledger: Ledger) -> tuple[str, str, Batch]:
    """Open an incident with a step that asks, and a page in progress."""
    incident = open_incident(ledger)
    begin(ledger, incident, (*drafts(REVOKE, "alice"), *drafts(PAGES, "lee")), needs=1)
    who = runner(ledger, incident)
    return incident, who, claimed(ledger, incident, who, queue=PAGES)


def test_failed_page_does_not_start_the_step(ledger: Ledger) -> None:
    incident, who, page = asked(ledger)
    assert step_of(ledger, incident).state is StepState.ASKING
    ledger.attempts.receipt(page, results(page, EffectState.FAILED), who, NOW)
    assert ledger.attempts.retry(incident, None, "olga", NOW) == 1
    assert step_of(ledger, incident).state is StepState.ASKING
    assert states(ledger, incident)["agents:lee"] is EffectState.PLANNED


def test_delayed_page_opens_no_ended_step(ledger: Ledger) -> None:
    incident, who, page = asked(ledger)
    ledger.steps.finish(incident, "lock", 1, StepState.DONE, "1 of 1 done", NOW)
    busy = results(page, EffectState.FAILED, retry_after=60)
    ledger.attempts.receipt(page, busy, who, NOW)
    assert step_of(ledger, incident).state is StepState.DONE


def test_refused_page_opens_no_ended_step(ledger: Ledger) -> None:
    incident, who, _ = asked(ledger)
    assert ledger.unknown_outcomes.expire_calls(incident, lambda _: True, NOW) == 1
    ledger.steps.finish(incident, "lock", 1, StepState.DONE, "1 of 1 done", NOW)
    pages = (row for row in ledger.effects.of_incident(incident) if row.verb == PAGE)
    seen = [(row, Observed(target=row.target, happened=False)) for row in pages]
    ledger.unknown_outcomes.settle(incident, seen, who, LATER)
    assert step_of(ledger, incident).state is StepState.DONE


def test_late_receipt_starts_no_refused_step(ledger: Ledger) -> None:
    for name in ("ann", "ben"):
        enrol(ledger, name)
    incident = open_incident(ledger)
    begin(ledger, incident, drafts(REVOKE, "alice", "bob"), needs=1)
    decide(ledger, incident, "ann")
    who = runner(ledger, incident)
    batch = claimed(ledger, incident, who, limits=Limits(batch=1))
    ledger.people.remove("ann", OWNER, NOW)
    with pytest.raises(ApprovalRefused):
        claim(ledger, incident, who)
    decide(ledger, incident, "ben", decision=REFUSE)
    busy = results(batch, EffectState.FAILED, retry_after=1)
    ledger.attempts.receipt(batch, busy, who, LATER)
    assert step_of(ledger, incident).state is StepState.REFUSED


def test_failover_after_failure_restarts_the_step(ledger: Ledger) -> None:
    incident = open_incident(ledger)
    begin(ledger, incident, drafts(REVOKE, "alice"))
    who = runner(ledger, incident)
    for _ in range(MOST_TRIES):
        batch = claimed(ledger, incident, who)
        assert ledger.unknown_outcomes.expire_calls(incident, lambda _: True, NOW) == 1
        (row,) = ledger.effects.of_incident(incident)
        seen = [(row, Observed(target=row.target, happened=False))]
        ledger.unknown_outcomes.settle(incident, seen, who, NOW)
    ledger.steps.finish(incident, "lock", 1, StepState.FAILED, "1 failed", NOW)
    late = results(batch, EffectState.FAILED)
    ledger.attempts.receipt(batch, late, who, LATER, hand_on="others")
    assert step_of(ledger, incident).state is StepState.RUNNING


def test_retry_restarts_the_step_without_acceptance(
    ledger: Ledger,
) -> None:
    incident = open_incident(ledger)
    begin(ledger, incident, drafts(REVOKE, "alice"))
    who = runner(ledger, incident)
    batch = claimed(ledger, incident, who)
    ledger.attempts.receipt(batch, results(batch, EffectState.FAILED), who, NOW)
    ledger.steps.finish(incident, "lock", 1, StepState.FAILED, "1 failed", NOW)
    ledger.decisions.accept(incident, "lock", "lee", NOW)
    assert step_of(ledger, incident).is_accepted
    assert ledger.attempts.retry(incident, "lock", "olga", NOW) == 1
    again = step_of(ledger, incident)
    assert (again.state, again.is_accepted) == (StepState.RUNNING, False)


def test_settling_receipt_keeps_a_persons_decision(ledger: Ledger) -> None:
    incident = open_incident(ledger)
    begin(ledger, incident, drafts(REVOKE, "alice", "bob"))
    who = runner(ledger, incident)
    batch = claimed(ledger, incident, who)
    assert ledger.unknown_outcomes.expire_calls(incident, lambda _: False, LATER) == 2
    ledger.decisions.accept(incident, "lock", "lee", LATER)
    assert step_of(ledger, incident).is_accepted
    late = [
        Result(target=order.target, state=state)
        for order, state in zip(batch.orders, (EffectState.DONE, EffectState.UNKNOWN), strict=True)
    ]
    ledger.attempts.receipt(batch, late, who, LATER)
    assert states(ledger, incident)["agents:alice"] is EffectState.DONE
    assert step_of(ledger, incident).is_accepted
