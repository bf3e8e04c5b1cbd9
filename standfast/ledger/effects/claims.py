"""Conditions of a claim: approvals, settings, locks of other incidents.

An effect is one change of one target, such as one locked account. An effect is planned for a step
of an incident. A process claims effects (reserves them for itself), in one transaction, before it
executes them.

Rules
- Effects are claimed only while the incident is open, the adapters are of its mode (live, or
  simulators in an exercise), the step runs and the step's approvals are valid. In a stopped
  incident, only undos are claimed.
- Effects that needed approval are claimed only while the adapter has the settings of the plan.
- The rows of the incident, the step and each effect must match the audit chain, the log of all
  changes (`row_verification`).
- No unlock is claimed while another open incident needs the account locked. No lock is claimed
  while an earlier unlock of the account may still be executed.
- A claim first finds a step, then effects of this step. So the cost of a claim does not depend on
  the number of due effects and steps, and a claim locks only the effects that it returns.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, cast

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Integer,
    Row,
    Select,
    bindparam,
    exists,
    or_,
    select,
    text,
)

from standfast.errors import ApprovalRefused, Refused
from standfast.ledger.approvals.row_seals import refuse_forged_incident
from standfast.ledger.approvals.two_person_rule import verify_step_approvals
from standfast.ledger.audit.audited_database import AuditedDatabase
from standfast.ledger.audit.transaction import Write, damaged, refuse_changed_rows
from standfast.ledger.database.connections import wait_for_turn
from standfast.ledger.effects.effect_conditions import (
    NEEDS_PRIOR,
    UNDO_VERBS,
    holders_of,
    is_of_step,
    is_of_undo,
    is_runnable,
    with_step,
)
from standfast.ledger.effects.effect_rows import EffectQueue, seal_reason
from standfast.ledger.schema.tables import as_stored, attempt, effect, incident, step
from standfast.playbook.actions.people_page import PAGE
from standfast.playbook.planned_effects import Settings
from standfast.records import EffectState, Json, JsonObject, Mode

_ACCOUNTS_LOCK = 7_236_115  # number of a PostgreSQL advisory lock; other locks have other numbers
_INCIDENT = select(incident).where(incident.c.id == bindparam("incident"))


class ApprovalLapsed(ApprovalRefused):
    """The approvals of a running step are no longer valid."""

    def __init__(
        self, step_key: tuple[str, str, int], why: str, plan: JsonObject | None = None
    ) -> None:
        super().__init__(why)
        self.step_key = step_key
        self.plan = plan  # the changed plan that needs approval; None: the plan did not change


def claimable(
    database: AuditedDatabase,
    write: Write,
    incident_id: str,
    queue: EffectQueue,
    mode: Mode,
    most: int,
    now: datetime,
    settings: Settings,
) -> list[Row[Any]]:
    """Lock and return due effects of one step, at most `most`.

    If another open incident locks an account, the unlock of the account is refused and not
    returned. Raises Refused for adapters of another mode, ApprovalLapsed if the step's approvals or
    adapter settings are no longer valid, and Damaged if the incident, the step or an effect was
    changed outside this program.
    """
    connection = write.connection
    if write.is_postgresql and queue.verb in NEEDS_PRIOR | UNDO_VERBS:
        # Without this lock, a lock and an unlock of one account could be claimed at the same time.
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_ACCOUNTS_LOCK})"))
    wait_for_turn(connection, incident_id, is_shared=True)
    case_ = connection.execute(_INCIDENT, {"incident": incident_id}).mappings().first()
    if case_ is None or case_["state"] != "open":
        return []
    refuse_forged_incident(database, case_)
    if case_["mode"] != mode:
        raise Refused(
            f"incident {incident_id}: its mode is {case_['mode']}, these adapters are {mode}"
        )
    wanted = {"incident": incident_id, "verb": queue.verb, "connector": queue.connector, "now": now}
    needs_prior = queue.verb in NEEDS_PRIOR
    due = _steps(needs_prior, only_undos=bool(case_["is_halted"]))
    for begun in connection.execute(due, wanted).all():
        of_step = {"step": begun.name, "round": begun.round, "most": most}
        found = connection.execute(_effects(needs_prior), wanted | of_step).all()
        if found:  # on PostgreSQL, other processes may have locked all due effects
            break
    else:
        return []
    _refuse_changed(database, connection, (incident_id, begun.name, begun.round), found)
    if queue.verb == PAGE:
        return list(found)
    step_key = (incident_id, begun.name, begun.round)
    try:
        running = verify_step_approvals(database, connection, *step_key, now)
    except ApprovalRefused as error:
        raise ApprovalLapsed(step_key, str(error)) from None
    if running["needs_approvals"]:
        _refuse_other_settings(step_key, json.loads(running["plan"]), queue, settings)
    return (
        list(found)
        if queue.verb not in UNDO_VERBS
        else _refuse_held_unlocks(database, write, found)
    )


def _refuse_other_settings(
    step_key: tuple[str, str, int], plan: JsonObject, queue: EffectQueue, settings: Settings
) -> None:
    """Raise ApprovalLapsed if the adapter lacks the approved settings."""
    approved = cast("Mapping[str, Mapping[str, str]]", plan["settings"])
    planned = {by_connector.get(queue.connector) for by_connector in approved.values()} - {None}
    now = settings(queue.verb, queue.connector).get(queue.connector)
    if now not in (planned or {None}):
        raise ApprovalLapsed(
            step_key,
            f"{queue.connector}: its settings were changed after step {step_key[1]!r} was "
            "planned. Nothing was done. The step asks for approval again.",
            _with_current_settings(plan, settings),
        )


def _refuse_changed(
    database: AuditedDatabase,
    connection: Connection,
    step_key: tuple[str, str, int],
    found: Sequence[Row[Any]],
) -> None:
    """Raise Damaged if one of these rows was changed outside this program."""
    incident_id, name, round_ = step_key
    is_step = (step.c.incident == incident_id, step.c.name == name, step.c.round == round_)
    for table, conditions in ((incident, (incident.c.id == incident_id,)), (step, is_step)):
        if changed := database.rows.changed(
            connection, table, *conditions, incident_id=incident_id
        ):
            raise damaged(table, changed)
    refuse_changed_rows(database.rows, connection, effect, found, incident_id=incident_id)


# `_steps` and `_effects` are cached, because every claim runs their statements.
@cache
def _steps(needs_prior: bool, *, only_undos: bool) -> Select[Any]:
    """Return the statement for steps with due effects, in order."""
    # EXISTS is avoided: without statistics, PostgreSQL turns it into a join that reads every effect
    # for every step.
    due = select(effect.c.position).where(is_of_step(), *_is_due(needs_prior)).limit(1)
    return (
        select(step.c.name, step.c.round)
        .where(step.c.incident == bindparam("incident"), due.scalar_subquery().is_not(None))
        .where(*([is_of_undo()] if only_undos else []))
        .order_by(step.c.name, step.c.round)
    )


@cache
def _effects(needs_prior: bool) -> Select[Any]:
    """Return the statement that locks due effects of a step, in order."""
    return (
        select(*as_stored(effect))
        .select_from(with_step())
        .where(
            effect.c.step == bindparam("step"),
            effect.c.round == bindparam("round"),
            *_is_due(needs_prior),
        )
        .order_by(effect.c.position)
        .limit(bindparam("most", type_=Integer))
        .with_for_update(skip_locked=True, of=effect)
    )


def _is_due(needs_prior: bool) -> list[ColumnElement[bool]]:
    """Return the conditions of due effects of one queue."""
    now: BindParameter[Any] = bindparam("now", type_=effect.c.not_before.type)
    conditions = [
        effect.c.incident == bindparam("incident"),
        effect.c.state == "planned",
        effect.c.verb == bindparam("verb"),
        effect.c.connector == bindparam("connector"),
        or_(effect.c.not_before.is_(None), effect.c.not_before <= now),
        is_runnable(now),
    ]
    if needs_prior:
        conditions += [effect.c.sealed_prior.is_not(None), ~_is_being_unlocked(now)]
    return conditions


def _refuse_held_unlocks(
    database: AuditedDatabase, write: Write, rows: Sequence[Row[Any]]
) -> list[Row[Any]]:
    """Refuse unlocks of accounts that other open incidents locked.

    Returns the unlocks that may be executed.
    """
    holders = holders_of(write.connection, rows[0].incident, [row.handle for row in rows])
    kept = [row for row in rows if row.handle in holders]
    write.update_many(
        effect,
        [
            {
                "token": row.token,
                "state": EffectState.REFUSED.value,
                "sealed_reason": seal_reason(
                    database.cipher,
                    row.verb,
                    row.incident,
                    row.token,
                    f"{holders[row.handle]} also locks the account. Nothing was changed.",
                ),
            }
            for row in kept
        ],
        is_checked=True,
    )
    if kept:
        write.add_detail(held_by_others=len(kept))
    return [row for row in rows if row.handle not in holders]


def _is_being_unlocked(now: BindParameter[Any]) -> ColumnElement[bool]:
    """Return the condition that an unlock of the account may be in progress."""
    unlock = effect.alias("unlock")
    return exists().where(
        unlock.c.handle == effect.c.handle,
        unlock.c.verb.in_(UNDO_VERBS),
        unlock.c.state.in_(("submitting", "unknown")),
        unlock.c.attempt == attempt.c.token,
        attempt.c.settle_after > now,
    )


def _with_current_settings(plan: JsonObject, settings: Settings) -> JsonObject:
    """Return a plan with the present settings of its adapters."""
    queues = cast("Mapping[str, Json]", plan["settings"])
    return {**plan, "settings": {name: dict(settings(*name.split(" ", 1))) for name in queues}}
