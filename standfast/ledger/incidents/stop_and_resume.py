"""Consequences of a stop and of a resumption for running steps.

An undo is a step that restores the state that targets, such as accounts, had before an incident
changed them. The abort window of a notice is the time in which people can stop the notice before
its first message.

Rules
- A stop of an incident pauses each running undo, and no further target is restored. An explicit
  pause is needed, because undos are the only steps that run in a stopped incident.
- A later undo takes over the targets that a paused undo has not begun to restore, so that no target
  is restored twice.
- A resumption of an incident resumes paused undos and restarts the abort window of each notice. A
  notice that a person paused stays paused.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, exists, select

from standfast.ledger.audit.audited_database import AuditedDatabase
from standfast.ledger.audit.transaction import Write
from standfast.ledger.effects.effect_conditions import NEVER, is_of_step, is_of_undo
from standfast.ledger.effects.effect_rows import EffectRow, seal_reason
from standfast.ledger.schema.tables import effect, step
from standfast.playbook.actions.notices_send import SEND
from standfast.records import EffectState, StepState


def pause_undos(write: Write, incident_id: str) -> None:
    """Pause every running undo of an incident."""
    for row in _running(write, incident_id, is_of_undo()):
        write.update(step, (incident_id, row.name, row.round), runs_from=NEVER)


def restart_abort_windows(write: Write, incident_id: str, now: datetime) -> None:
    """Resume paused undos and restart the abort window of each notice."""
    for row in _running(write, incident_id, is_of_undo(), step.c.runs_from == NEVER):
        write.update(step, (incident_id, row.name, row.round), runs_from=None)
    is_left = exists().where(
        is_of_step(), effect.c.verb == SEND, effect.c.state == EffectState.PLANNED.value
    )
    for row in _running(write, incident_id, step.c.hold_seconds > 0, is_left):
        if row.runs_from != NEVER:
            begins = now + timedelta(seconds=row.hold_seconds)
            write.update(step, (incident_id, row.name, row.round), runs_from=begins)


def take_over_paused_undo(
    database: AuditedDatabase,
    incident_id: str,
    rows: Sequence[EffectRow],
    why: str,
    actor: str,
    now: datetime,
) -> bool:
    """Mark planned effects of a paused undo as refused, for a later undo.

    `rows` are these effects, each of which would restore one target. Returns False if one of them
    began meanwhile.
    """
    with database.write(
        actor=actor, subject=incident_id, action="undo.taken_over", now=now
    ) as write:
        refused = 0
        for row in rows:
            refused += write.update(
                effect,
                (row.token,),
                effect.c.state == EffectState.PLANNED.value,
                state=EffectState.REFUSED.value,
                not_before=None,
                sealed_reason=seal_reason(database.cipher, row.verb, incident_id, row.token, why),
            )
        write.add_detail(effects=refused)
    return refused == len(rows)


def _running(
    write: Write, incident_id: str, *conditions: ColumnElement[bool]
) -> Sequence[Row[Any]]:
    """Lock and return the rows of running steps that match the conditions."""
    statement = (
        select(step)
        .where(step.c.incident == incident_id, step.c.state == StepState.RUNNING.value, *conditions)
        .order_by(step.c.name, step.c.round)
        .with_for_update(of=step)
    )
    return write.connection.execute(statement).all()
