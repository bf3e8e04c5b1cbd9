"""Running notices: pause, abort window, release, stop, held recipients.

A notice is a message to the people that an incident concerns. The abort window is the time between
the approval of a notice and its first message. The canary is the first few messages, which are sent
before the rest. A held recipient waits for a person's decision.

Rules
- A pause moves the end of the abort window to the far future (`NEVER`). This end is read before
  each call, so no call begins after the commit of the pause. Calls that are in progress continue to
  their end.
- Until the messages after the canary are released, the earliest time at which they may be sent
  (`not_before`) is `NEVER`.
- A stop of a notice refuses each message that no call has begun to send, with a reason. After a
  crash, the stop can be repeated.
- Only a running step can be paused or stopped. A step that waits for an approval can be refused
  instead.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, func, select

from standfast.errors import UsageError
from standfast.ledger.audit.audited_database import AuditedDatabase
from standfast.ledger.effects.effect_conditions import NEVER, lock_step_rows
from standfast.ledger.effects.effect_rows import EffectRow, scope_of, seal_reason
from standfast.ledger.schema.tables import attempt, effect, notice, step
from standfast.playbook.actions.notices_send import SEND
from standfast.playbook.run_state import HELD_STEP_PREFIX
from standfast.records import EffectState, JsonObject, StepState

_PAGE = 10_000  # rows that one transaction changes


@dataclass(frozen=True, kw_only=True)
class NoticeRow:
    """One round (planning) of a step that sends a notice, with its progress."""

    step: str
    round: int
    template: str
    audience: str
    digest: str  # digest of the plan, which an approval signs
    root: str  # Merkle root of the recipients' digests
    state: StepState
    runs_from: datetime | None  # when the abort window ends
    hold_seconds: int
    counts: dict[EffectState, int]
    waiting: int  # planned messages that wait for the canary
    turned_away: int  # messages that the channel refused
    canary_ended_at: datetime | None  # end of the last call (of the canary, until the release)

    @property
    def is_paused(self) -> bool:
        return self.runs_from == NEVER and self.state is StepState.RUNNING

    def abort_seconds(self, now: datetime) -> int:
        """Return the remaining seconds of the abort window."""
        if self.state is not StepState.RUNNING or self.runs_from is None or self.is_paused:
            return 0
        return max(0, -int((now - self.runs_from) / timedelta(seconds=1)))


class Notices:
    """The notices of all incidents."""

    def __init__(self, database: AuditedDatabase) -> None:
        self._database = database

    def of_incident(self, incident_id: str) -> list[NoticeRow]:
        """Return every round of every notice, in the order of their start."""
        waits = (effect.c.not_before == NEVER) & (effect.c.state == "planned")
        was_tried = effect.c.attempt.is_not(None) & (effect.c.state == "refused")
        kinds = (effect.c.step, effect.c.round, effect.c.state, waits, was_tried)
        counted = (
            select(*kinds, func.count())
            .where(effect.c.incident == incident_id, effect.c.verb == SEND)
            .group_by(*kinds)
        )
        ended = (
            select(effect.c.step, effect.c.round, func.max(attempt.c.ended_at))
            .join(attempt, attempt.c.token == effect.c.attempt)
            .where(effect.c.incident == incident_id, effect.c.verb == SEND)
            .group_by(effect.c.step, effect.c.round)
        )
        rows = (
            select(step, notice.c.template, notice.c.audience, notice.c.root)
            .join(
                notice,
                (notice.c.incident == step.c.incident)
                & (notice.c.step == step.c.name)
                & (notice.c.round == step.c.round),
            )
            .where(step.c.incident == incident_id)
            .order_by(step.c.started_at, step.c.name, step.c.round)
        )
        counts: dict[tuple[str, int], dict[EffectState, int]] = {}
        waiting: dict[tuple[str, int], int] = {}
        turned_away: dict[tuple[str, int], int] = {}
        with self._database.reading() as connection:
            for name, round_, state, is_waiting, is_tried, number in connection.execute(counted):
                by_state = counts.setdefault((name, round_), {})
                by_state[EffectState(state)] = by_state.get(EffectState(state), 0) + number
                if is_waiting:
                    waiting[name, round_] = number
                if is_tried:
                    turned_away[name, round_] = number
            ends = {(name, round_): at for name, round_, at in connection.execute(ended)}
            found = connection.execute(rows).all()
        return [
            NoticeRow(
                step=row.name,
                round=row.round,
                template=row.template,
                audience=row.audience,
                digest=row.digest,
                root=row.root,
                state=StepState(row.state),
                runs_from=row.runs_from,
                hold_seconds=row.hold_seconds,
                counts=counts[row.name, row.round],
                waiting=waiting.get((row.name, row.round), 0),
                turned_away=turned_away.get((row.name, row.round), 0),
                canary_ended_at=ends.get((row.name, row.round)),
            )
            for row in found
            if (row.name, row.round) in counts  # leave out a round without planned messages
        ]

    def pause(self, incident_id: str, step_name: str, actor: str, now: datetime) -> None:
        """Pause a running notice; idempotent."""
        with self._database.write(
            actor=actor, subject=incident_id, action="notice.paused", now=now
        ) as write:
            lock_step_rows(write.connection, incident_id, step_name)
            for row in _running(write.connection, incident_id, step_name):
                write.update(step, (incident_id, step_name, row.round), runs_from=NEVER)
            write.add_detail(step=step_name)

    def resume(self, incident_id: str, step_name: str, actor: str, now: datetime) -> None:
        """Resume a notice; restart its abort window if no call has begun."""
        with self._database.write(
            actor=actor, subject=incident_id, action="notice.resumed", now=now
        ) as write:
            lock_step_rows(write.connection, incident_id, step_name)
            rows = _running(write.connection, incident_id, step_name)
            paused = [row for row in rows if row.runs_from == NEVER]
            if not paused:
                raise UsageError(
                    f"step {step_name!r} of {incident_id}: not paused. Nothing was changed."
                )
            for row in paused:
                key = (incident_id, step_name, row.round)
                wait = 0 if _has_begun(write.connection, *key) else row.hold_seconds
                write.update(step, key, runs_from=now + timedelta(seconds=wait))
            write.add_detail(step=step_name)

    def release(self, incident_id: str, step_name: str, actor: str, now: datetime) -> int:
        """Release the messages that wait for the canary; return their number."""
        changed = 0
        while True:
            with self._database.write(
                actor=actor, subject=incident_id, action="notice.released", now=now
            ) as write:
                page = self._page(write.connection, incident_id, step_name, only_waiting=True)
                write.update_many(
                    effect, [{"token": row.token, "not_before": None} for row in page]
                )
                write.add_detail(step=step_name, recipients=len(page))
            changed += len(page)
            if len(page) < _PAGE:
                return changed

    def stop(self, incident_id: str, step_name: str, why: str, actor: str, now: datetime) -> int:
        """Refuse all messages that were not sent yet; return their number."""
        self.pause(incident_id, step_name, actor, now)
        changed = 0
        while True:
            with self._database.write(
                actor=actor, subject=incident_id, action="notice.stopped", now=now
            ) as write:
                page = self._page(write.connection, incident_id, step_name)
                write.update_many(
                    effect,
                    [
                        {
                            "token": row.token,
                            "state": EffectState.REFUSED.value,
                            "not_before": None,
                            "sealed_reason": seal_reason(
                                self._database.cipher, SEND, incident_id, row.token, why
                            ),
                        }
                        for row in page
                    ],
                )
                write.add_detail(step=step_name, recipients=len(page))
            changed += len(page)
            if len(page) < _PAGE:
                return changed

    def decide_held(
        self, row: EffectRow, facts: JsonObject, reason: str, actor: str, now: datetime
    ) -> bool:
        """Store a person's decision about a held recipient.

        A recipient that gets an individual message stays held, because an approver may refuse that
        message. A recipient that is to be left out must have no individual message and must not be
        left out already; otherwise the method returns False and changes nothing.
        """
        scope = scope_of(SEND, row.incident)
        is_left_out = facts["decision"] == "left out"
        with self._database.write(
            actor=actor, subject=row.incident, action="held.decided", now=now
        ) as write:
            if is_left_out and _has_individual_message(write.connection, row):
                return False
            is_decided = write.update(
                effect,
                (row.token,),
                effect.c.state == EffectState.REFUSED.value,
                *([effect.c.is_parked] if is_left_out else []),
                is_parked=not is_left_out,
                sealed_facts=self._database.cipher.seal(scope, f"effect.facts {row.token}", facts),
                sealed_reason=seal_reason(
                    self._database.cipher, SEND, row.incident, row.token, reason
                ),
            )
            if is_decided:
                write.add_detail(step=row.step, effect=row.token, is_left_out=is_left_out)
            return is_decided

    def discard(self, rows: Sequence[EffectRow], why: str, actor: str, now: datetime) -> int:
        """Refuse prepared letters that a person discards.

        Returns the number of refused letters. A letter whose result was recorded meanwhile is not
        changed.
        """
        discarded = 0
        with self._database.write(
            actor=actor, subject=rows[0].incident, action="letters.record_discarded", now=now
        ) as write:
            waiting = (effect.c.state == EffectState.UNKNOWN.value) & effect.c.is_parked
            for row in rows:
                discarded += write.update(
                    effect,
                    (row.token,),
                    waiting,
                    state=EffectState.REFUSED.value,
                    is_parked=False,
                    sealed_reason=seal_reason(
                        self._database.cipher, SEND, row.incident, row.token, why
                    ),
                )
            if discarded:
                write.add_detail(step=rows[0].step, letters=discarded)
        return discarded

    def next_step(self, incident_id: str, prefix: str) -> str:
        """Return the next unused step name with a prefix, outside the playbook."""
        with self._database.reading() as connection:
            number = connection.scalar(
                select(func.count()).where(
                    step.c.incident == incident_id, step.c.name.startswith(prefix)
                )
            )
        return f"{prefix}{(number or 0) + 1}"

    def _page(
        self, connection: Any, incident_id: str, step_name: str, *, only_waiting: bool = False
    ) -> list[Row[Any]]:
        """Lock and return the next planned messages of a running notice.

        With `only_waiting`, return only messages that wait for the canary.
        """
        running = [row.round for row in _rounds(connection, incident_id, step_name)]
        statement = (
            select(effect.c.token)
            .where(
                effect.c.incident == incident_id,
                effect.c.step == step_name,
                effect.c.round.in_(running),
                effect.c.verb == SEND,
                effect.c.state == "planned",
            )
            .order_by(effect.c.token)
            .limit(_PAGE)
            .with_for_update(of=effect)
        )
        if only_waiting:
            statement = statement.where(effect.c.not_before == NEVER)
        return [*connection.execute(statement)]


def _has_individual_message(connection: Any, row: EffectRow) -> bool:
    """Return whether the recipient has an individual message.

    A message that an approver refused does not count.
    """
    found = connection.scalar(
        select(step.c.name)
        .where(
            step.c.incident == row.incident,
            step.c.name.startswith(f"{HELD_STEP_PREFIX}{row.token[:12]}", autoescape=True),
            step.c.state != StepState.REFUSED.value,
        )
        .limit(1)
    )
    return found is not None


def _rounds(connection: Any, incident_id: str, step_name: str) -> list[Row[Any]]:
    """Return the running rounds of a step."""
    statement = select(step).where(
        step.c.incident == incident_id,
        step.c.name == step_name,
        step.c.state == StepState.RUNNING.value,
    )
    return [*connection.execute(statement)]


def _running(connection: Any, incident_id: str, step_name: str) -> list[Row[Any]]:
    """Return the running rounds of a step; UsageError if there is none."""
    rows = _rounds(connection, incident_id, step_name)
    if not rows:
        raise UsageError(
            f"step {step_name!r} of {incident_id}: no notice is being sent. To refuse one that "
            f"asks for approval: `standfast incident approve {incident_id} {step_name} --refuse "
            "--as PERSON`."
        )
    return rows


def _has_begun(connection: Any, incident_id: str, step_name: str, round_: int) -> bool:
    """Return whether a call has begun to send a message of this round."""
    found = connection.scalar(
        select(effect.c.token)
        .where(
            effect.c.incident == incident_id,
            effect.c.step == step_name,
            effect.c.round == round_,
            effect.c.verb == SEND,
            effect.c.attempt.is_not(None),
        )
        .limit(1)
    )
    return found is not None
