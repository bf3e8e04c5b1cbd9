"""Attacks on evidence by one person, the database or the seals' host key.

Each test asserts that nothing is destroyed, or that both verifiers report the destruction.
"""

import hashlib
import shutil
import sqlite3
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from standfast.adapters.factory.live_adapters import read_signing_key
from standfast.errors import ApprovalRefused, Damaged, ExitStatus
from standfast.evidence.custody import Act, append_custody
from standfast.evidence.disposal_certificate import DISPOSAL_FILE, Certificate, write_certificate
from standfast.usecases.evidence.disposal_state import APPROVED
from standfast.usecases.evidence.frozen_folders import list_frozen
from standfast.usecases.evidence.legal_hold import hold_of, place_hold, release_hold
from tests.usecases.evidence.test_disposal import Case
from tests.usecases.evidence.test_disposal import case as case
from tests.usecases.installations import ROLES, signer


@pytest.fixture
def with_puppet(case: Case) -> Case:
    """Return the case a week after lee enrolled finn with the same roles."""
    _later(case, days=7)
    people = case.installation.ledger.people
    people.enrol(
        name="finn",
        full_name="Finn",
        mail="finn@example.com",
        accounts=[],
        roles=ROLES["lee"],
        public_key="ab" * 32,
        salt="cd" * 16,
        enrolled_by="",
        now=case.installation.clock(),
        signer=signer("lee"),
    )
    _later(case, days=7)
    return case


def _later(case: Case, **time: float) -> None:
    clock = case.installation.clock
    case.installation = replace(case.installation, clock=lambda: clock() + timedelta(**time))


# One person, with a puppet


@pytest.mark.parametrize(("first", "second"), [("lee", "finn"), ("finn", "lee")])
def test_person_and_puppet_dispose_of_nothing(with_puppet: Case, first: str, second: str) -> None:
    with_puppet.request(by=first)
    with pytest.raises(ApprovalRefused):
        with_puppet.approve(second)
    assert with_puppet.is_complete()
    assert with_puppet.approve("kim").exit_status is ExitStatus.DONE


def test_third_person_completes_no_puppets_approval(with_puppet: Case) -> None:
    with_puppet.request(by="lee")
    installation, incident = with_puppet.installation, with_puppet.incident
    request = installation.ledger.timeline(incident)[-1].sequence
    installation.record_event(incident, APPROVED, {"request": request}, by="finn")
    with pytest.raises(ApprovalRefused):
        with_puppet.approve("kim")
    assert with_puppet.is_complete()


def test_puppet_releases_no_hold(with_puppet: Case) -> None:
    installation, incident = with_puppet.installation, with_puppet.incident
    place_hold(installation, incident, "claim 4711", "lee")
    with pytest.raises(ApprovalRefused):
        release_hold(installation, incident, "settled", "finn")
    assert hold_of(installation, incident)
    release_hold(installation, incident, "settled", "kim")


# The database


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE audit_event SET actor = 'kim' WHERE action = 'evidence.disposal_requested'",
        "UPDATE audit_event SET subject = 'elsewhere' WHERE action = 'evidence.hold_released'",
        "DELETE FROM audit_event WHERE action = 'evidence.disposal_requested'",
        (
            "INSERT INTO audit_event SELECT sequence + 1, at, 'kim', subject, "
            "'evidence.disposal_approved', '{\"request\":' || sequence || '}', changes, previous, "
            "hash, seal FROM audit_event ORDER BY sequence DESC LIMIT 1"
        ),
        "UPDATE incident SET closed_at = opened_at",
        "UPDATE person SET roles = '[\"operator\"]' WHERE name = 'lee'",
    ],
)
def test_edited_ledger_destroys_nothing(case: Case, edit: str) -> None:
    place_hold(case.installation, case.incident, "claim 4711", "kim")
    release_hold(case.installation, case.incident, "settled", "lee")
    case.request()
    _edit(case, edit)
    with pytest.raises((Damaged, ApprovalRefused)):
        case.approve()
    assert case.is_complete()


def test_hold_with_an_edited_actor_is_kept(case: Case) -> None:
    place_hold(case.installation, case.incident, "claim 4711", "kim")
    _edit(case, "UPDATE audit_event SET actor = 'lee' WHERE action = 'evidence.held'")
    with pytest.raises(Damaged):
        release_hold(case.installation, case.incident, "settled", "kim")
    assert hold_of(case.installation, case.incident)


def _edit(case: Case, statement: str) -> None:
    file = case.installation.config.ledger.url.removeprefix("sqlite:///")
    database = sqlite3.connect(file)
    with database:
        assert database.execute(statement).rowcount == 1
    database.close()


# The host's key of the seals


def test_certificate_hides_no_deletion(case: Case, tmp_path: Path) -> None:
    case.request()
    item = next(case.sealed.rglob("*.log"))
    content = item.read_bytes()
    item.write_bytes(b"")
    assert case.approve().exit_status is ExitStatus.PARTIAL  # the approval of this pair is recorded
    item.write_bytes(content)
    shutil.rmtree(case.sealed / "files")
    (case.sealed / "key.age").unlink()
    forged = Certificate(
        incident=case.incident,
        source=case.sealed.parent.name,
        token=case.sealed.name,
        reason="retention is over",
        requested_by="dana",
        requested_at="2026-01-01T00:00:00.000000Z",
        approved_by="lee",
        approved_at="2026-01-01T00:00:00.000000Z",
        disposed_at="2026-01-01T00:00:00.000000Z",
        is_encrypted=True,
        destroyed_keys=(),
        unconfirmed=(),
    )
    write_certificate(case.sealed, forged, read_signing_key(case.installation.config.custody.key))
    written = _sha256(case.sealed / DISPOSAL_FILE)
    append_custody(
        case.sealed,
        at=case.installation.clock(),
        who="lee",
        act=Act.DISPOSED,
        detail=f"certificate SHA-256 {written}",
    )
    assert list_frozen(case.installation).exit_status is ExitStatus.DAMAGED
    assert case.verified() is ExitStatus.DAMAGED
    assert case.verified_offline(tmp_path / "audit") == 6


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
