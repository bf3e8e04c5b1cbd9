"""An attacker reads and writes every table of the ledger, at any time.

They keep copies of rows and write them back, with whatever was sealed in them. They have no key of
the ledger, no witness and no passphrase. Each test names the attempt; what stays true is asserted.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Table

from standfast.errors import ApprovalRefused, Damaged
from standfast.ledger import Ledger
from standfast.ledger.approvals.passkeys import signed_bytes
from standfast.ledger.audit import row_verification
from standfast.ledger.effects.effect_rows import EffectQueue
from standfast.ledger.schema.tables import (
    approval,
    audit_event,
    effect,
    incident,
    installation,
    passkey,
    person,
    step,
)
from standfast.playbook.planned_effects import Expansion, FrozenNotice
from standfast.records import EffectState, Observed, StepState
from standfast.webauthn import challenge_for, read_registration
from tests.ledger.intruder import Intruder
from tests.ledger.ledger_files import FOUNDED, NOW
from tests.ledger.stage import (
    LOCK,
    OWNER,
    REVOKE,
    begin,
    claim,
    claimed,
    decide,
    drafts,
    enrol,
    key_of,
    lock,
    look,
    open_incident,
    results,
    runner,
    signature,
    states,
)
from tests.passkey_device import Device

_MAIL = EffectQueue(verb="notices.send", connector="relay")


@contextmanager
def _written_back(intruder: Intruder, table: Table) -> Iterator[None]:
    """Copy a table's rows, let something happen, and write the copies back."""
    copies = intruder.rows(table)
    yield
    for row in copies:
        names = [column.name for column in table.columns if not column.primary_key]
        intruder.set(table, row, **{name: row[name] for name in names})


def _asking(ledger: Ledger, *, needs: int = 1) -> str:
    for name in ("ann", "ben"):
        enrol(ledger, name)
    opened = open_incident(ledger)
    begin(ledger, opened, drafts(REVOKE, "alice"), needs=needs)
    return opened


def _told(ledger: Ledger, count: int) -> tuple[str, str]:
    """Begin a notice to so many customers; return its incident and a runner."""
    opened = open_incident(ledger)
    names = [f"customer-{number}" for number in range(count)]
    begin(ledger, opened, drafts(_MAIL, *names), step="tell")
    return opened, runner(ledger, opened)


def _finish(ledger: Ledger, opened: str, name: str) -> bool:
    done = StepState.DONE
    return ledger.steps.finish(opened, name, 1, done, "", NOW, only_settled=True)


# redirecting and repeating


def test_effect_cannot_be_redirected(ledger: Ledger, intruder: Intruder) -> None:
    opened, who = _told(ledger, 1)
    intruder.run("UPDATE effect SET connector = 'theirs'")
    with pytest.raises(Damaged):
        claim(ledger, opened, who, queue=EffectQueue(verb=_MAIL.verb, connector="theirs"))
    with pytest.raises(Damaged):
        ledger.effects.of_incident(opened)


def test_done_effect_is_not_repeated(ledger: Ledger, intruder: Intruder) -> None:
    opened, who = _told(ledger, 1)
    with _written_back(intruder, effect):
        batch = claimed(ledger, opened, who, queue=_MAIL)
        ledger.attempts.receipt(batch, results(batch), who, NOW)
    with pytest.raises(Damaged):
        claim(ledger, opened, who, queue=_MAIL)


def test_account_is_not_locked_again_after_undo(ledger: Ledger, intruder: Intruder) -> None:
    opened = open_incident(ledger)
    lock(ledger, opened, "alice", {"enabled": True})
    intruder.run("UPDATE effect SET state = 'planned', attempt = NULL, tries = 0")
    with pytest.raises(Damaged):
        claim(ledger, opened, runner(ledger, opened), queue=LOCK)
    intruder.run("UPDATE effect SET sealed_prior = NULL")  # so that its account is observed again
    with pytest.raises(Damaged):
        look(ledger, opened, runner(ledger, opened), {"enabled": True})


def test_receipt_covers_up_no_other_adapter(ledger: Ledger, intruder: Intruder) -> None:
    """During the call, the attacker names another adapter for the retry."""
    opened, who = _told(ledger, 1)
    batch = claimed(ledger, opened, who, queue=_MAIL)
    intruder.run("UPDATE effect SET connector = 'theirs'")
    ledger.attempts.receipt(batch, results(batch, EffectState.FAILED), who, NOW)
    ledger.attempts.retry(opened, None, "olga", NOW)
    with pytest.raises(Damaged):
        claim(ledger, opened, who, queue=EffectQueue(verb=_MAIL.verb, connector="theirs"))


# skipping people


@pytest.mark.parametrize(
    "attempt",
    [
        "UPDATE effect SET state = 'done'",
        "UPDATE effect SET state = 'refused'",
        "UPDATE effect SET step = 'other'",
        "DELETE FROM effect",
    ],
)
def test_nobody_is_skipped_silently(ledger: Ledger, intruder: Intruder, attempt: str) -> None:
    """10 of 20 customers are marked as notified; the notice stays incomplete."""
    opened, who = _told(ledger, 20)
    intruder.run(f"{attempt} WHERE position % 2 = 0")
    batch = claimed(ledger, opened, who, queue=_MAIL)
    ledger.attempts.receipt(batch, results(batch), who, NOW)
    assert len(batch.effects) == 10
    with pytest.raises(Damaged):
        _finish(ledger, opened, "tell")


def test_step_set_to_done_is_not_believed(ledger: Ledger, intruder: Intruder) -> None:
    """The engine would go on to the next step, and nobody would be locked."""
    opened = open_incident(ledger)
    begin(ledger, opened, drafts(LOCK, "alice"))
    intruder.run("UPDATE step SET state = 'done', ended_at = started_at")
    with pytest.raises(Damaged):
        ledger.incidents.state(opened)


def test_notice_keeps_its_words(ledger: Ledger, intruder: Intruder) -> None:
    opened = open_incident(ledger)
    body = {"en": {"subject": "Your account"}}
    frozen = FrozenNotice(
        template="t", body=body, digest="0" * 64, root="1" * 64, audience="customers", recipients=1
    )
    planned = Expansion(drafts=drafts(_MAIL, "carol"), notice=frozen)
    ledger.steps.expand(opened, "tell", 1, planned, "olga", NOW)
    intruder.run("""UPDATE notice SET body = '{"en":{"subject":"Pay here"}}'""")
    with pytest.raises(Damaged):
        ledger.incidents.notice(opened, "tell", 1)


# deciding in the place of people


def test_refused_step_does_not_ask_again(ledger: Ledger, intruder: Intruder) -> None:
    opened = _asking(ledger)
    with _written_back(intruder, step):
        decide(ledger, opened, "ann", decision="refuse")
        (refusal,) = intruder.rows(approval)
        intruder.delete(approval, refusal)
    asked = ledger.decisions.question(opened, "lock")
    with pytest.raises(Damaged):
        ledger.decisions.decide(opened, "lock", "ben", "approve", signature(asked, "ben"), NOW)
    assert states(ledger, opened) == {"agents:alice": EffectState.PLANNED}


def test_forged_approval_does_not_block_its_person(ledger: Ledger, intruder: Intruder) -> None:
    opened = _asking(ledger)
    (asked,) = intruder.rows(step)
    forged: dict[str, Any] = {
        "incident": opened,
        "step": "lock",
        "round": 1,
        "person": "ann",
        "decision": "approve",
        "digest": asked["digest"],
        "nonce": asked["nonce"],
        "signature": "00" * 64,
        "decided_at": asked["started_at"],
    }
    intruder.add(approval, forged)
    assert ledger.decisions.question(opened, "lock").given == 0
    assert decide(ledger, opened, "ann").given == 1
    assert claim(ledger, opened, runner(ledger, opened)) is not None
    assert ledger.audit.verify().is_whole


def test_abort_window_is_not_shortened(ledger: Ledger, intruder: Intruder) -> None:
    enrol(ledger, "ann")
    opened = open_incident(ledger)
    begin(ledger, opened, drafts(REVOKE, "alice"), needs=1, hold_seconds=600)
    decide(ledger, opened, "ann")
    intruder.run("UPDATE step SET runs_from = started_at")
    with pytest.raises(Damaged):
        claim(ledger, opened, runner(ledger, opened))


def test_stopped_incident_is_not_resumed(ledger: Ledger, intruder: Intruder) -> None:
    opened = open_incident(ledger)
    begin(ledger, opened, drafts(REVOKE, "alice"))
    with _written_back(intruder, incident):
        ledger.incidents.set_stopped(opened, True, "olga", NOW)
    with pytest.raises(Damaged):
        claim(ledger, opened, runner(ledger, opened))


def test_closed_incident_is_not_reopened(ledger: Ledger, intruder: Intruder) -> None:
    opened = open_incident(ledger)
    begin(ledger, opened, drafts(REVOKE, "alice"))
    with _written_back(intruder, incident):
        ledger.incidents.close(opened, "olga", NOW)
    with pytest.raises(Damaged):
        claim(ledger, opened, runner(ledger, opened))


# people and their devices


def test_removed_person_does_not_come_back(ledger: Ledger, intruder: Intruder) -> None:
    opened = _asking(ledger)
    with _written_back(intruder, person):
        ledger.people.remove("ann", OWNER, NOW)
    with pytest.raises(ApprovalRefused):
        decide(ledger, opened, "ann")


def test_removed_person_does_not_come_back_unseen(ledger: Ledger, intruder: Intruder) -> None:
    """The attacker also deletes the removal event, which a head covers."""
    opened = _asking(ledger)
    with _written_back(intruder, person):
        ledger.people.remove("ann", OWNER, NOW)
    ledger.audit.sign_head(NOW)
    enrol(ledger, "cid", now=NOW)
    removals = [row for row in intruder.rows(audit_event) if row["action"] == "person.removed"]
    intruder.delete(audit_event, removals[0])
    with pytest.raises(Damaged):
        decide(ledger, opened, "ann")


def test_removed_passkey_does_not_come_back(ledger: Ledger, intruder: Intruder) -> None:
    opened, device = _asking(ledger), Device()
    new = read_registration(device.make(b"0" * 32), challenge=b"0" * 32, origin=device.origin)
    signed = key_of("ann").sign(signed_bytes("ann", new, device.origin, NOW)).hex()
    added = ledger.passkeys.add("ann", new, origin=device.origin, signature=signed, now=NOW)
    with _written_back(intruder, passkey):
        ledger.passkeys.remove("ann", added.id, "ann", NOW)
    asked = ledger.decisions.question(opened, "lock")
    said = device.sign(challenge_for(asked.message("ann", "approve")))
    with pytest.raises(ApprovalRefused):
        ledger.decisions.decide(opened, "lock", "ann", "approve", said, NOW)


def test_set_up_day_does_not_come_back(ledger: Ledger, intruder: Intruder) -> None:
    """People that are enrolled on the first day approve at once."""
    (row,) = intruder.rows(installation)
    intruder.set(installation, row, initialised_at="2026-03-12T08:00:00.000000Z")
    with pytest.raises(Damaged):
        enrol(ledger, "mallory", now=NOW)


# covering up


def test_honest_change_covers_nothing_up(ledger: Ledger, intruder: Intruder) -> None:
    """The ledger reads back a row that it changes, with every foreign value."""
    opened = open_incident(ledger)
    intruder.run("UPDATE incident SET is_halted = :no, joined = 7", no=False)
    with pytest.raises(Damaged):
        ledger.incidents.set_stopped(opened, True, "olga", NOW)
    assert not ledger.audit.verify().is_whole


def test_event_hidden_from_its_incident_is_missed(ledger: Ledger, intruder: Intruder) -> None:
    opened = open_incident(ledger)
    begin(ledger, opened, drafts(REVOKE, "alice"))
    intruder.run("UPDATE audit_event SET subject = 'elsewhere' WHERE action = 'step.begun'")
    with pytest.raises(Damaged):
        claim(ledger, opened, runner(ledger, opened))


def test_checkpoint_hides_no_later_event(
    ledger: Ledger, intruder: Intruder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint is where verifying begins, and never where it ends."""
    monkeypatch.setattr(row_verification, "EVENTS_A_CHECKPOINT", 2)
    enrol(ledger, "ann")
    ledger.audit.sign_head(FOUNDED)
    opened = open_incident(ledger)
    begin(ledger, opened, drafts(REVOKE, "alice"), needs=1)
    with _written_back(intruder, person):
        ledger.people.remove("ann", OWNER, NOW)
    assert intruder.run("SELECT 1 FROM audit_event WHERE action = 'audit.checkpoint'")
    with pytest.raises(ApprovalRefused):
        decide(ledger, opened, "ann")


def test_call_that_may_still_land_waits(ledger: Ledger, intruder: Intruder) -> None:
    """A look-up too early would miss the call and notify a person twice."""
    opened, who = _told(ledger, 1)
    claimed(ledger, opened, who, queue=_MAIL)
    ledger.unknown_outcomes.expire_calls(opened, lambda _: True, NOW)
    intruder.run("UPDATE attempt SET settle_after = submitted_at")
    seen = [
        (row, Observed(target=row.target, happened=False))
        for row in ledger.effects.to_settle(opened, _MAIL, NOW, 10)
    ]
    with pytest.raises(Damaged):
        ledger.unknown_outcomes.settle(opened, seen, who, NOW)
