"""Effects as records, and the sealing of their columns.

An effect is one change of one target, such as one locked account. Its verb is the kind of change,
its handle the keyed hash of the target's name. Its round is the number of the planning of its step:
a step can be planned several times.

Rules
- The token of an effect is a hash of (incident, step, round, verb, handle): planning the same
  effect twice creates it once, and the provider receives the same token in every attempt.
- Targets, details, results, and the states of targets before the change are sealed (encrypted and
  authenticated). `decrypt_effect` decrypts them.
- Sealed values are bound to the token, and the token to (incident, step, round, verb, handle). So
  decryption fails if sealed values were copied from another row, or if the adapter or the undone
  effect of a row was changed. It also fails for a row that was planned as refused and has another
  state now.
"""

import hashlib
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Row

from standfast.errors import Damaged
from standfast.ledger.schema.column_encryption import INSTALLATION, ColumnCipher
from standfast.playbook.actions import ACTIONS
from standfast.playbook.planned_effects import Draft
from standfast.records import EffectState, JsonObject, Order, Proof, canonical


@dataclass(frozen=True, kw_only=True, order=True)
class EffectQueue:
    """Effects that one call can execute together: one verb, one adapter."""

    verb: str
    connector: str

    def __str__(self) -> str:
        return f"{self.verb} {self.connector}"


@dataclass(frozen=True, kw_only=True)
class EffectRow:
    """One effect, decrypted."""

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
    """The effects that one process claimed for one call of an adapter."""

    attempt: str
    incident: str
    queue: EffectQueue
    effects: tuple[EffectRow, ...]

    @property
    def orders(self) -> list[Order]:
        return [row.as_order() for row in self.effects]


def scope_of(verb: str, incident_id: str) -> str:
    """Return the scope of the key that seals an effect's columns.

    Effects on customers are sealed under the incident's key, those on accounts and staff under the
    installation's key.
    """
    return incident_id if ACTIONS[verb].is_notice else INSTALLATION


def effect_token(incident_id: str, step_name: str, round_: int, verb: str, handle: str) -> str:
    """Return the token of an effect, which the provider receives too."""
    identity = "\n".join((incident_id, step_name, str(round_), verb, handle))
    return hashlib.sha256(identity.encode()).hexdigest()[:32]


def seal_reason(
    cipher: ColumnCipher, verb: str, incident_id: str, token: str, reason: str
) -> bytes | None:
    """Seal the reason of an effect's state; return None for no reason."""
    if not reason:
        return None
    scope = scope_of(verb, incident_id)
    return cipher.seal(scope, f"effect.reason {token}", {"text": reason})


def seal_reason_of(cipher: ColumnCipher, row: EffectRow, reason: str) -> bytes | None:
    """Seal the reason of a decrypted effect; return None for no reason."""
    return seal_reason(cipher, row.verb, row.incident, row.token, reason)


def seal_effect(
    cipher: ColumnCipher, incident_id: str, token: str, draft: Draft, details: bytes
) -> bytes:
    """Seal an effect's adapter, target and details (canonical JSON)."""
    is_refused = b"true" if draft.state is EffectState.REFUSED else b"false"
    written = b'{"connector":%b,"details":%b,"is_refused":%b,"target":%b,"undoes":%b}' % (
        canonical(draft.connector),
        details,
        is_refused,
        canonical(draft.target),
        canonical(draft.undoes),
    )
    return cipher.seal_written(scope_of(draft.verb, incident_id), f"effect {token}", written)


def decrypt_effect(cipher: ColumnCipher, row: Row[Any] | tuple[Any, ...]) -> EffectRow:
    """Decrypt the sealed columns of an effect; `row` has the table's columns.

    Raises Damaged if the row was changed outside this program.
    """
    # Unpack the row at once: looking up its twenty columns by name takes longer than the
    # decryption.
    columns: tuple[Any, ...] = tuple(row)
    token, incident_id, step_name, round_, _, verb, connector, handle, sealed = columns[:9]
    state, is_parked, sealed_prior, undoes, tries, _, _ = columns[9:16]
    sealed_reason, proof, sealed_facts = columns[16:]
    scope = scope_of(verb, incident_id)
    known = cipher.open(scope, f"effect {token}", sealed)
    expected_token = effect_token(incident_id, step_name, round_, verb, handle)
    is_other = (connector, undoes) != (known["connector"], known["undoes"])
    has_left_refused = known["is_refused"] and state != EffectState.REFUSED
    if token != expected_token or is_other or has_left_refused:
        raise Damaged(
            f"effect {token} of {incident_id}: changed outside the ledger. Nothing was done. Run "
            "`standfast audit verify`."
        )

    def decrypt(column: str, value: bytes | None) -> JsonObject | None:
        return None if value is None else cipher.open(scope, f"effect.{column} {token}", value)

    return EffectRow(
        token=token,
        incident=incident_id,
        step=step_name,
        round=round_,
        verb=verb,
        connector=connector,
        handle=handle,
        target=cast("str", known["target"]),
        details=cast("JsonObject", known["details"]),
        state=EffectState(state),
        is_parked=bool(is_parked),
        prior=decrypt("prior", sealed_prior),
        undoes=undoes,
        tries=tries,
        reason=cast("str", (decrypt("reason", sealed_reason) or {"text": ""})["text"]),
        proof=Proof(proof),
        facts=decrypt("facts", sealed_facts) or {},
    )
