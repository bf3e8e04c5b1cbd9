"""Opening of evidence: a role, a reason, a record before any byte."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyrage
import pytest

from standfast.errors import (
    ApprovalRefused,
    Damaged,
    ExitStatus,
    Refused,
    StandfastError,
    UsageError,
)
from standfast.evidence.custody import Act, read_custody
from standfast.people.passphrase_keys import enrol
from standfast.records import Mode, StepState
from standfast.usecases.core.installation import Installation
from standfast.usecases.evidence.export import export_evidence
from standfast.usecases.evidence.frozen_folders import frozen, verify_frozen
from standfast.usecases.evidence.item_opening import OpenedItem, open_evidence
from standfast.usecases.evidence.log_review import ReviewRequest, review_logs
from standfast.usecases.evidence.playbook_review import review_evidence
from standfast.usecases.incidents.lifecycle import advance, open_incident
from tests.usecases.evidence.test_frozen_folders import PLAYBOOK
from tests.usecases.installations import enrol_people, furnish, installation_at

CUSTODIAN = pyrage.x25519.Identity.generate()


class Case:
    """An incident with evidence that is encrypted to one custodian."""

    def __init__(self, installation: Installation, folder: Path, incident: str) -> None:
        self.installation, self.incident = installation, incident
        self.into, self.identity = folder / "opened", folder / "identity.txt"
        self.identity.write_text(f"{CUSTODIAN}\n")
        (self.sealed,) = (one.folder for one in frozen(installation.config, incident))
        self.path = str(folder / "logs" / "sign-in.log")

    def open(self, **more: Any) -> OpenedItem:
        given = {"by": "dana", "reason": "case 4711", "identity": self.identity, **more}
        return open_evidence(self.installation, self.incident, self.path, self.into, **given)

    def actions(self) -> list[str]:
        events = self.installation.ledger.timeline(self.incident)
        return [event.action for event in events if event.action.startswith("evidence.open")]

    def views(self) -> list[str]:
        return [one.detail for one in read_custody(self.sealed) if one.act is Act.VIEWED]


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    config_file = furnish(tmp_path)
    settings = f"""
[playbooks]
folder = "playbooks"

[custody]
custodians = ["{CUSTODIAN.to_public()}"]
"""
    config_file.write_text(config_file.read_text() + settings)
    (tmp_path / "playbooks").mkdir()
    (tmp_path / "playbooks" / "keep-logs.yaml").write_text(PLAYBOOK)
    with installation_at(config_file) as installation:
        enrol_people(installation)
        opened = open_incident(installation, "keep-logs", {}, mode=Mode.LIVE, opened_by="dana")
        advance(installation, opened.incident, "direct")
        yield Case(installation, tmp_path, opened.incident)


def test_opening_has_intent_and_receipt(case: Case) -> None:
    before = len(case.views())
    opened = case.open()
    assert opened.file.read_text() == "2026-11-25T02:13:00Z agent01 signed in\n"
    intent, receipt = case.views()[before:]
    assert "case 4711" in intent
    assert opened.item.sha256 in receipt
    assert case.actions() == ["evidence.opening", "evidence.opened"]
    assert verify_frozen(case.installation, case.incident).exit_status is ExitStatus.DONE


@pytest.mark.parametrize("given", [{"by": None}, {"reason": " "}, {"identity": None}])
def test_opening_needs_person_reason_and_identity(case: Case, given: dict[str, Any]) -> None:
    with pytest.raises((ApprovalRefused, UsageError)):
        case.open(**given)
    assert case.actions() == []
    assert not case.into.exists()


def test_person_without_role_opens_nothing(case: Case) -> None:
    credential = enrol("six words that nobody else knows")
    case.installation.ledger.people.enrol(
        name="sam",
        full_name="Sam",
        mail="sam@example.com",
        accounts=["agents:sam"],
        roles=[],
        public_key=credential.public_key,
        salt=credential.salt,
        enrolled_by="os:test",
        now=case.installation.clock(),
    )
    with pytest.raises(ApprovalRefused):
        case.open(by="sam")
    assert case.actions() == []


def test_refused_identity_leaves_the_intent(case: Case) -> None:
    case.identity.write_text(f"{pyrage.x25519.Identity.generate()}\n")
    with pytest.raises(Refused):
        case.open()
    assert case.actions() == ["evidence.opening"]
    assert not case.into.exists()


def test_swapped_item_is_not_written(case: Case) -> None:
    files = case.sealed / "files"
    one, other = sorted(file for file in files.rglob("*.log"))
    shutil.copyfile(one, other)
    with pytest.raises(Damaged):
        case.open()
    assert list(case.into.iterdir()) == []


def test_log_review_needs_an_identity(case: Case) -> None:
    with pytest.raises(UsageError):
        review_logs(case.installation, case.incident, ReviewRequest())
    request = ReviewRequest(identity=case.identity)
    assert review_logs(case.installation, case.incident, request).selected == 2


def test_masked_export_needs_an_identity(case: Case, tmp_path: Path) -> None:
    stranger = tmp_path / "stranger.txt"
    stranger.write_text(f"{pyrage.x25519.Identity.generate()}\n")
    views = case.views()
    for identity, error in ((None, UsageError), (stranger, Refused)):
        with pytest.raises(error):
            export_evidence(case.installation, case.incident, tmp_path / "out", identity=identity)
    assert case.views() == views
    exported = export_evidence(
        case.installation, case.incident, tmp_path / "out", identity=case.identity
    )
    assert (exported.exit_status, exported.files) == (ExitStatus.DONE, 2)


def test_playbook_review_leaves_encrypted_evidence_alone(case: Case) -> None:
    review = case.installation.ledger.incidents.state(case.incident).steps["traces"]
    assert review.state is StepState.FAILED
    views = case.views()
    with pytest.raises(StandfastError):
        review_evidence(case.installation, case.incident, "token", ["path:calls.*"], [])
    assert case.views() == views
