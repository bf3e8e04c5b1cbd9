"""Transitions of steps by compare-and-swap: begin, ask, escalate, end.

A step is one part of a playbook; each planning of a step is a round. The effects of a round are its
planned changes, such as accounts to lock.

Rules
- A transition is a compare-and-swap on (step, round): a second application changes nothing.
- The transaction that begins a step also stores its effects, its notice (a message to many people)
  and the number of approvals that it needs. An approval signs the digest of the effects, the
  settings of their adapters, and the notice.
- The effects of a long notice are stored before this transaction, one page in each transaction. If
  the process dies before the step begins, the next planning deletes these pages.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from standfast.errors import StandfastError
from standfast.ledger.approvals.row_seals import opens_at, refuse_forged_step, seal_of_step
from standfast.ledger.audit.audited_database import AuditedDatabase
from standfast.ledger.effects.effect_conditions import is_step_round, lock_step_rows
from standfast.ledger.effects.recent_locks import RecentLocks, refuse_outdated_locks
from standfast.ledger.incidents.step_plans import (
    Plan,
    delete_unstarted_effects,
    draft_effects,
    insert_effect_page,
    new_step_row,
    refuse_changed_effects,
)
from standfast.ledger.schema.tables import effect, notice, step
from standfast.playbook.actions.people_page import PAGE
from standfast.playbook.planned_effects import Draft, Expansion, FrozenNotice, StreamedNotice
from standfast.records import StepState, canonical


class Steps:
    """The steps of all incidents."""

    def __init__(self, database: AuditedDatabase) -> None:
        self._database = database

    def expand(
        self,
        incident_id: str,
        step_name: str,
        round_: int,
        expansion: Expansion,
        actor: str,
        now: datetime,
        *,
        joined: int = 0,
        counted_locks: RecentLocks | None = None,
    ) -> bool:
        """Begin a step with its effects; False if another process has begun it.

        `joined` is how often triggers or people had added targets to the incident when the step was
        planned. If the step needs no approval because few accounts were locked recently,
        `counted_locks` contains these locks; RecentLocksChanged if they have changed.
        """
        key = (incident_id, step_name, round_)
        if expansion.streamed_notice is None:
            plan = Plan(*key)
            plan.add(draft_effects(self._database.cipher, *key, expansion.drafts))
            return self._begin_planned(key, expansion, plan, actor, now, joined, counted_locks)
        with self._database.planning():
            if self._exists(key):
                return False
            delete_unstarted_effects(self._database, key, now)
            try:
                plan = self._store_pages(key, expansion.streamed_notice, actor, now)
                settled = replace(expansion, notice=expansion.streamed_notice.notice())
                is_first = self._begin_planned(key, settled, plan, actor, now, joined)
            except Exception:
                with suppress(StandfastError):  # the next planning deletes the pages that remain
                    # If the commit succeeded and only its answer was lost, the step has begun with
                    # all pages.
                    if not self._exists(key):
                        delete_unstarted_effects(self._database, key, now)
                raise
            if not is_first:  # another process has begun the step meanwhile
                delete_unstarted_effects(self._database, key, now)
            return is_first

    def _store_pages(
        self, key: tuple[str, str, int], streamed: StreamedNotice, actor: str, now: datetime
    ) -> Plan:
        """Store all pages of a notice except the last; return the plan.

        The last page is stored when the step begins. Effects are not executed, counted or shown
        before their step exists.
        """
        plan = Plan(*key)
        for drafts in streamed.pages():
            if plan.page is not None:
                with self._database.write(
                    actor=actor, subject=key[0], action="step.planned", now=now
                ) as write:
                    write.insert_new(effect, *plan.page.rows.values())
                    write.add_detail(step=key[1], round=key[2], effects=plan.page.drafts)
            plan.add(draft_effects(self._database.cipher, *key, drafts, begin=plan.effects))
        return plan

    def _begin_planned(
        self,
        key: tuple[str, str, int],
        expansion: Expansion,
        plan: Plan,
        actor: str,
        now: datetime,
        joined: int,
        counted_locks: RecentLocks | None = None,
    ) -> bool:
        incident_id, step_name, round_ = key
        described = plan.described(expansion.notice, expansion.settings)
        state = StepState.ASKING if expansion.needs_approvals else StepState.RUNNING
        with self._database.write(
            actor=actor, subject=incident_id, action="step.begun", now=now
        ) as write:
            if counted_locks is not None and not expansion.needs_approvals:
                refuse_outdated_locks(write, counted_locks)
            row = new_step_row(incident_id, step_name, round_, state, now)
            row |= {
                "joined": joined,
                "needs_approvals": expansion.needs_approvals,
                "roles": canonical(list(expansion.roles)).decode(),
                "hold_seconds": expansion.hold_seconds,
                "plan": canonical(described).decode(),
                "digest": plan.digest(expansion.notice, expansion.settings),
                "reason": expansion.reason,
            }
            row["seal"] = seal_of_step(self._database, row)
            if not write.insert_new(step, row):
                return False
            if plan.page is not None:
                write.insert_new(effect, *plan.page.rows.values())
            if expansion.notice is not None:
                write.insert(notice, _notice_row(incident_id, step_name, round_, expansion.notice))
            write.add_detail(
                step=step_name,
                round=round_,
                effects=plan.effects,
                needs_approvals=expansion.needs_approvals,
                digest=row["digest"],
            )
        return True

    def _exists(self, key: tuple[str, str, int]) -> bool:
        with self._database.reading() as connection:
            return connection.scalar(select(step.c.name).where(*is_step_round(*key))) is not None

    def ask(
        self,
        incident_id: str,
        step_name: str,
        round_: int,
        pages: Sequence[Draft],
        now: datetime,
        *,
        escalates_at: datetime | None = None,
    ) -> bool:
        """Plan the pages to approvers, and record that the step asks them.

        These `pages` are messages that ask for approval. At `escalates_at`, the people of the next
        escalation level are paged; None: there is no further level.
        """
        with self._database.write(
            actor="ledger", subject=incident_id, action="approval.asked", now=now
        ) as write:
            if not write.update(
                step,
                (incident_id, step_name, round_),
                step.c.is_asked.is_(False),
                step.c.state == StepState.ASKING.value,
                is_asked=True,
                escalates_at=escalates_at,
            ):
                return False
            insert_effect_page(write, self._database.cipher, incident_id, step_name, round_, pages)
            write.add_detail(step=step_name, round=round_, people=len(pages))
        return True

    def escalate(
        self,
        incident_id: str,
        step_name: str,
        round_: int,
        level: int,
        pages: Sequence[Draft],
        now: datetime,
        *,
        may_also: Sequence[str] = (),
        escalates_at: datetime | None,
    ) -> bool:
        """Page the next escalation level; False if another process was first.

        `may_also` are further roles that may approve the step from now on.
        """
        key = (incident_id, step_name, round_)
        with self._database.write(
            actor="ledger", subject=incident_id, action="approval.escalated", now=now
        ) as write:
            lock_step_rows(write.connection, incident_id, step_name)
            found = (
                write.connection.execute(select(step).where(*is_step_round(*key))).mappings().one()
            )
            if found["state"] != StepState.ASKING or found["rung"] >= level:
                return False
            refuse_forged_step(self._database, found)
            row = dict(found) | {"rung": level, "escalates_at": escalates_at}
            before = json.loads(found["roles"])
            if before:  # without roles everybody may approve already
                row["roles"] = canonical(list(dict.fromkeys([*before, *may_also]))).decode()
            row["seal"] = seal_of_step(self._database, row, opens_at(self._database, found))
            changed = ("rung", "escalates_at", "roles", "seal")
            write.update(step, key, **{name: row[name] for name in changed})
            insert_effect_page(write, self._database.cipher, incident_id, step_name, round_, pages)
            write.add_detail(
                step=step_name, round=round_, rung=level, people=len(pages), may_also=[*may_also]
            )
        return True

    def cover(
        self, incident_id: str, step_name: str, round_: int, joined: int, now: datetime
    ) -> bool:
        """Record that added targets concern nothing that the step would change.

        `joined` is how often triggers or people had added targets to the incident. The step is not
        planned again for these additions.
        """
        with self._database.write(
            actor="ledger", subject=incident_id, action="step.covers", now=now
        ) as write:
            key = (incident_id, step_name, round_)
            if not write.update(step, key, step.c.joined < joined, joined=joined):
                return False
            write.add_detail(step=step_name, round=round_)
        return True

    def refused(self, incident_id: str) -> set[tuple[str, int]]:
        """Return the rounds that an approver refused."""
        with self._database.reading() as connection:
            return refused_rounds(connection, incident_id)

    def prompt(self, incident_id: str, step_name: str, round_: int, now: datetime) -> bool:
        """Begin a manual step, which a person carries out."""
        return self._begin(incident_id, step_name, round_, StepState.PROMPTED, "step.prompted", now)

    def wait_until(
        self, incident_id: str, step_name: str, round_: int, due_at: datetime, now: datetime
    ) -> bool:
        """Begin a step that waits until a time."""
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
        """Finish a round of a step, or store a skipped round as finished.

        Returns False and changes nothing if the round has ended already. With `only_settled`, it
        also returns False while an effect of the round is planned or in progress. It then also
        raises Damaged if effects of the round were changed outside this program, because a target
        could be missing.
        """
        if only_settled:
            refuse_changed_effects(self._database, incident_id, step_name, round_)
        with self._database.write(
            actor="ledger", subject=incident_id, action="step.finished", now=now
        ) as write:
            row = new_step_row(incident_id, step_name, round_, state, now)
            row |= {"ended_at": now, "reason": reason}
            row["seal"] = seal_of_step(self._database, row)
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
                write.add_detail(step=step_name, round=round_, state=state.value, reason=reason)
        return changed

    def _is_settled(
        self, connection: Connection, incident_id: str, step_name: str, round_: int
    ) -> bool:
        """Lock the step; return whether no effect is planned or in progress."""
        lock_step_rows(connection, incident_id, step_name)
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
        with self._database.write(
            actor="ledger", subject=incident_id, action=action, now=now
        ) as write:
            row = new_step_row(incident_id, step_name, round_, state, now)
            row["due_at"] = due_at
            row["seal"] = seal_of_step(self._database, row)
            if not write.insert_new(step, row):
                return False
            write.add_detail(step=step_name, round=round_)
        return True


def refused_rounds(connection: Connection, incident_id: str) -> set[tuple[str, int]]:
    """Return the rounds that an approver refused, with an open connection."""
    statement = select(step.c.name, step.c.round).where(
        step.c.incident == incident_id, step.c.state == StepState.REFUSED.value
    )
    return {(name, round_) for name, round_ in connection.execute(statement)}


def _notice_row(
    incident_id: str, step_name: str, round_: int, frozen: FrozenNotice
) -> dict[str, Any]:
    return {
        "incident": incident_id,
        "step": step_name,
        "round": round_,
        "template": frozen.template,
        "body": canonical(frozen.body).decode(),
        "digest": frozen.digest,
        "root": frozen.root,
        "audience": frozen.audience,
        "recipients": frozen.recipients,
    }
