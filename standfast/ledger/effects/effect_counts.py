"""Counts of effects: by step and state (engine), by kind (reports).

An effect is one change of one target, such as one locked account. Effects are counted in the
database, without decrypting their targets. Only the reasons of effects that are not done are
decrypted, one at a time.

The engine (`playbook/engine.py`) computes the next action of an incident from the counts by step.
Each planning of a step is a round.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, and_, bindparam, case, func, or_, select

from standfast.ledger.audit.audited_database import AuditedDatabase
from standfast.ledger.effects.effect_conditions import NEVER, is_superseded_undo, with_step
from standfast.ledger.effects.effect_rows import EffectRow, scope_of
from standfast.ledger.effects.effect_store import Effects
from standfast.ledger.schema.tables import delivery, effect
from standfast.playbook.actions.people_page import PAGE
from standfast.records import EffectState, Proof


@dataclass
class StepCounts:
    """The effects of one round of a step, without messages to approvers."""

    by_state: dict[str, int] = field(default_factory=dict)
    settling: int = 0  # effects with an unknown outcome that will be looked up
    after_canary: int = 0  # planned messages that wait for the first ones (the canary) of a notice
    proofs: set[Proof] = field(default_factory=set)  # how the effects that are done were proven


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


class Kind(NamedTuple):
    """A kind of effect: the fields that effects of one kind have in common."""

    step: str
    round: int
    verb: str
    state: EffectState
    reason: str  # reason of the state; empty if the effect is done
    proof: Proof = Proof.NONE  # how a lock was proven, for example by a refused sign-in


_SHORT_OF_DONE = tuple(
    state.value for state in (EffectState.FAILED, EffectState.REFUSED, EffectState.UNKNOWN)
)


def first_unfinished_effects(
    effects: Effects,
    incident_id: str,
    step_name: str,
    verb: str,
    most: int,
    *,
    rounds: Collection[int],
) -> list[EffectRow]:
    """Return the first effects of a step that failed, are refused or unknown."""
    return effects.find(
        effect.c.incident == incident_id,
        ~is_superseded_undo(incident_id),
        effect.c.state.in_(_SHORT_OF_DONE),
        effect.c.verb == verb,
        effect.c.step == step_name,
        effect.c.round.in_(rounds),
        most=most,
    )


def count_effect_kinds(database: AuditedDatabase, incident_id: str) -> Counter[Kind]:
    """Count an incident's effects by kind, ordered by step and planning round.

    A failed undo (restoration) counts as done if another undo of the same effect replaced it.
    """
    kinds = (effect.c.step, effect.c.round, effect.c.verb, effect.c.state)
    mine = effect.c.incident == incident_id
    is_over = is_superseded_undo(incident_id)
    is_plain = and_(or_(effect.c.state == "done", effect.c.sealed_reason.is_(None)), ~is_over)
    superseded = (
        select(effect.c.step, effect.c.round, effect.c.verb, func.count())
        .select_from(with_step())
        .where(mine, is_over)
        .group_by(effect.c.step, effect.c.round, effect.c.verb)
    )
    with_proof = (*kinds, effect.c.proof)
    plain = (
        select(*with_proof, func.count())
        .select_from(with_step())
        .where(mine, is_plain)
        .group_by(*with_proof)
    )
    others = (
        select(*kinds, effect.c.token, effect.c.sealed_reason)
        .select_from(with_step())
        .where(mine, ~is_plain, ~is_over)
    )
    found: Counter[Kind] = Counter()
    with database.reading() as connection:
        for step, round_, verb, state, proof, number in connection.execute(plain):
            level = Proof(proof) if state == EffectState.DONE else Proof.NONE
            found[Kind(step, round_, verb, EffectState(state), "", level)] += number
        for step, round_, verb, number in connection.execute(superseded):
            found[Kind(step, round_, verb, EffectState.DONE, "")] += number
        for step, round_, verb, state, token, sealed in connection.execute(others):
            place = f"effect.reason {token}"
            reason = str(database.cipher.open(scope_of(verb, incident_id), place, sealed)["text"])
            found[Kind(step, round_, verb, EffectState(state), reason)] += 1
    return Counter(dict(sorted(found.items())))


@dataclass(frozen=True, kw_only=True)
class OpenEffects:
    """The effects of several incidents as counts for monitoring."""

    by_action: Mapping[tuple[str, ...], int]  # counts by verb and state
    deliveries: Mapping[str, int]  # messages by their newest delivery state


def count_open_effects(database: AuditedDatabase, incident_ids: Collection[str]) -> OpenEffects:
    """Count the effects of incidents by verb and state; nothing is decrypted."""
    kinds = (effect.c.verb, effect.c.state)
    mine = effect.c.incident.in_(incident_ids)
    effects = select(*kinds, func.count().label("number")).where(mine).group_by(*kinds)
    reports = select(delivery.c.state, func.count().label("number")).join(
        effect, effect.c.token == delivery.c.effect
    )
    with database.reading() as connection:
        counted = connection.execute(effects).all()
        reported = connection.execute(reports.where(mine).group_by(delivery.c.state)).all()
    return OpenEffects(
        by_action={(row.verb, row.state): row.number for row in counted},
        deliveries={row.state: row.number for row in reported},
    )
