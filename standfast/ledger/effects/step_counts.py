"""Counts of effects by step, round and state, as the engine needs them.

An effect is one change of one target, such as one locked account. Each planning of a step is a
round. The engine (`playbook/engine.py`) computes the next action of an incident from these counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from sqlalchemy import Connection, Select, and_, bindparam, case, func, select

from standfast.ledger.effects.effect_conditions import NEVER, is_superseded_undo
from standfast.ledger.schema.tables import effect
from standfast.playbook.actions.people_page import PAGE
from standfast.records import EffectState, Proof


@dataclass
class StepCounts:
    """The effects of one round of a step, without messages to approvers."""

    by_state: dict[str, int] = field(default_factory=dict)
    settling: int = 0  # unknown effects that will be looked up again
    after_canary: int = 0  # planned messages that wait for the first ones (the canary) of a notice
    proofs: set[Proof] = field(default_factory=set)  # proofs of effects that are done


def count_by_step(connection: Connection, incident_id: str) -> Mapping[tuple[str, int], StepCounts]:
    """Count the effects of an incident by step and round.

    A failed undo (restoration) counts as done if another undo of the same effect replaced it.
    """
    found: dict[tuple[str, int], StepCounts] = {}
    rows = connection.execute(_counts_by_step(), {"of_incident": incident_id})
    for name, round_, state, is_parked, proof, number, after_canary in rows:
        counts = found.setdefault((name, round_), StepCounts())
        if state == EffectState.DONE:
            counts.proofs.add(Proof(proof))
        counts.by_state[state] = counts.by_state.get(state, 0) + number
        counts.after_canary += after_canary
        if state == EffectState.UNKNOWN and not is_parked:
            counts.settling += number
    return found


@cache  # the statement runs many times a second; building it takes longer than running it
def _counts_by_step() -> Select[Any]:
    incident_id = bindparam("of_incident", type_=effect.c.incident.type)
    is_after_canary = and_(effect.c.not_before == NEVER, effect.c.state == "planned")
    return (
        select(
            effect.c.step,
            effect.c.round,
            case((is_superseded_undo(incident_id), "done"), else_=effect.c.state).label("reached"),
            effect.c.is_parked,
            effect.c.proof,
            func.count(),
            func.sum(case((is_after_canary, 1), else_=0)),
        )
        .where(effect.c.incident == incident_id, effect.c.verb != PAGE)
        .group_by(effect.c.step, effect.c.round, "reached", effect.c.is_parked, effect.c.proof)
    )
