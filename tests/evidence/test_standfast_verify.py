"""The stand-alone verifier on frozen evidence agrees with the command.

`tests/usecases/reports/test_audit_export.py` compares both on an incident with its ledger.
"""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from standfast.adapters.evidence_sources import Custody
from standfast.adapters.evidence_sources.files import FilesEvidence
from standfast.adapters.evidence_sources.sealed_source import SourceContext
from standfast.config.sections.evidence_sources import FilesEvidenceConfig
from standfast.evidence import standfast_verify
from standfast.evidence.custody import CUSTODY_FILE, verify_custody
from standfast.evidence.seal import MANIFEST_FILE, SEAL_FILE, verify_seal
from standfast.evidence.standfast_verify import Check
from tests.adapters.evidence_sources.contract import NOW, order
from tests.adapters.settings import reveal

FIXTURES = Path(__file__).parent / "fixtures"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
HEX = KEY.public_key().public_bytes_raw().hex()


def ours(folder: Path) -> list[str]:
    return [*verify_seal(folder, KEY.public_key()), *verify_custody(folder)]


def theirs(folder: Path) -> list[str]:
    check = Check(HEX, "")
    check.attempt("it", check.folder, folder, "logs/token-1")
    return check.problems["it"]


@pytest.fixture(params=["without_clock", "with_clock"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of evidence that an earlier or this version has frozen."""
    copied = tmp_path / "evidence"
    shutil.copytree(FIXTURES / request.param, copied, symlinks=True)
    return copied / "logs" / "token-1"


def test_frozen_evidence_of_both_forms_agrees(folder: Path) -> None:
    assert ours(folder) == theirs(folder) == []


def test_frozen_evidence_shows_the_clock_offset(folder: Path) -> None:
    check = Check(HEX, "")
    check.attempt("it", check.folder, folder, "logs/token-1")
    told, *_ = check.report
    assert "files: " in told
    is_known = isinstance(
        json.loads((folder / MANIFEST_FILE).read_text())
        .get("clock", {})
        .get("offset_microseconds"),
        int,
    )
    assert ("clock off by an unknown time (" in told) is not is_known
    assert "None" not in told


def test_handed_over_evidence_verifies_whole() -> None:
    handed = FIXTURES / "handed_over"
    keys = json.loads((handed / "keys.json").read_text())
    words = [word for name, key in keys.items() for word in (f"--{name}", key)]
    where = ["--timeline", handed / "timeline.jsonl", "--witness", handed / "witness.jsonl"]
    assert standfast_verify.main([*map(str, [handed / "inc-2026-0001", *words, *where])]) == 0


@pytest.mark.parametrize("name", [MANIFEST_FILE, SEAL_FILE, CUSTODY_FILE])
def test_both_verifiers_find_each_changed_bit(name: str, folder: Path) -> None:
    file = folder / name
    whole = file.read_bytes()
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= 1 << position % 8
        file.write_bytes(changed)
        assert ours(folder), position
        assert theirs(folder), position
    file.write_bytes(whole)
    assert ours(folder) == theirs(folder) == []


@pytest.mark.parametrize("name", [MANIFEST_FILE, SEAL_FILE, CUSTODY_FILE])
def test_both_find_each_cut(name: str, folder: Path) -> None:
    whole = (folder / name).read_bytes()
    for length in range(0, len(whole), 7):
        (folder / name).write_bytes(whole[:length])
        assert ours(folder)
        assert theirs(folder)


def _copies(folder: Path) -> Iterator[Path]:
    return (path for path in sorted((folder / "files").rglob("*")) if not path.is_dir())


def test_both_verifiers_find_missing_and_longer_copies(folder: Path) -> None:
    for copy in list(_copies(folder)):
        beside = copy.rename(folder.parent / "beside")
        for replace in ("missing", "folder", "pipe", "link"):
            match replace:
                case "folder":
                    copy.mkdir()
                case "pipe":
                    os.mkfifo(copy)
                case "link":
                    copy.symlink_to(beside)
            assert ours(folder), (copy, replace)
            assert theirs(folder), (copy, replace)
            if copy.is_dir() and not copy.is_symlink():
                copy.rmdir()
            else:
                copy.unlink(missing_ok=True)
        beside.rename(copy)
        assert theirs(folder) == []
        if copy.is_symlink():
            continue
        content = copy.read_bytes()
        copy.write_bytes(content + b"\n")
        assert ours(folder)
        assert theirs(folder)
        copy.write_bytes(content)


def test_both_verifiers_find_a_foreign_key(folder: Path) -> None:
    (folder / "key.age").write_bytes(b"age-encryption.org/v1")
    assert len(ours(folder)) == len(theirs(folder)) == 1


@pytest.mark.parametrize("target", ["elsewhere", "seal.dsse.json"])
def test_both_verifiers_refuse_a_linked_certificate(folder: Path, target: str) -> None:
    (folder / "disposal.dsse.json").symlink_to(target)
    assert ours(folder)
    assert theirs(folder)


def test_both_verifiers_find_a_linked_folder(folder: Path) -> None:
    (folder / "files").rename(folder.parent / "elsewhere")
    (folder / "files").mkdir()
    (folder / "files" / "srv").symlink_to(folder.parent / "elsewhere" / "srv")
    assert ours(folder) == theirs(folder) == ["srv: is not in the manifest"]


def test_both_verifiers_read_undecodable_names(tmp_path: Path) -> None:
    origin = tmp_path / "logs"
    origin.mkdir()
    (origin / "caf\udce9.log").write_text("closed")
    (origin / "zero.log").touch()
    os.mkfifo(origin / "pipe")
    custody = Custody(incident="inc", collector="r", reason="", folder=tmp_path / "evidence")
    source = FilesEvidence(
        "logs",
        FilesEvidenceConfig(kind="files", paths=(origin, tmp_path / "missing")),
        SourceContext(signing_key=KEY, clock=lambda: NOW, reveal=reveal),
    )
    source.collect(order(), custody)
    folder = custody.folder / "logs" / "token-1"
    assert ours(folder) == theirs(folder) == []
    (copy,) = (folder / "files").rglob("caf*")
    copy.write_text("clos3d")
    assert len(ours(folder)) == len(theirs(folder)) == 1


def test_without_key_any_seal_is_accepted_and_noted(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert standfast_verify.main([str(folder), "--json"]) == 3
    document = json.loads(capsys.readouterr().out)
    assert document["unchecked"][0].startswith("without --seal-key")
    assert standfast_verify.main([str(folder), "--seal-key", "ab" * 32]) == 6
    assert "is not signed by the expected key" in capsys.readouterr().out


def test_what_a_hostile_name_holds_is_not_printed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "files" / "\x1b[2Jwhole").touch()
    assert standfast_verify.main([str(folder), "--seal-key", HEX]) == 6
    assert "\x1b" not in capsys.readouterr().out
