"""Planning: an effect exists once, however often it is planned."""

import threading
from datetime import timedelta

from standfast.ledger import Ledger
from standfast.ledger.effects.effect_rows import EffectQueue, effect_token
from standfast.playbook.planned_effects import Draft, Expansion
from standfast.records import EffectState, Observed
from tests.ledger import story
from tests.ledger.ledger_files import NOW
from tests.ledger.stage import (
    LOCK,
    REVOKE,
    begin,
    claimed,
    decide,
    drafts,
    enrol,
    look,
    only,
    open_incident,
    results,
    runner,
    states,
    waiting,
)
from tests.servers import wait_until


def test_beginning_a_step_twice_begins_it_once(ledger: Ledger) -> None:
    incident = open_incident(ledger)
    assert begin(ledger, incident, drafts(REVOKE, "alice", "bob"))
    before = ledger.timeline()
    assert not begin(ledger, incident, drafts(REVOKE, "alice", "bob", "carol"))
    assert list(states(ledger, incident)) == ["agents:alice", "agents:bob"]
    assert ledger.timeline() == before


def test_a_target_named_twice_is_planned_once(ledger: Ledger) -> None:
    incident = open_incident(ledger)
    begin(ledger, incident, drafts(REVOKE, "alice", "bob", "alice"))
    assert sorted(states(ledger, incident)) == ["agents:alice", "agents:bob"]


def test_one_of_two_runners_begins_a_step(postgres_ledger: Ledger) -> None:
    """The second waits for the first one's commit, and then does not begin."""
    ledger = postgres_ledger
    incident = open_incident(ledger)
    begun: list[bool] = []

    def expand() -> None:
        begun.append(ledger.steps.expand(incident, "tell", 1, story.EXPANSION, "olga", NOW))

    threads = [threading.Thread(target=expand) for _ in range(2)]
    with ledger.database.write(actor="a", subject="s", action="test.held", now=NOW) as write:
        write.exclude_writers()  # nobody commits before both have looked
        for thread in threads:
            thread.start()
        wait_until(lambda: waiting(ledger) == 2, "both runners to wait")
    for thread in threads:
        thread.join()
    assert sorted(begun) == [False, True]
    assert [event.action for event in ledger.timeline(incident)].count("step.begun") == 1
    assert len(ledger.effects.of_incident(incident)) == 1
    assert ledger.audit.verify().is_whole


def test_the_token_is_the_same_whoever_computes_it(ledger: Ledger) -> None:
    incident = open_incident(ledger)
    begin(ledger, incident, drafts(REVOKE, "alice"))
    row = only(ledger, incident)
    handle = ledger.cipher.handle("installation", "agents:alice")
    assert row.token == effect_token(incident, "lock", 1, REVOKE.verb, handle)


def test_effect_row_returns_the_planned_values(ledger: Ledger) -> None:
    incident = open_incident(ledger)
    draft = Draft(
        verb="accounts.revoke_sessions",
        connector="agents",
        target="agents:zoë:x",
        details={"why": ["a", 1]},
    )
    begin(ledger, incident, [draft])
    row = only(ledger, incident)
    assert (row.target, row.details, row.state) == (
        draft.target,
        {"why": ["a", 1]},
        EffectState.PLANNED,
    )
    order = row.as_order()
    assert (order.token, order.target, order.prior) == (row.token, "zoë:x", None)


def test_refused_target_is_named_and_never_claimed(ledger: Ledger) -> None:
    incident = open_incident(ledger)
    refused = Draft(
        verb=REVOKE.verb,
        connector="agents",
        target="agents:root",
        state=EffectState.REFUSED,
        reason="protected: the way back in",
    )
    begin(ledger, incident, [refused, *drafts(REVOKE, "alice")])
    batch = claimed(ledger, incident, runner(ledger, incident))
    assert [order.target for order in batch.orders] == ["alice"]
    root, _ = ledger.effects.of_incident(incident)
    assert (root.state, root.reason) == (EffectState.REFUSED, "protected: the way back in")


def test_open_work_counts_due_and_next_time(ledger: Ledger) -> None:
    incident = open_incident(ledger)
    assert not ledger.effects.open_work(incident, NOW).queues
    begin(ledger, incident, drafts(REVOKE, "alice", "bob"))
    begin(ledger, incident, drafts(LOCK, "alice"), step="second")
    work = ledger.effects.open_work(incident, NOW)
    assert (work.queues, work.in_flight, work.next_due) == ({LOCK: 1, REVOKE: 2}, 0, None)
    who = runner(ledger, incident)
    batch = claimed(ledger, incident, who)
    assert ledger.effects.open_work(incident, NOW).in_flight == 2
    again = results(batch, EffectState.FAILED, retry_after=90)
    ledger.attempts.receipt(batch, again, who, NOW)
    later = NOW + timedelta(seconds=90)
    work = ledger.effects.open_work(incident, NOW)
    assert (work.queues, work.in_flight, work.next_due) == ({LOCK: 1}, 0, later)
    assert ledger.effects.open_work(incident, later).queues == {LOCK: 1, REVOKE: 2}


def test_open_work_counts_look_ups(ledger: Ledger) -> None:
    incident = open_incident(ledger)
    begin(ledger, incident, drafts(REVOKE, "alice"))
    who = runner(ledger, incident)
    batch = claimed(ledger, incident, who)
    ledger.attempts.receipt(batch, results(batch, EffectState.UNKNOWN), who, NOW)
    settles = NOW + timedelta(seconds=30)
    work = ledger.effects.open_work(incident, NOW)
    assert (work.queues, work.next_due) == ({}, settles)
    assert ledger.effects.open_work(incident, settles).queues == {REVOKE: 1}
    (row,) = ledger.effects.to_settle(incident, REVOKE, settles, 10)
    ledger.unknown_outcomes.settle(
        incident, [(row, Observed(target=row.target, happened=None))], "olga", settles
    )
    work = ledger.effects.open_work(incident, settles)
    assert (work.queues, work.next_due) == ({}, None)


def test_pages_run_while_their_step_still_asks(ledger: Ledger) -> None:
    enrol(ledger, "ann")
    incident = open_incident(ledger)
    begin(ledger, incident, drafts(REVOKE, "alice"), needs=1)
    page = Draft(verb="people.page", connector="pager", target="ann")
    assert ledger.steps.ask(incident, "lock", 1, [page], NOW)
    assert not ledger.steps.ask(incident, "lock", 1, [page], NOW)
    pages = EffectQueue(verb="people.page", connector="pager")
    assert ledger.effects.open_work(incident, NOW).queues == {pages: 1}
    batch = claimed(ledger, incident, runner(ledger, incident), queue=pages)
    assert [order.target for order in batch.orders] == ["ann"]


def test_prior_state_waits_for_approval(ledger: Ledger) -> None:
    """An earlier read would be outdated at the approval."""
    enrol(ledger, "ann")
    incident = open_incident(ledger)
    begin(ledger, incident, drafts(LOCK, "alice"), needs=1)
    assert ledger.effects.without_prior(incident, LOCK, NOW, 10) == []
    decide(ledger, incident, "ann")
    assert len(ledger.effects.without_prior(incident, LOCK, NOW, 10)) == 1


def test_locked_accounts_exclude_unlocked_ones(ledger: Ledger) -> None:
    incident = open_incident(ledger)
    begin(ledger, incident, drafts(LOCK, "alice", "bob"))
    who = runner(ledger, incident)
    look(ledger, incident, who, {"enabled": True})
    batch = claimed(ledger, incident, who, queue=LOCK)
    assert ledger.effects.locked_targets(incident) == []
    assert not ledger.effects.has_locked("agents")
    ledger.attempts.receipt(batch, results(batch), who, NOW)
    assert ledger.effects.locked_targets(incident) == ["agents:alice", "agents:bob"]
    assert ledger.effects.has_locked("agents")
    assert not ledger.effects.has_locked("crm")
    undo = Draft(
        verb="accounts.unlock",
        connector="agents",
        target="agents:alice",
        undoes=batch.effects[0].token,
    )
    ledger.steps.expand(incident, "undo-1", 1, Expansion(drafts=(undo,)), "olga", NOW)
    assert ledger.effects.locked_targets(incident) == ["agents:alice", "agents:bob"]
    unlock = claimed(
        ledger, incident, who, queue=EffectQueue(verb="accounts.unlock", connector="agents")
    )
    ledger.attempts.receipt(unlock, results(unlock), who, NOW)
    assert ledger.effects.locked_targets(incident) == ["agents:bob"]
    periods = {target: (begin, end) for target, begin, end in ledger.effects.lock_periods(incident)}
    assert periods["agents:bob"][1] is None
    assert (unlocked := periods["agents:alice"][1])
    assert unlocked >= periods["agents:alice"][0]
