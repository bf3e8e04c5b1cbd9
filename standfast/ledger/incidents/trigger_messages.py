"""Trigger messages: storage, and the incident that each opens or joins.

A trigger is a configured way to open an incident from outside, such as a webhook. Each of its
messages contains a scenario (the name of a playbook), a mode (live, or only a plan), inputs for the
playbook (such as lists of accounts) and a key. The key is a keyed hash of the subject of the
message, such as one alert. A message opens an incident or joins an open incident. If it joins, its
accounts are added to the inputs of the incident.

Rules
- A message is stored in the same transaction in which it opens or joins an incident.
- The id of a message is stored as a keyed hash, because a sender may write personal data into it.
- Stored messages are never deleted: a sender may send a message again after days, with a new
  signature.
- A message joins only an open incident of the same scenario and mode. This is the incident that a
  message with the same key opened. If there is none, it is the oldest incident whose inputs name
  one of the accounts of the message. A message without accounts joins an incident that has the same
  inputs.
- For this search, each account is stored as a handle (a keyed hash) in an indexed table. So the
  search decrypts nothing, and thousands of open incidents do not slow it down.
- An incident may have left an account unlocked, because the lock was undone, failed or was refused.
  A message that names such an account, and has another key, does not join this incident. It opens a
  new incident, which locks the account again. A message with the same key still joins: an alert may
  repeat each minute, and a person has seen the result of the incident.
- Accounts are compared in the form that `named_accounts.folded` returns. A lock uses the exact
  name.
- If a joining message spells an account in another way than the incident, this spelling is added as
  a new account. Only the directory (the system that stores the accounts) can decide whether two
  spellings are the same account (`Connector.canonical`), and no directory is queried before the
  message is stored. The added accounts are planned later. The planner then queries the directory,
  and leaves out the accounts that were planned before.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Connection, Row, and_, exists, func, or_, select

from standfast.ledger.approvals.named_accounts import BY_TRIGGERS, accounts_of, folded
from standfast.ledger.audit.audited_database import AuditedDatabase
from standfast.ledger.audit.transaction import Write
from standfast.ledger.effects.effect_conditions import is_of_step
from standfast.ledger.schema.column_encryption import INSTALLATION
from standfast.ledger.schema.tables import (
    audit_event,
    effect,
    incident,
    incident_subject,
    step,
    trigger_message,
)
from standfast.playbook.actions.accounts_lock import LOCK, UNLOCK
from standfast.records import EffectState, Json, JsonObject, Mode, StepState, canonical


@dataclass(frozen=True, kw_only=True)
class TriggerMessage:
    """One message of one trigger; `handle` is the HMAC that identifies it."""

    source: str
    handle: str
    lacking: int = 0  # number of items in a list of the message that lack a value for an input


@dataclass(frozen=True, kw_only=True)
class IgnoredTrigger:
    """A trigger that added accounts to a stopped incident, which does nothing."""

    incident: str
    scenario: str
    source: str  # name of the trigger in the timeline
    stop: int  # number of the audit event that records the newest stop


def find(connection: Connection, message: TriggerMessage) -> str:
    """Return the incident of a message that is stored already; "" if new."""
    known = connection.scalar(
        select(trigger_message.c.incident).where(
            trigger_message.c.source == message.source, trigger_message.c.message == message.handle
        )
    )
    return known or ""


def keep(write: Write, message: TriggerMessage, incident_id: str) -> None:
    """Store a message, with the id of the incident that it opened or joined."""
    if message.lacking:
        write.add_detail(lacking=message.lacking)
    write.insert(
        trigger_message,
        {
            "source": message.source,
            "message": message.handle,
            "incident": incident_id,
            "received_at": write.now,
        },
    )


class Triggers:
    """The stored messages of all triggers."""

    def __init__(self, database: AuditedDatabase) -> None:
        self._database = database

    def incident_of(self, message: TriggerMessage) -> str:
        """Return the incident of a message that is stored already; "" if new."""
        with self._database.reading() as connection:
            return find(connection, message)

    def record_resolved(
        self, trigger: str, message: TriggerMessage, actor: str, now: datetime
    ) -> str:
        """Record in an incident that its alert ended; return the incident's id.

        `trigger` is the key of the messages about this alert. Returns "" and writes nothing if no
        open incident has this key. A repeated message changes nothing.
        """
        with self._database.write(
            actor=actor, subject="", action="trigger.resolved", now=now
        ) as write:
            write.exclude_writers()
            if earlier := find(write.connection, message):
                return earlier
            found = write.connection.scalar(
                select(incident.c.id).where(
                    incident.c.trigger == trigger, incident.c.state == "open"
                )
            )
            if found is not None:
                write.subject = str(found)
                keep(write, message, str(found))
        return str(found or "")

    def waiting(self) -> list[IgnoredTrigger]:
        """Return the triggers that joined a live incident since its newest stop.

        The triggers of the oldest incident are first.
        """
        stopped = (
            select(incident.c.id, incident.c.scenario)
            .where(
                incident.c.state == "open",
                incident.c.is_halted,
                incident.c.mode == Mode.LIVE.value,
                incident.c.joined > 0,
            )
            .order_by(incident.c.opened_at)
        )
        found: list[IgnoredTrigger] = []
        with self._database.reading() as connection:
            for row in connection.execute(stopped).all():
                of_incident = audit_event.c.subject == row.id
                stop = connection.scalar(
                    select(func.max(audit_event.c.sequence)).where(
                        of_incident, audit_event.c.action == "incident.stopped"
                    )
                )
                since = select(audit_event.c.actor).where(
                    of_incident,
                    audit_event.c.action == "trigger.joined",
                    audit_event.c.sequence > stop,
                )
                found += [
                    IgnoredTrigger(incident=row.id, scenario=row.scenario, source=source, stop=stop)
                    for source in connection.scalars(since.distinct().order_by(audit_event.c.actor))
                ]
        return found


EXTENDED = "incident.extended"  # action of the audit event for targets that a person added
_HANDLES_A_STATEMENT = 500
_LOST = (EffectState.REFUSED.value, EffectState.FAILED.value)
_IS_REFUSED = step.c.state == StepState.REFUSED.value  # such a step never locks its accounts


def find_repeated(
    database: AuditedDatabase,
    connection: Connection,
    trigger: str,
    scenario: str,
    mode: Mode,
    inputs: JsonObject,
) -> Row[Any] | None:
    """Return the open incident that a message joins; None: it opens a new one.

    `trigger` is the key of the message.
    """
    alike = (
        select(incident)
        .where(
            incident.c.scenario == scenario,
            incident.c.mode == mode.value,
            incident.c.state == "open",
        )
        .order_by(incident.c.opened_at)
        .limit(1)
    )
    found = connection.execute(alike.where(incident.c.trigger == trigger)).first()
    if found is not None:
        return found
    alike = alike.where(
        incident.c.id.not_in(_incidents_left_unlocked(database, connection, inputs))
    )
    handles = _subjects(database, inputs)
    oldest: list[Row[Any]] = []
    for start in range(0, len(handles), _HANDLES_A_STATEMENT):
        same = select(incident_subject.c.incident).where(
            incident_subject.c.handle.in_(handles[start : start + _HANDLES_A_STATEMENT])
        )
        oldest += connection.execute(alike.where(incident.c.id.in_(same))).all()
    return min(oldest, key=lambda row: row.opened_at, default=None)


def insert_subjects(
    database: AuditedDatabase, write: Write, incident_id: str, inputs: JsonObject
) -> None:
    """Store the handles of inputs, by which later messages find the incident."""
    rows = [
        {"handle": handle, "incident": incident_id, "recorded_at": write.now}
        for handle in _subjects(database, inputs)
    ]
    write.insert_new(incident_subject, *rows)


def add_targets(
    database: AuditedDatabase,
    write: Write,
    known: Row[Any],
    inputs: JsonObject,
    *,
    is_by_person: bool = False,
) -> int:
    """Add new accounts to the inputs of an incident; return their number.

    `is_by_person`: a person that signed in named the accounts. Then the people that have these
    accounts may not approve the lock.
    """
    before = _stored(database, known)
    merged: dict[str, Json] = dict(before)
    by_triggers = [*cast("list[str]", before.get(BY_TRIGGERS, []))]
    added = 0
    for name, value in inputs.items():
        if isinstance(value, list):
            earlier = before.get(name)
            old = earlier if isinstance(earlier, list) else []
            known_names = set(old)
            new = [item for item in value if isinstance(item, str) and item not in known_names]
            merged[name] = [*old, *new]
            by_triggers += [] if is_by_person else new
            added += len(new)
    if added:
        merged[BY_TRIGGERS] = [*by_triggers]
        write.update(
            incident,
            (known.id,),
            joined=incident.c.joined + 1,
            sealed_inputs=database.cipher.seal(INSTALLATION, f"incident {known.id}", merged),
        )
        insert_subjects(database, write, known.id, inputs)
    return added


def inputs_of(database: AuditedDatabase, row: Row[Any]) -> JsonObject:
    """Return the inputs of an incident, including accounts added later."""
    return {name: value for name, value in _stored(database, row).items() if name != BY_TRIGGERS}


def _stored(database: AuditedDatabase, row: Row[Any]) -> JsonObject:
    return database.cipher.open(INSTALLATION, f"incident {row.id}", row.sealed_inputs)


def _incidents_left_unlocked(
    database: AuditedDatabase, connection: Connection, inputs: JsonObject
) -> set[str]:
    """Return the open incidents that left an account of the inputs unlocked.

    Such an incident planned a lock of the account, and none of its locks of the account is in force
    or still to be executed.
    """
    undo = effect.alias("undo")
    is_done = and_(undo.c.verb == UNLOCK, undo.c.state == EffectState.DONE.value)
    is_lost = and_(effect.c.verb == LOCK, effect.c.state.in_(_LOST))
    leave_any = select(incident.c.id, incident.c.connectors).where(
        incident.c.state == "open",
        or_(
            exists().where(undo.c.incident == incident.c.id, is_done),
            exists().where(effect.c.incident == incident.c.id, is_lost),
            exists().where(step.c.incident == incident.c.id, _IS_REFUSED),
        ),
    )
    asked = connection.execute(leave_any).all()
    if not asked:
        return set()  # the usual case: skip the slow query below
    connectors = {connector for row in asked for connector in json.loads(row.connectors)}
    directories = {
        connector.partition(".")[2] for connector in connectors if connector.startswith("accounts.")
    }
    handles = [
        database.cipher.handle(INSTALLATION, target) for target in _targets(inputs, directories)
    ]
    held = effect.alias("held")
    is_held = exists().where(
        held.c.incident == effect.c.incident,
        held.c.handle == effect.c.handle,
        held.c.verb == LOCK,
        held.c.state.not_in(_LOST),
        ~exists().where(undo.c.undoes == held.c.token, is_done),
        ~exists().where(is_of_step(held), _IS_REFUSED),
    )
    found: set[str] = set()
    for start in range(0, len(handles), _HANDLES_A_STATEMENT):
        left_open = select(effect.c.incident).where(
            effect.c.incident.in_([row.id for row in asked]),
            effect.c.handle.in_(handles[start : start + _HANDLES_A_STATEMENT]),
            effect.c.verb == LOCK,
            ~is_held,
        )
        found |= set(connection.scalars(left_open))
    return found


def _targets(inputs: JsonObject, directories: Collection[str]) -> Sequence[str]:
    """Return every spelling of every account that the inputs name."""
    lists = [value for value in inputs.values() if isinstance(value, list)]
    named = {name for names in lists for name in names if isinstance(name, str)}
    spelt = {way for name in named for way in (name, name.lower(), folded(name))}
    bare = [name for name in spelt if name.partition(":")[0] not in directories]
    # An account whose directory is not known is stored as `:NAME`.
    nowhere = (f":{name}" for name in spelt)
    return [*spelt, *nowhere, *(f"{where}:{name}" for where in directories for name in bare)]


def _subjects(database: AuditedDatabase, inputs: JsonObject) -> Sequence[str]:
    """Return the handles by which a message with equal inputs is recognized.

    There is one handle for each account. Inputs without accounts have one handle of their whole
    text. So a report by staff does not join the incident of a different report.
    """
    accounts = sorted(accounts_of(inputs))
    names = [f"subject account {name}" for name in accounts] or [
        f"subject words {canonical(inputs).decode()}"
    ]
    return [database.cipher.handle(INSTALLATION, name) for name in names]
