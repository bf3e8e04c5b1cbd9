"""Stored incidents: number, opening, joining, stopping, closing, state.

Rules
- Opening an incident is one transaction, which also stores the message that triggered it.
- A message of a trigger, such as a webhook, joins the open incident that `trigger_messages` finds.
  If the message adds accounts, the steps of the playbook are planned again for them, as a further
  round.
- An opened incident has its own copy of the playbook and of the names of its adapters.
- A runner (a process that executes steps) reads before each call of an adapter whether the incident
  is stopped. Closing is refused while a call is in progress.
- A stop pauses running undos, which restore locked accounts. But an undo that somebody requests or
  approves later runs in the stopped incident: an undo must not need a resumption.
- When a stopped incident is resumed, each running notice waits again for its abort window, the time
  in which people can stop it before the first message.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, select

from standfast.errors import Refused, UsageError
from standfast.ledger.approvals.row_seals import refuse_forged_incident, seal_of_incident
from standfast.ledger.audit.audited_database import AuditedDatabase
from standfast.ledger.audit.transaction import damaged
from standfast.ledger.database.connections import wait_for_turn
from standfast.ledger.effects.effect_conditions import count_unrestored_targets
from standfast.ledger.effects.effect_counts import StepCounts, count_by_step
from standfast.ledger.incidents import trigger_messages
from standfast.ledger.incidents.step_views import last_progress_at, step_view
from standfast.ledger.incidents.stop_and_resume import pause_undos, restart_abort_windows
from standfast.ledger.incidents.trigger_messages import (
    EXTENDED,
    TriggerMessage,
    add_targets,
    find_repeated,
    inputs_of,
    insert_subjects,
)
from standfast.ledger.schema.column_encryption import INSTALLATION, ColumnCipher
from standfast.ledger.schema.tables import effect, incident, notice, step
from standfast.playbook.parser.playbook_file import load
from standfast.playbook.planned_effects import FrozenNotice
from standfast.playbook.run_state import UNDO_PREFIX, State, StepView, merged
from standfast.records import JsonObject, Mode, canonical
from standfast.suggestions import known_names_hint


@dataclass(frozen=True, kw_only=True)
class IncidentRow:
    """One incident, decrypted."""

    id: str
    scenario: str
    mode: Mode
    state: str
    is_stopped: bool
    playbook: str
    adapters: tuple[str, ...]
    joined: int  # how often targets were added, by triggers or people
    inputs: JsonObject
    opened_at: datetime
    opened_by: str
    is_signed: bool
    closed_at: datetime | None

    @property
    def is_open(self) -> bool:
        return self.state == "open"


class Incidents:
    """All incidents."""

    def __init__(self, database: AuditedDatabase) -> None:
        self._database = database

    def open(
        self,
        *,
        scenario: str,
        mode: Mode,
        playbook: str,
        adapters: Sequence[str],
        inputs: JsonObject,
        opened_by: str,
        is_signed: bool,
        trigger: str | None,
        now: datetime,
        message: TriggerMessage | None = None,
        configuration: str = "",
    ) -> tuple[str, bool]:
        """Open an incident; return its id, and whether it existed already.

        `trigger` is the key of `message`. `configuration` is the digest of the settings, for the
        timeline. A message that was received before changes nothing; its incident is returned, even
        if it is closed. A new message is stored in the same transaction.
        """
        with self._database.write(
            actor=opened_by, subject="", action="incident.opened", now=now
        ) as write:
            write.exclude_writers()  # process concurrent triggers one after another
            connection = write.connection
            self._database.rows.refuse_rolled_back(connection)
            if message is not None and (earlier := trigger_messages.find(connection, message)):
                return earlier, True
            if trigger is not None and (
                known := find_repeated(self._database, connection, trigger, scenario, mode, inputs)
            ):
                added = add_targets(self._database, write, known, inputs)
                write.subject = known.id
                write.action = "trigger.joined" if added else "trigger.repeated"
                digest = hashlib.sha256(trigger.encode()).hexdigest()
                write.add_detail(trigger=digest, targets=added)
                if message is not None:
                    trigger_messages.keep(write, message, known.id)
                return known.id, True
            incident_id = _next_id(connection, self._database.cipher, now)
            write.subject = incident_id
            write.add_detail(
                scenario=scenario,
                mode=mode.value,
                signed_in=is_signed,
                playbook=hashlib.sha256(playbook.encode()).hexdigest(),
                configuration=configuration,
            )
            # Before the commit: an incident without its encryption key would be unreadable.
            self._database.cipher.create(incident_id)
            row: dict[str, Any] = {
                "id": incident_id,
                "scenario": scenario,
                "mode": mode.value,
                "state": "open",
                "is_halted": False,
                "playbook": playbook,
                "connectors": canonical(sorted(adapters)).decode(),
                "sealed_inputs": self._database.cipher.seal(
                    INSTALLATION, f"incident {incident_id}", inputs
                ),
                "opened_at": now,
                "opened_by": opened_by,
                "is_signed": is_signed,
                "trigger": trigger,
                "joined": 0,
                "closed_at": None,
            }
            write.insert(incident, row | {"seal": seal_of_incident(self._database, row)})
            insert_subjects(self._database, write, incident_id, inputs)
            if message is not None:
                trigger_messages.keep(write, message, incident_id)
        return incident_id, False

    def add(
        self, incident_id: str, inputs: JsonObject, actor: str, now: datetime, *, is_signed: bool
    ) -> int:
        """Add accounts to an open incident; return the number of new accounts."""
        with self._database.write(
            actor=actor, subject=incident_id, action=EXTENDED, now=now
        ) as write:
            write.exclude_writers()
            row = write.connection.execute(
                select(incident).where(incident.c.id == incident_id)
            ).one()
            added = add_targets(self._database, write, row, inputs, is_by_person=is_signed)
            if added:
                write.add_detail(targets=added, joined=row.joined + 1, signed_in=is_signed)
        return added

    def set_stopped(self, incident_id: str, is_stopped: bool, actor: str, now: datetime) -> None:
        """Stop or resume an incident; runners read its state before each call."""
        self.get(incident_id)
        action = "incident.stopped" if is_stopped else "incident.resumed"
        with self._database.write(
            actor=actor, subject=incident_id, action=action, now=now
        ) as write:
            wait_for_turn(write.connection, incident_id, is_shared=False)
            write.exclude_writers()  # a trigger that joins the incident changes the same row
            was_stopped = write.connection.scalar(
                select(incident.c.is_halted).where(incident.c.id == incident_id)
            )
            write.update(incident, (incident_id,), is_halted=is_stopped)
            if is_stopped:
                pause_undos(write, incident_id)
            elif was_stopped:
                restart_abort_windows(write, incident_id, now)

    def close(
        self, incident_id: str, actor: str, now: datetime, *, joined: int | None = None
    ) -> None:
        """Close an incident; nothing is done to its accounts while it is closed.

        With `joined`, close it only if targets were added to it exactly that many times.
        """
        row = self.get(incident_id)
        if not row.is_open:
            raise UsageError(f"incident {incident_id}: already closed. Nothing was changed.")
        with self._database.write(
            actor=actor, subject=incident_id, action="incident.closed", now=now
        ) as write:
            wait_for_turn(write.connection, incident_id, is_shared=False)
            write.exclude_writers()
            busy = write.connection.scalar(
                select(func.count()).where(
                    effect.c.incident == incident_id, effect.c.state == "submitting"
                )
            )
            if busy:
                raise Refused(
                    f"incident {incident_id}: {busy} calls are in progress. Run `standfast "
                    f"incident stop {incident_id}`, wait for them, then close it."
                )
            conditions = [incident.c.state == "open"]
            if joined is not None:
                conditions.append(incident.c.joined == joined)
            write.update(incident, (incident_id,), *conditions, state="closed", closed_at=now)

    def reopen(self, incident_id: str, actor: str, now: datetime) -> None:
        """Reopen a closed incident in the state that it had before.

        Refused for a plan (an incident that only reads), because a live one may have replaced it.
        """
        row = self.get(incident_id)
        if row.is_open:
            raise UsageError(f"incident {incident_id}: open. Nothing was changed.")
        if row.mode is Mode.PLAN:
            raise Refused(
                f"incident {incident_id}: a closed plan stays closed. `standfast incident "
                f"carry-out {incident_id}` carries it out."
            )
        with self._database.write(
            actor=actor, subject=incident_id, action="incident.reopened", now=now
        ) as write:
            wait_for_turn(write.connection, incident_id, is_shared=False)
            write.exclude_writers()
            is_closed = incident.c.state == "closed"
            write.update(incident, (incident_id,), is_closed, state="open", closed_at=None)

    def get(self, incident_id: str) -> IncidentRow:
        """Return one incident; UsageError for an unknown id."""
        return self._decrypt_row(self._row(incident_id))

    def is_stopped(self, incident_id: str) -> bool:
        """Return whether the incident is open and stopped; decrypts nothing."""
        row = self._row(incident_id)
        return row.state == "open" and bool(row.is_halted)

    def all(self, *, only_open: bool = False) -> list[IncidentRow]:
        """Return the incidents, oldest first."""
        statement = select(incident).order_by(incident.c.opened_at)
        if only_open:
            statement = statement.where(incident.c.state == "open")
        with self._database.reading() as connection:
            return [self._decrypt_row(row) for row in connection.execute(statement)]

    def state(self, incident_id: str, *, must_verify: bool = True) -> State:
        """Return the verified state, from which the next action is computed.

        Only reports that show the findings of an audit set `must_verify` to False.
        """
        if must_verify:
            self._refuse_changed(incident_id)
        stored = self._row(incident_id)
        refuse_forged_incident(self._database, stored._mapping)
        row = self._decrypt_row(stored)
        playbook = load(row.playbook, row.scenario)
        names = {planned.name for planned in playbook.steps}
        with self._database.reading() as connection:
            counts = count_by_step(connection, incident_id)
            rounds: dict[str, list[StepView]] = {}
            extra: list[StepView] = []
            statement = (
                select(step)
                .where(step.c.incident == incident_id)
                .order_by(step.c.started_at, step.c.name, step.c.round)
            )
            begun = connection.execute(statement).mappings().all()
            moved_at = last_progress_at(connection, playbook, begun)
            for found in begun:
                key = (found["name"], found["round"])
                step_counts = counts.get(key, StepCounts())
                view = step_view(
                    self._database, connection, found, step_counts, moved_at.get(found["name"])
                )
                if found["name"] in names:
                    rounds.setdefault(view.step, []).append(view)
                else:
                    extra.append(view)
            is_undone = any(view.step.startswith(UNDO_PREFIX) for view in extra)
            unrestored_count = count_unrestored_targets(connection, incident_id) if is_undone else 0
        return State(
            playbook=playbook,
            mode=row.mode,
            inputs=row.inputs,
            steps={name: merged(views) for name, views in rounds.items()},
            earlier=tuple(
                view for views in rounds.values() for view in views[:-1] if not view.state.is_final
            ),
            extra=tuple(extra),
            unrestored_count=unrestored_count,
            joined=row.joined,
            is_stopped_or_closed=row.is_stopped or not row.is_open,
            is_closed=not row.is_open,
            incident=incident_id,
        )

    def notice(
        self, incident_id: str, step_name: str, round_: int, *, must_verify: bool = True
    ) -> FrozenNotice:
        """Return the approved texts of a notice; `must_verify` as for `state`."""
        named = (
            notice.c.incident == incident_id,
            notice.c.step == step_name,
            notice.c.round == round_,
        )
        with self._database.reading() as connection:
            rows = self._database.rows
            if must_verify and (
                changed := rows.changed(connection, notice, *named, incident_id=incident_id)
            ):
                raise damaged(notice, changed)
            row = connection.execute(select(notice).where(*named)).one()
        return FrozenNotice(
            template=row.template,
            body=json.loads(row.body),
            digest=row.digest,
            root=row.root,
            audience=row.audience,
            recipients=row.recipients,
        )

    def next_undo(self, incident_id: str) -> str:
        """Return the name of the next undo step."""
        with self._database.reading() as connection:
            number = connection.scalar(
                select(func.count()).where(
                    step.c.incident == incident_id, step.c.name.startswith(UNDO_PREFIX)
                )
            )
        return f"{UNDO_PREFIX}{(number or 0) + 1}"

    def _refuse_changed(self, incident_id: str) -> None:
        """Raise Damaged for an incident or step changed outside this program."""
        of_incident = (incident, incident.c.id), (step, step.c.incident)
        for table, column in of_incident:
            with self._database.reading() as connection:
                changed = self._database.rows.changed(
                    connection, table, column == incident_id, incident_id=incident_id
                )
            if changed:
                raise damaged(table, changed)

    def _row(self, incident_id: str) -> Row[Any]:
        with self._database.reading() as connection:
            row = connection.execute(select(incident).where(incident.c.id == incident_id)).first()
            if row is None:
                known = connection.scalars(select(incident.c.id).order_by(incident.c.id)).all()
                raise UsageError(
                    f"incident {incident_id!r}: unknown; {known_names_hint(incident_id, known)}"
                )
            return row

    def _decrypt_row(self, row: Row[Any]) -> IncidentRow:
        return IncidentRow(
            id=row.id,
            scenario=row.scenario,
            mode=Mode(row.mode),
            state=row.state,
            is_stopped=row.is_halted,
            playbook=row.playbook,
            adapters=tuple(json.loads(row.connectors)),
            joined=row.joined,
            inputs=inputs_of(self._database, row),
            opened_at=row.opened_at,
            opened_by=row.opened_by,
            is_signed=row.is_signed,
            closed_at=row.closed_at,
        )


def _next_id(connection: Connection, cipher: ColumnCipher, now: datetime) -> str:
    """Return the next id of this year.

    The id is short enough to be spelt on the telephone. An id that has an encryption key is
    skipped: an older copy of the database, once restored, lacks newer incidents but not their keys.
    """
    prefix = f"inc-{now.year}-"
    last = connection.scalar(
        select(incident.c.id)
        .where(incident.c.id.startswith(prefix))
        .order_by(func.length(incident.c.id).desc(), incident.c.id.desc())
        .limit(1)
    )
    number = int(last.removeprefix(prefix)) + 1 if last else 1
    while cipher.has(f"{prefix}{number:04}"):
        number += 1
    return f"{prefix}{number:04}"
