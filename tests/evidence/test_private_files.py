"""A file is written whole, private and in its place, over anything."""

import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from standfast.adapters.evidence_sources import Custody
from standfast.adapters.evidence_sources.files import FilesEvidence
from standfast.adapters.evidence_sources.sealed_source import SourceContext
from standfast.config.sections.evidence_sources import FilesEvidenceConfig
from standfast.evidence.private_files import write_atomically
from tests.adapters.evidence_sources.contract import NOW, order
from tests.adapters.settings import reveal


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_link_at_the_draft_path_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"theirs")
    (tmp_path / ".report.draft").symlink_to(elsewhere)
    write_atomically(tmp_path / "report", b"ours")
    assert elsewhere.read_bytes() == b"theirs"
    assert not (tmp_path / "report").is_symlink()
    assert (tmp_path / "report").read_bytes() == b"ours"


def test_interrupted_draft_leaves_no_mode_or_bytes(
    tmp_path: Path,
) -> None:
    draft = tmp_path / ".report.draft"
    draft.write_bytes(b"longer than what comes now")
    draft.chmod(0o666)
    write_atomically(tmp_path / "report", b"ours")
    assert (tmp_path / "report").read_bytes() == b"ours"
    assert mode_of(tmp_path / "report") == 0o600
    assert not draft.exists()


def test_open_draft_does_not_see_the_content(tmp_path: Path) -> None:
    draft = tmp_path / ".report.draft"
    draft.write_bytes(b"")
    with draft.open("rb") as kept_open:
        write_atomically(tmp_path / "report", b"ours")
        assert kept_open.read() == b""


@pytest.mark.parametrize("before", [None, b"an older one"], ids=["new", "replaced"])
def test_file_is_replaced_whole_and_stays_private(tmp_path: Path, before: bytes | None) -> None:
    path = tmp_path / "report"
    if before is not None:
        path.write_bytes(before)
        path.chmod(0o644)
    write_atomically(path, b"ours")
    assert (path.read_bytes(), mode_of(path)) == (b"ours", 0o600)
    assert [one.name for one in tmp_path.iterdir()] == ["report"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_evidence_frozen_by_root_belongs_to_the_user(tmp_path: Path) -> None:
    (tmp_path / "auth.log").write_text("alice signed in\n")
    (tmp_path / "place").mkdir()
    os.chown(tmp_path / "place", 65534, 65533)
    evidence = FilesEvidence(
        "logs",
        FilesEvidenceConfig(kind="files", paths=(tmp_path / "auth.log",)),
        SourceContext(signing_key=Ed25519PrivateKey.generate(), clock=lambda: NOW, reveal=reveal),
    )
    custody = Custody(
        incident="2025-014", collector="ana", reason="", folder=tmp_path / "place" / "evidence"
    )
    evidence.collect(order(), custody)
    made = [*(tmp_path / "place").rglob("*")]
    assert {"auth.log", "custody.jsonl", "manifest.json"} <= {path.name for path in made}
    owners = {(path.stat().st_uid, path.stat().st_gid) for path in made}
    assert owners == {(65534, 65533)}
    assert (tmp_path / "auth.log").stat().st_uid == 0
