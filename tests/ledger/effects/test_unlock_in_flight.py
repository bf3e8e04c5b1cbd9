"""A lock waits or is lost while an unlock of its account may take effect."""

from datetime import datetime, timedelta

from standfast.ledger import Ledger
from standfast.ledger.effects.effect_rows import Batch, EffectQueue
from standfast.playbook.planned_effects import Draft, Expansion
from standfast.records import EffectState, JsonObject
from tests.ledger.ledger_files import NOW
from tests.ledger.stage import (
    LOCK,
    begin,
    claim,
    claimed,
    drafts,
    lock,
    look,
    open_incident,
    results,
    runner,
)

UNLOCK = EffectQueue(verb="accounts.unlock", connector="agents")
ENABLED: JsonObject = {"is_enabled": True}


def unlock_in_flight(ledger: Ledger, incident: str, name: str) -> tuple[Batch, str]:
    """Lock an account, and begin the call that undoes the lock."""
    token = lock(ledger, incident, name, ENABLED)
    draft = Draft(verb=UNLOCK.verb, connector="agents", target=f"agents:{name}", undoes=token)
    ledger.steps.expand(incident, "undo-1", 1, Expansion(drafts=(draft,)), "olga", NOW)
    who = runner(ledger, incident)
    return claimed(ledger, incident, who, queue=UNLOCK), who


def locked_by(ledger: Ledger, incident: str, now: datetime) -> list[str]:
    batch = claim(ledger, incident, runner(ledger, incident, now), queue=LOCK, now=now)
    return [] if batch is None else [row.target for row in batch.effects]


def test_lock_waits_for_unlock_of_its_account(ledger: Ledger) -> None:
    first, second = open_incident(ledger), open_incident(ledger)
    batch, who = unlock_in_flight(ledger, first, "alice")
    begin(ledger, second, drafts(LOCK, "alice", "bob"))
    look(ledger, second, who, ENABLED)
    assert locked_by(ledger, second, NOW) == ["agents:bob"]
    ledger.attempts.receipt(batch, results(batch), who, NOW)
    assert locked_by(ledger, second, NOW) == ["agents:alice"]


def test_lock_waits_until_unlock_cannot_land(
    ledger: Ledger,
) -> None:
    first, second = open_incident(ledger), open_incident(ledger)
    batch, who = unlock_in_flight(ledger, first, "alice")
    ledger.attempts.receipt(batch, results(batch, EffectState.UNKNOWN), who, NOW)
    begin(ledger, second, drafts(LOCK, "alice"))
    look(ledger, second, who, ENABLED)
    settled = NOW + timedelta(seconds=30)
    assert locked_by(ledger, second, settled - timedelta(microseconds=1)) == []
    assert locked_by(ledger, second, settled) == ["agents:alice"]


def test_lock_waits_for_no_other_lock(ledger: Ledger) -> None:
    first, second = open_incident(ledger), open_incident(ledger)
    for incident in (first, second):
        begin(ledger, incident, drafts(LOCK, "alice"))
        look(ledger, incident, runner(ledger, incident), ENABLED)
    assert locked_by(ledger, first, NOW) == ["agents:alice"]
    assert locked_by(ledger, second, NOW) == ["agents:alice"]
