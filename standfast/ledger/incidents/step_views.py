"""Conversion of step rows to the records that the engine reads.

The engine (`playbook/engine.py`) computes the next action. Each planning of a step is a round.
"""

from datetime import datetime
from typing import cast

from sqlalchemy import Connection, RowMapping

from standfast.ledger.approvals import two_person_rule
from standfast.ledger.audit.audited_database import AuditedDatabase
from standfast.ledger.effects.effect_conditions import NEVER
from standfast.ledger.effects.step_counts import StepCounts
from standfast.ledger.schema.column_encryption import INSTALLATION
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
    """Return one round of a step with its answer and approvals."""
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
