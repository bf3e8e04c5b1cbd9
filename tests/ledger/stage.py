"""People and acts of these tests, each one call of the public interface."""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from standfast.ledger import Ledger
from standfast.ledger.approvals.decisions import APPROVE
from standfast.ledger.approvals.two_person_rule import Question
from standfast.ledger.effects.effect_rows import Batch, EffectQueue, EffectRow
from standfast.ledger.incidents.trigger_messages import TriggerMessage
from standfast.ledger.people.people_changes import Signer
from standfast.ledger.schema.column_encryption import INSTALLATION
from standfast.playbook.planned_effects import Draft, Expansion
from standfast.records import EffectState, JsonObject, Limits, Mode, Observed, Result
from tests.ledger.ledger_files import FOUNDED, NOW

PLAYBOOK = (Path(__file__).parents[2] / "playbooks" / "lock.yaml").read_text()
LOCK = EffectQueue(verb="accounts.lock", connector="agents")
REVOKE = EffectQueue(verb="accounts.revoke_sessions", connector="agents")  # needs no prior state
LIMITS = Limits(batch=100, timeout_seconds=20)  # settles after 30 s


def key_of(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())


def signer(name: str) -> Signer:
    return Signer(name=name, key=key_of(name))


OWNER = Signer.owner(key_of("the owner"))


def enrol(
    ledger: Ledger,
    name: str,
    *,
    roles: Sequence[str] = ("duty-manager",),
    accounts: Sequence[str] = (),
    enrolled_by: str = "init",
    now: datetime = FOUNDED,
) -> str:
    ledger.people.enrol(
        name=name,
        full_name=f"{name.title()} Example",
        mail=f"{name}@example.com",
        accounts=accounts,
        roles=roles,
        public_key=key_of(name).public_key().public_bytes_raw().hex(),
        salt="00" * 16,
        enrolled_by=enrolled_by,
        now=now,
    )
    return name


def open_incident(
    ledger: Ledger,
    *,
    mode: Mode = Mode.LIVE,
    opened_by: str = "olga",
    is_signed: bool = True,
    trigger: str | None = None,
    inputs: JsonObject | None = None,
    now: datetime = NOW,
    message: str | None = None,
) -> str:
    incident, _ = ledger.incidents.open(
        scenario="lock",
        mode=mode,
        playbook=PLAYBOOK,
        adapters=["agents"],
        inputs=inputs or {"accounts": ["alice"], "reason": "locked by hand"},
        opened_by=opened_by,
        is_signed=is_signed,
        trigger=trigger,
        now=now,
        message=message_of(ledger, message) if message else None,
    )
    return incident


def message_of(ledger: Ledger, message_id: str, source: str = "siem") -> TriggerMessage:
    handle = ledger.cipher.handle(INSTALLATION, f"message {message_id}")
    return TriggerMessage(source=source, handle=handle)


def drafts(queue: EffectQueue, *names: str) -> tuple[Draft, ...]:
    return tuple(
        Draft(verb=queue.verb, connector=queue.connector, target=f"{queue.connector}:{name}")
        for name in names
    )


def begin(
    ledger: Ledger,
    incident: str,
    planned: Sequence[Draft],
    *,
    step: str = "lock",
    round_: int = 1,
    needs: int = 0,
    roles: Sequence[str] = (),
    hold_seconds: int = 0,
    now: datetime = NOW,
) -> bool:
    expansion = Expansion(
        drafts=tuple(planned),
        needs_approvals=needs,
        roles=tuple(roles),
        hold_seconds=hold_seconds,
    )
    return ledger.steps.expand(incident, step, round_, expansion, "olga", now)


def signature(question: Question, name: str, decision: str = APPROVE) -> str:
    return key_of(name).sign(question.message(name, decision)).hex()


def decide(
    ledger: Ledger,
    incident: str,
    name: str,
    *,
    step: str = "lock",
    decision: str = APPROVE,
    now: datetime = NOW,
) -> Question:
    signed = signature(ledger.decisions.question(incident, step), name, decision)
    return ledger.decisions.decide(incident, step, name, decision, signed, now)


def runner(ledger: Ledger, incident: str, now: datetime = NOW) -> str:
    return ledger.runners.register(incident, "direct", now)


def look(
    ledger: Ledger, incident: str, who: str, state: JsonObject, *, now: datetime = NOW
) -> None:
    """Read the prior state of every lock that waits; all are in `state`."""
    rows = ledger.effects.without_prior(incident, LOCK, now, 1000)
    seen = [(row, Observed(target=row.target, state=state)) for row in rows]
    ledger.prior_states.keep(incident, seen, who, now)


def claim(
    ledger: Ledger,
    incident: str,
    who: str,
    *,
    queue: EffectQueue = REVOKE,
    mode: Mode = Mode.LIVE,
    limits: Limits = LIMITS,
    now: datetime = NOW,
) -> Batch | None:
    return ledger.attempts.claim(incident, queue, who, mode, limits, now)


def claimed(
    ledger: Ledger,
    incident: str,
    who: str,
    *,
    queue: EffectQueue = REVOKE,
    limits: Limits = LIMITS,
    now: datetime = NOW,
) -> Batch:
    batch = claim(ledger, incident, who, queue=queue, limits=limits, now=now)
    assert batch is not None
    return batch


def results(
    batch: Batch,
    state: EffectState = EffectState.DONE,
    *,
    reason: str = "",
    retry_after: float | None = None,
) -> list[Result]:
    return [
        Result(target=order.target, state=state, reason=reason, retry_after_seconds=retry_after)
        for order in batch.orders
    ]


def lock(ledger: Ledger, incident: str, name: str, prior: JsonObject, *, step: str = "lock") -> str:
    """Lock one account up to its receipt; return the effect's token."""
    begin(ledger, incident, drafts(LOCK, name), step=step)
    who = runner(ledger, incident)
    look(ledger, incident, who, prior)
    batch = claimed(ledger, incident, who, queue=LOCK)
    ledger.attempts.receipt(batch, results(batch), who, NOW)
    return batch.effects[0].token


def only(ledger: Ledger, incident: str) -> EffectRow:
    """Return the only effect of an incident."""
    (row,) = ledger.effects.of_incident(incident)
    return row


def states(ledger: Ledger, incident: str) -> dict[str, EffectState]:
    return {row.target: row.state for row in ledger.effects.of_incident(incident)}


def waiting(ledger: Ledger) -> int:
    """Return the number of sessions that wait for a lock on PostgreSQL."""
    with ledger.database.reading() as connection:
        found = connection.exec_driver_sql(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        return int(found.scalar_one())
