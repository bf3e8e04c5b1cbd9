"""Two-person rule: refused approvals name the rule and are recorded."""

import threading
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from standfast.errors import ApprovalRefused, UsageError
from standfast.ledger import Ledger
from standfast.records import StepState
from tests.ledger.intruder import Intruder
from tests.ledger.ledger_files import FOUNDED, NOW
from tests.ledger.stage import (
    OWNER,
    REVOKE,
    begin,
    claim,
    decide,
    drafts,
    enrol,
    key_of,
    open_incident,
    runner,
    signature,
    waiting,
)
from tests.servers import wait_until


def _asking(ledger: Ledger, *, needs: int = 1, opened_by: str = "olga") -> str:
    """Open an incident with one step for duty managers about alice's account."""
    incident = open_incident(ledger, opened_by=opened_by)
    begin(ledger, incident, drafts(REVOKE, "alice"), needs=needs, roles=["duty-manager"])
    return incident


def _state(ledger: Ledger, incident: str) -> StepState:
    return ledger.incidents.state(incident).steps["lock"].state


def _refused(ledger: Ledger, incident: str, name: str, rule: str) -> None:
    """Assert that a decision is refused, recorded, and changes nothing."""
    with pytest.raises(ApprovalRefused, match=rule) as caught:
        decide(ledger, incident, name)
    assert _state(ledger, incident) is StepState.ASKING
    assert ledger.decisions.question(incident, "lock").given == 0
    event = ledger.timeline(incident)[-1]
    assert (event.actor, event.action) == (name, "approval.rejected")
    assert event.detail == {"step": "lock", "why": str(caught.value)}


def test_one_approval_lets_the_step_run(ledger: Ledger) -> None:
    enrol(ledger, "ann")
    incident = _asking(ledger)
    asked = decide(ledger, incident, "ann")
    assert (asked.given, asked.needed) == (1, 1)
    assert _state(ledger, incident) is StepState.RUNNING
    event = ledger.timeline(incident)[-1]
    assert (event.actor, event.action) == ("ann", "approval.approve")
    assert event.detail["digest"] == asked.digest


def test_two_approvals_are_two_people(ledger: Ledger) -> None:
    for name in ("ann", "ben"):
        enrol(ledger, name)
    incident = _asking(ledger, needs=2)
    assert decide(ledger, incident, "ann").given == 1
    with pytest.raises(ApprovalRefused, match=r"'ann'.*already"):
        decide(ledger, incident, "ann")
    assert ledger.timeline(incident)[-1].action == "approval.rejected"
    assert _state(ledger, incident) is StepState.ASKING
    assert decide(ledger, incident, "ben").given == 2
    assert _state(ledger, incident) is StepState.RUNNING


def test_repeated_signature_is_no_second_person(ledger: Ledger) -> None:
    for name in ("ann", "ben"):
        enrol(ledger, name)
    incident = _asking(ledger, needs=2)
    signed = signature(ledger.decisions.question(incident, "lock"), "ann")
    assert ledger.decisions.decide(incident, "lock", "ann", "approve", signed, NOW).given == 1
    for name, rule in (("ann", "'ann' has decided already"), ("ben", "wrong passphrase")):
        with pytest.raises(ApprovalRefused, match=rule):
            ledger.decisions.decide(incident, "lock", name, "approve", signed, NOW)
    assert ledger.decisions.question(incident, "lock").given == 1
    assert _state(ledger, incident) is StepState.ASKING


def test_simultaneous_approvals_are_both_counted(postgres_ledger: Ledger) -> None:
    """Neither sees the other before its commit; the second runs the step."""
    ledger = postgres_ledger
    for name in ("ann", "ben"):
        enrol(ledger, name)
    incident = _asking(ledger, needs=2)
    threads = [
        threading.Thread(target=decide, args=(ledger, incident, name)) for name in ("ann", "ben")
    ]
    with ledger.database.write(actor="a", subject="s", action="test.held", now=NOW) as write:
        write.exclude_writers()  # nobody commits before both have begun
        for thread in threads:
            thread.start()
        wait_until(lambda: waiting(ledger) == 2, "both approvals to wait")
    for thread in threads:
        thread.join()
    assert _state(ledger, incident) is StepState.RUNNING


def test_one_refusal_ends_the_step(ledger: Ledger) -> None:
    for name in ("ann", "ben"):
        enrol(ledger, name)
    incident = _asking(ledger, needs=2)
    decide(ledger, incident, "ann")
    decide(ledger, incident, "ben", decision="refuse")
    assert _state(ledger, incident) is StepState.REFUSED
    with pytest.raises(UsageError, match="needs no approval now"):
        ledger.decisions.question(incident, "lock")


def test_requester_cannot_approve(ledger: Ledger) -> None:
    enrol(ledger, "olga")
    _refused(ledger, _asking(ledger), "olga", "'olga': opened the incident. Somebody else")


def test_holder_of_a_target_may_not_approve(ledger: Ledger) -> None:
    enrol(ledger, "ann", accounts=["agents:other", "agents:alice"])
    why = "an account of this person is among the targets"
    _refused(ledger, _asking(ledger), "ann", f"'ann': {why}")


def test_person_enrolled_within_a_day_cannot_approve(ledger: Ledger) -> None:
    enrol(ledger, "ann", now=NOW - timedelta(days=1) + timedelta(seconds=1))
    incident = _asking(ledger)
    _refused(ledger, incident, "ann", "'ann': enrolled less than a day ago")
    decide(ledger, incident, "ann", now=NOW + timedelta(seconds=1))
    assert _state(ledger, incident) is StepState.RUNNING


def test_person_enrolled_by_requester_cannot_approve(ledger: Ledger) -> None:
    enrol(ledger, "ann", enrolled_by="olga", now=FOUNDED + timedelta(days=2))
    _refused(ledger, _asking(ledger), "ann", "'ann': connected by enrolments with 'olga'")
    decide(ledger, _asking(ledger, opened_by="otto"), "ann")


def test_indirectly_enrolled_person_cannot_approve(
    ledger: Ledger,
) -> None:
    days = [FOUNDED + timedelta(days=number) for number in (2, 3)]
    enrol(ledger, "ann", enrolled_by="olga", now=days[0])
    enrol(ledger, "ben", enrolled_by="ann", now=days[1])
    _refused(ledger, _asking(ledger), "ben", "'ben': connected by enrolments with 'olga'")
    decide(ledger, _asking(ledger, opened_by="otto"), "ben")


def test_connected_people_give_one_approval_together(ledger: Ledger) -> None:
    enrol(ledger, "ann", now=FOUNDED + timedelta(days=2))
    enrol(ledger, "ben", enrolled_by="ann", now=FOUNDED + timedelta(days=3))
    enrol(ledger, "zoe")
    incident = _asking(ledger, needs=2)
    assert decide(ledger, incident, "ann").given == 1
    with pytest.raises(ApprovalRefused, match="'ben': connected by enrolments with 'ann'"):
        decide(ledger, incident, "ben")
    assert _state(ledger, incident) is StepState.ASKING
    assert decide(ledger, incident, "zoe").given == 2
    assert _state(ledger, incident) is StepState.RUNNING


def test_connected_person_may_still_refuse(ledger: Ledger) -> None:
    enrol(ledger, "ann", now=FOUNDED + timedelta(days=2))
    enrol(ledger, "ben", enrolled_by="ann", now=FOUNDED + timedelta(days=3))
    incident = _asking(ledger, needs=2)
    decide(ledger, incident, "ann")
    decide(ledger, incident, "ben", decision="refuse")
    assert _state(ledger, incident) is StepState.REFUSED


def test_people_of_one_terminal_may_approve_there(
    ledger: Ledger,
) -> None:
    enrol(ledger, "ann", enrolled_by="os:desk", now=FOUNDED + timedelta(days=2))
    enrol(ledger, "ben", enrolled_by="ann", now=FOUNDED + timedelta(days=2))
    incident = open_incident(ledger, opened_by="os:desk", is_signed=False)
    begin(ledger, incident, drafts(REVOKE, "alice"), needs=1)
    _refused(ledger, incident, "ann", "'ann': enrolled by 'os:desk', who opened")
    decide(ledger, incident, "ben")


def test_an_enrolment_changed_outside_approves_nothing(ledger: Ledger, intruder: Intruder) -> None:
    enrol(ledger, "ben", enrolled_by="cleo", now=FOUNDED + timedelta(days=2))
    enrol(ledger, "ann", enrolled_by="ben", now=FOUNDED + timedelta(days=2))
    decide(ledger, _asking(ledger), "ann")
    intruder.run("UPDATE person SET enrolled_by = 'init' WHERE name = 'ben'")
    _refused(ledger, _asking(ledger), "ann", "enrolment of 'ben', who enrolled 'ann': changed")


def test_people_who_enrolled_each_other_approve_nothing(ledger: Ledger) -> None:
    enrol(ledger, "ann", enrolled_by="ben", now=FOUNDED + timedelta(days=2))
    enrol(ledger, "ben", enrolled_by="ann", now=FOUNDED + timedelta(days=2))
    _refused(ledger, _asking(ledger), "ann", "changed outside")


def test_person_without_the_role_cannot_approve(ledger: Ledger) -> None:
    enrol(ledger, "ann", roles=["legal", "operator"])
    _refused(ledger, _asking(ledger), "ann", "lacks the roles .* duty-manager")


def test_unenrolled_person_cannot_approve(ledger: Ledger) -> None:
    _refused(ledger, _asking(ledger), "mallory", "'mallory': not enrolled")


def test_removed_person_cannot_approve(ledger: Ledger) -> None:
    enrol(ledger, "ann")
    incident = _asking(ledger)
    ledger.people.remove("ann", OWNER, NOW)
    _refused(ledger, incident, "ann", "'ann': not enrolled")


def test_approval_of_a_removed_person_is_void(ledger: Ledger) -> None:
    for name in ("ann", "ben", "cleo"):
        enrol(ledger, name)
    incident = _asking(ledger, needs=2)
    decide(ledger, incident, "ann")
    ledger.people.remove("ann", OWNER, NOW)
    assert decide(ledger, incident, "ben").given == 1
    assert _state(ledger, incident) is StepState.ASKING
    assert decide(ledger, incident, "cleo").given == 2


def test_invalid_approval_asks_remaining_approvers_again(
    ledger: Ledger,
) -> None:
    enrol(ledger, "ann")
    incident = _asking(ledger)
    assert ledger.steps.ask(incident, "lock", 1, (), NOW)
    decide(ledger, incident, "ann")
    ledger.people.remove("ann", OWNER, NOW)
    with pytest.raises(ApprovalRefused):
        claim(ledger, incident, runner(ledger, incident))
    assert _state(ledger, incident) is StepState.ASKING
    assert ledger.steps.ask(incident, "lock", 1, (), NOW)


def test_founding_people_approve_at_once(ledger: Ledger) -> None:
    enrol(ledger, "ann", enrolled_by="olga")
    assert ledger.people.get("ann").is_founding
    incident = open_incident(ledger, now=FOUNDED)
    begin(ledger, incident, drafts(REVOKE, "alice"), needs=1)
    decide(ledger, incident, "ann", now=FOUNDED)
    assert _state(ledger, incident) is StepState.RUNNING


@pytest.mark.parametrize("to", ["step", "round", "incident", "decision", "person"])
def test_signature_for_another_purpose_is_void(ledger: Ledger, to: str) -> None:
    for name in ("ann", "ben"):
        enrol(ledger, name)
    incident = _asking(ledger)
    signed = signature(
        ledger.decisions.question(incident, "lock"),
        "ann",
        "refuse" if to == "decision" else "approve",
    )
    step, person = "lock", "ann"
    if to == "step":
        step = "again"
        begin(ledger, incident, drafts(REVOKE, "alice"), needs=1, step=step)
    elif to == "round":
        begin(ledger, incident, drafts(REVOKE, "alice"), needs=1, round_=2)
    elif to == "incident":
        incident = _asking(ledger)
    elif to == "person":
        person = "ben"
    with pytest.raises(ApprovalRefused, match=r"wrong passphrase, or another plan"):
        ledger.decisions.decide(incident, step, person, "approve", signed, NOW)
    assert ledger.timeline(incident)[-1].action == "approval.rejected"


@pytest.mark.parametrize(
    "other",
    [{"incident": "inc-2"}, {"step": "tell"}, {"round": 2}, {"digest": "0"}, {"nonce": "0"}],
    ids=str,
)
def test_signature_over_another_question_is_void(ledger: Ledger, other: dict[str, Any]) -> None:
    enrol(ledger, "ann")
    incident = _asking(ledger)
    signed = signature(replace(ledger.decisions.question(incident, "lock"), **other), "ann")
    with pytest.raises(ApprovalRefused, match=r"wrong passphrase, or another plan"):
        ledger.decisions.decide(incident, "lock", "ann", "approve", signed, NOW)


def test_a_signature_in_anothers_name_does_not_count(ledger: Ledger) -> None:
    enrol(ledger, "ann")
    incident = _asking(ledger)
    as_ben = ledger.decisions.question(incident, "lock").message("ben", "approve")
    signed = key_of("ann").sign(as_ben).hex()
    with pytest.raises(ApprovalRefused, match=r"wrong passphrase, or another plan"):
        ledger.decisions.decide(incident, "lock", "ann", "approve", signed, NOW)


def test_a_signature_of_another_plan_does_not_count(ledger: Ledger) -> None:
    """The same step of two incidents differs in its targets, so in its digest."""
    enrol(ledger, "ann")
    one, other = open_incident(ledger), open_incident(ledger)
    begin(ledger, one, drafts(REVOKE, "bob"), needs=1)
    begin(ledger, other, drafts(REVOKE, "bob", "carol"), needs=1)
    shown, asked = ledger.decisions.question(one, "lock"), ledger.decisions.question(other, "lock")
    assert shown.digest != asked.digest
    with pytest.raises(ApprovalRefused, match="wrong passphrase"):
        ledger.decisions.decide(other, "lock", "ann", "approve", signature(shown, "ann"), NOW)


@pytest.mark.parametrize("signed", ["", "zz", "00" * 63, "00" * 64, "00" * 65])
def test_invalid_signature_does_not_count(ledger: Ledger, signed: str) -> None:
    enrol(ledger, "ann")
    incident = _asking(ledger)
    with pytest.raises(ApprovalRefused, match="wrong passphrase"):
        ledger.decisions.decide(incident, "lock", "ann", "approve", signed, NOW)


def test_anothers_key_does_not_sign_for_somebody(ledger: Ledger) -> None:
    enrol(ledger, "ann")
    incident = _asking(ledger)
    message = ledger.decisions.question(incident, "lock").message("ann", "approve")
    signed = key_of("mallory").sign(message).hex()
    with pytest.raises(ApprovalRefused, match="wrong passphrase, or another plan"):
        ledger.decisions.decide(incident, "lock", "ann", "approve", signed, NOW)


def test_unknown_decision_is_refused(ledger: Ledger) -> None:
    enrol(ledger, "ann")
    incident = _asking(ledger)
    with pytest.raises(ApprovalRefused, match="Approve or refuse"):
        decide(ledger, incident, "ann", decision="perhaps")
    decide(ledger, incident, "ann")


def test_step_without_request_cannot_be_approved(ledger: Ledger) -> None:
    enrol(ledger, "ann")
    incident = open_incident(ledger)
    with pytest.raises(UsageError, match="not reached yet"):
        ledger.decisions.question(incident, "lock")
    begin(ledger, incident, drafts(REVOKE, "alice"))
    with pytest.raises(UsageError, match="it is running"):
        ledger.decisions.question(incident, "lock")
