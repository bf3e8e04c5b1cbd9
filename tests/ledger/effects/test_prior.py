"""Prior states: written once before the first act, kept by later locks."""

from datetime import timedelta

import pytest
from sqlalchemy import ColumnElement, select
from sqlalchemy.dialects import sqlite

from standfast.ledger import Ledger
from standfast.ledger.effects.effect_conditions import is_held, is_lock_of
from standfast.ledger.effects.effect_rows import EffectQueue, EffectRow
from standfast.ledger.schema.tables import effect
from standfast.playbook.planned_effects import Draft, Expansion
from standfast.records import EffectState, JsonObject, Mode, Observed
from tests.ledger.ledger_files import NOW
from tests.ledger.stage import (
    LOCK,
    REVOKE,
    begin,
    claim,
    claimed,
    drafts,
    lock,
    look,
    only,
    open_incident,
    results,
    runner,
)

ENABLED: JsonObject = {"enabled": True}
DISABLED: JsonObject = {"enabled": False}
UNLOCK = EffectQueue(verb="accounts.unlock", connector="agents")


def _undo(ledger: Ledger, incident: str, token: str) -> None:
    draft = Draft(verb=UNLOCK.verb, connector="agents", target="agents:alice", undoes=token)
    ledger.steps.expand(incident, "undo-1", 1, Expansion(drafts=(draft,)), "olga", NOW)
    who = runner(ledger, incident)
    batch = claimed(ledger, incident, who, queue=UNLOCK)
    ledger.attempts.receipt(batch, results(batch), who, NOW)


def _prior(ledger: Ledger, incident: str, token: str) -> JsonObject | None:
    (found,) = (row.prior for row in ledger.effects.of_incident(incident) if row.token == token)
    return found


def _holder(ledger: Ledger, row: EffectRow) -> str | None:
    """Return the other open incident that holds the account of this effect."""
    return ledger.effects.holders([row]).get(row.handle)


def test_the_prior_state_is_written_once(ledger: Ledger) -> None:
    incident = open_incident(ledger)
    begin(ledger, incident, drafts(LOCK, "alice"))
    who = runner(ledger, incident)
    (row,) = ledger.effects.without_prior(incident, LOCK, NOW, 10)
    for state in (ENABLED, DISABLED):
        seen = Observed(target=row.target, state=state)
        ledger.prior_states.keep(incident, [(row, seen)], who, NOW)
    assert only(ledger, incident).prior == ENABLED
    assert ledger.effects.without_prior(incident, LOCK, NOW, 10) == []


def test_prior_state_is_not_written_after_the_act(ledger: Ledger) -> None:
    incident = open_incident(ledger)
    token = lock(ledger, incident, "alice", ENABLED)
    seen = Observed(target="agents:alice", state=DISABLED)
    who = runner(ledger, incident)
    ledger.prior_states.keep(incident, [(only(ledger, incident), seen)], who, NOW)
    assert _prior(ledger, incident, token) == ENABLED


def test_an_unknown_account_is_refused_by_name(ledger: Ledger) -> None:
    incident = open_incident(ledger)
    begin(ledger, incident, drafts(LOCK, "alice"))
    who = runner(ledger, incident)
    row = only(ledger, incident)
    ledger.prior_states.keep(incident, [(row, Observed(target=row.target, exists=False))], who, NOW)
    row = only(ledger, incident)
    assert (row.state, row.reason) == (EffectState.REFUSED, "the directory has no such account")
    assert claim(ledger, incident, who, queue=LOCK) is None


def test_unreadable_account_fails_after_five_looks(
    ledger: Ledger,
) -> None:
    incident = open_incident(ledger)
    begin(ledger, incident, drafts(LOCK, "alice"))
    who, now = runner(ledger, incident), NOW
    for _ in range(4):
        (row,) = ledger.effects.without_prior(incident, LOCK, now, 10)
        seen = Observed(target=row.target, is_readable=False, reason="the directory is away")
        ledger.prior_states.keep(incident, [(row, seen)], who, now)
        assert ledger.effects.without_prior(incident, LOCK, now, 10) == []
        now += timedelta(minutes=1)
    (row,) = ledger.effects.without_prior(incident, LOCK, now, 10)
    seen = Observed(target=row.target, is_readable=False, reason="the directory is away")
    ledger.prior_states.keep(incident, [(row, seen)], who, now)
    row = only(ledger, incident)
    assert (row.state, row.reason) == (EffectState.FAILED, "the directory is away")
    ledger.attempts.retry(incident, None, "olga", now)
    look(ledger, incident, who, ENABLED, now=now)
    assert only(ledger, incident).prior == ENABLED


def test_second_lock_inherits_the_prior_state(ledger: Ledger) -> None:
    """The directory already shows a locked account, which no undo may restore."""
    incident = open_incident(ledger)
    lock(ledger, incident, "alice", ENABLED)
    second = lock(ledger, incident, "alice", DISABLED, step="again")
    assert _prior(ledger, incident, second) == ENABLED


def test_the_prior_is_inherited_across_open_incidents(ledger: Ledger) -> None:
    first, second = open_incident(ledger), open_incident(ledger)
    lock(ledger, first, "alice", ENABLED)
    assert _prior(ledger, second, lock(ledger, second, "alice", DISABLED)) == ENABLED


def test_closed_incident_passes_on_no_prior_state(ledger: Ledger) -> None:
    """Its accounts remained locked, and later changes of them are intended."""
    first, second = open_incident(ledger), open_incident(ledger)
    lock(ledger, first, "alice", ENABLED)
    ledger.incidents.close(first, "olga", NOW)
    assert _prior(ledger, second, lock(ledger, second, "alice", DISABLED)) == DISABLED


def test_undone_lock_passes_nothing_on(ledger: Ledger) -> None:
    first, second = open_incident(ledger), open_incident(ledger)
    _undo(ledger, first, lock(ledger, first, "alice", ENABLED))
    assert _prior(ledger, second, lock(ledger, second, "alice", DISABLED)) == DISABLED


def test_failed_lock_passes_nothing_on(ledger: Ledger) -> None:
    first, second = open_incident(ledger), open_incident(ledger)
    begin(ledger, first, drafts(LOCK, "alice"))
    who = runner(ledger, first)
    look(ledger, first, who, ENABLED)
    batch = claimed(ledger, first, who, queue=LOCK)
    ledger.attempts.receipt(batch, results(batch, EffectState.FAILED), who, NOW)
    assert _prior(ledger, second, lock(ledger, second, "alice", DISABLED)) == DISABLED


def test_nothing_is_inherited_from_another_account(ledger: Ledger) -> None:
    incident = open_incident(ledger)
    lock(ledger, incident, "bob", ENABLED)
    assert _prior(ledger, incident, lock(ledger, incident, "alice", DISABLED, step="s")) == DISABLED


def test_live_effect_inherits_no_state_from_exercise(ledger: Ledger) -> None:
    """The state of a simulator is not that of the directory."""
    exercise = open_incident(ledger, mode=Mode.EXERCISE)
    begin(ledger, exercise, drafts(LOCK, "alice"))
    who = runner(ledger, exercise)
    look(ledger, exercise, who, ENABLED)
    batch = claim(ledger, exercise, who, queue=LOCK, mode=Mode.EXERCISE)
    assert batch is not None
    ledger.attempts.receipt(batch, results(batch), who, NOW)
    live = open_incident(ledger)
    token = lock(ledger, live, "alice", DISABLED)
    assert _prior(ledger, live, token) == DISABLED
    assert _holder(ledger, only(ledger, live)) is None


def test_other_open_incident_holds_an_account(ledger: Ledger) -> None:
    first, second = open_incident(ledger), open_incident(ledger)
    begin(ledger, first, drafts(LOCK, "alice"))
    row = only(ledger, first)
    assert _holder(ledger, row) is None
    token = lock(ledger, second, "alice", ENABLED)
    assert _holder(ledger, row) == second
    _undo(ledger, second, token)
    assert _holder(ledger, row) is None


def test_possible_lock_holds_an_account(
    ledger: Ledger,
) -> None:
    first, second = open_incident(ledger), open_incident(ledger)
    begin(ledger, first, drafts(LOCK, "alice"))
    row = only(ledger, first)
    begin(ledger, second, drafts(LOCK, "alice"))
    who = runner(ledger, second)
    look(ledger, second, who, ENABLED)
    batch = claimed(ledger, second, who, queue=LOCK)
    assert _holder(ledger, row) == second, "it is under way"
    assert ledger.unknown_outcomes.expire_calls(second, lambda _: True, NOW) == 1
    assert _holder(ledger, row) == second, "nobody knows"
    ledger.attempts.receipt(batch, results(batch), who, NOW)
    (token,) = (one.token for one in batch.effects)
    undo = Draft(verb=UNLOCK.verb, connector="agents", target="agents:alice", undoes=token)
    ledger.steps.expand(second, "undo-1", 1, Expansion(drafts=(undo,)), "olga", NOW)
    assert _holder(ledger, row) == second, "it is only planned to be given back"


def test_step_after_failed_lock_keeps_the_account(
    ledger: Ledger,
) -> None:
    incident = open_incident(ledger)
    begin(ledger, incident, drafts(LOCK, "alice"))
    who = runner(ledger, incident)
    look(ledger, incident, who, {"id": "7"})
    batch = claimed(ledger, incident, who, queue=LOCK)
    ledger.attempts.receipt(batch, results(batch, EffectState.FAILED), who, NOW)
    begin(ledger, incident, drafts(REVOKE, "alice"), step="revoke")
    (order,) = claimed(ledger, incident, who, queue=REVOKE).orders
    assert order.prior == {"id": "7"}


def test_unlock_of_a_held_account_is_refused(
    ledger: Ledger,
) -> None:
    first, second = open_incident(ledger), open_incident(ledger)
    token = lock(ledger, first, "alice", ENABLED)
    draft = Draft(verb=UNLOCK.verb, connector="agents", target="agents:alice", undoes=token)
    ledger.steps.expand(first, "undo-1", 1, Expansion(drafts=(draft,)), "olga", NOW)
    lock(ledger, second, "alice", ENABLED)
    assert claim(ledger, first, runner(ledger, first), queue=UNLOCK) is None
    (undo,) = (row for row in ledger.effects.of_incident(first) if row.undoes == token)
    assert (undo.state, undo.reason) == (
        EffectState.REFUSED,
        f"{second} also locks the account. Nothing was changed.",
    )


def test_an_incident_that_was_closed_holds_nothing(ledger: Ledger) -> None:
    first, second = open_incident(ledger), open_incident(ledger)
    lock(ledger, first, "alice", ENABLED)
    lock(ledger, second, "alice", ENABLED)
    row = only(ledger, first)
    assert _holder(ledger, row) == second
    ledger.incidents.close(second, "olga", NOW)
    assert _holder(ledger, row) is None


@pytest.mark.parametrize("which", [is_held(), is_lock_of("inc-2026-0001")])
def test_unlock_is_found_without_a_full_search(
    sqlite_ledger: Ledger, which: ColumnElement[bool]
) -> None:
    """A full search of all effects for each of 8,000 proofs took 100 seconds."""
    statement = select(effect.c.token).where(effect.c.handle.in_(["a", "b"]), which)
    asked = statement.compile(dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True})
    with sqlite_ledger.database.reading() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {asked}").all()
    assert [row[-1] for row in plan if row[-1].startswith("SCAN")] == []
