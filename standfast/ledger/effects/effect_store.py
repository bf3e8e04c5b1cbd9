"""Queries for effects: due work, unknown outcomes, locked accounts.

An effect is one change of one target, such as one locked account, that a step of an incident
planned.

Rules
- An undo is an effect of its own, which names the undone effect in the column `undoes`. The undone
  effect keeps its state.
- An effect whose step has no row in the table `step` is not planned yet: a process is still writing
  the plan, or died while it wrote.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, and_, case, exists, func, or_, select

from standfast.ledger.audit.audited_database import AuditedDatabase
from standfast.ledger.audit.transaction import Write
from standfast.ledger.effects.effect_conditions import (
    NEEDS_PRIOR,
    holders_of,
    is_begun,
    is_of_undo,
    is_runnable,
    with_step,
)
from standfast.ledger.effects.effect_rows import EffectQueue, EffectRow, decrypt_effect, scope_of
from standfast.ledger.effects.recent_locks import RecentLocks, count_recent_locks
from standfast.ledger.schema.tables import attempt, effect, incident, runner, step
from standfast.playbook.actions.accounts_lock import LOCK
from standfast.playbook.actions.evidence_review import REVIEW
from standfast.playbook.actions.evidence_snapshot import SNAPSHOT
from standfast.playbook.actions.people_page import PAGE
from standfast.playbook.planned_effects import Draft
from standfast.records import Mode, StepState

_HANDLES_A_STATEMENT = 500


@dataclass(frozen=True, kw_only=True)
class Work:
    """The due effects of an incident, and when the next effect is due."""

    queues: Mapping[EffectQueue, int]  # number of due effects in each queue
    in_flight: int  # effects with a call that has not ended
    next_due: datetime | None  # None: no effect is due later


class Effects:
    """The effects of all incidents."""

    def __init__(self, database: AuditedDatabase) -> None:
        self._database = database

    # Queries for due work.

    def open_work(
        self, incident_id: str, now: datetime, *, only_undos: bool = False, only_looks: bool = False
    ) -> Work:
        """Return the queues with due effects, and when the next effect is due.

        `only_undos` is for a stopped incident. `only_looks` is for a closed incident, in which only
        unknown outcomes are looked up.
        """
        queues: dict[EffectQueue, int] = {}
        later: list[datetime] = []
        is_due = or_(effect.c.not_before.is_(None), effect.c.not_before <= now)
        may_start = and_(is_due, is_runnable(now))
        starts_at = case(
            (and_(step.c.runs_from > now, effect.c.verb != PAGE), step.c.runs_from),
            else_=effect.c.not_before,
        )
        may_settle = and_(is_due, attempt.c.settle_after <= now)
        settles_at = case(
            (effect.c.not_before > attempt.c.settle_after, effect.c.not_before),
            else_=attempt.c.settle_after,
        )
        planned = (
            select(
                effect.c.verb,
                effect.c.connector,
                func.sum(case((may_start, 1), else_=0)),
                func.min(case((may_start, None), else_=starts_at)),
            )
            .select_from(with_step())
            .where(effect.c.incident == incident_id, effect.c.state == "planned", is_begun())
            .where(*([is_of_undo()] if only_undos else []))
            .group_by(effect.c.verb, effect.c.connector)
        )
        unsettled = (
            select(
                effect.c.verb,
                effect.c.connector,
                func.sum(case((may_settle, 1), else_=0)),
                func.min(case((may_settle, None), else_=settles_at)),
            )
            .select_from(effect.join(attempt, effect.c.attempt == attempt.c.token))
            .where(
                effect.c.incident == incident_id,
                effect.c.state == "unknown",
                effect.c.is_parked.is_(False),
            )
            .group_by(effect.c.verb, effect.c.connector)
        )
        with self._database.reading() as connection:
            for statement in (unsettled,) if only_looks else (planned, unsettled):
                for verb, connector, due, next_due in connection.execute(statement):
                    if due:
                        queue = EffectQueue(verb=verb, connector=connector)
                        queues[queue] = queues.get(queue, 0) + due
                    if next_due is not None:
                        later.append(next_due)
            in_flight = connection.scalar(
                select(func.count()).where(
                    effect.c.incident == incident_id, effect.c.state == "submitting"
                )
            )
        return Work(
            queues=dict(sorted(queues.items())),
            in_flight=in_flight or 0,
            next_due=min(later, default=None),
        )

    def without_prior(
        self, incident_id: str, queue: EffectQueue, now: datetime, most: int
    ) -> list[EffectRow]:
        """Return planned effects that need a read of their target first.

        The state that is read, the prior state, is restored by an undo. Only effects that may run
        now are returned: a state that is read before the approval would be outdated.
        """
        if queue.verb not in NEEDS_PRIOR:
            return []
        begun = select(effect.c.token).select_from(with_step()).where(is_runnable(now))
        return self.find(
            effect.c.incident == incident_id,
            effect.c.state == "planned",
            effect.c.verb == queue.verb,
            effect.c.connector == queue.connector,
            effect.c.sealed_prior.is_(None),
            or_(effect.c.not_before.is_(None), effect.c.not_before <= now),
            effect.c.token.in_(begun.where(effect.c.incident == incident_id)),
            most=most,
        )

    def to_settle(
        self, incident_id: str, queue: EffectQueue, now: datetime, most: int
    ) -> list[EffectRow]:
        """Return effects with an unknown outcome that may be looked up now."""
        overdue = select(attempt.c.token).where(attempt.c.settle_after <= now)
        return self.find(
            effect.c.incident == incident_id,
            effect.c.state == "unknown",
            effect.c.is_parked.is_(False),
            effect.c.verb == queue.verb,
            effect.c.connector == queue.connector,
            effect.c.attempt.in_(overdue),
            or_(effect.c.not_before.is_(None), effect.c.not_before <= now),
            most=most,
        )

    def find(self, *conditions: Any, most: int | None = None) -> list[EffectRow]:
        """Return the effects that meet the conditions, decrypted, in order.

        Effects whose step has no row are left out: they are not planned yet.
        """
        with self._database.reading() as connection:
            return self.find_in(connection, *conditions, most=most)

    def current(self, row: EffectRow) -> EffectRow:
        """Return the present state of an effect."""
        (found,) = self.find(effect.c.incident == row.incident, effect.c.token == row.token)
        return found

    def find_in(
        self, connection: Connection, *conditions: Any, most: int | None = None
    ) -> list[EffectRow]:
        """Return effects like `find`, with an open connection."""
        statement = (
            select(effect)
            .select_from(with_step())
            .where(*conditions)
            .order_by(effect.c.step, effect.c.round, effect.c.position)
            .limit(most)
        )
        return [self.decrypt(row) for row in connection.execute(statement)]

    def locked_targets(self, incident_id: str, *, is_undone: bool = False) -> list[str]:
        """Return the accounts that the incident locked and has not unlocked.

        With `is_undone`, return instead the accounts that the incident locked and unlocked again.
        """
        undo = effect.alias("undo")
        undone = exists().where(undo.c.undoes == effect.c.token, undo.c.state == "done")
        found = self.find(
            effect.c.incident == incident_id,
            effect.c.verb == LOCK,
            effect.c.state == "done",
            undone if is_undone else ~undone,
        )
        return [row.target for row in found]

    def has_locked(self, directory: str) -> bool:
        """Return whether a live incident locked an account of a directory."""
        statement = (
            select(effect.c.token)
            .join(incident, incident.c.id == effect.c.incident)
            .where(
                effect.c.connector == directory,
                effect.c.verb == LOCK,
                effect.c.state == "done",
                incident.c.mode == Mode.LIVE.value,
            )
            .limit(1)
        )
        with self._database.reading() as connection:
            return connection.scalar(statement) is not None

    def lock_periods(self, incident_id: str) -> list[tuple[str, datetime, datetime | None]]:
        """Return each locked account with the times of its lock and unlock.

        The second time is None while the account is locked.
        """
        rows = self.find(effect.c.incident == incident_id, effect.c.state == "done")
        statement = (
            select(effect.c.token, func.coalesce(attempt.c.ended_at, attempt.c.submitted_at))
            .join(attempt, attempt.c.token == effect.c.attempt)
            .where(effect.c.incident == incident_id, effect.c.state == "done")
        )
        with self._database.reading() as connection:
            times = {row[0]: row[1] for row in connection.execute(statement)}
        ends = {row.undoes: times.get(row.token) for row in rows if row.undoes}
        locks = (row for row in rows if row.verb == LOCK and row.token in times)
        return [(row.target, times[row.token], ends.get(row.token)) for row in locks]

    def frozen(self, incident_id: str) -> list[EffectRow]:
        """Return the effects that copied and sealed evidence on the disk."""
        found = self.find(effect.c.incident == incident_id, effect.c.verb == SNAPSHOT)
        return [row for row in found if "folder" in row.facts]  # an exercise has no folder

    def reviewed(self, incident_id: str) -> list[EffectRow]:
        """Return the effects that searched sealed evidence for patterns."""
        return self.find(effect.c.incident == incident_id, effect.c.verb == REVIEW)

    def hosts_of(self, incident_id: str, verb: str) -> dict[str, str]:
        """Return the host of the last attempt of each effect, by token."""
        statement = (
            select(effect.c.token, runner.c.host)
            .join(attempt, attempt.c.token == effect.c.attempt)
            .join(runner, runner.c.id == attempt.c.runner)
            .where(effect.c.incident == incident_id, effect.c.verb == verb)
        )
        with self._database.reading() as connection:
            return {row.token: row.host for row in connection.execute(statement)}

    def locked_lately(
        self,
        began: datetime,
        mode: Mode,
        *,
        procedures: Sequence[str] = (),
        excluded_step: tuple[str, str] | None = None,
    ) -> RecentLocks:
        """Return the locks of recent steps that needed no approval."""
        with self._database.reading() as connection:
            return count_recent_locks(connection, began, mode, procedures, excluded_step)

    def of_incident(self, incident_id: str) -> list[EffectRow]:
        """Return every effect of an incident, decrypted."""
        return self.find(effect.c.incident == incident_id)

    def pages(self, incident_id: str, step_name: str, round_: int) -> list[EffectRow]:
        """Return the messages that ask the approvers of a round, decrypted."""
        return self.of_round(incident_id, step_name, round_, PAGE)

    def of_round(self, incident_id: str, step_name: str, round_: int, verb: str) -> list[EffectRow]:
        """Return the effects of one round of a step with a verb, decrypted."""
        return self.find(
            effect.c.incident == incident_id,
            effect.c.verb == verb,
            effect.c.step == step_name,
            effect.c.round == round_,
        )

    def planned_before(
        self, incident_id: str, step_name: str, drafts: Sequence[Draft]
    ) -> set[tuple[str, str]]:
        """Return the (verb, target) pairs that the step planned before.

        Rounds that an approver refused are left out.
        """
        handles = {
            self._database.cipher.handle(
                scope_of(draft.verb, incident_id), draft.target
            ): draft.target
            for draft in drafts
        }
        names = list(handles)
        found: set[tuple[str, str]] = set()
        with self._database.reading() as connection:
            for start in range(0, len(names), _HANDLES_A_STATEMENT):
                statement = (
                    select(effect.c.verb, effect.c.handle)
                    .select_from(with_step())
                    .where(
                        effect.c.handle.in_(names[start : start + _HANDLES_A_STATEMENT]),
                        effect.c.incident == incident_id,
                        effect.c.step == step_name,
                        step.c.state != StepState.REFUSED.value,
                    )
                )
                found.update((verb, handles[it]) for verb, it in connection.execute(statement))
        return found

    def holders(self, rows: Sequence[EffectRow]) -> dict[str, str]:
        """Return the other incidents that lock these accounts, by handle."""
        found: dict[str, str] = {}
        with self._database.reading() as connection:
            for start in range(0, len(rows), _HANDLES_A_STATEMENT):
                part = rows[start : start + _HANDLES_A_STATEMENT]
                handles = [row.handle for row in part]
                found |= holders_of(connection, part[0].incident, handles)
        return found

    def decrypt(self, row: Row[Any] | tuple[Any, ...]) -> EffectRow:
        """Decrypt an effect; see `decrypt_effect`."""
        return decrypt_effect(self._database.cipher, row)


def lock_in_state(
    write: Write, rows: Sequence[EffectRow], state: str, *, unread: bool = False
) -> set[str]:
    """Lock the rows that are still in `state`; return their tokens.

    With `unread`, lock only the rows without a stored prior state.
    """
    statement = select(effect.c.token).where(
        effect.c.token.in_([row.token for row in rows]), effect.c.state == state
    )
    if unread:
        statement = statement.where(effect.c.sealed_prior.is_(None))
    return set(write.connection.scalars(statement.order_by(effect.c.token).with_for_update()))
