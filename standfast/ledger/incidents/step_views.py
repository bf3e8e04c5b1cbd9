"""Steps as the engine reads them: their rows, and their last progress.

A step is one part of a playbook, such as an action or a question. Each planning of a step is a
round, and plans effects: changes of single targets, such as the lock of one account. The engine
(`playbook/engine.py`) computes the next action of an incident from its steps.

Rules
- The progress of a running step is queried only if a step that has not begun names the running step
  in `after` (the steps that it waits for). The query reads all effects of the running step: for a
  notice to 100,000 people, for which usually no step waits, it would be slow.
- A step makes progress when one of its effects is done. A refused effect, or a call whose result is
  unknown, is not progress.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import cast

from sqlalchemy import Connection, RowMapping, func, select

from standfast.ledger.approvals import two_person_rule
from standfast.ledger.audit.audited_database import AuditedDatabase
from standfast.ledger.effects.effect_conditions import NEVER
from standfast.ledger.effects.effect_counts import StepCounts
from standfast.ledger.schema.column_encryption import INSTALLATION
from standfast.ledger.schema.tables import attempt, effect
from standfast.playbook.actions.people_page import PAGE
from standfast.playbook.model import Playbook
from standfast.playbook.run_state import Counts, StepView
from standfast.records import Proof, StepState


def answer_context(incident_id: str, step_name: str, round_: int) -> str:
    """Return the encryption context of a step's answer."""
    return f"step.answer {incident_id}/{step_name}/{round_}"


def step_view(
    database: AuditedDatabase,
    connection: Connection,
    row: RowMapping,
    counts: StepCounts,
    moved: datetime | None,
) -> StepView:
    """Return one round of a step with its answer and approvals.

    `counts` are the numbers of its effects by state; `moved` is the time of its last progress.
    """
    key = (row["name"], row["round"])
    answer = None
    if row["sealed_answer"] is not None:
        place = answer_context(row["incident"], *key)
        opened = database.cipher.open(INSTALLATION, place, row["sealed_answer"])
        answer = cast("str", opened["text"])
    given, opens_at = 0, None
    if row["state"] == StepState.ASKING:
        question = two_person_rule.question(database, connection, row["incident"], row["name"])
        given, opens_at = question.given, question.opens_at
    return StepView(
        step=row["name"],
        round=row["round"],
        state=StepState(row["state"]),
        counts=Counts(**counts.by_state),
        settling=counts.settling,
        after_canary=counts.after_canary,
        proof=Proof.weakest(counts.proofs),
        is_paused=row["runs_from"] == NEVER and row["state"] == StepState.RUNNING,
        answer=answer,
        due_at=row["due_at"],
        moved_at=moved,
        is_asked=row["is_asked"],
        level=row["rung"],
        joined=row["joined"],
        escalates_at=row["escalates_at"],
        opens_at=opens_at,
        digest=row["digest"] if row["state"] == StepState.ASKING else "",
        approvals=given,
        approvals_needed=row["needs_approvals"],
        why=row["reason"] if row["state"] == StepState.ASKING else "",
        is_refused=row["state"] == StepState.REFUSED,
        is_accepted=row["is_accepted"],
        is_unreviewed=bool(two_person_rule.unreviewed(database, connection, row)),
    )


def last_progress_at(
    connection: Connection, playbook: Playbook, begun: Sequence[RowMapping]
) -> dict[str, datetime]:
    """Return the time of the last progress of running steps, by step name.

    Only steps that another step waits for are included. Before the first effect is done, the time
    is the start of the step, or the end of its waiting time before the first effect. `begun` are
    the rows of all begun steps of one incident.
    """
    names = {row["name"] for row in begun}
    before = {
        name for waiting in playbook.steps if waiting.name not in names for name in waiting.after
    }
    running = [row for row in begun if row["state"] == StepState.RUNNING and row["name"] in before]
    if not running:
        return {}
    statement = (
        select(effect.c.step, func.max(attempt.c.ended_at))
        .join(attempt, attempt.c.token == effect.c.attempt)
        .where(
            effect.c.incident == running[0]["incident"],
            effect.c.state == "done",
            effect.c.verb != PAGE,
            effect.c.step.in_({row["name"] for row in running}),
        )
        .group_by(effect.c.step)
    )
    done = {name: at for name, at in connection.execute(statement) if at is not None}
    found: dict[str, datetime] = {}
    for row in running:
        since = (row["started_at"], row["runs_from"], done.get(row["name"]))
        found[row["name"]] = max(at for at in since if at is not None)
    return found
