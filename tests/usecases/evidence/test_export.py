"""Evidence exports: masked by default, recorded, otherwise unaltered."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from standfast.errors import ExitStatus, StandfastError, UsageError
from standfast.evidence import standfast_verify
from standfast.evidence.custody import Act, read_custody
from standfast.records import Mode
from standfast.usecases.core.installation import Installation
from standfast.usecases.evidence.export import INDEX_FILE, ExportedEvidence, export_evidence
from standfast.usecases.evidence.frozen_folders import frozen, seal_key, verify_frozen
from standfast.usecases.incidents.lifecycle import advance, open_incident
from standfast.usecases.reports.result_pages import incident_report
from tests.usecases.evidence.test_frozen_folders import PLAYBOOK
from tests.usecases.installations import enrol_people, furnish, installation_at

LINE = "2026-11-25T02:13:00Z agent01 took 4111 1111 1111 1111 of alice@example.net, 123-45-6789\n"
MASKED = "2026-11-25T02:13:00Z agent01 took **** **** **** 1111 of a***@example.net, ***-**-****\n"


class Frozen:
    """An incident with frozen logs of all masked kinds, and their review."""

    def __init__(self, installation: Installation, folder: Path, incident: str) -> None:
        self.installation, self.to, self.incident = installation, folder / "handed", incident
        (self.sealed,) = (one.folder for one in frozen(installation.config, incident))

    def export(self, **more: Any) -> ExportedEvidence:
        return export_evidence(self.installation, self.incident, self.to, **more)

    def before(self) -> dict[str, bytes]:
        """Return all sealed files except the chain of custody."""
        files = (one for one in self.sealed.rglob("*") if one.is_file() and not one.is_symlink())
        return {str(one): one.read_bytes() for one in files if one.name != "custody.jsonl"}

    def events(self) -> list[dict[str, Any]]:
        timeline = self.installation.ledger.timeline(self.incident)
        return [dict(event.detail) for event in timeline if event.action == "evidence.exported"]

    def records(self) -> list[tuple[str, dict[str, Any]]]:
        lines = (self.to / INDEX_FILE).read_text().splitlines()
        return [next(iter(json.loads(line).items())) for line in lines]


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Frozen]:
    config_file = furnish(tmp_path)
    config_file.write_text(config_file.read_text() + '\n[playbooks]\nfolder = "playbooks"\n')
    (tmp_path / "playbooks").mkdir()
    (tmp_path / "playbooks" / "keep-logs.yaml").write_text(PLAYBOOK)
    logs = tmp_path / "logs"
    (logs / "payments.log").write_text(LINE)
    (logs / "of alice@example.net.log").write_text("nothing\n")
    (logs / "memory.dump").write_bytes(b"\x01\x02 4111111111111111")
    (logs / "now").symlink_to("alice@example.net")
    with installation_at(config_file) as installation:
        enrol_people(installation)
        opened = open_incident(installation, "keep-logs", {}, mode=Mode.LIVE, opened_by="dana")
        advance(installation, opened.incident, "direct")
        yield Frozen(installation, tmp_path, opened.incident)


def test_export_is_masked_and_names_originals(case: Frozen) -> None:
    before = case.before()
    exported = case.export()
    assert case.before() == before
    assert exported.exit_status is ExitStatus.PARTIAL  # the dump is not text
    text = {one.name: one.read_text() for one in case.to.rglob("*") if one.is_file()}
    for secret in ("4111 1111", "alice", "123-45-6789", "41111111"):
        assert not [name for name in text if secret in name or secret in text[name]]
    found = {
        record["path"].rpartition("/")[2]: record
        for kind, record in case.records()
        if kind == "item"
    }
    payments = found["payments.log"]
    assert payments["sha256"] == hashlib.sha256(LINE.encode()).hexdigest()
    assert payments["masked"] == {"cards": 1, "social_security": 1, "mail": 1}
    first, rest = (case.to / payments["copy"]).read_text().split("\n", 1)
    assert "Masked" in first
    assert payments["sha256"] in first
    assert rest == MASKED
    assert "not text" in found["memory.dump"]["left_out"]
    assert found["now"]["link_target"] == "a***@example.net"
    assert found["of a***@example.net.log"]["copy"].endswith("of_a___@example.net.log")


def test_the_review_is_exported_as_well(case: Frozen) -> None:
    case.export()
    (review,) = (record for kind, record in case.records() if kind == "review")
    assert (
        "agent01 took **** **** **** 1111 of a***@example.net"
        in (case.to / review["copy"]).read_text()
    )


def test_masked_export_is_recorded_with_its_hash(
    case: Frozen,
) -> None:
    exported = case.export()
    (event,) = case.events()
    index = hashlib.sha256((case.to / INDEX_FILE).read_bytes()).hexdigest()
    assert (event["is_masked"], event["index"], exported.index) == (True, index, index)
    line = read_custody(case.sealed)[-1]
    assert (line.act, line.who) == (Act.EXPORTED, case.installation.actor)
    assert index in line.detail
    assert [*event["custody"].values()] == [line.hash]
    assert verify_frozen(case.installation, case.incident).exit_status is ExitStatus.DONE
    chain = case.sealed / "custody.jsonl"
    chain.write_bytes(b"".join(chain.read_bytes().splitlines(keepends=True)[:-1]))
    assert verify_frozen(case.installation, case.incident).exit_status is ExitStatus.DAMAGED


def test_unmasked_export_is_recorded_with_reason(
    case: Frozen, capsys: pytest.CaptureFixture[str]
) -> None:
    exported = case.export(unmasked_because="court order 4711")
    assert (exported.exit_status, exported.is_masked) == (ExitStatus.DONE, False)
    (event,) = case.events()
    assert (event["is_masked"], event["reason"]) == (False, "court order 4711")
    assert read_custody(case.sealed)[-1].detail == "in clear: court order 4711"
    (*_, told) = incident_report(case.installation, case.incident).events
    assert told.action == "exported the evidence, in clear: court order 4711"
    copy = case.to / case.sealed.relative_to(
        case.installation.config.custody.folder / case.incident
    )
    assert (copy / "custody.jsonl").read_bytes() == (case.sealed / "custody.jsonl").read_bytes()
    assert LINE in [one.read_text() for one in copy.rglob("payments.log")]
    key = seal_key(case.installation.config)
    assert standfast_verify.main([str(case.to), "--seal-key", key]) == ExitStatus.PARTIAL
    assert "not what was sealed" not in capsys.readouterr().out


def test_nothing_in_clear_leaves_before_it_is_noted(
    case: Frozen, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copytree", full)
    with pytest.raises(StandfastError, match="No space left"):
        case.export(unmasked_because="court order 4711")
    assert len(case.events()) == 1
    assert not [one for one in case.to.parent.iterdir() if "handed" in one.name]


def test_unwritable_export_folder_is_reported(case: Frozen) -> None:
    (case.to.parent / "file").touch()
    case.to = case.to.parent / "file" / "handed"
    with pytest.raises(StandfastError, match="new folder"):
        case.export()


def test_altered_copy_is_named_and_omitted(case: Frozen) -> None:
    changed = next(case.sealed.rglob("payments.log"))
    changed.chmod(0o600)
    changed.write_text("another\n")
    gone = next(case.sealed.rglob("calls.log"))
    gone.unlink()
    gone.symlink_to(changed)
    exported = case.export()
    assert exported.exit_status is ExitStatus.DAMAGED
    assert [one.rpartition("/")[2] for one in exported.altered] == [
        "calls.log differs from its seal",
        "payments.log differs from its seal",
    ]
    assert "another" not in "".join(one.read_text() for one in case.to.rglob("*") if one.is_file())


def test_missing_file_is_named_and_not_counted(case: Frozen) -> None:
    there = len([one for one in case.before() if "/files/" in one])
    next(case.sealed.rglob("payments.log")).unlink()
    exported = case.export(unmasked_because="court order 4711")
    assert (exported.exit_status, exported.files) == (ExitStatus.DAMAGED, there - 1)
    assert "payments.log" in "".join(exported.altered)


def test_invalid_folder_is_not_exported(case: Frozen) -> None:
    (case.sealed / "manifest.json").write_text("{}")
    with pytest.raises(StandfastError, match="no folder is valid"):
        case.export()
    assert not case.to.exists()
    assert case.events() == []


def test_nothing_is_written_over_nor_into_the_evidence(case: Frozen) -> None:
    case.to.mkdir()
    with pytest.raises(UsageError, match="exists already"):
        case.export()
    case.to.rmdir()
    draft = case.to.with_name(".handed.draft")
    draft.symlink_to("elsewhere")
    with pytest.raises(UsageError, match="Delete it"):
        case.export()
    draft.unlink()
    case.to = case.sealed.parent / "handed"
    with pytest.raises(UsageError, match="Name a folder outside"):
        case.export()
    with pytest.raises(UsageError, match="inc-2000-0001"):
        export_evidence(case.installation, "inc-2000-0001", case.to)
