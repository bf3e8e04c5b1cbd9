"""Legal hold and disposal: two people, a certificate, and no bypass."""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyrage
import pytest

from standfast.errors import ApprovalRefused, ExitStatus, Refused, StandfastError, UsageError
from standfast.evidence import standfast_verify
from standfast.evidence.disposal_certificate import DISPOSAL_FILE
from standfast.records import Mode
from standfast.usecases.core.installation import Installation
from standfast.usecases.evidence import folder_disposal, item_opening
from standfast.usecases.evidence.disposal import (
    Disposal,
    approve_disposal,
    request_disposal,
    withdraw_disposal,
)
from standfast.usecases.evidence.export import export_evidence
from standfast.usecases.evidence.frozen_folders import frozen, seal_key, verify_frozen
from standfast.usecases.evidence.item_opening import open_evidence
from standfast.usecases.evidence.legal_hold import hold_of, place_hold, release_hold
from standfast.usecases.incidents.lifecycle import advance, close, open_incident
from standfast.usecases.reports.audit_export import export_timeline
from tests.usecases.evidence.test_frozen_folders import PLAYBOOK
from tests.usecases.installations import enrol_people, furnish, installation_at

CUSTODIAN = pyrage.x25519.Identity.generate()
Crash = KeyboardInterrupt


class Case:
    """A closed incident with encrypted evidence."""

    def __init__(self, installation: Installation, folder: Path, incident: str) -> None:
        self.installation, self.folder, self.incident = installation, folder, incident
        self.copies = folder / "key-copies"
        (self.sealed,) = (one.folder for one in frozen(installation.config, incident))

    def request(self, by: str = "dana") -> Disposal:
        return request_disposal(self.installation, self.incident, "retention is over", by)

    def approve(self, by: str | None = "lee") -> Disposal:
        return approve_disposal(self.installation, self.incident, by)

    def is_disposed(self) -> bool:
        (found,) = frozen(self.installation.config, self.incident)
        return found.disposed_at != ""

    def is_complete(self) -> bool:
        """Return whether every item and the key of the evidence exist."""
        return len(list(self.sealed.rglob("*.log"))) == 2 and (self.sealed / "key.age").exists()

    def verified(self) -> ExitStatus:
        return verify_frozen(self.installation, self.incident).exit_status

    def verified_offline(self, to: Path) -> int:
        """Return the exit status of the stand-alone verifier."""
        return self.offline_verifier(to)()

    def offline_verifier(self, to: Path) -> Callable[[], int]:
        """Return the stand-alone verifier, with the timeline as it is now."""
        exported = export_timeline(self.installation, self.incident, to)
        keys = ["--seal-key", exported.seal_key, "--ledger-key", exported.ledger_key]
        given = [self.sealed.parent.parent, "--timeline", exported.timeline, *keys]
        return partial(standfast_verify.main, [str(word) for word in given])


def closed_incident(folder: Path) -> tuple[Path, str]:
    """Prepare a closed incident with encrypted evidence; return its name."""
    config_file = furnish(folder)
    settings = f"""
[playbooks]
folder = "playbooks"

[custody]
custodians = ["{CUSTODIAN.to_public()}"]
key_copies = ["key-copies"]
"""
    config_file.write_text(config_file.read_text() + settings)
    (folder / "key-copies").mkdir()
    (folder / "playbooks").mkdir()
    (folder / "playbooks" / "keep-logs.yaml").write_text(PLAYBOOK)
    with installation_at(config_file) as installation:
        enrol_people(installation)
        opened = open_incident(installation, "keep-logs", {}, mode=Mode.LIVE, opened_by="dana")
        advance(installation, opened.incident, "direct")
        close(installation, opened.incident, by="lee")
    return config_file, opened.incident


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    config_file, incident = closed_incident(tmp_path)
    with installation_at(config_file) as installation:
        yield Case(installation, tmp_path, incident)


def test_disposal_removes_keys_and_items(case: Case, tmp_path: Path) -> None:
    assert case.request().exit_status is ExitStatus.WAITS_FOR_PEOPLE
    assert case.is_complete()
    done = case.approve()
    assert done.exit_status is ExitStatus.DONE
    assert len(done.certificates[0].destroyed_keys) == 2
    assert not list(tmp_path.rglob("*.age"))
    assert not (case.sealed / "files").exists()
    assert case.is_disposed()
    assert case.verified() is ExitStatus.DONE
    assert case.verified_offline(tmp_path / "audit") in (0, 3)  # 3: no witness was named


def test_copies_that_left_are_named(case: Case, tmp_path: Path) -> None:
    identity = tmp_path / "identity.txt"
    identity.write_text(f"{CUSTODIAN}\n")
    path = str(tmp_path / "logs" / "calls.log")
    open_evidence(
        case.installation,
        case.incident,
        path,
        tmp_path / "opened",
        reason="case 4711",
        by="dana",
        identity=identity,
    )
    export_evidence(case.installation, case.incident, tmp_path / "out", unmasked_because="court")
    shutil.rmtree(case.copies)  # as if a share is not mounted
    case.request()
    (certificate,) = case.approve().certificates
    assert len(certificate.destroyed_keys) == 1
    assert len(certificate.unconfirmed) >= 3


def test_key_copies_are_found_without_their_setting(case: Case, tmp_path: Path) -> None:
    _reconfigure(case, key_copies=())
    case.request()
    (certificate,) = case.approve().certificates
    assert len(certificate.destroyed_keys) == 2
    assert not list(tmp_path.rglob("*.age"))


def test_removed_key_copy_is_not_confirmed(case: Case) -> None:
    (copy,) = case.copies.rglob("*.age")
    elsewhere = copy.rename(case.folder / "moved.age")
    case.request()
    (certificate,) = case.approve().certificates
    assert str(copy) in [found.where for found in certificate.unconfirmed]
    assert len(certificate.destroyed_keys) == 1
    assert elsewhere.exists()


def test_reviews_and_unfinished_openings_are_named(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Written before custodians were named.
    review = case.sealed.parents[1] / "reviews" / "earlier.jsonl"
    review.parent.mkdir()
    review.write_text("")
    identity = case.folder / "identity.txt"
    identity.write_text(f"{CUSTODIAN}\n")
    with monkeypatch.context() as patch:
        patch.setattr(f"{item_opening.__name__}.sync_folder", _crash)
        with pytest.raises(Crash):
            open_evidence(
                case.installation,
                case.incident,
                str(case.folder / "logs" / "calls.log"),
                case.folder / "opened",
                reason="case 4711",
                by="dana",
                identity=identity,
            )
    case.request()
    (certificate,) = case.approve().certificates
    found, opening = (copy.where for copy in certificate.unconfirmed)
    assert found == str(review)
    assert opening.startswith("opening item")


def test_one_person_alone_disposes_of_nothing(case: Case) -> None:
    case.request(by="dana")
    for by in ("dana", None):
        with pytest.raises(ApprovalRefused):
            case.approve(by)
    assert case.is_complete()


def test_hold_refuses_and_voids_requests(case: Case) -> None:
    place_hold(case.installation, case.incident, "claim 4711", "kim")
    with pytest.raises(Refused):
        case.request()
    release_hold(case.installation, case.incident, "settled", "lee")
    case.request()
    place_hold(case.installation, case.incident, "claim 4712", "kim")
    release_hold(case.installation, case.incident, "settled", "lee")
    with pytest.raises(UsageError):  # the hold invalidated the request
        case.approve()
    assert case.is_complete()


def test_hold_is_released_by_another_person(case: Case) -> None:
    place_hold(case.installation, case.incident, "claim 4711", "kim")
    with pytest.raises(ApprovalRefused):
        release_hold(case.installation, case.incident, "settled", "kim")
    assert hold_of(case.installation, case.incident)
    release_hold(case.installation, case.incident, "settled", "lee")
    assert hold_of(case.installation, case.incident) is None


def test_retention_is_waited_for(case: Case) -> None:
    _reconfigure(case, retention_days=30)
    with pytest.raises(Refused):
        case.request()


@pytest.mark.parametrize(
    "step", ["shutil.rmtree", "write_certificate", "append_custody", "sync_folder"]
)
def test_interrupted_disposal_is_completed(
    case: Case, step: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    case.request()
    with monkeypatch.context() as patch:
        patch.setattr(f"{folder_disposal.__name__}.{step}", _crash)
        with pytest.raises(Crash):
            case.approve()
    assert case.is_disposed() is (step == "append_custody")
    if step != "append_custody":
        # Half of the evidence is removed, and no record explains it.
        assert case.verified() is ExitStatus.DAMAGED
    assert case.approve().exit_status is ExitStatus.DONE
    assert case.is_disposed()
    assert case.verified() is ExitStatus.DONE
    assert case.verified_offline(tmp_path / "audit") in (0, 3)


def _reconfigure(case: Case, **custody: object) -> None:
    config = case.installation.config
    changed = config.model_copy(update={"custody": config.custody.model_copy(update=custody)})
    case.installation = replace(case.installation, config=changed)


def _append(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"x")


def _cut(file: Path) -> None:
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:-1]))


@pytest.mark.parametrize(
    ("name", "alter"),
    [
        ("manifest.json", _append),
        ("custody.jsonl", _append),
        ("custody.jsonl", _cut),
        ("key.age", _append),
        ("*/**/*.log", _append),
    ],
)
def test_altered_folder_keeps_its_key_and_files(
    case: Case, name: str, alter: Callable[[Path], None]
) -> None:
    export_evidence(case.installation, case.incident, case.folder / "out", unmasked_because="court")
    case.request()
    alter(next(case.sealed.glob(name)))
    assert case.approve().exit_status is ExitStatus.PARTIAL
    assert case.is_complete()
    assert len(list(case.copies.rglob("*.age"))) == 1


def test_second_process_leaves_a_locked_folder(case: Case) -> None:
    case.request()
    descriptor = os.open(case.sealed, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        assert case.approve().exit_status is ExitStatus.PARTIAL
        assert case.is_complete()
    finally:
        os.close(descriptor)
    assert case.approve().exit_status is ExitStatus.DONE


def test_withdrawn_request_cannot_be_approved(case: Case) -> None:
    case.request()
    assert withdraw_disposal(case.installation, case.incident, "kim") == "dana"
    with pytest.raises(UsageError):
        case.approve()
    case.request()
    assert case.approve().exit_status is ExitStatus.DONE


def test_begun_disposal_is_not_withdrawn(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    case.request()
    with monkeypatch.context() as patch:
        patch.setattr(f"{folder_disposal.__name__}.sync_folder", _crash)
        with pytest.raises(Crash):
            case.approve()
    with pytest.raises(Refused):
        withdraw_disposal(case.installation, case.incident, "dana")
    place_hold(case.installation, case.incident, "claim 4711", "kim")
    with pytest.raises(Refused):
        case.approve()
    release_hold(case.installation, case.incident, "settled", "lee")
    assert case.approve().exit_status is ExitStatus.DONE


def test_folder_that_stays_is_named(case: Case, tmp_path: Path) -> None:
    unsound = case.sealed.parent / "unsound"
    shutil.copytree(case.sealed, unsound)
    (unsound / "manifest.json").write_bytes(b"{}")
    assert len(case.request().problems) == 1
    done = case.approve()
    assert done.exit_status is ExitStatus.PARTIAL
    assert len(done.certificates) == len(done.problems) == 1


def test_forged_certificate_is_named(case: Case, tmp_path: Path) -> None:
    case.request()
    case.approve()
    file = case.sealed / DISPOSAL_FILE
    whole, verify_offline = file.read_bytes(), case.offline_verifier(tmp_path / "audit")
    forged = [b"{}"]
    for position in range(0, len(whole), 61):
        changed = bytearray(whole)
        changed[position] ^= 1 << position % 8
        forged.append(bytes(changed))
    for content in forged:
        file.write_bytes(content)
        assert case.verified() is ExitStatus.DAMAGED
        assert verify_offline() == 6
    file.write_bytes(whole)
    assert case.verified() is ExitStatus.DONE


def test_deleted_items_without_certificate_are_damage(case: Case) -> None:
    shutil.rmtree(case.sealed / "files")
    assert case.verified() is ExitStatus.DAMAGED
    with pytest.raises(StandfastError):
        open_evidence(
            case.installation,
            case.incident,
            str(case.folder / "logs" / "calls.log"),
            case.folder / "opened",
            reason="why",
            by="dana",
        )
    assert seal_key(case.installation.config)


def _crash(*_: object, **__: object) -> None:
    raise Crash
