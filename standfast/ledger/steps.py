"""The steps of an incident: the moves that carry them on, and what people say about them.

Rules
- A move is a compare-and-swap on (step, round): applying it twice changes once, whoever was first.
- A step's effects, its notice and its need of approval are planned in the transaction that begins
  it, and their digest is what an approval signs.
- A word that does not count is refused, and the try stands in the timeline all the same.
"""

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, desc, select

from standfast.errors import ApprovalRefused, UsageError
from standfast.ledger import approvals
from standfast.ledger.approvals import Question, seal_of_step
from standfast.ledger.core import Core
from standfast.ledger.effects import PAGE, Draft, Effects, scope_of
from standfast.ledger.incidents import Expansion, FrozenNotice, answer_place
from standfast.ledger.tables import approval, effect, notice, step
from standfast.ledger.vault import INSTALLATION
from standfast.records import Json, StepState, canonical, digest


class Steps:
    """The steps of all incidents."""

    def __init__(self, core: Core, effects: Effects) -> None:
        self._core = core
        self._effects = effects

    def expand(
        self,
        incident_id: str,
        step_name: str,
        round_: int,
        expansion: Expansion,
        actor: str,
        now: datetime,
    ) -> bool:
        """Begin a step with its effects; False when another was first."""
        state = StepState.ASKING if expansion.needs_approvals else StepState.RUNNING
        with self._core.write(
            actor=actor, subject=incident_id, action="step.begun", now=now
        ) as write:
            row = self._new_step(incident_id, step_name, round_, state, now)
            row |= {
                "needs_approvals": expansion.needs_approvals,
                "roles": canonical(list(expansion.roles)).decode(),
                "hold_seconds": expansion.hold_seconds,
                "digest": self._digest_of(incident_id, step_name, round_, expansion),
                "reason": expansion.reason,
            }
            row["seal"] = seal_of_step(self._core, row)
            if not write.insert_new(step, row):
                return False
            self._effects.plan(write, incident_id, step_name, round_, expansion.drafts)
            if expansion.notice is not None:
                write.insert(notice, _notice_row(incident_id, step_name, round_, expansion.notice))
            write.tell(
                step=step_name,
                round=round_,
                effects=len(expansion.drafts),
                needs_approvals=expansion.needs_approvals,
                digest=row["digest"],
            )
        return True

    def ask(
        self, incident_id: str, step_name: str, round_: int, pages: Sequence[Draft], now: datetime
    ) -> bool:
        """Note that the approvers are being paged, and plan the pages."""
        with self._core.write(
            actor="ledger", subject=incident_id, action="approval.asked", now=now
        ) as write:
            if not write.update(
                step,
                (incident_id, step_name, round_),
                step.c.is_asked.is_(False),
                step.c.state == StepState.ASKING.value,
                is_asked=True,
            ):
                return False
            self._effects.plan(write, incident_id, step_name, round_, pages)
            write.tell(step=step_name, round=round_, people=len(pages))
        return True

    def prompt(self, incident_id: str, step_name: str, round_: int, now: datetime) -> bool:
        """Put a step before a person."""
        return self._begin(incident_id, step_name, round_, StepState.PROMPTED, "step.prompted", now)

    def wait_until(
        self, incident_id: str, step_name: str, round_: int, due_at: datetime, now: datetime
    ) -> bool:
        """Let a step wait."""
        return self._begin(
            incident_id, step_name, round_, StepState.WAITING, "step.waits", now, due_at=due_at
        )

    def finish(
        self,
        incident_id: str,
        step_name: str,
        round_: int,
        state: StepState,
        reason: str,
        now: datetime,
        *,
        only_settled: bool = False,
    ) -> bool:
        """Close a round of a step; one that never began (skipped) is closed as it begins.

        False, and nothing is changed, when it is closed already; with `only_settled`, also while
        one of its effects is under way: it may have been planned again since the caller looked.
        """
        with self._core.write(
            actor="ledger", subject=incident_id, action="step.finished", now=now
        ) as write:
            row = self._new_step(incident_id, step_name, round_, state, now)
            row |= {"ended_at": now, "reason": reason}
            row["seal"] = seal_of_step(self._core, row)
            changed = bool(write.insert_new(step, row)) or (
                (
                    not only_settled
                    or self._is_settled(write.connection, incident_id, step_name, round_)
                )
                and write.update(
                    step,
                    (incident_id, step_name, round_),
                    step.c.ended_at.is_(None),
                    state=state.value,
                    ended_at=now,
                    reason=reason,
                )
            )
            if changed:
                write.tell(step=step_name, round=round_, state=state.value, reason=reason)
        return changed

    def question(self, incident_id: str, step_name: str) -> Question:
        """Give what stands to be approved in a step."""
        with self._core.reading() as connection:
            return approvals.question(self._core, connection, incident_id, step_name)

    def decide(
        self,
        incident_id: str,
        step_name: str,
        person: str,
        decision: str,
        signature: str,
        now: datetime,
    ) -> Question:
        """Keep a signed approval or refusal; give the question as it stands after it.

        ApprovalRefused when it does not count: it is not kept, but the try is in the timeline.
        """
        try:
            return self._decide(incident_id, step_name, person, decision, signature, now)
        except ApprovalRefused as error:
            with self._core.write(
                actor=person, subject=incident_id, action="approval.rejected", now=now
            ) as write:
                write.tell(step=step_name, why=str(error))
            raise

    def _decide(
        self,
        incident_id: str,
        step_name: str,
        person: str,
        decision: str,
        signature: str,
        now: datetime,
    ) -> Question:
        with self._core.write(
            actor=person, subject=incident_id, action=f"approval.{decision}", now=now
        ) as write:
            connection = write.connection
            _hold(connection, incident_id, step_name)
            asked = approvals.question(self._core, connection, incident_id, step_name)
            approvals.refuse_unfit(self._core, connection, asked, person, decision, signature, now)
            key = (incident_id, step_name, asked.round, person)
            if not write.insert_new(
                approval,
                {
                    **dict(zip(("incident", "step", "round", "person"), key, strict=True)),
                    "decision": decision,
                    "digest": asked.digest,
                    "nonce": asked.nonce,
                    "signature": signature,
                    "decided_at": now,
                },
            ):
                raise ApprovalRefused(
                    f"{person!r} has decided about step {step_name!r} already; another person must"
                )
            asked = approvals.question(self._core, connection, incident_id, step_name)
            step_key = (incident_id, step_name, asked.round)
            if decision == approvals.REFUSE:
                write.update(
                    step,
                    step_key,
                    state=StepState.REFUSED.value,
                    ended_at=now,
                    reason=f"refused by {person}",
                )
            elif asked.given >= asked.needed:
                runs_from = now + timedelta(seconds=asked.hold_seconds)
                write.update(step, step_key, state=StepState.RUNNING.value, runs_from=runs_from)
            write.tell(step=step_name, digest=asked.digest, given=asked.given, needed=asked.needed)
        return asked

    def answer(
        self, incident_id: str, step_name: str, text: str, actor: str, now: datetime
    ) -> None:
        """Keep a person's answer to a manual step or a decision."""
        with self._core.write(
            actor=actor, subject=incident_id, action="step.answered", now=now
        ) as write:
            found = _latest(write.connection, incident_id, step_name)
            if found is None or not write.update(
                step,
                (incident_id, step_name, found.round),
                step.c.state == StepState.PROMPTED.value,
                step.c.sealed_answer.is_(None),
                sealed_answer=self._core.vault.seal(
                    INSTALLATION,
                    answer_place(incident_id, step_name, found.round),
                    {"text": text},
                ),
            ):
                state = found.state if found else "not reached yet"
                raise UsageError(
                    f"step {step_name!r} of {incident_id} waits for no answer (it is {state})"
                )
            write.tell(step=step_name, round=found.round)

    def accept(self, incident_id: str, step_name: str, actor: str, now: datetime) -> None:
        """Let a step that was not wholly done go on as it is, because a person says so."""
        with self._core.write(
            actor=actor, subject=incident_id, action="step.accepted", now=now
        ) as write:
            found = _latest(write.connection, incident_id, step_name)
            if found is None or found.ended_at is None:
                raise UsageError(f"step {step_name!r} of {incident_id} has not ended")
            write.update(step, (incident_id, step_name, found.round), is_accepted=True)
            write.tell(step=step_name, round=found.round)

    def _is_settled(
        self, connection: Connection, incident_id: str, step_name: str, round_: int
    ) -> bool:
        """Is none of the round's effects under way? A retry may have come after the look."""
        _hold(connection, incident_id, step_name)
        return (
            connection.scalar(
                select(effect.c.token)
                .where(
                    effect.c.incident == incident_id,
                    effect.c.step == step_name,
                    effect.c.round == round_,
                    effect.c.state.in_(("planned", "submitting")),
                    effect.c.verb != PAGE,
                )
                .limit(1)
            )
            is None
        )

    def _begin(
        self,
        incident_id: str,
        step_name: str,
        round_: int,
        state: StepState,
        action: str,
        now: datetime,
        due_at: datetime | None = None,
    ) -> bool:
        with self._core.write(actor="ledger", subject=incident_id, action=action, now=now) as write:
            row = self._new_step(incident_id, step_name, round_, state, now)
            row["due_at"] = due_at
            row["seal"] = seal_of_step(self._core, row)
            if not write.insert_new(step, row):
                return False
            write.tell(step=step_name, round=round_)
        return True

    def _new_step(
        self, incident_id: str, step_name: str, round_: int, state: StepState, now: datetime
    ) -> dict[str, Any]:
        return {
            "incident": incident_id,
            "name": step_name,
            "round": round_,
            "state": state.value,
            "started_at": now,
            "ended_at": None,
            "due_at": None,
            "hold_seconds": 0,
            "runs_from": None,
            "is_asked": False,
            "is_accepted": False,
            "needs_approvals": 0,
            "roles": "[]",
            "digest": digest({"incident": incident_id, "step": step_name, "round": round_}),
            "nonce": secrets.token_hex(16),
            "seal": "",
            "sealed_answer": None,
            "reason": "",
        }

    def _digest_of(
        self, incident_id: str, step_name: str, round_: int, expansion: Expansion
    ) -> str:
        """Give the digest of a plan: what is approved is this and nothing else."""
        acts: list[Json] = [
            [
                draft.verb,
                draft.connector,
                self._core.vault.handle(scope_of(draft.verb, incident_id), draft.target),
                digest(draft.details),
                draft.state.value,
            ]
            for draft in expansion.drafts
        ]
        told = expansion.notice
        plan: dict[str, Json] = {
            "incident": incident_id,
            "step": step_name,
            "round": round_,
            "acts": acts,
            "notice": None if told is None else [told.digest, told.root],
        }
        return digest(plan)


def _latest(connection: Connection, incident_id: str, step_name: str) -> Row[Any] | None:
    """Give the newest round of a step, if it was ever begun."""
    return connection.execute(
        select(step)
        .where(step.c.incident == incident_id, step.c.name == step_name)
        .order_by(desc(step.c.round))
        .limit(1)
    ).first()


def _hold(connection: Connection, incident_id: str, step_name: str) -> None:
    """Let no other transaction change the step until the end of this one."""
    connection.execute(
        select(step.c.round)
        .where(step.c.incident == incident_id, step.c.name == step_name)
        .order_by(step.c.round)
        .with_for_update()
    ).all()


def _notice_row(
    incident_id: str, step_name: str, round_: int, told: FrozenNotice
) -> dict[str, Any]:
    return {
        "incident": incident_id,
        "step": step_name,
        "round": round_,
        "template": told.template,
        "body": canonical(told.body).decode(),
        "digest": told.digest,
        "root": told.root,
        "audience": told.audience,
        "recipients": told.recipients,
    }
