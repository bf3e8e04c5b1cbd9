"""Metrics of an installation on each database, during an incident."""

from datetime import UTC, datetime

from standfast.deadlines.incident_facts import FactKind
from standfast.ledger.incidents.incident_facts import Statement
from standfast.records import Mode
from standfast.usecases.deadlines.legal_clocks import state
from standfast.usecases.health.metrics import measure
from standfast.usecases.incidents.lifecycle import advance, open_incident
from tests.usecases.twins import SimulatedInstallation


def samples(installation: SimulatedInstallation, name: str) -> dict[tuple[str, ...], float]:
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
    state(installation, case, Statement(kind=FactKind.TIME, name="awareness", at=aware))
    # No law is configured in this installation.
    assert set(samples(installation, "clocks").values()) == {0}
    assert samples(installation, "clock_next_due_timestamp_seconds") == {}
