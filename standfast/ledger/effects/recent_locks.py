"""Accounts that recent steps locked without approval.

A step of an incident that locks few accounts needs no approval. But the limits of
`usecases/incidents/blast_radius` apply to the number of all accounts that were recently locked
without approval. The planner of a step reads this number, and the number is verified again when the
step begins.

Rules
- Failed locks count, because they can be retried without a new approval.
- A step that needed approval does not count.
- An account counts once, even if several steps sign it out, lock it or renew its password.
- A step that relies on the number begins under an exclusive database lock. Otherwise many small
  incidents that begin at the same time would not count each other's locked accounts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, not_, or_, select, text

from standfast.ledger.audit.transaction import Write
from standfast.ledger.effects.effect_conditions import UNDO_VERBS, with_step
from standfast.ledger.schema.tables import effect, incident, step
from standfast.playbook.actions import verbs_where
from standfast.records import EffectState, Mode

# Number of a PostgreSQL advisory lock; other uses of such locks have other numbers.
_LIMITS_LOCK = 7_236_117
# Verbs that prevent a person from using an account, such as a lock or a new password.
KEEPS_OUT = verbs_where(lambda action: action.keeps_holder_out)


class RecentLocksChanged(Exception):
    """Further steps that lock accounts began after the count."""


@dataclass(frozen=True, kw_only=True)
class RecentLocks:
    """Handles (hashed names) of locked accounts, and the query for them."""

    began: datetime
    mode: Mode
    procedures: tuple[str, ...] = ()  # procedures that lock accounts, such as `commands.NAME`
    excluded_step: tuple[str, str] | None = (
        None  # the step (incident, name) that the count leaves out
    )
    by_connector: Mapping[str, frozenset[str]]


def count_recent_locks(
    connection: Connection,
    began: datetime,
    mode: Mode,
    procedures: Sequence[str] = (),
    excluded_step: tuple[str, str] | None = None,
) -> RecentLocks:
    """Return accounts that steps since `began` locked without approval.

    The start of the step is compared with `began`, and not the start of its incident, because many
    old incidents may continue at the same time.
    """
    states = [state.value for state in EffectState if state is not EffectState.REFUSED]
    statement = (
        select(effect.c.connector, effect.c.handle)
        .distinct()
        .select_from(with_step().join(incident, incident.c.id == effect.c.incident))
        .where(
            step.c.started_at >= began,
            incident.c.mode == mode.value,
            _is_account_lock(procedures),
            effect.c.state.in_(states),
            step.c.needs_approvals == 0,
        )
    )
    if excluded_step is not None:
        own = and_(effect.c.incident == excluded_step[0], effect.c.step == excluded_step[1])
        statement = statement.where(not_(own))
    found: dict[str, set[str]] = {}
    for name, handle in connection.execute(statement):
        found.setdefault(name, set()).add(handle)
    return RecentLocks(
        began=began,
        mode=mode,
        procedures=tuple(procedures),
        excluded_step=excluded_step,
        by_connector={name: frozenset(handles) for name, handles in found.items()},
    )


def refuse_outdated_locks(write: Write, counted: RecentLocks) -> None:
    """Raise RecentLocksChanged if the recent locks differ from `counted`.

    If it returns, they cannot change before the transaction ends.
    """
    if write.is_postgresql:  # SQLite has only one writer at a time
        write.connection.execute(text(f"SELECT pg_advisory_xact_lock({_LIMITS_LOCK})"))
    question = (counted.began, counted.mode, counted.procedures, counted.excluded_step)
    if count_recent_locks(write.connection, *question) != counted:
        raise RecentLocksChanged


def _is_account_lock(procedures: Sequence[str]) -> Any:
    """Return the condition of locks, including those by configured procedures."""
    is_call = and_(effect.c.connector.in_(procedures), effect.c.verb.not_in(UNDO_VERBS))
    return or_(effect.c.verb.in_(KEEPS_OUT), is_call)
