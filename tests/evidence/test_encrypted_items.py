"""Evidence items encrypted to custodians: private and irreplaceable."""

import json
import os
import shutil
from pathlib import Path

import pyrage
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from standfast.adapters.evidence_sources import Custody
from standfast.adapters.evidence_sources.files import FilesEvidence
from standfast.adapters.evidence_sources.sealed_source import SourceContext
from standfast.config.sections.evidence_sources import FilesEvidenceConfig
from standfast.errors import Damaged, Refused
from standfast.evidence import standfast_verify
from standfast.evidence.item_file import KEY_FILE, open_item
from standfast.evidence.manifest import Item
from standfast.evidence.seal import MANIFEST_FILE, read_sealed, verify_seal
from standfast.evidence.standfast_verify import Check
from standfast.evidence.wrapped_key import open_key
from standfast.records import EffectState
from tests.adapters.evidence_sources.contract import NOW, order
from tests.adapters.settings import reveal

SEAL_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
HEX = SEAL_KEY.public_key().public_bytes_raw().hex()
CUSTODIANS = [pyrage.x25519.Identity.generate() for _ in range(2)]
SECRET = b"card 4111 1111 1111 1111\n"
CONTENTS = {
    "empty": b"",
    "short.log": SECRET,
    "segment.log": os.urandom(1024 * 1024),
    "long.log": SECRET + os.urandom(3 * 1024 * 1024),
}


class Case:
    """A folder frozen with custodians, its origin, and copies of its key."""

    def __init__(self, root: Path, *custodians: str) -> None:
        self.origin, self.copies = root / "origin", root / "key-copies"
        self.origin.mkdir()
        self.copies.mkdir()
        for name, content in CONTENTS.items():
            (self.origin / name).write_bytes(content)
        self.custody = Custody(
            incident="inc-2025-0001", collector="dana", reason="a test", folder=root / "inc"
        )
        self.custody.folder.mkdir()
        context = SourceContext(
            signing_key=SEAL_KEY,
            clock=lambda: NOW,
            reveal=reveal,
            custodians=custodians or tuple(str(one.to_public()) for one in CUSTODIANS),
            key_copies=(self.copies,),
        )
        settings = FilesEvidenceConfig(kind="files", paths=(self.origin,))
        self.source = FilesEvidence("logs", settings, context)
        self.folder = self.custody.folder / "logs" / "token-1"

    def freeze(self) -> "Case":
        assert self.source.collect(order(), self.custody).state is EffectState.DONE
        return self

    def item(self, name: str) -> Item:
        items = read_sealed(self.folder, SEAL_KEY.public_key()).items
        return next(item for item in items if item.path.endswith(f"/{name}"))

    def stored(self, name: str) -> Path:
        return self.folder / "files" / self.item(name).location

    def key(self, identity: object = CUSTODIANS[0]) -> bytes | None:
        manifest = read_sealed(self.folder, SEAL_KEY.public_key())
        return open_key(self.folder, manifest, (self.copies,), [identity])

    def problems(self) -> list[str]:
        """Return our verifier's findings; the stand-alone one must agree."""
        ours = verify_seal(self.folder, SEAL_KEY.public_key())
        check = Check(HEX, "")
        check.attempt("it", check.folder, self.folder, "logs/token-1")
        assert bool(check.problems["it"]) == bool(ours)
        return ours


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path).freeze()


def test_no_content_is_stored_in_clear(case: Case) -> None:
    stored = [file.read_bytes() for file in case.folder.rglob("*") if file.is_file()]
    assert not any(b"card 4111" in content for content in stored)
    assert case.problems() == []


@pytest.mark.parametrize("identity", CUSTODIANS)
def test_each_custodian_reads_every_item(case: Case, identity: object) -> None:
    key = case.key(identity)
    for name, content in CONTENTS.items():
        with open_item(case.folder, case.item(name), key) as read:
            assert read.read() == content


def test_lines_are_read_as_of_a_file(case: Case) -> None:
    with open_item(case.folder, case.item("short.log"), case.key()) as read:
        assert list(read) == [SECRET]


def test_wrong_identity_opens_nothing(case: Case) -> None:
    with pytest.raises(Refused):
        case.key(pyrage.x25519.Identity.generate())
    with pytest.raises(Refused):
        open_item(case.folder, case.item("short.log"))


def test_swapped_items_are_named(case: Case) -> None:
    one, other = case.stored("short.log"), case.stored("empty")
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    assert len(case.problems()) == 2


@pytest.mark.parametrize("bytes_cut", [1, 1024 * 1024 + 16])
def test_truncated_item_is_damaged(case: Case, bytes_cut: int) -> None:
    stored = case.stored("long.log")
    os.truncate(stored, stored.stat().st_size - bytes_cut)
    assert len(case.problems()) == 1
    with pytest.raises(Damaged):
        open_item(case.folder, case.item("long.log"), case.key())


def test_moved_segments_do_not_decrypt(case: Case) -> None:
    stored = case.stored("long.log")
    raw, segment = stored.read_bytes(), 1024 * 1024 + 16
    first, second = raw[40 : 40 + segment], raw[40 + segment : 40 + 2 * segment]
    stored.write_bytes(raw[:40] + second + first + raw[40 + 2 * segment :])
    with pytest.raises(Damaged), open_item(case.folder, case.item("long.log"), case.key()) as read:
        read.read()


@pytest.mark.parametrize("name", [KEY_FILE, "short.log", "empty"])
def test_both_verifiers_name_each_changed_byte(case: Case, name: str) -> None:
    file = case.folder / KEY_FILE if name == KEY_FILE else case.stored(name)
    whole = file.read_bytes()
    for position in range(0, len(whole), 7):
        changed = bytearray(whole)
        changed[position] ^= 1 << position % 8
        file.write_bytes(changed)
        (problem,) = case.problems()
        assert name in problem, position
    file.write_bytes(whole)
    assert case.problems() == []


def test_edited_manifest_is_refused(case: Case) -> None:
    manifest = case.folder / MANIFEST_FILE
    body = json.loads(manifest.read_bytes())
    body["encryption"]["custodians"] = []
    manifest.write_text(json.dumps(body, sort_keys=True, separators=(",", ":")))
    assert len(case.problems()) == 1


def test_replaced_key_is_named(case: Case, tmp_path: Path) -> None:
    public = CUSTODIANS[0].to_public()
    (case.folder / KEY_FILE).write_bytes(pyrage.encrypt(bytes(32), [public]))
    assert len(case.problems()) == 1
    assert case.key()  # the copy is the sealed one
    shutil.rmtree(case.copies)
    with pytest.raises(Damaged):
        case.key()


def test_missing_key_copy_is_written_again(case: Case) -> None:
    (copy,) = (file for file in case.copies.rglob("*.age"))
    copy.unlink()
    assert not case.source.find(order(), case.custody)
    case.freeze()
    assert copy.read_bytes() == (case.folder / KEY_FILE).read_bytes()


def test_absent_key_folder_fails_the_collection(tmp_path: Path) -> None:
    case = Case(tmp_path)
    case.copies.rmdir()
    result = case.source.collect(order(), case.custody)
    assert result.state is EffectState.FAILED
    assert not case.copies.exists()
    case.copies.mkdir()
    case.freeze()


def test_damaged_public_key_collects_nothing(tmp_path: Path) -> None:
    case = Case(tmp_path, "age1notakey")
    assert case.source.collect(order(), case.custody).state is EffectState.FAILED
    assert not case.folder.exists()


def test_verifier_opens_items_with_an_identity(case: Case, tmp_path: Path) -> None:
    file = tmp_path / "identity.txt"
    file.write_text(f"{CUSTODIANS[1]}\n")
    given = [str(case.folder), "--seal-key", HEX, "--identity", str(file)]
    assert standfast_verify.main(given) == 3  # without a timeline
    file.write_text(f"{pyrage.x25519.Identity.generate()}\n")
    assert standfast_verify.main(given) == 6
