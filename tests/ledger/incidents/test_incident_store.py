"""Incidents: opened once, stopped, closed; playbooks run to their end."""

import threading
from datetime import UTC, datetime

import pytest

from standfast.errors import Refused, UsageError
from standfast.ledger import Ledger
from standfast.ledger.schema.tables import incident as incidents
from standfast.playbook.engine import Expand, Finish, next_moves
from standfast.playbook.run_state import Counts
from standfast.records import JsonObject, Mode, StepState
from tests.ledger import story
from tests.ledger.intruder import Intruder
from tests.ledger.ledger_files import NOW
from tests.ledger.stage import (
    LOCK,
    PLAYBOOK,
    REVOKE,
    begin,
    claim,
    claimed,
    drafts,
    look,
    open_incident,
    results,
    runner,
    states,
    waiting,
)
from tests.servers import wait_until


def test_incident_returns_its_opening_values(ledger: Ledger) -> None:
    incident = open_incident(ledger, mode=Mode.EXERCISE, trigger="alert-1")
    row = ledger.incidents.get(incident)
    assert (row.id, row.scenario, row.mode, row.is_open) == (
        "inc-2026-0001",
        "lock",
        Mode.EXERCISE,
        True,
    )
    assert (row.playbook, row.adapters) == (PLAYBOOK, ("agents",))
    assert (row.inputs, row.opened_by, row.opened_at, row.is_signed) == (
        {"accounts": ["alice"], "reason": "locked by hand"},
        "olga",
        NOW,
        True,
    )
    assert ledger.incidents.all() == ledger.incidents.all(only_open=True) == [row]


def test_ids_count_up_within_a_year(ledger: Ledger) -> None:
    next_year = datetime(2027, 1, 1, tzinfo=UTC)
    assert [open_incident(ledger), open_incident(ledger)] == ["inc-2026-0001", "inc-2026-0002"]
    assert open_incident(ledger, now=next_year) == "inc-2027-0001"
    assert open_incident(ledger) == "inc-2026-0003"


def test_ids_count_up_beyond_four_digits(ledger: Ledger, intruder: Intruder) -> None:
    open_incident(ledger)
    intruder.run("UPDATE incident SET id = 'inc-2026-9999'")
    assert [open_incident(ledger) for _ in range(3)] == [
        "inc-2026-10000",
        "inc-2026-10001",
        "inc-2026-10002",
    ]


def test_a_repeated_trigger_joins_the_open_incident(ledger: Ledger) -> None:
    first = open_incident(ledger, trigger="alert-1")
    assert open_incident(ledger, trigger="alert-1") == first
    assert open_incident(ledger, trigger="alert-2") == first, "it is about the same accounts"
    others: JsonObject = {"accounts": ["somebody", "else"]}
    assert open_incident(ledger, trigger="alert-3", inputs=others) != first
    assert open_incident(ledger) != first, "no trigger: an operator means another one"
    assert [event.action for event in ledger.timeline(first)] == [
        "incident.opened",
        "trigger.repeated",
        "trigger.repeated",
    ]


def test_a_trigger_of_a_closed_incident_opens_another(ledger: Ledger) -> None:
    first = open_incident(ledger, trigger="alert-1")
    ledger.incidents.close(first, "olga", NOW)
    assert open_incident(ledger, trigger="alert-1") != first


def test_many_threads_with_one_trigger_open_one_incident(ledger: Ledger) -> None:
    together = threading.Barrier(6)
    opened: list[str] = []

    def open_one(trigger: str) -> None:
        together.wait(timeout=60)
        about: JsonObject = {"accounts": [trigger]}
        opened.append(open_incident(ledger, trigger=trigger, inputs=about))

    threads = [
        threading.Thread(target=open_one, args=(f"alert-{number % 2}",)) for number in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(opened) == ["inc-2026-0001"] * 3 + ["inc-2026-0002"] * 3
    assert ledger.audit.verify().is_whole


def test_unknown_incident_lists_the_existing_ones(ledger: Ledger) -> None:
    with pytest.raises(UsageError, match="'inc-1': unknown"):
        ledger.incidents.get("inc-1")
    open_incident(ledger)
    with pytest.raises(UsageError, match="the known names are: inc-2026-0001"):
        ledger.incidents.set_stopped("inc-1", True, "olga", NOW)


def test_closing_is_refused_during_an_act(ledger: Ledger) -> None:
    incident = open_incident(ledger)
    begin(ledger, incident, drafts(REVOKE, "alice", "bob"))
    who = runner(ledger, incident)
    batch = claimed(ledger, incident, who)
    with pytest.raises(Refused, match="2 calls are in progress"):
        ledger.incidents.close(incident, "olga", NOW)
    ledger.attempts.receipt(batch, results(batch), who, NOW)
    ledger.incidents.close(incident, "olga", NOW)
    row = ledger.incidents.get(incident)
    assert (row.is_open, row.closed_at) == (False, NOW)
    assert ledger.incidents.all(only_open=True) == []
    with pytest.raises(UsageError, match="already closed"):
        ledger.incidents.close(incident, "olga", NOW)


def test_closing_waits_for_a_claim_in_progress(postgres_ledger: Ledger) -> None:
    """A claim that commits after the count could act after the closing."""
    ledger = postgres_ledger
    incident = open_incident(ledger)
    begin(ledger, incident, drafts(REVOKE, "alice"))
    who = runner(ledger, incident)
    refused: list[Refused] = []

    def close() -> None:
        try:
            ledger.incidents.close(incident, "olga", NOW)
        except Refused as error:
            refused.append(error)

    claiming = threading.Thread(target=claim, args=(ledger, incident, who))
    closing = threading.Thread(target=close)
    with ledger.database.write(actor="a", subject="s", action="test.held", now=NOW) as write:
        write.exclude_writers()  # nobody commits yet
        claiming.start()
        wait_until(lambda: waiting(ledger) == 1, "the claim to wait for its commit")
        closing.start()
        wait_until(lambda: waiting(ledger) == 2, "the closing to wait")
    claiming.join()
    closing.join()
    assert len(refused) == 1
    assert ledger.incidents.get(incident).is_open


@pytest.mark.parametrize("what", ["stop", "close"])
def test_joining_and_stopping_do_not_wait(postgres_ledger: Ledger, what: str) -> None:
    """The joining process locks the chain, then the incident, never reversed."""
    ledger = postgres_ledger
    case = open_incident(ledger)
    said: list[Exception] = []

    def act() -> None:
        try:
            if what == "stop":
                ledger.incidents.set_stopped(case, True, "olga", NOW)
            else:
                ledger.incidents.close(case, "olga", NOW)
        except Exception as error:
            said.append(error)

    thread = threading.Thread(target=act)
    with ledger.database.write(actor="a", subject=case, action="test.joined", now=NOW) as write:
        write.exclude_writers()  # as a joining process does
        thread.start()
        wait_until(lambda: waiting(ledger) == 1, "the other to wait")
        write.update(incidents, (case,), joined=1)
    thread.join()
    assert said == []
    row = ledger.incidents.get(case)
    assert (row.joined, row.is_stopped, row.is_open) == (1, what == "stop", what == "stop")
    assert ledger.audit.verify().is_whole


def test_shipped_playbook_runs_to_its_end(ledger: Ledger) -> None:
    incident = open_incident(ledger)
    assert next_moves(ledger.incidents.state(incident), NOW) == [Expand(step="lock", round=1)]
    begin(ledger, incident, drafts(LOCK, "alice", "bob"))
    assert next_moves(ledger.incidents.state(incident), NOW) == []
    view = ledger.incidents.state(incident).steps["lock"]
    assert (view.state, view.counts) == (StepState.RUNNING, Counts(planned=2))
    who = runner(ledger, incident)
    look(ledger, incident, who, {"enabled": True})
    batch = claimed(ledger, incident, who, queue=LOCK)
    assert ledger.incidents.state(incident).steps["lock"].counts == Counts(submitting=2)
    ledger.attempts.receipt(batch, results(batch), who, NOW)
    (move,) = next_moves(ledger.incidents.state(incident), NOW)
    assert isinstance(move, Finish)
    assert (move.state, move.reason) == (StepState.DONE, "2 of 2 done")
    for expected in (True, False):
        finished = ledger.steps.finish(incident, "lock", 1, move.state, move.reason, NOW)
        assert finished is expected
    state = ledger.incidents.state(incident)
    assert (state.steps["lock"].state, state.incident) == (StepState.DONE, incident)
    assert next_moves(state, NOW) == []
    assert set(states(ledger, incident).values()) == {"done"}
    assert [event.action for event in ledger.timeline(incident)] == [
        "incident.opened",
        "step.begun",
        "runner.started",
        "effects.observed",
        "attempt.claimed",
        "attempt.ended",
        "step.finished",
    ]


def test_halted_or_closed_incident_has_no_move(ledger: Ledger) -> None:
    incident = open_incident(ledger)
    ledger.incidents.set_stopped(incident, True, "olga", NOW)
    assert next_moves(ledger.incidents.state(incident), NOW) == []
    ledger.incidents.set_stopped(incident, False, "olga", NOW)
    assert len(next_moves(ledger.incidents.state(incident), NOW)) == 1
    ledger.incidents.close(incident, "olga", NOW)
    assert next_moves(ledger.incidents.state(incident), NOW) == []


def test_state_shows_latest_rounds_and_added_steps(ledger: Ledger) -> None:
    incident = open_incident(ledger)
    ledger.steps.finish(incident, "lock", 1, StepState.FAILED, "", NOW)
    begin(ledger, incident, drafts(REVOKE, "alice"), round_=2)
    assert ledger.incidents.next_undo(incident) == "undo-1"
    begin(ledger, incident, drafts(REVOKE, "alice"), step="undo-1")
    assert ledger.incidents.next_undo(incident) == "undo-2"
    state = ledger.incidents.state(incident)
    assert (state.steps["lock"].round, state.steps["lock"].state) == (2, StepState.RUNNING)
    assert [view.step for view in state.extra] == ["undo-1"]


def test_notice_is_returned_as_frozen(ledger: Ledger) -> None:
    incident = open_incident(ledger)
    ledger.steps.expand(incident, "tell", 1, story.EXPANSION, "olga", NOW)
    assert ledger.incidents.notice(incident, "tell", 1) == story.NOTICE
