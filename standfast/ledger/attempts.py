"""Attempts: claiming effects, keeping their receipts, and finding out what a crash left unknown.

Rules
- A claim is one transaction: the attempt is inserted and its effects go to `submitting`. What may
  be claimed is `claims`' affair. No call without a claim.
- `unknown` is never repeated blindly: after `settle_after` it is looked up; what was seen not to
  have happened goes back to `planned`, what nobody can tell is parked for an event or a person.
- The prior state is written once, before the first act. An account that is locked already by an
  open incident's effect, not undone, inherits that effect's prior, so that the last undo restores
  the true beginning. A closed incident lends nothing: its accounts were left as they were.
- Approvals that no longer verify at a claim (a person was removed) put the step back to asking.
- A late receipt counts by its attempt's token, unless the effect has been claimed again since.
"""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, select

from standfast.ledger.claims import Lapsed, claimable
from standfast.ledger.core import Core, new_token
from standfast.ledger.effects import (
    PAGE,
    Batch,
    EffectRow,
    Effects,
    Lane,
    is_held,
    scope_of,
    seal_reason,
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
_LOST = "the runner died or the call took too long; it may have happened"
_LONGEST_WAIT_SECONDS = 86_400.0  # no provider's word postpones an act for longer than a day


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
        ApprovalRefused when approvals no longer verify (a person was removed since): the step then
        asks again, and the approvals that still count do count.
        """
        try:
            return self._claim(incident_id, lane, runner, mode, limits, now)
        except Lapsed as lapsed:
            with self._core.write(
                actor="ledger", subject=incident_id, action="approval.lapsed", now=now
            ) as write:
                is_running = step.c.state == StepState.RUNNING.value
                asking = {"state": StepState.ASKING.value, "is_asked": False}
                if write.update(step, lapsed.step_key, is_running, **asking):
                    write.tell(step=lapsed.step_key[1], why=str(lapsed))
            raise

    def _claim(
        self, incident_id: str, lane: Lane, runner: str, mode: Mode, limits: Limits, now: datetime
    ) -> Batch | None:
        token = new_token()
        with self._core.write(
            actor=f"runner:{runner}", subject=incident_id, action="attempt.claimed", now=now
        ) as write:
            found = claimable(
                self._core, write, incident_id, lane, mode, min(limits.batch, 1000), now
            )
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
                    .order_by(effect.c.token)  # whoever locks several does it in this order
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
                            self._core.vault, verb, incident_id, token, _LOST
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
                        "settle_after": now if row.is_local else row.settle_after,
                    }
                    for row in lapsed
                ],
            )
            write.tell(attempts=len(lapsed), effects=len(lost))
        return len(lost)

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
            began = _submitted_at(write.connection, still)
            rows = []
            counts: dict[str, int] = {}
            for row, observed in seen:
                if row.token not in still:
                    continue
                state, reason = _SETTLED[observed.happened]
                not_before = None
                if not observed.is_readable:
                    # Twice as long each time: a directory that is down for a night is no reason
                    # for a runner to sit and ask.
                    silent = now - began.get(row.token, now)
                    state, not_before = EffectState.UNKNOWN, now + max(_LOOK_AGAIN, silent)
                elif (
                    state is EffectState.PLANNED and row.tries >= _MOST_TRIES and not row.is_parked
                ):
                    state = EffectState.FAILED
                    reason = f"tried {row.tries} times, and looked up each time: it never happened"
                counts[state.value] = counts.get(state.value, 0) + 1
                rows.append(
                    {
                        "token": row.token,
                        "state": state.value,
                        "sealed_reason": self._sealed_reason(row, observed.reason or reason),
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
            statement = select(effect.c.token, effect.c.step, effect.c.round, effect.c.verb).where(
                effect.c.incident == incident_id, effect.c.state == "failed"
            )
            if step_name is not None:
                statement = statement.where(effect.c.step == step_name)
            ordered = statement.order_by(effect.c.token)
            found = write.connection.execute(ordered.with_for_update()).all()
            write.update_many(
                effect,
                [
                    {"token": row.token, "state": EffectState.PLANNED.value}
                    | {"sealed_reason": None, "tries": 0, "not_before": None}
                    for row in found
                ],
            )
            # A page runs while its step asks, and its going out again must not start the step.
            for name, round_ in sorted({(r.step, r.round) for r in found if r.verb != PAGE}):
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
            "sealed_reason": None,
            "tries": row.tries,
            "not_before": None,
            "sealed_prior": None,
        }
        if not observed.is_readable:
            change["sealed_reason"] = self._sealed_reason(row, observed.reason)
            change["tries"] = row.tries + 1
            if change["tries"] < _MOST_TRIES:
                change["not_before"] = now + _LOOK_AGAIN
            else:
                change["state"] = EffectState.FAILED.value
        elif not observed.exists:
            change["state"] = EffectState.REFUSED.value
            change["sealed_reason"] = self._sealed_reason(row, "no such account")
        else:
            prior = self._inherited(write.connection, row) or observed.state
            change["sealed_prior"] = self._core.vault.seal(
                scope_of(row.verb, row.incident), f"effect.prior {row.token}", prior
            )
        return change

    def _inherited(self, connection: Connection, row: EffectRow) -> JsonObject | None:
        """The prior state that an earlier lock of the same account, not undone, had found."""
        mine = incident.alias("mine")
        earlier = connection.execute(
            select(effect.c.token, effect.c.sealed_prior)
            .join(incident, incident.c.id == effect.c.incident)
            .join(mine, (mine.c.id == row.incident) & (mine.c.mode == incident.c.mode))
            .where(
                effect.c.handle == row.handle,
                effect.c.token != row.token,
                effect.c.sealed_prior.is_not(None),
                incident.c.state == "open",
                is_held(),
            )
            .limit(1)
        ).first()
        if earlier is None:
            return None
        scope = scope_of(row.verb, row.incident)
        place = f"effect.prior {earlier.token}"
        return self._core.vault.open(scope, place, earlier.sealed_prior)

    def _still(
        self, write: Write, rows: Sequence[EffectRow], state: str, *, unread: bool = False
    ) -> set[str]:
        """Of these effects, the ones that are still in `state`, locked until the end."""
        statement = select(effect.c.token).where(
            effect.c.token.in_([row.token for row in rows]), effect.c.state == state
        )
        if unread:
            statement = statement.where(effect.c.sealed_prior.is_(None))
        return set(write.connection.scalars(statement.order_by(effect.c.token).with_for_update()))

    def _sealed_reason(self, row: EffectRow, reason: str) -> bytes | None:
        return seal_reason(self._core.vault, row.verb, row.incident, row.token, reason)

    def _after(self, row: EffectRow, result: Result, tries: int, now: datetime) -> dict[str, Any]:
        state, not_before = result.state, None
        wait = result.retry_after_seconds
        if state is EffectState.FAILED and wait is not None and tries < _MOST_TRIES:
            seconds = min(max(wait, 0.0), _LONGEST_WAIT_SECONDS)
            state, not_before = EffectState.PLANNED, now + timedelta(seconds=seconds)
        return {
            "token": row.token,
            "state": state.value,
            "not_before": not_before,
            "sealed_reason": self._sealed_reason(row, result.reason),
            "proof": result.proof.value,
            "is_parked": False,
            "sealed_facts": self._core.vault.seal(
                scope_of(row.verb, row.incident), f"effect.facts {row.token}", result.facts
            ),
        }


def _submitted_at(connection: Connection, tokens: Collection[str]) -> dict[str, datetime]:
    """Give when each of these effects was last handed to its call."""
    statement = select(effect.c.token, attempt.c.submitted_at).join(
        attempt, effect.c.attempt == attempt.c.token
    )
    rows = connection.execute(statement.where(effect.c.token.in_(tokens)))
    return {row.token: row.submitted_at for row in rows}


_SETTLED = {
    True: (EffectState.DONE, "looked up after an interruption: it had happened"),
    False: (EffectState.PLANNED, "looked up after an interruption: it had not happened"),
    None: (EffectState.UNKNOWN, "nobody can tell whether it happened; a person must say"),
}
