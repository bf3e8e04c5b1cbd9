import base64
import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner

from standfast.adapters.evidence_sources import Custody
from standfast.adapters.evidence_sources.files import FilesEvidence
from standfast.adapters.evidence_sources.sealed_source import SourceContext
from standfast.config.sections.evidence_sources import FilesEvidenceConfig
from standfast.errors import Damaged
from standfast.evidence.manifest import read_manifest
from standfast.evidence.seal import is_sealed, read_sealed, verify_seal, write_seal
from standfast.records import Json, canonical
from tests.adapters.evidence_sources.contract import NOW, order
from tests.adapters.settings import reveal

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key()
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    origin = tmp_path / "logs"
    origin.mkdir()
    for name in ("a.log", "b.log", "c.log"):
        (origin / name).write_text(f"this is {name}\n" * 50)
    (origin / "link").symlink_to("a.log")
    custody = Custody(
        incident="2025-014", collector="r.okafor", reason="takeover", folder=tmp_path / "evidence"
    )
    FilesEvidence(
        "logs",
        FilesEvidenceConfig(kind="files", paths=(origin,)),
        SourceContext(signing_key=KEY, clock=lambda: NOW, reveal=reveal),
    ).collect(order(), custody)
    return custody.folder / "logs" / "token-1"


def copy_of(sealed: Path, name: str) -> Path:
    return next((sealed / "files").rglob(name))


def test_seal_is_an_in_toto_dsse_envelope(sealed: Path) -> None:
    envelope = json.loads((sealed / "seal.dsse.json").read_bytes())
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    payload = base64.b64decode(envelope["payload"])
    assert json.loads(payload)["_type"] == "https://in-toto.io/Statement/v1"
    # The signature is over the envelope's pre-authentication encoding, as its specification has it.
    kind = envelope["payloadType"].encode()
    encoded = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
    PUBLIC.verify(base64.b64decode(envelope["signatures"][0]["sig"]), encoded)


def test_any_changed_byte_of_a_copy_is_named(sealed: Path) -> None:
    copy = copy_of(sealed, "b.log")
    whole = copy.read_bytes()
    for position in (0, len(whole) // 2, len(whole) - 1):
        changed = bytearray(whole)
        changed[position] ^= 1
        copy.write_bytes(changed)
        (problem,) = verify_seal(sealed, PUBLIC)
        assert problem.endswith("b.log: its content is not what was collected")
    copy.write_bytes(whole)
    assert verify_seal(sealed, PUBLIC) == []


def test_problems_come_in_the_manifests_order(sealed: Path) -> None:
    copy_of(sealed, "c.log").unlink()
    copy_of(sealed, "a.log").write_text("short")
    (sealed / "files" / "planted").touch()
    first, second, third = verify_seal(sealed, PUBLIC)
    assert "a.log: has 5 bytes" in first
    assert second.endswith("c.log: is missing")
    assert third == "planted: is not in the manifest"


def test_link_instead_of_a_copy_is_found(sealed: Path) -> None:
    copy = copy_of(sealed, "a.log")
    copy.rename(sealed.parent / "elsewhere")
    copy.symlink_to(sealed.parent / "elsewhere")
    copy_of(sealed, "link").unlink()
    copy.with_name("link").symlink_to("b.log")
    assert [problem.rpartition(": ")[2] for problem in verify_seal(sealed, PUBLIC)] == [
        "is not a file any more",
        "is not the link that was sealed",
    ]


def test_what_was_put_beside_the_evidence_is_named(sealed: Path) -> None:
    (sealed / "manifest.json.old").touch()
    assert verify_seal(sealed, PUBLIC) == ["manifest.json.old: is not part of the evidence"]


def test_link_among_the_copies_is_named(sealed: Path) -> None:
    place = copy_of(sealed, "a.log").parent / "more"
    place.symlink_to(sealed, target_is_directory=True)
    (problem,) = verify_seal(sealed, PUBLIC)
    assert problem.endswith("/more: is not in the manifest")


def test_a_folder_swapped_for_a_link_is_found(sealed: Path) -> None:
    folder = copy_of(sealed, "a.log").parent
    folder.rename(sealed / "elsewhere")
    folder.symlink_to(sealed / "elsewhere")
    assert any(
        problem.endswith("is not a folder any more") for problem in verify_seal(sealed, PUBLIC)
    )


@pytest.mark.parametrize("file", ["manifest.json", "seal.dsse.json"])
def test_any_changed_byte_of_manifest_or_seal_shows(sealed: Path, file: str) -> None:
    whole = (sealed / file).read_bytes()
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= 1 << position % 7
        (sealed / file).write_bytes(changed)
        assert not is_sealed(sealed, PUBLIC), position
    assert verify_seal(sealed, PUBLIC)


@pytest.mark.parametrize("file", ["manifest.json", "seal.dsse.json"])
def test_missing_or_cut_seal_is_invalid(sealed: Path, file: str) -> None:
    whole = (sealed / file).read_bytes()
    for length in (0, 1, len(whole) // 2, len(whole) - 1):
        (sealed / file).write_bytes(whole[:length])
        assert verify_seal(sealed, PUBLIC)
    (sealed / file).unlink()
    (problem,) = verify_seal(sealed, PUBLIC)
    assert problem.startswith(f"{file} cannot be read")


def test_another_key_does_not_vouch(sealed: Path) -> None:
    assert verify_seal(sealed, OTHER.public_key()) == [
        "seal.dsse.json is not signed by the expected key"
    ]
    with pytest.raises(Damaged):
        read_sealed(sealed, OTHER.public_key())


def test_seal_of_another_folder_is_refused(sealed: Path, tmp_path: Path) -> None:
    manifest = read_sealed(sealed, PUBLIC).as_bytes().replace(b"takeover", b"holidays")
    (sealed / "manifest.json").write_bytes(manifest)
    assert verify_seal(sealed, PUBLIC) == ["manifest.json is not the one that was sealed"]


def sign(sealed: Path, payload: bytes, kind: str = "application/vnd.in-toto+json") -> None:
    """Replace the seal by an envelope that signs something else."""
    envelope = Envelope(payload, kind, {})
    envelope.sign(CryptoSigner(KEY))
    (sealed / "seal.dsse.json").write_bytes(canonical(envelope.to_dict()))


def test_signature_over_another_type_is_no_seal(sealed: Path) -> None:
    envelope = json.loads((sealed / "seal.dsse.json").read_bytes())
    payload = base64.b64decode(envelope["payload"])
    sign(sealed, payload)
    assert verify_seal(sealed, PUBLIC) == []
    (sealed / "seal.dsse.json").write_text(json.dumps(envelope))
    assert verify_seal(sealed, PUBLIC) == ["seal.dsse.json is not written as it was sealed"]
    sign(sealed, payload, "application/json")
    assert verify_seal(sealed, PUBLIC) == ["seal.dsse.json does not contain a statement"]
    statement = json.loads(payload)
    for key in ("_type", "predicateType"):
        sign(sealed, canonical({**statement, key: "urn:another"}))
        assert verify_seal(sealed, PUBLIC) == ["seal.dsse.json is a statement about something else"]
    another: Json = {"name": "another.json", "digest": {"sha256": "0" * 64}}
    sign(sealed, canonical({**statement, "subject": [*statement["subject"], another]}))
    assert verify_seal(sealed, PUBLIC) == ["manifest.json is not the one that was sealed"]
    for other in (b"no JSON", b"[" * 100_000, b"[]", b"{}", canonical({**statement, "subject": 1})):
        sign(sealed, other)
        assert verify_seal(sealed, PUBLIC) == ["seal.dsse.json cannot be read as a statement"]


def test_path_outside_the_evidence_proves_nothing(sealed: Path) -> None:
    manifest = read_sealed(sealed, PUBLIC)
    (one,) = [item for item in manifest.items if item.path.endswith("b.log")]
    (sealed / "b.log").write_bytes(copy_of(sealed, "b.log").read_bytes())
    write_seal(sealed, replace(manifest, items=(replace(one, path="/../b.log"),)), KEY)
    assert verify_seal(sealed, PUBLIC)[0] == "/../b.log: its path leads out of the evidence"


def test_unreadable_copy_is_named_and_others_checked(
    sealed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_of(sealed, "c.log").unlink()
    real = os.open

    def open_some(path: Path, *rest: int) -> int:
        if Path(path).name == "b.log":
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        return real(path, *rest)

    monkeypatch.setattr(os, "open", open_some)
    assert [problem.rpartition("/")[2] for problem in verify_seal(sealed, PUBLIC)] == [
        f"b.log: cannot be read: {os.strerror(errno.EACCES)}",
        "c.log: is missing",
    ]


def test_manifest_of_another_format_is_refused(sealed: Path) -> None:
    written = (sealed / "manifest.json").read_bytes()
    assert read_manifest(written).token == "token-1"
    with pytest.raises(Damaged, match="not in the format standfast-evidence/1"):
        read_manifest(written.replace(b"standfast-evidence/1", b"standfast-evidence/2"))
    for other in (b"[]", b"{}", b"1", b"[" * 100_000, written.replace(b'"host"', b'"hosts"')):
        with pytest.raises(Damaged, match="is not in the format that"):
            read_manifest(other)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_bytes_make_the_manifests_reader_fail_otherwise(raw: bytes) -> None:
    with pytest.raises(Damaged):
        read_manifest(raw)
