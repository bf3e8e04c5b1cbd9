"""Forged rows cause no act that was not approved."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from standfast.errors import ApprovalRefused, Damaged
from standfast.ledger import Ledger
from standfast.ledger.effects.effect_rows import EffectQueue
from standfast.ledger.schema.tables import approval, attempt, effect, incident, person, step
from standfast.playbook.planned_effects import Draft
from standfast.records import EffectState, Mode, Observed, StepState
from tests.ledger.intruder import Intruder
from tests.ledger.ledger_files import NOW
from tests.ledger.stage import (
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
    states,
)


def _approved_by_ann(ledger: Ledger, *, needs: int = 1) -> tuple[str, str]:
    """Open an incident with a step that ann approved, and a runner."""
    for name in ("ann", "ben"):
        enrol(ledger, name)
    incident_id = open_incident(ledger)
    begin(ledger, incident_id, drafts(REVOKE, "alice"), needs=needs, roles=["duty-manager"])
    decide(ledger, incident_id, "ann")
    return incident_id, runner(ledger, incident_id)


def _approved_by_nobody(ledger: Ledger) -> tuple[str, str]:
    """Open an incident with a step without approval, and a runner."""
    incident_id = open_incident(ledger)
    begin(ledger, incident_id, drafts(REVOKE, "alice"))
    return incident_id, runner(ledger, incident_id)


def _refused_by_ann(ledger: Ledger) -> str:
    """Open an incident with a step that ann refused."""
    enrol(ledger, "ann")
    incident_id = open_incident(ledger)
    begin(ledger, incident_id, drafts(REVOKE, "alice"), needs=1)
    decide(ledger, incident_id, "ann", decision="refuse")
    return incident_id


def _lapses(ledger: Ledger, incident_id: str, who: str, why: str) -> None:
    """Assert that nothing is claimed and the step asks with a reason."""
    with pytest.raises(ApprovalRefused, match=why):
        claim(ledger, incident_id, who)
    assert ledger.incidents.state(incident_id).steps["lock"].state is StepState.ASKING
    event = ledger.timeline(incident_id)[-1]
    assert event.action == "approval.lapsed"
    assert why in event.detail["why"]


def test_step_started_without_approvals_is_refused(ledger: Ledger, intruder: Intruder) -> None:
    incident_id, who = _approved_by_ann(ledger, needs=2)
    intruder.run("UPDATE step SET state = 'running'")
    with pytest.raises(Damaged, match="audit verify"):
        claim(ledger, incident_id, who)
    assert states(ledger, incident_id) == {"agents:alice": EffectState.PLANNED}


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("needs_approvals", 0),
        ("roles", "[]"),
        ("digest", "0" * 64),
        ("nonce", "0" * 32),
        ("hold_seconds", 1),
        ("seal", "0" * 64),
    ],
)
def test_step_with_changed_need_of_approval_is_refused(
    ledger: Ledger, intruder: Intruder, column: str, value: Any
) -> None:
    incident_id, who = _approved_by_ann(ledger)
    (row,) = intruder.rows(step)
    intruder.set(step, row, **{column: value})
    with pytest.raises(Damaged, match="audit verify"):
        claim(ledger, incident_id, who)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("public_key", key_of("mallory").public_key().public_bytes_raw().hex()),
        ("public_key", "no key"),
        ("roles", '["legal"]'),
        ("enrolled_by", "olga"),
        ("enrolled_at", "2020-01-01T00:00:00.000000Z"),
        ("accounts", '["0"]'),
        ("seal", "0" * 64),
        ("removed_at", "2026-03-03T00:00:00.000000Z"),
    ],
)
def test_an_approver_who_was_changed_does_not_count(
    ledger: Ledger, intruder: Intruder, column: str, value: str
) -> None:
    incident_id, who = _approved_by_ann(ledger)
    ann, _ = intruder.rows(person)
    intruder.set(person, ann, **{column: value})
    _lapses(ledger, incident_id, who, "0 of 1 approvals verify")


@pytest.mark.parametrize(
    ("lacks", "column", "value"),
    [
        ({"roles": ["legal"]}, "roles", '["duty-manager"]'),
        ({"enrolled_by": "olga"}, "enrolled_by", "init"),
        ({"accounts": ["agents:alice"]}, "accounts", "[]"),
        ({"now": NOW}, "enrolled_at", "2026-03-03T09:00:00.000000Z"),
        ({"now": NOW}, "is_founding", True),
    ],
)
def test_forged_row_gives_no_right_to_approve(
    ledger: Ledger, intruder: Intruder, lacks: dict[str, Any], column: str, value: Any
) -> None:
    enrol(ledger, "eve", **{"now": NOW - timedelta(days=2), **lacks})
    incident_id = open_incident(ledger)
    begin(ledger, incident_id, drafts(REVOKE, "alice"), needs=1, roles=["duty-manager"])
    (eve,) = intruder.rows(person)
    intruder.set(person, eve, **{column: value})
    with pytest.raises(ApprovalRefused, match="changed outside the ledger"):
        decide(ledger, incident_id, "eve")


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("signature", "00" * 64),
        ("signature", "no signature"),
        ("digest", "0" * 64),
        ("nonce", "0" * 32),
        ("person", "ben"),
        ("decision", "refuse"),
    ],
)
def test_an_approval_that_was_changed_does_not_count(
    ledger: Ledger, intruder: Intruder, column: str, value: str
) -> None:
    incident_id, who = _approved_by_ann(ledger)
    (given,) = intruder.rows(approval)
    intruder.set(approval, given, **{column: value})
    _lapses(ledger, incident_id, who, "0 of 1 approvals verify")


def test_forged_running_step_claims_nothing(ledger: Ledger, intruder: Intruder) -> None:
    incident_id = _refused_by_ann(ledger)
    intruder.run("UPDATE step SET state = 'running'")
    with pytest.raises(Damaged, match="audit verify"):
        claim(ledger, incident_id, runner(ledger, incident_id))


def test_refusal_forged_into_approval_is_void(ledger: Ledger, intruder: Intruder) -> None:
    incident_id = _refused_by_ann(ledger)
    intruder.run("UPDATE approval SET decision = 'approve'")
    intruder.run("UPDATE step SET state = 'running', ended_at = NULL")
    with pytest.raises(Damaged, match="audit verify"):
        claim(ledger, incident_id, runner(ledger, incident_id))


def test_forged_waiting_day_is_void(ledger: Ledger, intruder: Intruder) -> None:
    """A new accomplice signs, and the approval is dated two days ahead."""
    enrol(ledger, "ann")
    incident_id = open_incident(ledger)
    enrol(ledger, "eve", enrolled_by="ann", now=NOW - timedelta(hours=23))
    begin(ledger, incident_id, drafts(REVOKE, "alice"), needs=1)
    by_eve = signature(ledger.decisions.question(incident_id, "lock"), "eve")
    decide(ledger, incident_id, "ann")
    (given,) = intruder.rows(approval)
    ahead = "2026-03-14T00:00:00.000000Z"
    intruder.set(approval, given, person="eve", signature=by_eve, decided_at=ahead)
    who = runner(ledger, incident_id)
    _lapses(ledger, incident_id, who, "0 of 1 approvals verify")
    later = NOW + timedelta(hours=1)  # after the waiting day, the enrolled eve signs in person
    intruder.set(approval, {**given, "person": "eve"}, person="ann")
    ledger.decisions.decide(incident_id, "lock", "eve", "approve", by_eve, later)
    assert claim(ledger, incident_id, who, now=later) is not None


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("mode", "exercise"),
        ("opened_by", "somebody"),
        ("is_signed", False),
        ("playbook", "playbook: other"),
        ("scenario", "other"),
        ("connectors", "[]"),
        ("opened_at", "2020-01-01T00:00:00.000000Z"),
        ("seal", "0" * 64),
    ],
)
@pytest.mark.parametrize("begun", [_approved_by_ann, _approved_by_nobody])
def test_changed_incident_is_not_continued(
    ledger: Ledger,
    intruder: Intruder,
    column: str,
    value: Any,
    begun: Callable[[Ledger], tuple[str, str]],
) -> None:
    """The row decides about adapters, steps and approvers."""
    incident_id, who = begun(ledger)
    (row,) = intruder.rows(incident)
    intruder.set(incident, row, **{column: value})
    mode = Mode.EXERCISE if column == "mode" else Mode.LIVE
    with pytest.raises(Damaged, match="audit verify"):
        claim(ledger, incident_id, who, mode=mode)
    with pytest.raises(Damaged, match="audit verify"):
        ledger.incidents.state(incident_id)


@pytest.mark.parametrize(
    "change", [{"step": "other"}, {"round": 2}, {"step": "other", "handle": "0" * 32}], ids=str
)
def test_effect_moved_to_another_step_is_refused(
    ledger: Ledger, intruder: Intruder, change: dict[str, Any]
) -> None:
    incident_id = open_incident(ledger)
    begin(ledger, incident_id, drafts(REVOKE, "alice"), needs=1)
    begin(ledger, incident_id, drafts(REVOKE, "bob"), step="other")
    begin(ledger, incident_id, drafts(REVOKE, "carol"), round_=2)
    who = runner(ledger, incident_id)
    asking = [row for row in intruder.rows(effect) if (row["step"], row["round"]) == ("lock", 1)]
    intruder.set(effect, asking[0], **change)
    with pytest.raises(Damaged, match="audit verify"):
        _claim_everything(ledger, incident_id, who)


def _claim_everything(ledger: Ledger, incident_id: str, who: str) -> None:
    while claim(ledger, incident_id, who):
        pass


def test_an_effect_whose_verb_was_changed_is_refused(ledger: Ledger, intruder: Intruder) -> None:
    incident_id = open_incident(ledger)
    begin(ledger, incident_id, drafts(REVOKE, "alice"))
    intruder.run("UPDATE effect SET verb = 'accounts.unlock'")
    unlock = EffectQueue(verb="accounts.unlock", connector="agents")
    with pytest.raises(Damaged, match="audit verify"):
        claim(ledger, incident_id, runner(ledger, incident_id), queue=unlock)


def test_forged_effect_on_protected_account_is_refused(ledger: Ledger, intruder: Intruder) -> None:
    incident_id = open_incident(ledger)
    protected = Draft(
        verb=REVOKE.verb, connector="agents", target="agents:root", state=EffectState.REFUSED
    )
    begin(ledger, incident_id, [protected])
    intruder.run("UPDATE effect SET state = 'planned'")
    with pytest.raises(Damaged, match="audit verify"):
        claim(ledger, incident_id, runner(ledger, incident_id))


def test_forged_end_of_call_settles_nothing(ledger: Ledger, intruder: Intruder) -> None:
    incident_id, who = _approved_by_nobody(ledger)
    claim(ledger, incident_id, who)
    ledger.unknown_outcomes.expire_calls(incident_id, lambda _: True, NOW)
    (called,) = intruder.rows(attempt)
    intruder.set(attempt, called, settle_after=called["submitted_at"])
    (row,) = ledger.effects.to_settle(incident_id, REVOKE, NOW, 10)
    seen = Observed(target=row.target, happened=False)
    with pytest.raises(Damaged, match="audit verify"):
        ledger.unknown_outcomes.settle(incident_id, [(row, seen)], who, NOW)
    assert states(ledger, incident_id) == {row.target: EffectState.UNKNOWN}
