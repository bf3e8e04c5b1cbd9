"""Break-glass approval: one person, after ten minutes for objections."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy import select

from standfast.errors import ApprovalRefused, Damaged, UsageError
from standfast.ledger import Ledger
from standfast.ledger.approvals.decisions import BREAK_GLASS
from standfast.ledger.approvals.two_person_rule import BREAK_GLASS_DELAY
from standfast.ledger.schema.tables import approval, step
from standfast.records import EffectState, StepState
from tests.ledger.intruder import Intruder
from tests.ledger.ledger_files import NOW
from tests.ledger.stage import (
    OWNER,
    REVOKE,
    begin,
    claim,
    decide,
    drafts,
    enrol,
    open_incident,
    runner,
    signature,
    states,
)

OPENS = NOW + BREAK_GLASS_DELAY
SOON = timedelta(seconds=1)


def _asking(ledger: Ledger, *, needs: int = 1, opened_by: str = "olga") -> str:
    """Open an incident with one step for duty managers: ann and ben, not olga."""
    for name in ("ann", "ben"):
        enrol(ledger, name)
    enrol(ledger, "olga", roles=["agent"])
    incident = open_incident(ledger, opened_by=opened_by)
    begin(ledger, incident, drafts(REVOKE, "alice"), needs=needs, roles=["duty-manager"])
    return incident


def _break(ledger: Ledger, incident: str, name: str = "olga", now: datetime = NOW) -> None:
    signed = signature(ledger.decisions.question(incident, "lock"), name, BREAK_GLASS)
    ledger.decisions.decide(
        incident, "lock", name, BREAK_GLASS, signed, now, because="nobody answers"
    )


def _state(ledger: Ledger, incident: str) -> StepState:
    return ledger.incidents.state(incident).steps["lock"].state


def _opened(ledger: Ledger, *, needs: int = 1) -> tuple[str, str]:
    """Open an incident with a step that began by break-glass, and a runner."""
    incident = _asking(ledger, needs=needs)
    _break(ledger, incident)
    assert ledger.decisions.start_after_delay(incident, "lock", 1, OPENS)
    return incident, runner(ledger, incident, OPENS)


def test_break_glass_approval_takes_effect_after_ten_minutes(ledger: Ledger) -> None:
    incident = _asking(ledger, needs=2)
    _break(ledger, incident)
    assert ledger.incidents.state(incident).steps["lock"].opens_at == OPENS
    assert not ledger.decisions.start_after_delay(incident, "lock", 1, OPENS - SOON)
    assert _state(ledger, incident) is StepState.ASKING
    assert ledger.decisions.start_after_delay(incident, "lock", 1, OPENS)
    assert claim(ledger, incident, runner(ledger, incident, OPENS), now=OPENS) is not None
    actions = [event.action for event in ledger.timeline(incident)]
    assert actions.index("approval.break-glass") < actions.index("approval.opened")
    assert ledger.audit.verify().is_whole


def test_a_refusal_meanwhile_ends_it(ledger: Ledger) -> None:
    incident = _asking(ledger)
    _break(ledger, incident)
    decide(ledger, incident, "ann", decision="refuse", now=NOW + SOON)
    assert not ledger.decisions.start_after_delay(incident, "lock", 1, OPENS)
    assert _state(ledger, incident) is StepState.REFUSED


def test_approval_meanwhile_begins_at_once_without_review(
    ledger: Ledger,
) -> None:
    incident = _asking(ledger)
    _break(ledger, incident)
    decide(ledger, incident, "ann", now=NOW + SOON)
    assert claim(ledger, incident, runner(ledger, incident), now=NOW + SOON) is not None
    assert ledger.decisions.unreviewed(incident) == {}


def test_one_of_two_approvers_may_break_glass(
    ledger: Ledger,
) -> None:
    incident = _asking(ledger, needs=2)
    decide(ledger, incident, "ann")
    _break(ledger, incident, "ann")
    assert ledger.decisions.question(incident, "lock").given == 1
    assert decide(ledger, incident, "ben").given == 2
    assert _state(ledger, incident) is StepState.RUNNING


def test_target_cannot_give_a_break_glass_approval(ledger: Ledger) -> None:
    incident = _asking(ledger)
    enrol(ledger, "eve", accounts=["agents:alice"])
    enrol(ledger, "new", now=NOW - timedelta(hours=1))
    for name, rule in (("eve", "among the targets"), ("new", "less than a day ago")):
        with pytest.raises(ApprovalRefused, match=rule):
            _break(ledger, incident, name)
    assert ledger.incidents.state(incident).steps["lock"].opens_at is None


def test_second_break_glass_approval_starts_nothing_earlier(ledger: Ledger) -> None:
    incident = _asking(ledger)
    _break(ledger, incident)
    _break(ledger, incident, "ben", NOW + SOON)
    assert _state(ledger, incident) is StepState.RUNNING, "ben may approve, and so it is approved"
    other = _asking_again(ledger)
    _break(ledger, other)
    enrol(ledger, "max", roles=["agent"])
    _break(ledger, other, "max", NOW + SOON)
    assert ledger.incidents.state(other).steps["lock"].opens_at == OPENS


def _asking_again(ledger: Ledger) -> str:
    incident = open_incident(ledger, inputs={"accounts": ["bob"], "reason": "x"})
    begin(ledger, incident, drafts(REVOKE, "bob"), needs=1, roles=["duty-manager"])
    return incident


def test_break_glass_approver_may_not_review(ledger: Ledger) -> None:
    incident, _ = _opened(ledger)
    assert ledger.decisions.unreviewed(incident) == {"lock": "olga"}
    with pytest.raises(ApprovalRefused, match="connected by enrolments"):
        decide(ledger, incident, "olga", now=OPENS)
    decide(ledger, incident, "ann", decision="refuse", now=OPENS)
    assert _state(ledger, incident) is StepState.RUNNING, "a review takes nothing back"
    assert ledger.decisions.unreviewed(incident) == {}
    assert ledger.timeline(incident)[-1].detail["is_review"] is True
    with pytest.raises(UsageError, match="needs no approval"):
        ledger.decisions.question(incident, "lock")


def test_begun_step_needs_no_break_glass_approval(ledger: Ledger) -> None:
    incident, _ = _opened(ledger)
    with pytest.raises(ApprovalRefused, match="has begun already"):
        _break(ledger, incident, "ben", OPENS)


def test_removed_break_glass_approver_starts_no_step(ledger: Ledger) -> None:
    incident = _asking(ledger)
    _break(ledger, incident)
    ledger.people.remove("olga", OWNER, NOW + SOON)
    assert ledger.incidents.state(incident).steps["lock"].opens_at is None
    assert not ledger.decisions.start_after_delay(incident, "lock", 1, OPENS)


def test_second_break_glass_approval_waits_ten_minutes_too(
    ledger: Ledger,
) -> None:
    """Everybody is notified of the second one, and has as long to refuse it."""
    incident = _asking(ledger)
    _break(ledger, incident)
    ledger.people.remove("olga", OWNER, NOW)
    later = NOW + timedelta(hours=1)
    enrol(ledger, "erin", roles=["agent"])
    _break(ledger, incident, "erin", later)
    assert ledger.incidents.state(incident).steps["lock"].opens_at == later + BREAK_GLASS_DELAY
    assert not ledger.decisions.start_after_delay(incident, "lock", 1, later)
    assert ledger.decisions.start_after_delay(incident, "lock", 1, later + BREAK_GLASS_DELAY)


def test_next_level_does_not_move_the_beginning(ledger: Ledger) -> None:
    incident = _asking(ledger)
    _break(ledger, incident)
    ledger.steps.ask(incident, "lock", 1, (), NOW)
    ledger.steps.escalate(incident, "lock", 1, 1, (), NOW, may_also=["agent"], escalates_at=None)
    assert ledger.incidents.state(incident).steps["lock"].opens_at == OPENS
    assert ledger.decisions.start_after_delay(incident, "lock", 1, OPENS)


def test_database_access_alone_starts_no_step_earlier(ledger: Ledger, intruder: Intruder) -> None:
    incident = _asking(ledger)
    _break(ledger, incident)
    (broken,) = intruder.rows(step)
    intruder.run("UPDATE step SET runs_from = started_at")
    with pytest.raises(Damaged, match="audit verify"):
        ledger.decisions.start_after_delay(incident, "lock", 1, OPENS)
    intruder.run("UPDATE step SET state = 'running'")
    with pytest.raises(Damaged, match="audit verify"):
        claim(ledger, incident, runner(ledger, incident), now=OPENS)
    intruder.set(step, broken, runs_from=broken["runs_from"])
    assert claim(ledger, incident, runner(ledger, incident), now=OPENS - SOON) is None
    assert states(ledger, incident) == {"agents:alice": EffectState.PLANNED}


def test_unsigned_break_glass_approval_starts_no_step(ledger: Ledger, intruder: Intruder) -> None:
    incident = _asking(ledger)
    _break(ledger, incident)
    (said,) = intruder.rows(approval)
    intruder.set(approval, said, person="ann")
    assert not ledger.decisions.start_after_delay(incident, "lock", 1, OPENS)
    with ledger.database.reading() as connection:
        assert connection.scalar(select(step.c.state)) == StepState.ASKING
