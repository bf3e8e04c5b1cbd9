"""Receipts of calls: early, late, or missing."""

from datetime import timedelta

import pytest

from standfast.ledger import Ledger
from standfast.ledger.effects.effect_rows import Batch, EffectQueue
from standfast.records import EffectState, Limits, Observed, Proof, Result
from tests.ledger.ledger_files import NOW
from tests.ledger.stage import (
    REVOKE,
    begin,
    claim,
    claimed,
    drafts,
    only,
    open_incident,
    results,
    runner,
)


@pytest.fixture
def incident(ledger: Ledger) -> str:
    """Open an incident with one planned effect."""
    incident = open_incident(ledger)
    begin(ledger, incident, drafts(REVOKE, "alice"))
    return incident


@pytest.mark.parametrize(
    "state",
    [EffectState.DONE, EffectState.REFUSED, EffectState.FAILED, EffectState.UNKNOWN],
)
def test_receipt_is_stored_completely(ledger: Ledger, incident: str, state: EffectState) -> None:
    who = runner(ledger, incident)
    result = Result(
        target="alice",
        state=state,
        reason="the directory said so",
        facts={"sessions": 3},
        proof=Proof.SESSIONS_GONE,
    )
    ledger.attempts.receipt(claimed(ledger, incident, who), [result], who, NOW)
    row = only(ledger, incident)
    assert (row.state, row.reason, row.facts, row.proof, row.tries) == (
        state,
        "the directory said so",
        {"sessions": 3},
        Proof.SESSIONS_GONE,
        1,
    )
    assert claim(ledger, incident, who, now=NOW + timedelta(days=1)) is None
    assert ledger.timeline(incident)[-1].detail["results"] == {str(state): 1}


def test_each_target_of_a_batch_has_its_answer(ledger: Ledger) -> None:
    incident = open_incident(ledger)
    begin(ledger, incident, drafts(REVOKE, "alice", "bob", "carol"))
    who = runner(ledger, incident)
    said = [EffectState.DONE, EffectState.FAILED, EffectState.UNKNOWN]
    answers = [Result(target="", state=state) for state in said]
    ledger.attempts.receipt(claimed(ledger, incident, who), answers, who, NOW)
    assert [row.state for row in ledger.effects.of_incident(incident)] == said


def test_missing_answer_rejects_the_batch(ledger: Ledger, incident: str) -> None:
    who = runner(ledger, incident)
    with pytest.raises(ValueError):
        ledger.attempts.receipt(claimed(ledger, incident, who), [], who, NOW)
    assert only(ledger, incident).state is EffectState.SUBMITTING


def test_retry_waits_as_long_as_asked(ledger: Ledger, incident: str) -> None:
    who = runner(ledger, incident)
    batch = claimed(ledger, incident, who)
    ledger.attempts.receipt(
        batch, results(batch, EffectState.FAILED, reason="busy", retry_after=60), who, NOW
    )
    row = only(ledger, incident)
    assert (row.state, row.reason, row.tries) == (EffectState.PLANNED, "busy", 1)
    just_before = NOW + timedelta(seconds=60) - timedelta(microseconds=1)
    assert claim(ledger, incident, who, now=just_before) is None
    assert claim(ledger, incident, who, now=NOW + timedelta(seconds=60)) is not None


@pytest.mark.parametrize(
    ("asked", "waits"), [(1e12, timedelta(days=1)), (-1e12, timedelta()), (0.0, timedelta())]
)
def test_retry_pause_is_bounded_to_a_day(
    ledger: Ledger, incident: str, asked: float, waits: timedelta
) -> None:
    who = runner(ledger, incident)
    batch = claimed(ledger, incident, who)
    ledger.attempts.receipt(batch, results(batch, EffectState.FAILED, retry_after=asked), who, NOW)
    just_before = NOW + waits - timedelta(microseconds=1)
    assert claim(ledger, incident, who, now=just_before) is None
    assert claim(ledger, incident, who, now=NOW + waits) is not None


@pytest.mark.parametrize("state", [EffectState.DONE, EffectState.REFUSED, EffectState.UNKNOWN])
def test_only_failures_are_retried(ledger: Ledger, incident: str, state: EffectState) -> None:
    """A possible act would happen twice: a second mail, a second call."""
    who = runner(ledger, incident)
    batch = claimed(ledger, incident, who)
    ledger.attempts.receipt(batch, results(batch, state, retry_after=60), who, NOW)
    assert only(ledger, incident).state is state
    assert claim(ledger, incident, who, now=NOW + timedelta(hours=1)) is None


@pytest.mark.parametrize("is_parked", [True, False])
def test_observable_outcome_is_not_left_to_people(
    ledger: Ledger, incident: str, is_parked: bool
) -> None:
    who = runner(ledger, incident)
    batch = claimed(ledger, incident, who)
    answer = Result(target="", state=EffectState.UNKNOWN, only_a_person_can_tell=is_parked)
    ledger.attempts.receipt(batch, [answer], who, NOW)
    assert only(ledger, incident).is_parked is is_parked


def test_five_attempts_end_in_failed(ledger: Ledger, incident: str) -> None:
    who = runner(ledger, incident)
    for tried in range(1, 6):
        batch = claimed(ledger, incident, who)
        assert batch.effects[0].tries == tried - 1
        ledger.attempts.receipt(batch, results(batch, EffectState.FAILED, retry_after=0), who, NOW)
    row = only(ledger, incident)
    assert (row.state, row.tries) == (EffectState.FAILED, 5)
    assert claim(ledger, incident, who) is None
    assert ledger.attempts.retry(incident, None, "olga", NOW) == 1
    assert only(ledger, incident).tries == 0
    assert claim(ledger, incident, who) is not None


def _lapsed(ledger: Ledger, incident: str, who: str) -> Batch:
    """Claim the effect with a call that takes too long."""
    batch = claimed(ledger, incident, who)
    assert ledger.unknown_outcomes.expire_calls(incident, lambda _: True, NOW) == 1
    assert only(ledger, incident).state is EffectState.UNKNOWN
    return batch


def test_a_late_receipt_counts(ledger: Ledger, incident: str) -> None:
    who = runner(ledger, incident)
    batch = _lapsed(ledger, incident, who)
    ledger.attempts.receipt(batch, results(batch), who, NOW + timedelta(hours=1))
    assert only(ledger, incident).state is EffectState.DONE


def test_late_receipt_settles_an_unknown_outcome(ledger: Ledger, incident: str) -> None:
    who = runner(ledger, incident)
    batch = _lapsed(ledger, incident, who)
    row = only(ledger, incident)
    ledger.unknown_outcomes.settle(incident, [(row, Observed(target=row.target))], "olga", NOW)
    assert only(ledger, incident).is_parked
    ledger.attempts.receipt(batch, results(batch), who, NOW)
    row = only(ledger, incident)
    assert (row.state, row.is_parked) == (EffectState.DONE, False)


def test_late_receipt_settles_a_replanned_effect(ledger: Ledger, incident: str) -> None:
    who = runner(ledger, incident)
    batch = _lapsed(ledger, incident, who)
    row = only(ledger, incident)
    seen = Observed(target=row.target, happened=False)
    ledger.unknown_outcomes.settle(incident, [(row, seen)], "olga", NOW)
    ledger.attempts.receipt(batch, results(batch), who, NOW)
    assert only(ledger, incident).state is EffectState.DONE
    assert claim(ledger, incident, who) is None


def test_late_receipt_prevents_another_attempt(ledger: Ledger, incident: str) -> None:
    """A retry by a person would notify somebody twice."""
    who = runner(ledger, incident)
    for _ in range(5):
        batch = _lapsed(ledger, incident, who)
        row = only(ledger, incident)
        seen = Observed(target=row.target, happened=False)
        ledger.unknown_outcomes.settle(incident, [(row, seen)], "olga", NOW)
    row = only(ledger, incident)
    assert (row.state, "tried 5 times" in row.reason) == (EffectState.FAILED, True)
    ledger.attempts.receipt(batch, results(batch), who, NOW)
    assert only(ledger, incident).state is EffectState.DONE
    assert ledger.attempts.retry(incident, None, "olga", NOW) == 0


def test_effect_denied_by_a_person_is_retried(ledger: Ledger, incident: str) -> None:
    who = runner(ledger, incident)
    for tried in range(1, 7):
        _lapsed(ledger, incident, who)
        for happened in (None, False):  # no look-up shows the outcome, so a person decides
            row = only(ledger, incident)
            seen = Observed(target=row.target, happened=happened)
            ledger.unknown_outcomes.settle(incident, [(row, seen)], "olga", NOW)
        row = only(ledger, incident)
        assert (row.state, row.tries) == (EffectState.PLANNED, tried)


def test_late_receipt_is_void_after_a_new_claim(ledger: Ledger, incident: str) -> None:
    who = runner(ledger, incident)
    late = _lapsed(ledger, incident, who)
    row = only(ledger, incident)
    seen = Observed(target=row.target, happened=False)
    ledger.unknown_outcomes.settle(incident, [(row, seen)], "olga", NOW)
    again = claimed(ledger, incident, who)
    ledger.attempts.receipt(late, results(late, EffectState.FAILED), who, NOW)
    assert only(ledger, incident).state is EffectState.SUBMITTING
    ledger.attempts.receipt(again, results(again), who, NOW)
    assert only(ledger, incident).state is EffectState.DONE


def test_a_receipt_changes_nothing_that_is_settled(ledger: Ledger, incident: str) -> None:
    who = runner(ledger, incident)
    batch = _lapsed(ledger, incident, who)
    row = only(ledger, incident)
    ledger.unknown_outcomes.settle(
        incident, [(row, Observed(target=row.target, happened=True))], "olga", NOW
    )
    ledger.attempts.receipt(batch, results(batch, EffectState.FAILED), who, NOW)
    assert only(ledger, incident).state is EffectState.DONE


def test_retry_plans_only_failures(ledger: Ledger) -> None:
    incident = open_incident(ledger)
    who = runner(ledger, incident)
    for step in ("first", "second"):
        begin(ledger, incident, drafts(REVOKE, "alice", "bob", "carol", "dave"), step=step)
        batch = claimed(ledger, incident, who, limits=Limits(batch=4))
        said = [EffectState.DONE, EffectState.FAILED, EffectState.UNKNOWN, EffectState.REFUSED]
        answers = [Result(target="", state=state, reason="why") for state in said]
        ledger.attempts.receipt(batch, answers, who, NOW)
    assert ledger.attempts.retry(incident, "second", "olga", NOW) == 1
    found = [(row.step, row.state, row.reason) for row in ledger.effects.of_incident(incident)]
    done, unknown, refused = EffectState.DONE, EffectState.UNKNOWN, EffectState.REFUSED
    assert found == [
        ("first", done, "why"),
        ("first", EffectState.FAILED, "why"),
        ("first", unknown, "why"),
        ("first", refused, "why"),
        ("second", done, "why"),
        ("second", EffectState.PLANNED, ""),
        ("second", unknown, "why"),
        ("second", refused, "why"),
    ]


@pytest.mark.parametrize(
    ("result", "is_handed_on"),
    [
        (Result(target="a", state=EffectState.FAILED, reason="suspended"), True),
        (Result(target="a", state=EffectState.REFUSED, may_go_elsewhere=True), True),
        (Result(target="a", state=EffectState.REFUSED, reason="no mailbox"), False),
        (Result(target="a", state=EffectState.FAILED, retry_after_seconds=5), False),
        (Result(target="a", state=EffectState.UNKNOWN), False),
        (Result(target="a", state=EffectState.DONE), False),
    ],
)
def test_only_certain_failures_use_failover(
    ledger: Ledger, incident: str, result: Result, is_handed_on: bool
) -> None:
    who = runner(ledger, incident)
    batch = claimed(ledger, incident, who)
    ledger.attempts.receipt(batch, [result], who, NOW, hand_on="second")
    # The receipt is written again.
    ledger.attempts.receipt(batch, [result], who, NOW, hand_on="second")
    row = only(ledger, incident)
    if not is_handed_on:
        assert row.connector == REVOKE.connector
        return
    assert (row.connector, row.state, row.tries) == ("second", EffectState.PLANNED, 0)
    assert "handed on to second" in row.reason
    second = EffectQueue(verb=REVOKE.verb, connector="second")
    again = claimed(ledger, incident, who, queue=second)
    assert [one.token for one in again.effects] == [one.token for one in batch.effects]
    # A late receipt for an effect that another queue has claimed.
    ledger.attempts.receipt(batch, [result], who, NOW, hand_on="second")
    assert only(ledger, incident).state is EffectState.SUBMITTING
    ledger.attempts.receipt(again, results(again), who, NOW)
    assert only(ledger, incident).state is EffectState.DONE
    assert ledger.audit.verify().is_whole
