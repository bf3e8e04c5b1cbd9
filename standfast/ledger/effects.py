"""Effects: every outside act, planned once, with its state, its prior and its receipt.

Rules
- An effect's token is a hash of (incident, step, round, verb, handle): planning twice plans once,
  and the provider sees the same token at every try.
- An undo is an effect of its own (`undoes`); the effect it takes back stays as it is.
- Targets, details, prior states, reasons and receipts are sealed; only an opened row shows them.
- What is sealed is bound to the token, and the token to (incident, step, round, verb, handle): a
  row that was moved or given another's target does not open. Nor does one that was planned as
  refused and is something else now.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Connection, Row, and_, case, exists, func, or_, select

from standfast.errors import Damaged
from standfast.ledger.core import Core
from standfast.ledger.tables import attempt, effect, incident, step
from standfast.ledger.transaction import Write
from standfast.ledger.vault import INSTALLATION, Vault
from standfast.records import (
    EffectState,
    JsonObject,
    Mode,
    Order,
    Proof,
    StepState,
)

# Verbs that change a state which an undo restores; the state must be known before the first act.
NEEDS_PRIOR = frozenset({"accounts.lock"})
UNDO_VERBS = frozenset({"accounts.unlock"})
_HANDLES_A_STATEMENT = 500
# Reaching an approver is what a step that waits for approval does.
PAGE = "people.page"


@dataclass(frozen=True, kw_only=True, order=True)
class Lane:
    """What one kind of call can carry: one verb through one adapter."""

    verb: str
    connector: str


@dataclass(frozen=True, kw_only=True)
class Draft:
    """An effect to be planned. `target` and `details` are personal and will be sealed."""

    verb: str
    connector: str
    target: str  # as people write it, with its directory: "agents:alice"
    details: JsonObject = field(default_factory=dict)
    state: EffectState = EffectState.PLANNED  # or REFUSED, with a reason: named, never acted on
    reason: str = ""
    undoes: str | None = None
    prior: JsonObject | None = None


@dataclass(frozen=True, kw_only=True)
class EffectRow:
    """One effect, opened."""

    token: str
    incident: str
    step: str
    round: int
    verb: str
    connector: str
    handle: str
    target: str
    details: JsonObject
    state: EffectState
    is_parked: bool
    prior: JsonObject | None
    undoes: str | None
    tries: int
    reason: str
    proof: Proof
    facts: JsonObject

    def as_order(self) -> Order:
        name = self.target.partition(":")[2] or self.target
        return Order(
            token=self.token, verb=self.verb, target=name, details=self.details, prior=self.prior
        )


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What one claim handed out: one outside call."""

    attempt: str
    incident: str
    lane: Lane
    effects: tuple[EffectRow, ...]

    @property
    def orders(self) -> list[Order]:
        return [row.as_order() for row in self.effects]


@dataclass(frozen=True, kw_only=True)
class Work:
    """What there is to do in an incident now, and when to look again."""

    lanes: Mapping[Lane, int]  # and how many effects are due in each
    in_flight: int
    next_due: datetime | None


def scope_of(verb: str, incident_id: str) -> str:
    """Customers are under their incident's key, accounts and staff under the installation's."""
    return incident_id if verb.startswith("notices.") else INSTALLATION


def effect_token(incident_id: str, step_name: str, round_: int, verb: str, handle: str) -> str:
    """Give the token under which this effect is known to us and to the provider."""
    identity = "\n".join((incident_id, step_name, str(round_), verb, handle))
    return hashlib.sha256(identity.encode()).hexdigest()[:32]


def seal_reason(vault: Vault, verb: str, incident_id: str, token: str, reason: str) -> bytes | None:
    """Seal the reason of an effect; None stands for no reason."""
    if not reason:
        return None
    scope = scope_of(verb, incident_id)
    return vault.seal(scope, f"effect.reason {token}", {"text": reason})


class Effects:
    """The effects of all incidents."""

    def __init__(self, core: Core) -> None:
        self._core = core

    # planning

    def plan(
        self, write: Write, incident_id: str, step_name: str, round_: int, drafts: Sequence[Draft]
    ) -> list[str]:
        """Add the effects of a step inside the caller's transaction; give their tokens in order."""
        rows: dict[str, dict[str, Any]] = {}
        for position, draft in enumerate(drafts):
            scope = scope_of(draft.verb, incident_id)
            handle = self._core.vault.handle(scope, draft.target)
            token = effect_token(incident_id, step_name, round_, draft.verb, handle)
            rows[token] = {
                "token": token,
                "incident": incident_id,
                "step": step_name,
                "round": round_,
                "position": position,
                "verb": draft.verb,
                "connector": draft.connector,
                "handle": handle,
                "sealed": self._core.vault.seal(
                    scope,
                    f"effect {token}",
                    {
                        "target": draft.target,
                        "details": draft.details,
                        "is_refused": draft.state is EffectState.REFUSED,
                    },
                ),
                "state": draft.state.value,
                "is_parked": False,
                "sealed_prior": None
                if draft.prior is None
                else self._core.vault.seal(scope, f"effect.prior {token}", draft.prior),
                "undoes": draft.undoes,
                "tries": 0,
                "not_before": None,
                "attempt": None,
                "sealed_reason": seal_reason(
                    self._core.vault, draft.verb, incident_id, token, draft.reason
                ),
                "proof": Proof.NONE.value,
                "sealed_facts": None,
            }
        write.insert_new(effect, *rows.values())
        return list(rows)

    # finding work

    def open_work(self, incident_id: str, now: datetime) -> Work:
        """Say which lanes have something to claim or to settle, and when the next one will."""
        lanes: dict[Lane, int] = {}
        later: list[datetime] = []
        is_due = or_(effect.c.not_before.is_(None), effect.c.not_before <= now)
        may_start = and_(is_due, may_run(now))
        starts_at = case(
            (
                and_(step.c.runs_from > now, effect.c.verb != PAGE),
                step.c.runs_from,
            ),
            else_=effect.c.not_before,
        )
        may_settle = and_(is_due, attempt.c.settle_after <= now)
        settles_at = case(
            (effect.c.not_before > attempt.c.settle_after, effect.c.not_before),
            else_=attempt.c.settle_after,
        )
        planned = (
            select(
                effect.c.verb,
                effect.c.connector,
                func.sum(case((may_start, 1), else_=0)),
                func.min(case((may_start, None), else_=starts_at)),
            )
            .select_from(with_step())
            .where(effect.c.incident == incident_id, effect.c.state == "planned", is_begun())
            .group_by(effect.c.verb, effect.c.connector)
        )
        unsettled = (
            select(
                effect.c.verb,
                effect.c.connector,
                func.sum(case((may_settle, 1), else_=0)),
                func.min(case((may_settle, None), else_=settles_at)),
            )
            .select_from(effect.join(attempt, effect.c.attempt == attempt.c.token))
            .where(
                effect.c.incident == incident_id,
                effect.c.state == "unknown",
                effect.c.is_parked.is_(False),
            )
            .group_by(effect.c.verb, effect.c.connector)
        )
        with self._core.reading() as connection:
            for statement in (planned, unsettled):
                for verb, connector, due, next_due in connection.execute(statement):
                    if due:
                        lane = Lane(verb=verb, connector=connector)
                        lanes[lane] = lanes.get(lane, 0) + due
                    if next_due is not None:
                        later.append(next_due)
            in_flight = connection.scalar(
                select(func.count()).where(
                    effect.c.incident == incident_id, effect.c.state == "submitting"
                )
            )
        return Work(
            lanes=dict(sorted(lanes.items())),
            in_flight=in_flight or 0,
            next_due=min(later, default=None),
        )

    def without_prior(
        self, incident_id: str, lane: Lane, now: datetime, most: int
    ) -> list[EffectRow]:
        """Give planned effects whose prior state must be read before they may be claimed.

        Not before they may run: what is read while a step waits for approval would be stale.
        """
        if lane.verb not in NEEDS_PRIOR:
            return []
        begun = select(effect.c.token).select_from(with_step()).where(may_run(now))
        return self.find(
            effect.c.incident == incident_id,
            effect.c.state == "planned",
            effect.c.verb == lane.verb,
            effect.c.connector == lane.connector,
            effect.c.sealed_prior.is_(None),
            or_(effect.c.not_before.is_(None), effect.c.not_before <= now),
            effect.c.token.in_(begun.where(effect.c.incident == incident_id)),
            most=most,
        )

    def to_settle(self, incident_id: str, lane: Lane, now: datetime, most: int) -> list[EffectRow]:
        """Give unknown effects that may be looked up now: their call can no longer land."""
        overdue = select(attempt.c.token).where(attempt.c.settle_after <= now)
        return self.find(
            effect.c.incident == incident_id,
            effect.c.state == "unknown",
            effect.c.is_parked.is_(False),
            effect.c.verb == lane.verb,
            effect.c.connector == lane.connector,
            effect.c.attempt.in_(overdue),
            or_(effect.c.not_before.is_(None), effect.c.not_before <= now),
            most=most,
        )

    def find(self, *conditions: Any, most: int | None = None) -> list[EffectRow]:
        """Give the effects that meet the conditions, opened, in order."""
        statement = (
            select(effect)
            .where(*conditions)
            .order_by(effect.c.step, effect.c.round, effect.c.position)
            .limit(most)
        )
        with self._core.reading() as connection:
            return [self.open(row) for row in connection.execute(statement)]

    def locked_targets(self, incident_id: str) -> list[str]:
        """Give the accounts that this incident locked and has not unlocked."""
        undo = effect.alias("undo")
        found = self.find(
            effect.c.incident == incident_id,
            effect.c.verb.in_(NEEDS_PRIOR),
            effect.c.state == "done",
            ~exists().where(undo.c.undoes == effect.c.token, undo.c.state == "done"),
        )
        return [row.target for row in found]

    def locks_since(self, began: datetime, mode: Mode) -> int:
        """Count the accounts that incidents opened since then lock, or mean to without asking."""
        statement = (
            select(func.count(effect.c.handle.distinct()))
            .select_from(with_step().join(incident, incident.c.id == effect.c.incident))
            .where(
                incident.c.opened_at >= began,
                incident.c.mode == mode.value,
                effect.c.verb.in_(NEEDS_PRIOR),
                effect.c.state.in_(("planned", "submitting", "done", "unknown")),
                step.c.needs_approvals == 0,
            )
        )
        with self._core.reading() as connection:
            return int(connection.scalar(statement) or 0)

    def of_incident(self, incident_id: str) -> list[EffectRow]:
        """Give every effect of an incident, opened."""
        return self.find(effect.c.incident == incident_id)

    def holders(self, rows: Sequence[EffectRow]) -> dict[str, str]:
        """Give, by handle, which other open incident holds the accounts of one incident's rows."""
        found: dict[str, str] = {}
        with self._core.reading() as connection:
            for start in range(0, len(rows), _HANDLES_A_STATEMENT):
                part = rows[start : start + _HANDLES_A_STATEMENT]
                handles = [row.handle for row in part]
                found |= holders_of(connection, part[0].incident, handles)
        return found

    def open(self, row: Row[Any]) -> EffectRow:
        """Give one effect with what is sealed in it; Damaged when the row was tampered with."""
        scope, token = scope_of(row.verb, row.incident), row.token
        vault = self._core.vault
        sealed = vault.open(scope, f"effect {token}", row.sealed)
        known_as = effect_token(row.incident, row.step, row.round, row.verb, row.handle)
        if token != known_as or (sealed["is_refused"] and row.state != EffectState.REFUSED):
            raise Damaged(
                f"effect {token} of {row.incident} was changed outside the ledger; nothing was "
                "done; run `standfast audit verify`"
            )

        def opened(column: str, value: bytes | None) -> JsonObject | None:
            return None if value is None else vault.open(scope, f"effect.{column} {token}", value)

        return EffectRow(
            token=token,
            incident=row.incident,
            step=row.step,
            round=row.round,
            verb=row.verb,
            connector=row.connector,
            handle=row.handle,
            target=cast("str", sealed["target"]),
            details=cast("JsonObject", sealed["details"]),
            state=EffectState(row.state),
            is_parked=row.is_parked,
            prior=opened("prior", row.sealed_prior),
            undoes=row.undoes,
            tries=row.tries,
            reason=cast("str", (opened("reason", row.sealed_reason) or {"text": ""})["text"]),
            proof=Proof(row.proof),
            facts=opened("facts", row.sealed_facts) or {},
        )


def is_held() -> Any:
    """Is the effect a lock that may hold its account now: done or under way, and not undone?"""
    undo = effect.alias("undo")
    return and_(
        effect.c.verb.in_(NEEDS_PRIOR),
        effect.c.state.in_(("done", "submitting", "unknown")),
        ~exists().where(undo.c.undoes == effect.c.token, undo.c.state == "done"),
    )


def holders_of(connection: Connection, incident_id: str, handles: Sequence[str]) -> dict[str, str]:
    """Give, by handle, which other open incident of the same mode holds these accounts.

    An exercise locks twins only: it holds nothing that is real, and nothing real holds a twin.
    """
    mine = incident.alias("mine")
    statement = (
        select(effect.c.handle, effect.c.incident)
        .join(incident, incident.c.id == effect.c.incident)
        .join(mine, and_(mine.c.id == incident_id, mine.c.mode == incident.c.mode))
        .where(
            effect.c.handle.in_(handles),
            effect.c.incident != incident_id,
            incident.c.state == "open",
            is_held(),
        )
        .order_by(effect.c.incident.desc())
    )
    return {row.handle: row.incident for row in connection.execute(statement)}


def with_step() -> Any:
    return effect.join(
        step,
        and_(
            step.c.incident == effect.c.incident,
            step.c.name == effect.c.step,
            step.c.round == effect.c.round,
        ),
    )


def is_begun() -> Any:
    """Is the effect's step one whose effects run, or the effect a page of one that asks?"""
    return or_(
        step.c.state == StepState.RUNNING.value,
        and_(step.c.state == StepState.ASKING.value, effect.c.verb == PAGE),
    )


def may_run(now: datetime) -> Any:
    """Is it begun, and its abort window over?"""
    return and_(
        is_begun(),
        or_(step.c.runs_from.is_(None), step.c.runs_from <= now, effect.c.verb == PAGE),
    )


def counts_by_step(
    connection: Connection, incident_id: str
) -> Iterator[tuple[str, int, str, bool, int]]:
    """Give (step, round, state, parked, number) of an incident's effects; pages do not count."""
    statement = (
        select(effect.c.step, effect.c.round, effect.c.state, effect.c.is_parked, func.count())
        .where(effect.c.incident == incident_id, effect.c.verb != PAGE)
        .group_by(effect.c.step, effect.c.round, effect.c.state, effect.c.is_parked)
    )
    for row in connection.execute(statement):
        yield tuple(row)
