"""An evidence folder that cannot be opened does not stop a review."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pyrage
import pytest

from standfast.adapters.factory.live_adapters import read_signing_key
from standfast.errors import Damaged, ExitStatus, Refused, StandfastError, UsageError
from standfast.evidence.disposal_certificate import Certificate, write_certificate
from standfast.evidence.item_file import FILES_FOLDER, KEY_FILE
from standfast.records import Mode
from standfast.usecases.core.installation import Installation
from standfast.usecases.evidence.affected_records import add_affected_by_records
from standfast.usecases.evidence.frozen_folders import frozen
from standfast.usecases.evidence.log_review import LogReview, ReviewRequest, review_logs
from standfast.usecases.incidents.lifecycle import advance, open_incident
from standfast.usecases.notices.affected_people import Listing
from tests.usecases.evidence.test_affected_records import BY_BOB, LOG, SETTINGS
from tests.usecases.evidence.test_bucket_copies import PLAYBOOK as KEEP_LOGS
from tests.usecases.installations import enrol_people, furnish, installation_at

CUSTODIAN = pyrage.x25519.Identity.generate()


class Case:
    """An incident with two encrypted folders of evidence."""

    def __init__(self, installation: Installation, folder: Path, incident: str) -> None:
        self.installation, self.incident = installation, incident
        self.identity = folder / "identity.txt"
        self.identity.write_text(f"{CUSTODIAN}\n")
        found = (one.folder for one in frozen(installation.config, incident))
        self.calls, self.web = sorted(found, key=lambda one: one.parent.name != "telephony")

    def review(self) -> LogReview:
        request = ReviewRequest(identity=self.identity)
        return review_logs(self.installation, self.incident, request)

    def dispose(self, folder: Path) -> None:
        """Remove from a folder all that a disposal removes."""
        shutil.rmtree(folder / FILES_FOLDER)
        (folder / KEY_FILE).unlink()
        certificate = Certificate(
            incident=self.incident,
            source=folder.parent.name,
            token=folder.name,
            reason="retention is over",
            requested_by="dana",
            requested_at="2026-12-01T00:00:00Z",
            approved_by="lee",
            approved_at="2026-12-01T00:00:00Z",
            disposed_at="2026-12-01T00:00:00Z",
            is_encrypted=True,
            destroyed_keys=(),
            unconfirmed=(),
        )
        key = read_signing_key(self.installation.config.custody.key)
        write_certificate(folder, certificate, key)


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    config_file = furnish(tmp_path)
    settings = f"""
[evidence.web]
kind = "files"
paths = ["web"]

[custody]
custodians = ["{CUSTODIAN.to_public()}"]
"""
    config_file.write_text(config_file.read_text() + SETTINGS + settings)
    (tmp_path / "playbooks").mkdir()
    (tmp_path / "playbooks" / "keep-logs.yaml").write_text(KEEP_LOGS)
    (tmp_path / "holders.csv").write_text("id,email\n7,ana@example.net\n")
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "web.log").write_text(LOG + f"2026-11-25T02:13:44Z {'x' * 70_000}\n")
    with installation_at(config_file) as installation:
        enrol_people(installation)
        opened = open_incident(installation, "keep-logs", {}, mode=Mode.LIVE, opened_by="dana")
        advance(installation, opened.incident, "direct")
        yield Case(installation, tmp_path, opened.incident)


def test_folder_with_altered_key_is_left_out(case: Case) -> None:
    (case.calls / KEY_FILE).write_bytes(b"altered")
    found = case.review()
    assert {row["source"] for row in found.rows} == {"web"}
    (left_out,) = found.left_out
    assert left_out.folder == f"telephony/{case.calls.name}"
    assert left_out.folder in json.dumps(found.as_json())
    assert found.exit_status is ExitStatus.DAMAGED
    (case.web / KEY_FILE).write_bytes(b"altered")
    with pytest.raises(Damaged):
        case.review()


def test_disposed_folder_is_left_out(case: Case) -> None:
    case.dispose(case.calls)
    found = case.review()
    assert {row["source"] for row in found.rows} == {"web"}
    assert [each.is_damaged for each in found.left_out] == [False]
    assert found.exit_status is ExitStatus.PARTIAL
    case.dispose(case.web)
    with pytest.raises(StandfastError):
        case.review()


def test_identity_of_nobody_opens_no_folder(case: Case) -> None:
    case.identity.write_text(f"{pyrage.x25519.Identity.generate()}\n")
    with pytest.raises(Refused):
        case.review()


def test_affected_people_need_an_identity(case: Case) -> None:
    with pytest.raises(UsageError):
        add_affected_by_records(case.installation, case.incident, Listing(), BY_BOB)
    case.dispose(case.calls)
    found = add_affected_by_records(
        case.installation, case.incident, Listing(), BY_BOB, identity=case.identity
    )
    assert found.added[0].report.people == 2
    assert found.review.exit_status is ExitStatus.PARTIAL
    assert found.review.cut == 1
