"""Unknown outcomes after a crash: looked up, never repeated blindly."""

from datetime import timedelta

import pytest

from standfast.ledger import Ledger
from standfast.records import EffectState, Limits, Observed
from tests.ledger.ledger_files import NOW
from tests.ledger.stage import (
    LIMITS,
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

OVERDUE = NOW + timedelta(seconds=30)  # LIMITS' time-out and the margin


def _everybody_lives(_runner: str) -> bool:
    return False


@pytest.fixture
def incident(ledger: Ledger) -> str:
    """Open an incident with one planned effect."""
    incident = open_incident(ledger)
    begin(ledger, incident, drafts(REVOKE, "alice"))
    return incident


def _unknown(ledger: Ledger, incident: str, limits: Limits = LIMITS) -> None:
    """End the effect's runner in the middle of its call."""
    claimed(ledger, incident, runner(ledger, incident), limits=limits)
    assert ledger.unknown_outcomes.expire_calls(incident, lambda _: True, NOW) == 1


def test_possibly_running_call_is_left_alone(ledger: Ledger, incident: str) -> None:
    claimed(ledger, incident, runner(ledger, incident))
    before = ledger.timeline()
    just_before = OVERDUE - timedelta(microseconds=1)
    assert ledger.unknown_outcomes.expire_calls(incident, _everybody_lives, just_before) == 0
    assert only(ledger, incident).state is EffectState.SUBMITTING
    assert ledger.timeline() == before


def test_overdue_call_of_living_runner_is_unknown(ledger: Ledger, incident: str) -> None:
    claimed(ledger, incident, runner(ledger, incident))
    assert ledger.unknown_outcomes.expire_calls(incident, _everybody_lives, OVERDUE) == 1
    row = only(ledger, incident)
    assert (row.state, row.is_parked) == (EffectState.UNKNOWN, False)
    assert "may have happened" in row.reason
    assert ledger.unknown_outcomes.expire_calls(incident, _everybody_lives, OVERDUE) == 0


def test_only_the_dead_runners_calls_lapse_early(ledger: Ledger) -> None:
    incident = open_incident(ledger)
    begin(ledger, incident, drafts(REVOKE, "alice", "bob"))
    dead, alive = runner(ledger, incident), runner(ledger, incident)
    for who in (dead, alive):
        claimed(ledger, incident, who, limits=Limits(batch=1))
    assert ledger.unknown_outcomes.expire_calls(incident, lambda who: who == dead, NOW) == 1
    found = [row.state for row in ledger.effects.of_incident(incident)]
    assert found == [EffectState.UNKNOWN, EffectState.SUBMITTING]


def test_unknown_effect_is_never_claimed(ledger: Ledger, incident: str) -> None:
    _unknown(ledger, incident)
    late = OVERDUE + timedelta(days=1)
    assert claim(ledger, incident, runner(ledger, incident), now=late) is None


def test_call_that_may_land_is_not_looked_up(ledger: Ledger, incident: str) -> None:
    _unknown(ledger, incident)
    just_before = OVERDUE - timedelta(microseconds=1)
    assert ledger.effects.to_settle(incident, REVOKE, just_before, 10) == []
    assert len(ledger.effects.to_settle(incident, REVOKE, OVERDUE, 10)) == 1


def test_backward_clock_delays_no_look_up(ledger: Ledger, incident: str) -> None:
    ahead = NOW + timedelta(hours=2)
    claimed(ledger, incident, runner(ledger, incident), now=ahead)
    assert ledger.unknown_outcomes.expire_calls(incident, lambda _: True, NOW) == 1
    just_before = OVERDUE - timedelta(microseconds=1)
    assert ledger.effects.to_settle(incident, REVOKE, just_before, 10) == []
    assert len(ledger.effects.to_settle(incident, REVOKE, OVERDUE, 10)) == 1


def test_local_act_of_dead_process_is_observed(ledger: Ledger, incident: str) -> None:
    _unknown(ledger, incident, Limits(timeout_seconds=20, is_local=True))
    assert len(ledger.effects.to_settle(incident, REVOKE, NOW, 10)) == 1


@pytest.mark.parametrize(
    ("happened", "state", "is_parked", "says"),
    [
        (True, EffectState.DONE, False, "it had happened"),
        (False, EffectState.PLANNED, False, "it had not happened"),
        (None, EffectState.UNKNOWN, True, "A person must"),
    ],
)
def test_look_up_settles_observable_outcomes(
    ledger: Ledger,
    incident: str,
    happened: bool | None,
    state: EffectState,
    is_parked: bool,
    says: str,
) -> None:
    _unknown(ledger, incident)
    (row,) = ledger.effects.to_settle(incident, REVOKE, OVERDUE, 10)
    seen = Observed(target=row.target, happened=happened)
    ledger.unknown_outcomes.settle(incident, [(row, seen)], "olga", OVERDUE)
    row = only(ledger, incident)
    assert (row.state, row.is_parked) == (state, is_parked)
    assert says in row.reason
    assert ledger.effects.to_settle(incident, REVOKE, OVERDUE + timedelta(days=1), 10) == []
    event = ledger.timeline(incident)[-1]
    assert (event.action, event.detail) == ("effects.settled", {"results": {str(state): 1}})


def test_undone_act_repeats_with_its_token(ledger: Ledger, incident: str) -> None:
    _unknown(ledger, incident)
    row = only(ledger, incident)
    ledger.unknown_outcomes.settle(
        incident, [(row, Observed(target=row.target, happened=False))], "olga", OVERDUE
    )
    batch = claimed(ledger, incident, runner(ledger, incident), now=OVERDUE)
    assert (batch.effects[0].token, batch.effects[0].tries) == (row.token, 1)


def test_failed_look_up_is_repeated(ledger: Ledger, incident: str) -> None:
    _unknown(ledger, incident)
    row = only(ledger, incident)
    seen = Observed(target=row.target, is_readable=False, reason="the directory is away")
    ledger.unknown_outcomes.settle(incident, [(row, seen)], "olga", OVERDUE)
    row = only(ledger, incident)
    assert (row.state, row.is_parked, row.reason) == (
        EffectState.UNKNOWN,
        False,
        "the directory is away",
    )
    again = ledger.effects.open_work(incident, OVERDUE).next_due
    assert again is not None
    assert again > OVERDUE
    assert ledger.effects.to_settle(incident, REVOKE, OVERDUE, 10) == []
    assert len(ledger.effects.to_settle(incident, REVOKE, again, 10)) == 1


def test_look_up_keeps_a_settled_receipt(ledger: Ledger, incident: str) -> None:
    who = runner(ledger, incident)
    batch = claimed(ledger, incident, who)
    ledger.unknown_outcomes.expire_calls(incident, lambda _: True, NOW)
    row = only(ledger, incident)
    ledger.attempts.receipt(batch, results(batch), who, NOW)
    seen = Observed(target=row.target, happened=False)
    ledger.unknown_outcomes.settle(incident, [(row, seen)], "olga", OVERDUE)
    assert only(ledger, incident).state is EffectState.DONE


def test_person_settles_an_unknown_outcome(ledger: Ledger, incident: str) -> None:
    _unknown(ledger, incident)
    row = only(ledger, incident)
    ledger.unknown_outcomes.settle(incident, [(row, Observed(target=row.target))], "olga", OVERDUE)
    seen = Observed(target=row.target, happened=True, reason="olga saw it")
    ledger.unknown_outcomes.settle(incident, [(only(ledger, incident), seen)], "olga", OVERDUE)
    row = only(ledger, incident)
    assert (row.state, row.is_parked, row.reason) == (EffectState.DONE, False, "olga saw it")
