"""Resolution of effects with an unknown outcome.

An effect is one change of one target, such as one locked account. An unknown effect is an effect
whose result was not received, for example because the call took too long. A runner is a process
that executes effects.

Rules
- An effect of a dead runner or of an overdue call becomes `unknown`. Such an effect is never
  repeated before a lookup, which reads the state of the target. The lookup happens after
  `settle_after`, when the call has surely ended.
- If the lookup shows that the effect did not happen, the effect is planned again, a few times at
  most. An effect that cannot be looked up is parked until a provider or a person reports its
  outcome. A failed lookup is repeated at growing intervals.
- A step can end while it has parked effects. If a person reports later that such an effect did not
  happen, the step runs again to execute it.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, select

from standfast.ledger.audit.audited_database import AuditedDatabase
from standfast.ledger.audit.transaction import Write, damaged
from standfast.ledger.effects.effect_rows import EffectRow, seal_reason, seal_reason_of
from standfast.ledger.effects.effect_store import Effects, lock_in_state
from standfast.ledger.schema.tables import attempt, effect, step
from standfast.playbook.actions.people_page import PAGE
from standfast.records import EffectState, Observed, StepState
from standfast.retry_rules import after_observation

_ENDED = (StepState.DONE.value, StepState.PARTIAL.value, StepState.FAILED.value)
_LOST = "the runner ended or the call took too long. The effect may have happened."


def unknown_outcomes_with_prefix(effects: Effects, incident_id: str, name: str) -> list[EffectRow]:
    """Return the unknown effects with a token that begins with `name`."""
    return _unknown(effects, incident_id, effect.c.token.startswith(name, autoescape=True))


def unknown_outcomes_of_step(effects: Effects, incident_id: str, step_name: str) -> list[EffectRow]:
    """Return the unknown effects of a step, from every planning of the step."""
    return _unknown(effects, incident_id, effect.c.step == step_name)


def _unknown(effects: Effects, incident_id: str, condition: Any) -> list[EffectRow]:
    is_unknown = effect.c.state == EffectState.UNKNOWN.value
    return effects.find(effect.c.incident == incident_id, is_unknown, condition)


class UnknownOutcomes:
    """The effects with an unknown outcome, and their resolution."""

    def __init__(self, database: AuditedDatabase) -> None:
        self._database = database

    def expire_calls(
        self, incident_id: str, runner_is_dead: Callable[[str], bool], now: datetime
    ) -> int:
        """Mark effects of dead runners and of overdue calls as unknown.

        Returns the number of marked effects. `runner_is_dead` is called with the id of each runner
        that has an open attempt.
        """
        with self._database.reading() as connection:
            open_attempts = connection.execute(
                select(attempt).where(
                    attempt.c.incident == incident_id,
                    attempt.c.ended_at.is_(None),
                    attempt.c.lapsed_at.is_(None),
                )
            ).all()
        lapsed = [
            row for row in open_attempts if row.settle_after <= now or runner_is_dead(row.runner)
        ]
        if not lapsed:
            return 0
        with self._database.write(
            actor="ledger", subject=incident_id, action="attempts.lapsed", now=now
        ) as write:
            lost = write.connection.execute(
                select(effect.c.token, effect.c.verb)
                .where(
                    effect.c.attempt.in_([row.token for row in lapsed]),
                    effect.c.state == "submitting",
                )
                .order_by(effect.c.token)
                .with_for_update()
            ).all()
            write.update_many(
                effect,
                [
                    {
                        "token": token,
                        "state": EffectState.UNKNOWN.value,
                        "sealed_reason": seal_reason(
                            self._database.cipher, verb, incident_id, token, _LOST
                        ),
                    }
                    for token, verb in lost
                ],
            )
            write.update_many(
                attempt,
                [
                    {
                        "token": row.token,
                        "lapsed_at": now,
                        "settle_after": now if row.is_local else _settles_after(row, now),
                    }
                    for row in lapsed
                ],
            )
            write.add_detail(attempts=len(lapsed), effects=len(lost))
        return len(lost)

    def settle(
        self,
        incident_id: str,
        seen: Sequence[tuple[EffectRow, Observed]],
        actor: str,
        now: datetime,
    ) -> None:
        """Store the observed outcomes of unknown effects."""
        with self._database.write(
            actor=actor, subject=incident_id, action="effects.settled", now=now
        ) as write:
            still = lock_in_state(write, [row for row, _ in seen], "unknown")
            self._refuse_changed_attempts(write, incident_id, still)
            began = _submitted_at(write.connection, still)
            rows = []
            counts: dict[str, int] = {}
            again: set[tuple[str, int]] = set()
            for row, observed in seen:
                if row.token not in still:
                    continue
                verdict = after_observation(
                    observed,
                    tries=row.tries,
                    submitted_at=began.get(row.token, now),
                    now=now,
                    is_parked=row.is_parked,
                )
                state, reason = verdict.state, observed.reason or verdict.reason or ""
                if state is EffectState.PLANNED and row.verb != PAGE:
                    again.add((row.step, row.round))
                counts[state.value] = counts.get(state.value, 0) + 1
                rows.append(
                    {
                        "token": row.token,
                        "state": state.value,
                        "sealed_reason": seal_reason_of(self._database.cipher, row, reason),
                        "is_parked": verdict.is_parked,
                        "not_before": verdict.not_before,
                    }
                )
            write.update_many(effect, rows)
            resume_steps(write, incident_id, again)
            write.add_detail(results=counts)

    def _refuse_changed_attempts(
        self, write: Write, incident_id: str, tokens: Collection[str]
    ) -> None:
        """Raise Damaged if attempts of effects were changed outside this program.

        With a forged time, an effect could be looked up too early and then be executed twice.
        """
        called = select(effect.c.attempt).where(effect.c.token.in_(tokens))
        is_called = attempt.c.token.in_(called)
        if changed := self._database.rows.changed(
            write.connection, attempt, is_called, incident_id=incident_id
        ):
            raise damaged(attempt, changed)


def _settles_after(row: Row[Any], now: datetime) -> datetime:
    """Return when a call has surely ended, even if the clock was set back.

    A `submitted_at` in the future shows that the clock was set back. The returned time is then
    earlier than `settle_after` by this difference.
    """
    ahead: timedelta = max(row.submitted_at - now, timedelta())
    settles_after: datetime = row.settle_after
    return settles_after - ahead


def resume_steps(write: Write, incident_id: str, steps: Iterable[tuple[str, int]]) -> None:
    """Set ended steps back to running, to execute effects planned again."""
    for name, round_ in sorted(steps):
        write.update(
            step,
            (incident_id, name, round_),
            step.c.state.in_(_ENDED),
            state=StepState.RUNNING.value,
            ended_at=None,
            reason="",
            is_accepted=False,
        )


def _submitted_at(connection: Connection, tokens: Collection[str]) -> dict[str, datetime]:
    """Return when each of these effects was last submitted."""
    statement = select(effect.c.token, attempt.c.submitted_at).join(
        attempt, effect.c.attempt == attempt.c.token
    )
    rows = connection.execute(statement.where(effect.c.token.in_(tokens)))
    return {row.token: row.submitted_at for row in rows}
