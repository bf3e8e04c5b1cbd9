"""Checklist: measured faults take precedence over attestations."""

from dataclasses import replace
from datetime import UTC, date, datetime

from standfast.usecases.continuity.attestations import Attestation
from standfast.usecases.health.check_results import Check, fail, lacking, ok, unmeasured, warn
from standfast.usecases.health.checklist import ChecklistRow, PointState, checklist
from standfast.usecases.health.recency_checks import DRILLS, FACTORS, LEAVERS, LOGS

TODAY = date(2026, 12, 1)
ATTESTED = Attestation(
    subject="mfa",
    person="dana",
    done_on=date(2026, 11, 1),
    valid_until=TODAY,
    evidence="https://wiki.example.com/mfa",
    signed_at=datetime(2026, 11, 1, tzinfo=UTC),
)


def row(point: str, *checks: Check, attestation: Attestation | None = None) -> ChecklistRow:
    attested = {} if attestation is None else {point: attestation}
    (found,) = (row for row in checklist(checks, attested, TODAY) if row.point == point)
    return found


def test_complete_measurement_needs_no_attestation() -> None:
    assert row("leavers", ok(LEAVERS, "nobody has access")).state is PointState.MEASURED
    assert row("leavers").state is PointState.OPEN


def test_measured_fault_outweighs_attestation() -> None:
    risk = warn(FACTORS, "2 accounts have none", "require a second factor")
    assert row("mfa", risk, attestation=ATTESTED).state is PointState.RISK
    fault = fail(DRILLS, "the last drill failed", "drill again")
    failed = row("recovery", ok(DRILLS, "restored"), fault, attestation=ATTESTED)
    assert (failed.state, failed.what_to_do) == (PointState.FAILED, "drill again")


def test_attestation_fills_gaps_of_measurement() -> None:
    gap = unmeasured(FACTORS, "agents: cannot report second factors", "check there")
    assert row("mfa", gap).state is PointState.OPEN
    assert row("mfa", gap, attestation=ATTESTED).state is PointState.ATTESTED
    never = lacking(DRILLS, "main: never drilled", "drill")
    assert row("recovery", never, attestation=ATTESTED).state is PointState.ATTESTED


def test_partial_measurement_never_counts_as_measured() -> None:
    clear = ok(LOGS, "no number in clear")
    assert row("masking", clear).state is PointState.OPEN
    assert row("masking", clear, attestation=ATTESTED).state is PointState.ATTESTED


def test_expired_attestation_leaves_point_open() -> None:
    expired = replace(ATTESTED, valid_until=date(2026, 11, 30))
    found = row("training", attestation=expired)
    assert found.state is PointState.OPEN
    assert "expired on 2026-11-30" in found.attested
    assert "continuity attest training" in found.what_to_do
