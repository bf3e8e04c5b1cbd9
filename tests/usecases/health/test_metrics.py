"""Metrics of an installation on each database, during an incident."""

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from standfast.config.sections.deadlines import DeadlinesConfig
from standfast.deadlines.incident_facts import FactKind
from standfast.ledger.incidents.incident_facts import Statement
from standfast.records import DeliveryEvent, DeliveryState, Mode
from standfast.usecases.approvals import step_decisions
from standfast.usecases.core.installation import Installation
from standfast.usecases.deadlines.legal_clocks import state_fact
from standfast.usecases.health.metrics import measure
from standfast.usecases.incidents.lifecycle import advance, open_incident, resume, stop
from tests.usecases.conftest import Centre
from tests.usecases.incidents.test_staged_notices import TOLD
from tests.usecases.installations import PASSPHRASES
from tests.usecases.notice_follow_up.test_held_recipients import holding
from tests.usecases.twins import SimulatedInstallation

MAILS = {"mail:customer4@example.net", "mail:customer5@example.net"}


def samples(installation: Installation, name: str) -> dict[tuple[str, ...], float]:
    (family,) = [found for found in measure(installation) if found.name == f"standfast_{name}"]
    return {tuple(sample.labels.values()): sample.value for sample in family.samples}


def test_locked_account_is_a_done_effect(installation: SimulatedInstallation) -> None:
    case = open_incident(
        installation,
        "lock",
        {"accounts": ["agents:agent01"]},
        mode=Mode.LIVE,
        opened_by="os:test",
    ).incident
    assert samples(installation, "effects") == {}
    advance(installation, case, "direct")
    effects = samples(installation, "effects")
    assert effects["accounts.lock", "done"] == 1
    assert not any("agent01" in value for labels in effects for value in labels)


def test_stated_facts_start_clocks(installation: SimulatedInstallation) -> None:
    case = open_incident(
        installation,
        "lock",
        {"accounts": ["agents:agent01"]},
        mode=Mode.LIVE,
        opened_by="os:test",
    ).incident
    aware = datetime(2026, 1, 1, tzinfo=UTC)
    state_fact(installation, case, Statement(kind=FactKind.TIME, name="awareness", at=aware))
    # No law is configured in this installation.
    assert set(samples(installation, "clocks").values()) == {0}
    assert samples(installation, "clock_next_due_timestamp_seconds") == {}


def test_configured_law_is_running_and_then_missed(installation: SimulatedInstallation) -> None:
    deadlines = DeadlinesConfig.model_validate(
        {"jurisdictions": ["EU/EEA"], "parts": ["controller"], "authority_country": "DE"}
    )
    there = replace(
        installation, config=installation.config.model_copy(update={"deadlines": deadlines})
    )
    case = open_incident(
        there, "lock", {"accounts": ["agents:agent01"]}, mode=Mode.LIVE, opened_by="os:test"
    ).incident
    aware = there.clock()
    state_fact(there, case, Statement(kind=FactKind.TIME, name="awareness", at=aware))
    before = samples(there, "clocks")
    assert before["running",] > 0
    assert before["missed",] == 0
    due = samples(there, "clock_next_due_timestamp_seconds")[()]
    assert due >= (aware + timedelta(hours=72)).timestamp() - 1
    later = replace(there, clock=lambda: aware + timedelta(days=30))
    assert samples(later, "clocks")["missed",] >= before["running",]


def test_notices_and_waiting_work_are_counted(centre: Centre) -> None:
    centre.smtp.answer_recipient("customer9@example.net", "550 5.1.1 no such mailbox")
    case = holding(centre, is_approved=False)
    installation, ledger = centre.installation, centre.installation.ledger
    # No runner may send a notice before its approval.
    waiting = {"approvals": 1, "answers": 2, "held_recipients": 3, "effects": 0}
    assert samples(installation, "queue_length") == {(name,): n for name, n in waiting.items()}
    step_decisions.decide(installation, case, TOLD, "lee", PASSPHRASES["lee"])
    queues = samples(installation, "queue_length")
    assert (queues["approvals",], queues["effects",]) == (0, 17)
    stop(installation, case, by="dana")
    assert samples(installation, "queue_length")["effects",] == 0
    resume(installation, case, by="dana")
    before = samples(installation, "notices")
    assert (before["planned",], before["done",], before["refused",]) == (17, 3, 3)
    centre.advance(case)
    assert samples(installation, "queue_length")["effects",] == 0
    after = samples(installation, "notices")
    assert (after["planned",], after["done",], after["refused",]) == (0, 19, 4)
    sent = [row.token for row in ledger.effects.of_incident(case) if row.target in MAILS]
    states = (DeliveryState.DELIVERED, DeliveryState.BOUNCED)
    reports = [
        DeliveryEvent(token=token, state=state, at=installation.clock())
        for token, state in zip(sent, states, strict=True)
    ]
    ledger.deliveries.store_reports(reports, "event", installation.clock())
    found = samples(installation, "notice_deliveries")
    assert (found["delivered",], found["bounced",], found["dropped",]) == (1, 1, 0)


def test_age_of_the_witness_is_measured(installation: SimulatedInstallation) -> None:
    for name in ("ledger", "backup"):
        witness = getattr(installation.config, name).witness
        witness.parent.mkdir(parents=True, exist_ok=True)
        witness.touch()
        written = installation.clock().timestamp() - 7200
        os.utime(witness, (written, written))
    ages = samples(installation, "witness_age_seconds")
    assert ages == {name: pytest.approx(7200, abs=60) for name in (("ledger",), ("backup",))}
