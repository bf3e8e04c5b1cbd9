"""Attempts: claiming effects, keeping their receipts, and finding out what a crash left unknown.

Rules
- A claim is one transaction: the attempt is inserted and its effects go to `submitting`, and only
  if the incident is open and not halted, its mode is the adapters', the step runs, and its
  approvals verify. No call without a claim.
- `unknown` is never repeated blindly: after `settle_after` it is looked up; what was seen not to
  have happened goes back to `planned`, what nobody can tell is parked for an event or a person.
- The prior state is written once, before the first act. An account that is locked already by an
  effect not undone inherits that effect's prior, so the last undo restores the true beginning.
- A late receipt counts by its attempt's token, unless the effect has been claimed again since.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, Select, exists, or_, select

from standfast.errors import Refused
from standfast.ledger.approvals import holds
from standfast.ledger.core import Core, new_token
from standfast.ledger.effects import (
    NEEDS_PRIOR,
    PAGE,
    Batch,
    EffectRow,
    Effects,
    Lane,
    may_run,
    scope_of,
    with_step,
)
from standfast.ledger.tables import attempt, effect, incident, step
from standfast.ledger.transaction import Write
from standfast.records import (
    EffectState,
    JsonObject,
    Limits,
    Mode,
    Observed,
    Result,
    StepState,
    digest,
)

_MOST_TRIES = 5
_LOOK_AGAIN = timedelta(seconds=2)


class Attempts:
    """What runners do with effects."""

    def __init__(self, core: Core, effects: Effects) -> None:
        self._core = core
        self._effects = effects

    def keep_prior(
        self,
        incident_id: str,
        seen: Sequence[tuple[EffectRow, Observed]],
        runner: str,
        now: datetime,
    ) -> None:
        """Write what was observed as the prior state; name targets that do not exist as refused."""
        with self._core.write(
            actor=f"runner:{runner}",
            subject=incident_id,
            action="effects.observed",
            now=now,
            detail={"count": len(seen)},
        ) as write:
            still = self._still(write, [row for row, _ in seen], "planned", unread=True)
            write.update_many(
                effect,
                [
                    self._prepared(write, row, observed, now)
                    for row, observed in seen
                    if row.token in still
                ],
            )

    def claim(
        self, incident_id: str, lane: Lane, runner: str, mode: Mode, limits: Limits, now: datetime
    ) -> Batch | None:
        """Take up to a batch of due effects of one step; None when there is none to take.

        `mode` is that of the adapters which will carry it: Refused when the incident's is another.
        """
        token = new_token()
        with self._core.write(
            actor=f"runner:{runner}", subject=incident_id, action="attempt.claimed", now=now
        ) as write:
            found = self._claimable(write, incident_id, lane, mode, min(limits.batch, 1000), now)
            if not found:
                return None
            rows = [self._effects.open(row) for row in found]
            tokens = [row.token for row in rows]
            write.tell(
                step=rows[0].step,
                verb=lane.verb,
                connector=lane.connector,
                attempt=token,
                count=len(rows),
            )
            write.insert(
                attempt,
                {
                    "token": token,
                    "incident": incident_id,
                    "runner": runner,
                    "verb": lane.verb,
                    "connector": lane.connector,
                    "size": len(rows),
                    "digest": digest(tokens),
                    "submitted_at": now,
                    "settle_after": now + timedelta(seconds=limits.settle_seconds),
                    "is_local": limits.is_local,
                    "lapsed_at": None,
                    "ended_at": None,
                },
            )
            write.update_many(
                effect,
                [
                    {
                        "token": row.token,
                        "state": EffectState.SUBMITTING.value,
                        "attempt": token,
                        "tries": row.tries + 1,
                        "not_before": None,
                    }
                    for row in rows
                ],
            )
        return Batch(attempt=token, incident=incident_id, lane=lane, effects=tuple(rows))

    def receipt(self, batch: Batch, results: Sequence[Result], runner: str, now: datetime) -> None:
        """Write what the call came to; a receipt that comes late still counts."""
        with self._core.write(
            actor=f"runner:{runner}", subject=batch.incident, action="attempt.ended", now=now
        ) as write:
            ours = {
                row.token: row
                for row in write.connection.execute(
                    select(effect.c.token, effect.c.tries)
                    .where(
                        effect.c.attempt == batch.attempt,
                        effect.c.state.in_(("submitting", "unknown", "planned")),
                    )
                    .with_for_update()
                )
            }
            counts: dict[str, int] = {}
            rows = []
            for row, result in zip(batch.effects, results, strict=True):
                if row.token in ours:
                    change = self._after(row, result, ours[row.token].tries, now)
                    rows.append(change)
                    counts[change["state"]] = counts.get(change["state"], 0) + 1
            write.update_many(effect, rows)
            write.update(attempt, (batch.attempt,), ended_at=now)
            write.tell(
                attempt=batch.attempt,
                verb=batch.lane.verb,
                connector=batch.lane.connector,
                results=counts,
            )

    def lapse(self, incident_id: str, runner_is_dead: Callable[[str], bool], now: datetime) -> int:
        """Mark as unknown what dead runners or overdue calls left behind; give the number.

        `runner_is_dead(runner id) -> bool` is asked for each runner with an open attempt.
        """
        with self._core.reading() as connection:
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
        with self._core.write(
            actor="ledger", subject=incident_id, action="attempts.lapsed", now=now
        ) as write:
            tokens = write.connection.scalars(
                select(effect.c.token)
                .where(
                    effect.c.attempt.in_([row.token for row in lapsed]),
                    effect.c.state == "submitting",
                )
                .with_for_update()
            ).all()
            write.update_many(
                effect,
                [
                    {
                        "token": token,
                        "state": EffectState.UNKNOWN.value,
                        "reason": "the runner died or the call took too long; it may have happened",
                    }
                    for token in tokens
                ],
            )
            write.update_many(
                attempt,
                [
                    {
                        "token": row.token,
                        "lapsed_at": now,
                        "settle_after": now if row.is_local else row.settle_after,
                    }
                    for row in lapsed
                ],
            )
            write.tell(attempts=len(lapsed), effects=len(tokens))
        return len(tokens)

    def settle(
        self,
        incident_id: str,
        seen: Sequence[tuple[EffectRow, Observed]],
        actor: str,
        now: datetime,
    ) -> None:
        """Write what a look at unknown effects showed."""
        with self._core.write(
            actor=actor, subject=incident_id, action="effects.settled", now=now
        ) as write:
            still = self._still(write, [row for row, _ in seen], "unknown")
            rows = []
            counts: dict[str, int] = {}
            for row, observed in seen:
                if row.token not in still:
                    continue
                state, reason = _SETTLED[observed.happened]
                not_before = None
                if not observed.is_readable:
                    state, not_before = EffectState.UNKNOWN, now + _LOOK_AGAIN
                counts[state.value] = counts.get(state.value, 0) + 1
                rows.append(
                    {
                        "token": row.token,
                        "state": state.value,
                        "reason": observed.reason or reason,
                        "is_parked": state is EffectState.UNKNOWN and not_before is None,
                        "not_before": not_before,
                    }
                )
            write.update_many(effect, rows)
            write.tell(results=counts)

    def retry(self, incident_id: str, step_name: str | None, actor: str, now: datetime) -> int:
        """Plan again what failed, in one step or in all; give the number."""
        with self._core.write(
            actor=actor, subject=incident_id, action="effects.retried", now=now
        ) as write:
            statement = select(effect.c.token, effect.c.step, effect.c.round).where(
                effect.c.incident == incident_id, effect.c.state == "failed"
            )
            if step_name is not None:
                statement = statement.where(effect.c.step == step_name)
            found = write.connection.execute(statement.with_for_update()).all()
            write.update_many(
                effect,
                [
                    {"token": row.token, "state": EffectState.PLANNED.value}
                    | {"reason": "", "tries": 0, "not_before": None}
                    for row in found
                ],
            )
            for name, round_ in {(row.step, row.round) for row in found}:
                write.update(
                    step,
                    (incident_id, name, round_),
                    state=StepState.RUNNING.value,
                    ended_at=None,
                    reason="",
                    is_accepted=False,
                )
            write.tell(count=len(found))
        return len(found)

    def _prepared(
        self, write: Write, row: EffectRow, observed: Observed, now: datetime
    ) -> dict[str, Any]:
        """Give what a look makes of an effect that waited for its prior state."""
        change: dict[str, Any] = {
            "token": row.token,
            "state": EffectState.PLANNED.value,
            "reason": "",
            "tries": row.tries,
            "not_before": None,
            "sealed_prior": None,
        }
        if not observed.is_readable:
            change |= {"reason": observed.reason, "tries": row.tries + 1}
            if change["tries"] < _MOST_TRIES:
                change["not_before"] = now + _LOOK_AGAIN
            else:
                change["state"] = EffectState.FAILED.value
        elif not observed.exists:
            change |= {"state": EffectState.REFUSED.value, "reason": "no such account"}
        else:
            prior = self._inherited(write.connection, row) or observed.state
            change["sealed_prior"] = self._core.vault.seal(
                scope_of(row.verb, row.incident), "effect.prior", prior
            )
        return change

    def _inherited(self, connection: Connection, row: EffectRow) -> JsonObject | None:
        """The prior state that an earlier lock of the same account, not undone, had found."""
        undo = effect.alias("undo")
        earlier = connection.scalar(
            select(effect.c.sealed_prior)
            .where(
                effect.c.handle == row.handle,
                effect.c.verb.in_(NEEDS_PRIOR),
                effect.c.token != row.token,
                effect.c.state.in_(("done", "submitting", "unknown")),
                effect.c.sealed_prior.is_not(None),
                ~exists().where(undo.c.undoes == effect.c.token, undo.c.state == "done"),
            )
            .limit(1)
        )
        scope = scope_of(row.verb, row.incident)
        return None if earlier is None else self._core.vault.open(scope, "effect.prior", earlier)

    def _claimable(
        self, write: Write, incident_id: str, lane: Lane, mode: Mode, most: int, now: datetime
    ) -> list[Row[Any]]:
        connection = write.connection
        # FOR SHARE: a `stop` waits for the claims before it, and every claim after it sees it.
        place = connection.execute(
            select(incident.c.state, incident.c.is_halted, incident.c.mode)
            .where(incident.c.id == incident_id)
            .with_for_update(read=True)
        ).first()
        if place is None or place.state != "open" or place.is_halted:
            return []
        if place.mode != mode:
            raise Refused(f"incident {incident_id} is {place.mode}; these adapters are {mode}")
        statement: Select[Any] = (
            select(effect)
            .select_from(with_step())
            .where(
                effect.c.incident == incident_id,
                effect.c.state == "planned",
                effect.c.verb == lane.verb,
                effect.c.connector == lane.connector,
                or_(effect.c.not_before.is_(None), effect.c.not_before <= now),
                may_run(now),
            )
            .order_by(effect.c.step, effect.c.round, effect.c.position)
            .limit(most)
            .with_for_update(skip_locked=True, of=effect)
        )
        if lane.verb in NEEDS_PRIOR:
            statement = statement.where(effect.c.sealed_prior.is_not(None))
        found = [*connection.execute(statement)]
        first = found[:1]
        same_step = [
            row for row in found if (row.step, row.round) == (first[0].step, first[0].round)
        ]
        if same_step and lane.verb != PAGE:
            holds(self._core, connection, incident_id, same_step[0].step, same_step[0].round)
        return same_step

    def _still(
        self, write: Write, rows: Sequence[EffectRow], state: str, *, unread: bool = False
    ) -> set[str]:
        """Of these effects, the ones that are still in `state`, locked until the end."""
        statement = select(effect.c.token).where(
            effect.c.token.in_([row.token for row in rows]), effect.c.state == state
        )
        if unread:
            statement = statement.where(effect.c.sealed_prior.is_(None))
        return set(write.connection.scalars(statement.with_for_update()))

    def _after(self, row: EffectRow, result: Result, tries: int, now: datetime) -> dict[str, Any]:
        state, not_before = result.state, None
        wait = result.retry_after_seconds
        if state is EffectState.FAILED and wait is not None and tries < _MOST_TRIES:
            state, not_before = EffectState.PLANNED, now + timedelta(seconds=wait)
        return {
            "token": row.token,
            "state": state.value,
            "not_before": not_before,
            "reason": result.reason,
            "proof": result.proof.value,
            "is_parked": False,
            "sealed_facts": self._core.vault.seal(
                scope_of(row.verb, row.incident), "effect.facts", result.facts
            ),
        }


_SETTLED = {
    True: (EffectState.DONE, "looked up after an interruption: it had happened"),
    False: (EffectState.PLANNED, "looked up after an interruption: it had not happened"),
    None: (EffectState.UNKNOWN, "nobody can tell whether it happened; a person must say"),
}
