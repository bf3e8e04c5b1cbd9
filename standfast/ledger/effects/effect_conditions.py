"""SQL conditions on effects: groups of verbs, locks by other incidents.

An effect is one change of one target, such as one locked account; its verb is the kind of change.
An undo restores the state before the change. This module also lists the groups of verbs that the
ledger treats differently. `effect_store` runs the queries.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    FromClause,
    and_,
    exists,
    func,
    or_,
    select,
)

from standfast.ledger.schema.tables import effect, incident, step
from standfast.playbook.actions import ACTIONS, verbs_where
from standfast.playbook.actions.accounts_lock import LOCK
from standfast.playbook.actions.people_page import PAGE
from standfast.playbook.run_state import UNDO_PREFIX
from standfast.records import StepState

# Verbs before which the state of the target is stored, so that an undo can restore it.
NEEDS_PRIOR = verbs_where(lambda action: action.keeps_prior_state)
UNDO_VERBS = frozenset(undo for verb in NEEDS_PRIOR if (undo := ACTIONS[verb].undo))
LOCKED_ACCOUNT_VERBS = verbs_where(lambda action: action.is_for_locked_account)
# States in which the target may have been changed.
HOLDING = ("done", "submitting", "unknown")
# Value of `not_before` and `runs_from` for effects and steps that wait for a person, not a time.
NEVER = datetime(9999, 12, 31, tzinfo=UTC)


def is_held() -> Any:
    """Return the condition of a lock that may be in force and is not undone."""
    return and_(effect.c.verb.in_(NEEDS_PRIOR), effect.c.state.in_(HOLDING), _is_not_undone())


def is_lock_of(incident_id: str) -> Any:
    """Return the condition of account locks that no undo has reversed.

    A lock by this incident meets the condition in every state. A lock by another incident meets the
    condition only if the account may be locked now.
    """
    is_meant = or_(effect.c.state.in_(HOLDING), effect.c.incident == incident_id)
    return and_(effect.c.verb == LOCK, is_meant, _is_not_undone())


def _is_not_undone() -> Any:
    undo = effect.alias("undo")
    return ~exists().where(
        undo.c.handle == effect.c.handle,  # redundant, but needed to use the index
        undo.c.undoes == effect.c.token,
        undo.c.state == "done",
    )


def count_unrestored_targets(connection: Connection, incident_id: str) -> int:
    """Count the targets that an incident changed and has not restored."""
    of_incident = effect.c.incident == incident_id
    undone = select(effect.c.undoes).where(
        of_incident, effect.c.undoes.is_not(None), effect.c.state == "done"
    )
    # `is_held` is too slow for this frequent query: it searches the undo of each effect.
    statement = select(func.count(effect.c.handle.distinct())).where(
        of_incident,
        effect.c.verb.in_(NEEDS_PRIOR),
        effect.c.state.in_(HOLDING),
        effect.c.token.not_in(undone),
    )
    return connection.scalar(statement) or 0


def is_superseded_undo(incident_id: str | BindParameter[str]) -> ColumnElement[bool]:
    """Return the condition of a failed undo that another undo replaced.

    The failed undo must not be retried: the account may have been locked again after the other
    undo.
    """
    other = effect.alias("other")
    taken_back = select(other.c.undoes).where(
        other.c.incident == incident_id, other.c.undoes.is_not(None), other.c.state == "done"
    )
    return and_(
        effect.c.undoes.is_not(None),
        effect.c.state.in_(("failed", "refused")),
        effect.c.undoes.in_(taken_back),
    )


def holders_of(connection: Connection, incident_id: str, handles: Sequence[str]) -> dict[str, str]:
    """Return the other open incidents that lock these accounts, by handle.

    A handle is the keyed hash of an account's name. Only incidents of the same mode are returned:
    an exercise locks simulated accounts.
    """
    mine = incident.alias("mine")
    statement = (
        select(effect.c.handle, effect.c.incident)
        .join(incident, incident.c.id == effect.c.incident)
        .join(mine, and_(mine.c.id == incident_id, mine.c.mode == incident.c.mode))
        .where(
            effect.c.handle.in_(handles),
            effect.c.incident != incident_id,
            incident.c.state == "open",
            is_held(),
        )
        .order_by(effect.c.incident.desc())
    )
    return {row.handle: row.incident for row in connection.execute(statement)}


def is_of_step(effects: FromClause = effect) -> ColumnElement[bool]:
    """Return the condition that joins an effect with its step."""
    return and_(
        step.c.incident == effects.c.incident,
        step.c.name == effects.c.step,
        step.c.round == effects.c.round,
    )


def with_step() -> Any:
    return effect.join(step, is_of_step())


def is_begun() -> Any:
    """Return the condition that an effect's step has begun.

    A page (a message that asks for approval) may be sent already while its step waits for approval.
    """
    return or_(
        step.c.state == StepState.RUNNING.value,
        and_(step.c.state == StepState.ASKING.value, effect.c.verb == PAGE),
    )


def is_only_unknown() -> Any:
    """Return the condition that a step waits only for unknown outcomes."""
    of_step = and_(is_of_step(), effect.c.verb != PAGE)
    moving = effect.c.state.in_(("planned", "submitting"))
    unknown = effect.c.state == "unknown"
    return and_(exists().where(of_step, unknown), ~exists().where(of_step, moving))


def is_of_undo() -> ColumnElement[bool]:
    """Return the condition of an undo step."""
    return step.c.name.startswith(UNDO_PREFIX, autoescape=True)


def is_runnable(now: datetime | BindParameter[Any]) -> Any:
    """Return the condition that the step of an effect is ready to execute it.

    A begun step first waits until the time in which people can stop it is over.
    """
    return and_(
        is_begun(), or_(step.c.runs_from.is_(None), step.c.runs_from <= now, effect.c.verb == PAGE)
    )


def is_step_round(incident_id: str, step_name: str, round_: int) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions that select one round (planning) of a step."""
    return (step.c.incident == incident_id, step.c.name == step_name, step.c.round == round_)


def lock_step_rows(connection: Connection, incident_id: str, step_name: str) -> None:
    """Lock the rows of a step until the end of the transaction."""
    connection.execute(
        select(step.c.round)
        .where(step.c.incident == incident_id, step.c.name == step_name)
        .order_by(step.c.round)
        .with_for_update()
    ).all()
