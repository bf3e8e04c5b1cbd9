"""Checklist: measured faults take precedence over attestations."""

from dataclasses import replace
from datetime import UTC, date, datetime

from standfast.usecases.continuity.attestations import Attestation
from standfast.usecases.health.check_results import Check, fail, lacking, ok, unmeasured, warn
from standfast.usecases.health.checklist import ChecklistRow, Standing, checklist
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
    assert row("leavers", ok(LEAVERS, "nobody has access")).standing is Standing.MEASURED
    assert row("leavers").standing is Standing.OPEN


def test_measured_fault_outweighs_attestation() -> None:
    risk = warn(FACTORS, "2 accounts have none", "require a second factor")
    assert row("mfa", risk, attestation=ATTESTED).standing is Standing.RISK
    fault = fail(DRILLS, "the last drill failed", "drill again")
    failed = row("recovery", ok(DRILLS, "restored"), fault, attestation=ATTESTED)
    assert (failed.standing, failed.what_to_do) == (Standing.FAILED, "drill again")


def test_attestation_fills_gaps_of_measurement() -> None:
    gap = unmeasured(FACTORS, "agents: cannot report second factors", "check there")
    assert row("mfa", gap).standing is Standing.OPEN
    assert row("mfa", gap, attestation=ATTESTED).standing is Standing.ATTESTED
    never = lacking(DRILLS, "main: never drilled", "drill")
    assert row("recovery", never, attestation=ATTESTED).standing is Standing.ATTESTED


def test_partial_measurement_never_counts_as_measured() -> None:
    clear = ok(LOGS, "no number in clear")
    assert row("masking", clear).standing is Standing.OPEN
    assert row("masking", clear, attestation=ATTESTED).standing is Standing.ATTESTED


def test_expired_attestation_leaves_point_open() -> None:
    expired = replace(ATTESTED, valid_until=date(2026, 11, 30))
    found = row("training", attestation=expired)
    assert found.standing is Standing.OPEN
    assert "expired on 2026-11-30" in found.attested
    assert "continuity attest training" in found.what_to_do
