"""Attempts of effects: claim, receipt, retry; columns after a call.

An effect is one planned change of one target, such as one account to lock. An attempt is one call
of an adapter for several effects of a step. A claim reserves these effects for the process that
makes the call, and a receipt is the stored result of the call.

Rules
- A claim is one transaction before the call: it inserts the attempt and sets the state of its
  effects to `submitting`. No call is made without a claim. The module `claims` contains the
  conditions of a claim.
- An action on a locked account, such as a test of its lock, receives the state of the account
  before the lock (its prior state), which identifies the account. So the action never affects
  another account that has the same name now.
- If an approval is no longer valid at a claim, for example because the approver was removed, the
  step asks for approval again.
- A late receipt is stored too, except for effects that another attempt has claimed since.
- If it is unknown whether the commit of a claim succeeded, no call is made for the claim, and the
  claim is released immediately.
"""

import secrets
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, select, update

from standfast.errors import StandfastError, Unavailable
from standfast.ledger.approvals.row_seals import seal_of_step
from standfast.ledger.audit.audited_database import AuditedDatabase
from standfast.ledger.effects.claims import ApprovalLapsed, claimable
from standfast.ledger.effects.effect_conditions import (
    LOCKED_ACCOUNT_VERBS,
    is_lock_of,
    is_step_round,
    is_superseded_undo,
    lock_step_rows,
)
from standfast.ledger.effects.effect_rows import (
    Batch,
    EffectQueue,
    EffectRow,
    scope_of,
    seal_effect,
    seal_reason_of,
)
from standfast.ledger.effects.effect_store import Effects
from standfast.ledger.effects.prior_states import PriorStates, last_prior
from standfast.ledger.effects.unknown_outcomes import resume_steps
from standfast.ledger.schema.row_ids import new_token
from standfast.ledger.schema.tables import as_stored, attempt, effect, step
from standfast.playbook.actions.people_page import PAGE
from standfast.playbook.planned_effects import NO_SETTINGS, Draft, Settings
from standfast.records import EffectState, Limits, Mode, Result, StepState, canonical, digest
from standfast.retry_rules import after_call, settles_at

_BEGIN = (
    update(effect)
    .where(effect.c.token.in_(bindparam("keys", expanding=True)))
    .values(
        state=EffectState.SUBMITTING.value,
        attempt=bindparam("attempt_token"),
        tries=effect.c.tries + 1,
        not_before=None,
    )
    .returning(*as_stored(effect))
)


class Attempts:
    """Claims, receipts and retries of effects."""

    def __init__(
        self, database: AuditedDatabase, effects: Effects, prior_states: PriorStates
    ) -> None:
        self._database = database
        self._effects = effects
        self._prior_states = prior_states

    def claim(
        self,
        incident_id: str,
        queue: EffectQueue,
        runner: str,
        mode: Mode,
        limits: Limits,
        now: datetime,
        *,
        settings: Settings = NO_SETTINGS,
    ) -> Batch | None:
        """Claim due effects of one step, at most one batch; None if none is due.

        `mode` is the mode of the adapters. Raise Refused if the incident has another mode.

        Raise ApprovalRefused, and let the step ask for approval again, in two cases:
        - An approval is no longer valid, for example because the approver was removed. The other
          approvals stay valid.
        - The `settings` of an adapter differ from the approved settings. Every earlier approval
          becomes void.
        """
        token = new_token()
        try:
            return self._claim(token, incident_id, queue, runner, mode, limits, now, settings)
        except Unavailable:
            # If the release fails too, `expire_calls` later sets the effects to `unknown`.
            with suppress(StandfastError):
                self._release(token, incident_id, runner, now)
            raise
        except ApprovalLapsed as lapsed:
            self._ask_again(lapsed, now)
            raise

    def _ask_again(self, lapsed: ApprovalLapsed, now: datetime) -> None:
        """Set a step back to `asking`; a changed plan voids earlier approvals."""
        incident_id, name, _ = lapsed.step_key
        with self._database.write(
            actor="ledger", subject=incident_id, action="approval.lapsed", now=now
        ) as write:
            lock_step_rows(write.connection, incident_id, name)
            asking: dict[str, Any] = {"state": StepState.ASKING.value, "is_asked": False}
            named = is_step_round(*lapsed.step_key)
            row = write.connection.execute(select(step).where(*named)).mappings().one()
            if lapsed.plan is not None:
                asking |= {
                    "plan": canonical(lapsed.plan).decode(),
                    "digest": digest(lapsed.plan),
                    "nonce": secrets.token_hex(16),
                    "runs_from": None,
                    "reason": "; ".join(filter(None, (row["reason"], str(lapsed)))),
                }
                asking["seal"] = seal_of_step(self._database, {**row, **asking})
            is_running = step.c.state == StepState.RUNNING.value
            if write.update(step, lapsed.step_key, is_running, **asking):
                write.add_detail(step=name, why=str(lapsed))

    def _claim(
        self,
        token: str,
        incident_id: str,
        queue: EffectQueue,
        runner: str,
        mode: Mode,
        limits: Limits,
        now: datetime,
        settings: Settings,
    ) -> Batch | None:
        with self._database.write(
            actor=f"runner:{runner}", subject=incident_id, action="attempt.claimed", now=now
        ) as write:
            found = claimable(
                self._database,
                write,
                incident_id,
                queue,
                mode,
                min(limits.batch, 1000),
                now,
                settings,
            )
            if not found:
                return None
            rows = [self._effects.decrypt(row) for row in found]
            if queue.verb in LOCKED_ACCOUNT_VERBS:
                earlier = self._prior_states.find_prior_states(
                    write.connection, rows, is_lock_of(incident_id)
                )
                rows = [replace(row, prior=last_prior(earlier[row.handle])) for row in rows]
            tokens = [row.token for row in rows]
            write.add_detail(
                step=rows[0].step,
                verb=queue.verb,
                connector=queue.connector,
                attempt=token,
                count=len(rows),
            )
            write.insert(
                attempt,
                {
                    "token": token,
                    "incident": incident_id,
                    "runner": runner,
                    "verb": queue.verb,
                    "connector": queue.connector,
                    "size": len(rows),
                    "digest": digest(tokens),
                    "submitted_at": now,
                    "settle_after": settles_at(limits, now),
                    "is_local": limits.is_local,
                    "lapsed_at": None,
                    "ended_at": None,
                },
            )
            write.change_all(effect, _BEGIN, [(row.token,) for row in rows], attempt_token=token)
        return Batch(attempt=token, incident=incident_id, queue=queue, effects=tuple(rows))

    def _release(self, token: str, incident_id: str, runner: str, now: datetime) -> None:
        """Set the effects of an unconfirmed claim back to planned."""
        actor, action = f"runner:{runner}", "attempt.given_back"
        with self._database.write(
            actor=actor, subject=incident_id, action=action, now=now
        ) as write:
            write.exclude_writers()  # wait until the commit of the claim has ended
        with self._database.write(
            actor=actor, subject=incident_id, action=action, now=now
        ) as write:
            taken = write.connection.execute(
                select(effect.c.token, effect.c.tries)
                .where(effect.c.attempt == token, effect.c.state == EffectState.SUBMITTING.value)
                .order_by(effect.c.token)
                .with_for_update()
            ).all()
            if not taken:
                return
            planned = EffectState.PLANNED.value
            write.update_many(
                effect,
                [{"token": row.token, "state": planned, "tries": row.tries - 1} for row in taken],
            )
            write.update(attempt, (token,), ended_at=now)
            write.add_detail(attempt=token, count=len(taken))

    def receipt(
        self,
        batch: Batch,
        results: Sequence[Result],
        runner: str,
        now: datetime,
        *,
        hand_on: str | None = None,
    ) -> None:
        """Store the results of a call, even if they arrive late.

        `hand_on` is the name of another adapter. Effects that failed permanently, or that only the
        called adapter refused, are then planned again for the other adapter. Effects with an
        unknown outcome are not planned again.
        """
        with self._database.write(
            actor=f"runner:{runner}", subject=batch.incident, action="attempt.ended", now=now
        ) as write:
            ours = {
                row.token: row
                for row in write.connection.execute(
                    select(effect.c.token, effect.c.tries)
                    .where(
                        effect.c.attempt == batch.attempt,
                        effect.c.state.in_(("submitting", "unknown", "planned", "failed")),
                    )
                    .order_by(effect.c.token)  # the order of all row locks, to avoid deadlocks
                    .with_for_update()
                )
            }
            counts: dict[str, int] = {}
            rows = []
            for row, result in zip(batch.effects, results, strict=True):
                if row.token in ours:
                    change = self._columns_after_call(
                        row, result, ours[row.token].tries, now, hand_on
                    )
                    rows.append(change)
                    counts[change["state"]] = counts.get(change["state"], 0) + 1
            # The rows need no verification: each column that could have been manipulated after the
            # claim is overwritten or encrypted.
            write.update_many(effect, rows, is_checked=True)
            planned = {change["token"] for change in rows if change["state"] == "planned"}
            again = {(row.step, row.round) for row in batch.effects if row.token in planned}
            if batch.queue.verb != PAGE:
                resume_steps(write, batch.incident, again)
            write.update(attempt, (batch.attempt,), ended_at=now)
            write.add_detail(
                attempt=batch.attempt,
                verb=batch.queue.verb,
                connector=batch.queue.connector,
                results=counts,
            )

    def retry(
        self,
        incident_id: str,
        step_name: str | None,
        actor: str,
        now: datetime,
        *,
        excluded: Collection[str] = (),
    ) -> int:
        """Set failed effects back to planned, and return their number.

        Effects whose token is in `excluded` stay failed.
        """
        with self._database.write(
            actor=actor, subject=incident_id, action="effects.retried", now=now
        ) as write:
            statement = select(effect.c.token, effect.c.step, effect.c.round, effect.c.verb).where(
                effect.c.incident == incident_id,
                effect.c.state == "failed",
                ~is_superseded_undo(incident_id),
            )
            if step_name is not None:
                statement = statement.where(effect.c.step == step_name)
            ordered = statement.order_by(effect.c.token)
            failed = write.connection.execute(ordered.with_for_update()).all()
            found = [row for row in failed if row.token not in excluded]
            write.update_many(
                effect,
                [
                    {"token": row.token, "state": EffectState.PLANNED.value}
                    | {"sealed_reason": None, "tries": 0, "not_before": None}
                    for row in found
                ],
            )
            # A page (a message that asks for approval) belongs to a step that waits: sending the
            # page again must not start the step.
            for name, round_ in sorted({(r.step, r.round) for r in found if r.verb != PAGE}):
                write.update(
                    step,
                    (incident_id, name, round_),
                    state=StepState.RUNNING.value,
                    ended_at=None,
                    reason="",
                    is_accepted=False,
                )
            write.add_detail(count=len(found))
        return len(found)

    def _columns_after_call(
        self, row: EffectRow, result: Result, tries: int, now: datetime, hand_on: str | None
    ) -> dict[str, Any]:
        verdict = after_call(result, tries=tries, now=now, has_failover=hand_on is not None)
        reason, connector = result.reason, row.connector
        if hand_on is not None and verdict.is_handed_on:
            reason, connector = f"{connector}: {reason}; handed on to {hand_on}", hand_on
        moved = {} if hand_on is None else self._moved_columns(row, connector)
        return {
            "token": row.token,
            "state": verdict.state.value,
            **moved,
            "tries": verdict.tries,
            "not_before": verdict.not_before,
            "sealed_reason": seal_reason_of(self._database.cipher, row, reason),
            "proof": result.proof.value,
            "is_parked": verdict.is_parked,
            "sealed_facts": self._database.cipher.seal(
                scope_of(row.verb, row.incident), f"effect.facts {row.token}", result.facts
            ),
        }

    def _moved_columns(self, row: EffectRow, connector: str) -> dict[str, Any]:
        """Return the column values that move an effect to another adapter."""
        target, details = row.target, canonical(row.details)
        draft = Draft(verb=row.verb, connector=connector, target=target, undoes=row.undoes)
        sealed = seal_effect(self._database.cipher, row.incident, row.token, draft, details)
        return {"connector": connector, "sealed": sealed}
