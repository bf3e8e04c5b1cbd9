"""Continuation of a step without unknown or late effects, which remain."""

import threading
from datetime import timedelta

import pytest

from standfast.errors import UsageError
from standfast.ledger import Ledger
from standfast.records import EffectState, Observed, Result
from standfast.retry_rules import MOST_TRIES
from tests.ledger.ledger_files import NOW
from tests.ledger.stage import (
    LOCK,
    begin,
    claim,
    claimed,
    drafts,
    look,
    only,
    open_incident,
    results,
    runner,
    waiting,
)
from tests.servers import wait_until

LATER = NOW + timedelta(minutes=5)
MUCH_LATER = LATER + timedelta(hours=1)


def in_doubt(ledger: Ledger) -> tuple[str, str]:
    """Open an incident with one lock of unknown outcome, and a runner."""
    incident = open_incident(ledger)
    begin(ledger, incident, drafts(LOCK, "alice"))
    who = runner(ledger, incident)
    look(ledger, incident, who, {"enabled": True})
    return incident, who


def test_late_receipt_reopens_an_accepted_step(
    ledger: Ledger,
) -> None:
    incident, who = in_doubt(ledger)
    batch = claimed(ledger, incident, who, queue=LOCK)
    assert ledger.unknown_outcomes.expire_calls(incident, lambda _: False, LATER) == 1
    ledger.decisions.accept(incident, "lock", "lee", LATER)
    failed = results(batch, EffectState.FAILED, reason="busy", retry_after=1)
    ledger.attempts.receipt(batch, failed, who, LATER)
    assert not ledger.incidents.state(incident).steps["lock"].is_accepted, "what comes of it anew"
    again = claimed(ledger, incident, who, queue=LOCK, now=MUCH_LATER)
    ledger.attempts.receipt(again, results(again), who, MUCH_LATER)
    assert only(ledger, incident).state is EffectState.DONE


def test_acceptance_waits_for_a_running_look(
    postgres_ledger: Ledger,
) -> None:
    ledger = postgres_ledger
    incident, who = in_doubt(ledger)
    claimed(ledger, incident, who, queue=LOCK)
    assert ledger.unknown_outcomes.expire_calls(incident, lambda _: False, LATER) == 1
    row = only(ledger, incident)
    seen = Observed(target=row.target, happened=False, state={"enabled": True})
    refused: list[UsageError] = []

    def accept() -> None:
        try:
            ledger.decisions.accept(incident, "lock", "lee", LATER)
        except UsageError as error:
            refused.append(error)

    settling = threading.Thread(
        target=ledger.unknown_outcomes.settle, args=(incident, [(row, seen)], who, LATER)
    )
    accepting = threading.Thread(target=accept)
    with ledger.database.write(actor="lee", subject=incident, action="test.busy", now=NOW) as write:
        write.exclude_writers()  # the look-up waits at its end, after it has read the written rows
        settling.start()
        wait_until(lambda: waiting(ledger) == 1, "the look to wait")
        accepting.start()
        wait_until(lambda: waiting(ledger) == 2, "the person to wait")
    settling.join()
    accepting.join()
    assert ["has not ended" in str(error) for error in refused] == [True]
    assert claim(ledger, incident, who, queue=LOCK, now=MUCH_LATER) is not None


@pytest.mark.parametrize("untried", [0, 1, 2 * MOST_TRIES])
def test_call_ended_before_its_turn_is_no_attempt(ledger: Ledger, untried: int) -> None:
    incident, who = in_doubt(ledger)
    for number in range(untried + MOST_TRIES):
        assert only(ledger, incident).state is EffectState.PLANNED
        now = NOW + timedelta(minutes=number)
        batch = claimed(ledger, incident, who, queue=LOCK, now=now)
        had_no_turn = Result(
            target=batch.orders[0].target,
            state=EffectState.FAILED,
            retry_after_seconds=1,
            is_untried=number < untried,
        )
        ledger.attempts.receipt(batch, [had_no_turn], who, now)
    assert only(ledger, incident).state is EffectState.FAILED
