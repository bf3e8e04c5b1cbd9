"""Plans of steps: rows of effects, and the digest to approve.

A step is one part of a playbook; each planning of a step is a round. An effect is one planned
change of one target, such as one account to lock. The effects of a long plan are stored in several
transactions, one page in each.

Rules
- The digest covers each effect in order: its verb (the kind of change), adapter, target (as a keyed
  hash), details, and whether it is refused. The digest also covers the settings of each adapter,
  and the text of a notice with the Merkle root of its recipients. It does not depend on the
  division into pages.
- The columns of a new step's effects are encrypted before the transaction that writes the rows, so
  that no other writer waits for the encryption.
"""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select

from standfast.errors import Damaged
from standfast.ledger.audit.audited_database import AuditedDatabase
from standfast.ledger.audit.transaction import Write, damaged
from standfast.ledger.effects.effect_rows import (
    EffectQueue,
    effect_token,
    scope_of,
    seal_effect,
    seal_reason,
)
from standfast.ledger.schema.column_encryption import ColumnCipher
from standfast.ledger.schema.tables import effect
from standfast.playbook.planned_effects import Draft, FrozenNotice, Settings
from standfast.records import Json, JsonObject, Proof, StepState, canonical, digest

_ROWS_A_WRITE = 1_000


@dataclass(frozen=True, kw_only=True)
class EffectPage:
    """A page of a step's effects, as rows by token."""

    rows: Mapping[str, Mapping[str, Any]]
    acts: bytes  # one line for each effect, in order, from which the digest is computed
    drafts: int  # number of effects
    queues: frozenset[EffectQueue]


class Plan:
    """The plan of one round: the newest page, and the digest of all pages."""

    def __init__(self, incident_id: str, step_name: str, round_: int) -> None:
        self._key = (incident_id, step_name, round_)
        self._acts = hashlib.sha256()
        self._queues: set[EffectQueue] = set()
        self.effects = 0
        self.page: EffectPage | None = None

    def add(self, page: EffectPage) -> None:
        """Add the next page."""
        self._acts.update(page.acts)
        self.effects += page.drafts
        self._queues |= page.queues
        self.page = page

    def digest(self, frozen: FrozenNotice | None, settings: Settings) -> str:
        """Return the digest of the plan, which an approval signs."""
        return digest(self.described(frozen, settings))

    def described(self, frozen: FrozenNotice | None, settings: Settings) -> JsonObject:
        """Return the plan in the form that the step stores."""
        incident_id, step_name, round_ = self._key
        return {
            "incident": incident_id,
            "step": step_name,
            "round": round_,
            "acts": self._acts.hexdigest(),
            "effects": self.effects,
            "notice": None if frozen is None else [frozen.digest, frozen.root],
            "settings": {
                str(queue): dict(settings(queue.verb, queue.connector)) for queue in self._queues
            },
        }


def draft_effects(
    cipher: ColumnCipher,
    incident_id: str,
    step_name: str,
    round_: int,
    drafts: Sequence[Draft],
    *,
    begin: int = 0,
) -> EffectPage:
    """Return the rows of a step's effects, numbered from `begin`."""
    rows: dict[str, dict[str, Any]] = {}
    acts: list[bytes] = []
    queues = {EffectQueue(verb=draft.verb, connector=draft.connector) for draft in drafts}
    for position, draft in enumerate(drafts, begin):
        scope = scope_of(draft.verb, incident_id)
        handle = cipher.handle(scope, draft.target)
        token = effect_token(incident_id, step_name, round_, draft.verb, handle)
        details = canonical(draft.details)  # for the digest and for the sealed column
        act: list[Json] = [draft.verb, draft.connector, handle, draft.state.value]
        acts.append(canonical([*act, hashlib.sha256(details).hexdigest()]) + b"\n")
        rows[token] = {
            "token": token,
            "incident": incident_id,
            "step": step_name,
            "round": round_,
            "position": position,
            "verb": draft.verb,
            "connector": draft.connector,
            "handle": handle,
            "sealed": seal_effect(cipher, incident_id, token, draft, details),
            "state": draft.state.value,
            "is_parked": draft.waits_for_a_person,
            "sealed_prior": None
            if draft.prior is None
            else cipher.seal(scope, f"effect.prior {token}", draft.prior),
            "undoes": draft.undoes,
            "tries": 0,
            "not_before": draft.not_before,
            "attempt": None,
            "sealed_reason": seal_reason(cipher, draft.verb, incident_id, token, draft.reason),
            "proof": Proof.NONE.value,
            "sealed_facts": None,
        }
    return EffectPage(rows=rows, acts=b"".join(acts), drafts=len(drafts), queues=frozenset(queues))


def insert_effect_page(
    write: Write,
    cipher: ColumnCipher,
    incident_id: str,
    step_name: str,
    round_: int,
    drafts: Sequence[Draft],
) -> None:
    """Add effects to an existing step, in the transaction of the caller."""
    page = draft_effects(cipher, incident_id, step_name, round_, drafts)
    write.insert_new(effect, *page.rows.values())


def delete_unstarted_effects(
    database: AuditedDatabase, key: tuple[str, str, int], now: datetime
) -> int:
    """Delete the effects of a round that never began; return their number.

    The round must have no row in the table `step`. The caller must have locked
    `AuditedDatabase.planning`, so that no other process is writing these effects.
    """
    incident_id, step_name, round_ = key
    dropped = 0
    while True:
        with database.write(
            actor="ledger", subject=incident_id, action="step.dropped", now=now
        ) as write:
            found = list(
                write.connection.scalars(
                    select(effect.c.token)
                    .where(
                        effect.c.incident == incident_id,
                        effect.c.step == step_name,
                        effect.c.round == round_,
                    )
                    .limit(_ROWS_A_WRITE)
                )
            )
            if not found:
                return dropped
            write.delete(effect, [(token,) for token in found])
            write.add_detail(step=step_name, round=round_, effects=len(found))
        dropped += len(found)


def refuse_changed_effects(
    database: AuditedDatabase, incident_id: str, step_name: str, round_: int
) -> None:
    """Raise Damaged if an effect of the round was changed or is missing."""
    rows = database.rows
    named = (effect.c.incident == incident_id, effect.c.step == step_name, effect.c.round == round_)
    with database.reading() as connection:
        planned = rows.count_planned_effects(connection, incident_id, step_name, round_)
        count = connection.scalar(select(func.count()).where(*named))
    if planned != count:
        raise Damaged(
            f"step {step_name} of {incident_id}: {planned} effects were planned, and the "
            f"database has {count}. Nothing was done. Run `standfast audit verify`."
        )
    if changed := rows.changed_effects(database.reading, *named, incident_id=incident_id):
        raise damaged(effect, changed)


def new_step_row(
    incident_id: str, step_name: str, round_: int, state: StepState, now: datetime
) -> dict[str, Any]:
    plan: JsonObject = {"incident": incident_id, "step": step_name, "round": round_}
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
        "rung": 0,
        "escalates_at": None,
        "joined": 0,
        "is_accepted": False,
        "needs_approvals": 0,
        "roles": "[]",
        "plan": canonical(plan).decode(),
        "digest": digest(plan),
        "nonce": secrets.token_hex(16),
        "seal": "",
        "sealed_answer": None,
        "reason": "",
    }
