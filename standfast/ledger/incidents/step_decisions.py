"""Stored decisions about steps: approvals, refusals, answers.

A step is one part of a playbook, such as an action or a question. Each planning of a step is a
round, with one row in the table `step`. The rules of approvals are in the package `approvals`, the
transitions of steps in `step_transitions`.

A break-glass approval is the approval by one person alone, with a waiting time and a later review.

Rules
- An invalid decision is refused, and the timeline of the incident shows the attempt.
- The transaction that stores an approval locks the rows of the step and then counts the valid
  approvals. So no approval is overlooked if two people approve at the same time.
"""

import json
from collections.abc import Collection
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, desc, select

from standfast.errors import ApprovalRefused, UsageError
from standfast.ledger.approvals import two_person_rule
from standfast.ledger.approvals.decisions import APPROVE, BREAK_GLASS, REFUSE
from standfast.ledger.approvals.objections import objection
from standfast.ledger.approvals.row_seals import refuse_forged_step, seal_of_step
from standfast.ledger.approvals.two_person_rule import Question
from standfast.ledger.audit.audited_database import AuditedDatabase
from standfast.ledger.audit.transaction import Key, Write
from standfast.ledger.effects.effect_conditions import (
    is_only_unknown,
    is_step_round,
    lock_step_rows,
)
from standfast.ledger.incidents.step_plans import new_step_row
from standfast.ledger.incidents.step_views import answer_context
from standfast.ledger.schema.column_encryption import INSTALLATION
from standfast.ledger.schema.tables import approval, effect, step
from standfast.records import StepState

_WHOLE = (StepState.DONE, StepState.SKIPPED)


class StepDecisions:
    """The decisions about the steps of all incidents."""

    def __init__(self, database: AuditedDatabase) -> None:
        self._database = database

    def question(self, incident_id: str, step_name: str) -> Question:
        """Return the step's question to its approvers; UsageError without one."""
        with self._database.reading() as connection:
            return two_person_rule.question(self._database, connection, incident_id, step_name)

    def roles(self, incident_id: str, step_name: str) -> tuple[str, ...]:
        """Return the roles that may approve the newest plan; empty: every role."""
        with self._database.reading() as connection:
            found = latest(connection, incident_id, step_name)
        return tuple(json.loads(found.roles)) if found else ()

    def reject(
        self, incident_id: str, step_name: str, person: str, why: str, now: datetime
    ) -> None:
        """Record that a person may not decide about a step, and why."""
        with self._database.write(
            actor=person, subject=incident_id, action="word.rejected", now=now
        ) as write:
            write.add_detail(step=step_name, why=why)

    def objection(
        self,
        incident_id: str,
        person: str,
        roles: Collection[str],
        now: datetime,
        *,
        as_what: str = APPROVE,
    ) -> str:
        """Return why this person may not decide about a step now, or "".

        `roles` are the roles that may approve, as the method `roles` returns them. `as_what` is the
        kind of decision (`approvals.decisions`).
        """
        with self._database.reading() as connection:
            return objection(
                self._database, connection, incident_id, person, roles, now, as_what=as_what
            )

    def decide(
        self,
        incident_id: str,
        step_name: str,
        person: str,
        decision: str,
        signature: str,
        now: datetime,
        *,
        because: str = "",
    ) -> Question:
        """Store a signed decision; return the updated question.

        ApprovalRefused if the decision is invalid; the timeline shows the attempt. `because` is the
        reason of a break-glass approval, for the timeline.
        """
        try:
            return self._decide(incident_id, step_name, person, decision, signature, now, because)
        except ApprovalRefused as error:
            with self._database.write(
                actor=person, subject=incident_id, action="approval.rejected", now=now
            ) as write:
                write.add_detail(step=step_name, why=str(error))
            raise

    def _decide(
        self,
        incident_id: str,
        step_name: str,
        person: str,
        decision: str,
        signature: str,
        now: datetime,
        because: str,
    ) -> Question:
        with self._database.write(
            actor=person, subject=incident_id, action=f"approval.{decision}", now=now
        ) as write:
            connection = write.connection
            lock_step_rows(connection, incident_id, step_name)
            asked = two_person_rule.question(self._database, connection, incident_id, step_name)
            two_person_rule.refuse_unfit(
                self._database, connection, asked, person, decision, signature, now
            )
            step_key = (incident_id, step_name, asked.round)
            found = (
                connection.execute(select(step).where(*is_step_round(*step_key))).mappings().one()
            )
            is_review = found["state"] != StepState.ASKING
            is_break_glass = decision == BREAK_GLASS
            if is_break_glass and is_review:
                raise ApprovalRefused(
                    f"step {step_name!r}: has begun already. It needs no break-glass approval."
                )
            key = (*step_key, person)
            changed = {"decision": decision, "signature": signature, "decided_at": now}
            row = dict(zip(("incident", "step", "round", "person"), key, strict=True))
            is_new = write.insert_new(
                approval, {**row, **changed, "digest": asked.digest, "nonce": asked.nonce}
            )
            if not is_new and not self._replace_decision(write, key, changed, asked):
                raise ApprovalRefused(
                    f"step {step_name!r}: {person!r} has decided already. Another person must "
                    "decide."
                )
            if is_review:
                write.add_detail(step=step_name, digest=asked.digest, is_review=True)
                return asked
            had_break_glass = asked.opens_at is not None
            asked = two_person_rule.question(self._database, connection, incident_id, step_name)
            if decision == REFUSE:
                write.update(
                    step,
                    step_key,
                    state=StepState.REFUSED.value,
                    ended_at=now,
                    reason=f"refused by {person}",
                )
            elif asked.given >= asked.needed:
                write.update(
                    step,
                    step_key,
                    state=StepState.RUNNING.value,
                    runs_from=now + timedelta(seconds=asked.hold_seconds),
                    seal=seal_of_step(self._database, found),
                )
            elif is_break_glass and not had_break_glass:
                # Only the first valid break-glass approval sets the start time of the step.
                at = now + two_person_rule.BREAK_GLASS_DELAY
                seal = seal_of_step(self._database, found, at)
                write.update(step, step_key, runs_from=at, seal=seal)
                asked = replace(asked, opens_at=at)
            write.add_detail(
                step=step_name,
                digest=asked.digest,
                given=asked.given,
                needed=asked.needed,
                **({"because": because} if because else {}),
            )
        return asked

    def _replace_decision(
        self, write: Write, key: Key, changed: dict[str, Any], asked: Question
    ) -> bool:
        """Replace a person's earlier decision; False if it must stay.

        A person that approved may change the approval to a break-glass approval. Any decision may
        replace a void decision, such as one that a removed passkey signed.
        """
        if two_person_rule.is_void(self._database, write.connection, key, asked):
            write.add_detail(replaces_void=True)
            about = {"digest": asked.digest, "nonce": asked.nonce}
            return write.replace(approval, key, **changed, **about)
        earlier = two_person_rule.void_signature(self._database, write.connection, key)
        if earlier:
            # Keep the void signature: the step may have made changes while it was valid.
            write.add_detail(instead_of=earlier)
            return write.update(approval, key, **changed)
        approved = approval.c.decision == APPROVE
        is_break_glass = changed["decision"] == BREAK_GLASS
        return is_break_glass and write.update(approval, key, approved, **changed)

    def start_after_delay(
        self, incident_id: str, step_name: str, round_: int, now: datetime
    ) -> bool:
        """Start a step if the waiting time of its break-glass approval is over."""
        with self._database.write(
            actor="ledger", subject=incident_id, action="approval.opened", now=now
        ) as write:
            lock_step_rows(write.connection, incident_id, step_name)
            key = (incident_id, step_name, round_)
            found = (
                write.connection.execute(select(step).where(*is_step_round(*key))).mappings().one()
            )
            refuse_forged_step(self._database, found)
            if found["state"] != StepState.ASKING or not two_person_rule.is_open(
                self._database, write.connection, found, now
            ):
                return False
            write.update(step, key, state=StepState.RUNNING.value)
            write.add_detail(step=step_name, round=round_, digest=found["digest"])
        return True

    def unreviewed(self, incident_id: str) -> dict[str, str]:
        """Return the break-glass approver of each unreviewed step, by step."""
        with self._database.reading() as connection:
            rows = connection.execute(select(step).where(step.c.incident == incident_id))
            found = {
                row["name"]: two_person_rule.unreviewed(self._database, connection, row)
                for row in rows.mappings().all()
            }
        return {name: who for name, who in found.items() if who}

    def answer(
        self, incident_id: str, step_name: str, text: str, actor: str, now: datetime
    ) -> None:
        """Store a person's answer to a manual step or a question."""
        with self._database.write(
            actor=actor, subject=incident_id, action="step.answered", now=now
        ) as write:
            found = latest(write.connection, incident_id, step_name)
            if found is None or not write.update(
                step,
                (incident_id, step_name, found.round),
                step.c.state == StepState.PROMPTED.value,
                step.c.sealed_answer.is_(None),
                sealed_answer=self._sealed_answer(incident_id, step_name, found.round, text),
            ):
                state = found.state if found else "not reached yet"
                is_answered = found is not None and found.sealed_answer is not None
                correct = " Use --again to correct the answer." if is_answered else ""
                raise UsageError(
                    f"step {step_name!r} of {incident_id}: waits for no answer (it is "
                    f"{state}).{correct}"
                )
            write.add_detail(step=step_name, round=found.round)

    def answer_again(
        self, incident_id: str, step_name: str, text: str, actor: str, now: datetime
    ) -> None:
        """Store a corrected answer as a new round; the earlier answer stays."""
        with self._database.write(
            actor=actor, subject=incident_id, action="step.answered", now=now
        ) as write:
            lock_step_rows(write.connection, incident_id, step_name)
            found = latest(write.connection, incident_id, step_name)
            if found is None or found.sealed_answer is None:
                raise UsageError(
                    f"step {step_name!r} of {incident_id}: has no answer. Answer it without "
                    "--again."
                )
            round_ = found.round + 1
            row = new_step_row(incident_id, step_name, round_, StepState.PROMPTED, now)
            row["sealed_answer"] = self._sealed_answer(incident_id, step_name, round_, text)
            row["seal"] = seal_of_step(self._database, row)
            write.insert(step, row)
            write.add_detail(step=step_name, round=round_, again=True)

    def _sealed_answer(self, incident_id: str, step_name: str, round_: int, text: str) -> bytes:
        place = answer_context(incident_id, step_name, round_)
        return self._database.cipher.seal(INSTALLATION, place, {"text": text})

    def accept(self, incident_id: str, step_name: str, actor: str, now: datetime) -> None:
        """Accept an incomplete step as it is, so that later steps may begin.

        A running step ends if it waits only for effects with an unknown outcome (the result could
        not be observed). These outcomes are still looked up, and an effect that did not happen is
        then executed. UsageError if other effects are in progress, or if the step is complete.
        """
        with self._database.write(
            actor=actor, subject=incident_id, action="step.accepted", now=now
        ) as write:
            found = latest(write.connection, incident_id, step_name)
            key = (incident_id, step_name, found.round if found else 0)
            if found is not None and found.state in _WHOLE:
                raise UsageError(
                    f"step {step_name!r} of {incident_id}: it is {found.state}. Nothing is left to "
                    "accept."
                )
            # A lookup of unknown outcomes locks the same rows. So the lookup ends before this
            # change, or it reads the changed rows.
            write.connection.execute(
                select(effect.c.token)
                .where(
                    effect.c.incident == incident_id,
                    effect.c.step == step_name,
                    effect.c.round == key[2],
                    effect.c.state == "unknown",
                )
                .order_by(effect.c.token)
                .with_for_update()
            ).all()
            if found is None or not (
                write.update(step, key, step.c.ended_at.is_not(None), is_accepted=True)
                or write.update(
                    step,
                    key,
                    step.c.state == StepState.RUNNING.value,
                    is_only_unknown(),
                    state=StepState.PARTIAL.value,
                    ended_at=now,
                    is_accepted=True,
                )
            ):
                raise UsageError(
                    f"step {step_name!r} of {incident_id}: has not ended. Wait, or stop the "
                    "incident."
                )
            write.add_detail(step=step_name, round=found.round)


def latest(connection: Connection, incident_id: str, step_name: str) -> Row[Any] | None:
    """Return the newest row (planning) of a step; None if it has not begun."""
    return connection.execute(
        select(step)
        .where(step.c.incident == incident_id, step.c.name == step_name)
        .order_by(desc(step.c.round))
        .limit(1)
    ).first()
