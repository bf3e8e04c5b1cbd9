"""Claims: an effect has one call at a time, and only if rules permit."""

import threading
from collections.abc import Callable
from datetime import timedelta
from queue import SimpleQueue
from typing import Any

import pytest
from sqlalchemy import NullPool, create_engine, select
from sqlalchemy.engine.default import DefaultDialect

from standfast.errors import Refused, Unavailable
from standfast.ledger import Ledger
from standfast.ledger.database.connections import wait_for_turn
from standfast.ledger.database.sqlite_file import write_queue
from standfast.ledger.effects.effect_rows import Batch
from standfast.ledger.schema.tables import effect
from standfast.records import EffectState, Limits, Mode, StepState
from tests.ledger.ledger_files import NOW, Place
from tests.ledger.stage import (
    LOCK,
    REVOKE,
    begin,
    claim,
    claimed,
    decide,
    drafts,
    enrol,
    look,
    open_incident,
    results,
    runner,
    states,
)


def _waiting(ledger: Ledger, *, needs: int = 0) -> tuple[str, str]:
    """Open an incident with one planned effect, and a runner."""
    incident_id = open_incident(ledger)
    begin(ledger, incident_id, drafts(REVOKE, "alice"), needs=needs)
    return incident_id, runner(ledger, incident_id)


def test_a_claim_writes_the_intent_before_the_act(ledger: Ledger) -> None:
    incident_id, who = _waiting(ledger)
    batch = claimed(ledger, incident_id, who)
    assert states(ledger, incident_id) == {"agents:alice": EffectState.SUBMITTING}
    event = ledger.timeline(incident_id)[-1]
    assert (event.action, event.actor) == ("attempt.claimed", f"runner:{who}")
    assert (event.detail["attempt"], event.detail["count"]) == (batch.attempt, 1)
    assert claim(ledger, incident_id, who) is None
    assert ledger.timeline(incident_id)[-1] == event


def claim_is_given_back(ledger: Ledger, incident_id: str, who: str) -> None:
    """Claim while an answer gets lost; check that the claim is given back."""
    with pytest.raises(Unavailable):
        claim(ledger, incident_id, who)
    assert [event.action for event in ledger.timeline(incident_id)[-2:]] == [
        "attempt.claimed",
        "attempt.given_back",
    ]
    assert states(ledger, incident_id) == {"agents:alice": EffectState.PLANNED}


def test_lost_claim_answer_is_returned_at_once(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    incident_id, who = _waiting(ledger)
    do_commit: Callable[[Any, Any], None] = DefaultDialect.do_commit
    losses = iter(["the claim's"])

    def committed(self: Any, connection: Any) -> None:
        do_commit(self, connection)
        if next(losses, None):
            raise self.loaded_dbapi.OperationalError("locked out of the answer")

    with monkeypatch.context() as patch:
        patch.setattr(DefaultDialect, "do_commit", committed)
        claim_is_given_back(ledger, incident_id, who)
    batch = claimed(ledger, incident_id, who)
    assert [row.tries for row in batch.effects] == [0], "a call that never was is no try"
    assert ledger.audit.verify().is_whole


def test_release_waits_for_a_claim_still_committing(
    postgres_ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = postgres_ledger
    incident_id, who = _waiting(ledger)
    do_commit: Callable[[Any, Any], None] = DefaultDialect.do_commit
    losses = iter(["the claim's"])

    def committed(self: Any, connection: Any) -> None:
        if not next(losses, None):
            do_commit(self, connection)
            return
        server = connection.driver_connection.pgconn
        server.send_query(b"SELECT pg_sleep(0.3); COMMIT")  # the server ends it without the client
        server.flush()
        server.finish()
        raise self.loaded_dbapi.OperationalError("the connection is lost")

    with monkeypatch.context() as patch:
        patch.setattr(DefaultDialect, "do_commit", committed)
        claim_is_given_back(ledger, incident_id, who)


def test_claim_takes_one_batch_in_order(ledger: Ledger) -> None:
    incident_id = open_incident(ledger)
    begin(ledger, incident_id, drafts(REVOKE, "dora", "bob", "carol", "alice"))
    who = runner(ledger, incident_id)
    sizes = []
    while batch := claim(ledger, incident_id, who, limits=Limits(batch=3)):
        sizes.append([order.target for order in batch.orders])
    assert sizes == [["dora", "bob", "carol"], ["alice"]]


def test_a_claim_stays_within_one_step(ledger: Ledger) -> None:
    incident_id = open_incident(ledger)
    begin(ledger, incident_id, drafts(REVOKE, "alice"), step="first")
    begin(ledger, incident_id, drafts(REVOKE, "bob"), step="second")
    who = runner(ledger, incident_id)
    assert [row.step for row in claimed(ledger, incident_id, who).effects] == ["first"]
    assert [row.step for row in claimed(ledger, incident_id, who).effects] == ["second"]


def test_claims_spread_over_steps(
    postgres_ledger: Ledger, postgres_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = postgres_ledger
    incident_id = open_incident(ledger)
    begin(ledger, incident_id, drafts(REVOKE, "alice", "bob"), step="first")
    begin(ledger, incident_id, drafts(REVOKE, "carol", "dora"), step="second")
    who = runner(ledger, incident_id)
    free = (
        select(effect.c.token, effect.c.step)
        .where(effect.c.state == "planned")
        .with_for_update(skip_locked=True)
    )
    do_commit: Callable[[Any, Any], None] = DefaultDialect.do_commit
    left: list[str] = []
    beside = create_engine(postgres_place.url, poolclass=NullPool)

    def committed(self: Any, connection: Any) -> None:
        with beside.connect() as other:
            left.extend(row.step for row in other.execute(free))
        do_commit(self, connection)

    with monkeypatch.context() as patch:
        patch.setattr(DefaultDialect, "do_commit", committed)
        first = claimed(ledger, incident_id, who)
    assert {row.step for row in first.effects} == {"first"}
    assert left == ["second", "second"]
    ledger.attempts.receipt(first, results(first), who, NOW)
    begin(ledger, incident_id, drafts(REVOKE, "emil"), step="another")
    with beside.connect() as other:
        other.execute(free.where(effect.c.step == "another"))
        second = claimed(ledger, incident_id, who)
    assert {row.step for row in second.effects} == {"second"}
    assert [row.step for row in claimed(ledger, incident_id, who).effects] == ["another"]


def test_claims_of_many_threads_never_overlap(ledger: Ledger) -> None:
    incident_id = open_incident(ledger)
    begin(ledger, incident_id, drafts(REVOKE, *(f"a{number:03}" for number in range(500))))
    who = runner(ledger, incident_id)
    together = threading.Barrier(8)
    taken: list[Batch] = []

    def work() -> None:
        together.wait(timeout=60)
        while batch := claim(ledger, incident_id, who, limits=Limits(batch=7)):
            taken.append(batch)
            ledger.attempts.receipt(batch, results(batch), who, NOW)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tokens = [row.token for batch in taken for row in batch.effects]
    assert (len(tokens), len(set(tokens))) == (500, 500)
    rows = ledger.effects.of_incident(incident_id)
    assert {(row.state, row.tries) for row in rows} == {(EffectState.DONE, 1)}
    assert ledger.audit.verify().is_whole


def test_committed_stop_is_seen_by_later_claims(ledger: Ledger) -> None:
    incident_id = open_incident(ledger)
    begin(ledger, incident_id, drafts(REVOKE, *(f"a{number:03}" for number in range(100))))
    who = runner(ledger, incident_id)
    turns: SimpleQueue[bool] = SimpleQueue()  # True: claim once; False: end the thread
    stopped = threading.Event()
    late: list[Batch] = []

    def work() -> None:
        while turns.get():
            was_stopped = stopped.is_set()
            batch = claim(ledger, incident_id, who, limits=Limits(batch=1))
            if was_stopped and batch:
                late.append(batch)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        turns.put(True)
    # In the middle of those twenty claims.
    ledger.incidents.set_stopped(incident_id, True, "olga", NOW)
    stopped.set()
    for turn in [True] * 20 + [False] * len(threads):
        turns.put(turn)
    for thread in threads:
        thread.join()
    assert late == []
    claimed_before = list(states(ledger, incident_id).values()).count(EffectState.SUBMITTING)
    assert claimed_before <= 20
    ledger.incidents.set_stopped(incident_id, False, "olga", NOW)
    assert claim(ledger, incident_id, who) is not None


def test_stop_is_not_overtaken_endlessly(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    incident_id = open_incident(ledger)
    begin(ledger, incident_id, drafts(REVOKE, *(f"a{number:04}" for number in range(2000))))
    who = runner(ledger, incident_id)
    claimed: SimpleQueue[Batch] = SimpleQueue()
    is_going = threading.Event()
    stopper = threading.get_ident()
    before: list[int] = []

    def noted(wait: Callable[..., Any]) -> Callable[..., Any]:
        def waiting(*words: Any, **more: Any) -> Any:
            if threading.get_ident() == stopper:
                before.append(claimed.qsize())
            return wait(*words, **more)

        return waiting

    def work() -> None:
        while batch := claim(ledger, incident_id, who, limits=Limits(batch=1)):
            claimed.put(batch)
            is_going.set()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert is_going.wait(timeout=120)
    with monkeypatch.context() as patch:  # the points where it waits, on SQLite and on PostgreSQL
        patch.setattr("standfast.ledger.database.connections.write_queue", noted(write_queue))
        patch.setattr(
            "standfast.ledger.incidents.incident_store.wait_for_turn", noted(wait_for_turn)
        )
        ledger.incidents.set_stopped(incident_id, True, "olga", NOW)
    for thread in threads:
        thread.join()
    # Each worker may claim before the stop: eight claims, or more if the machine is busy before the
    # stop joins the queue. Without a queue, all that is planned would be claimed.
    assert claimed.qsize() - before[0] < 500


def test_nothing_is_claimed_of_a_closed_incident(ledger: Ledger) -> None:
    incident_id, who = _waiting(ledger)
    ledger.incidents.close(incident_id, "olga", NOW)
    assert claim(ledger, incident_id, who) is None


@pytest.mark.parametrize("mode", [Mode.EXERCISE, Mode.PLAN])
def test_adapters_of_another_mode_are_refused(ledger: Ledger, mode: Mode) -> None:
    incident_id, who = _waiting(ledger)
    with pytest.raises(Refused, match=rf"live, .*{mode}"):
        claim(ledger, incident_id, who, mode=mode)
    assert states(ledger, incident_id) == {"agents:alice": EffectState.PLANNED}


def test_nothing_is_claimed_while_the_step_asks(ledger: Ledger) -> None:
    enrol(ledger, "ann")
    incident_id, who = _waiting(ledger, needs=1)
    assert claim(ledger, incident_id, who) is None
    decide(ledger, incident_id, "ann")
    assert claim(ledger, incident_id, who) is not None


def test_refused_step_is_not_claimed(ledger: Ledger) -> None:
    enrol(ledger, "ann")
    incident_id, who = _waiting(ledger, needs=1)
    decide(ledger, incident_id, "ann", decision="refuse")
    assert claim(ledger, incident_id, who) is None


def test_ended_step_is_not_claimed(ledger: Ledger) -> None:
    incident_id, who = _waiting(ledger)
    assert ledger.steps.finish(incident_id, "lock", 1, StepState.REFUSED, "given up", NOW)
    assert claim(ledger, incident_id, who) is None


def test_lock_needs_its_prior_state_first(ledger: Ledger) -> None:
    incident_id = open_incident(ledger)
    begin(ledger, incident_id, drafts(LOCK, "alice"))
    who = runner(ledger, incident_id)
    assert claim(ledger, incident_id, who, queue=LOCK) is None
    look(ledger, incident_id, who, {"enabled": True})
    batch = claimed(ledger, incident_id, who, queue=LOCK)
    assert batch.orders[0].prior == {"enabled": True}


def test_the_abort_window_begins_with_the_last_approval(ledger: Ledger) -> None:
    enrol(ledger, "ann")
    incident_id = open_incident(ledger)
    begin(ledger, incident_id, drafts(REVOKE, "alice"), needs=1, hold_seconds=120)
    decided = NOW + timedelta(hours=1)
    decide(ledger, incident_id, "ann", now=decided)
    who = runner(ledger, incident_id)
    begins = decided + timedelta(seconds=120)
    just_before = begins - timedelta(microseconds=1)
    assert claim(ledger, incident_id, who, now=just_before) is None
    work = ledger.effects.open_work(incident_id, just_before)
    assert (work.queues, work.next_due) == ({}, begins)
    assert ledger.effects.open_work(incident_id, begins).queues == {REVOKE: 1}
    assert claim(ledger, incident_id, who, now=begins) is not None
