"""The published test vectors, read by both readers.

- The package's reader must report the failure that the vector expects. The break-glass reader may
  accept a faulty object if a signature or a keyed hash already proves the origin of its bytes; it
  refuses all other faults.
"""

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pyrage
import pytest

import backup
from backup.break_glass import BreakGlassReader
from backup.errors import BackupError, Damaged, FormatUnknown
from backup.format.canonical_json import (
    from_json,
    from_path_text,
    from_time,
    to_json,
    to_path_text,
    to_time,
)
from backup.format.frame import from_frame
from backup.format.manifest import Child, leaf_from_bytes, list_from_bytes, node_from_bytes
from backup.format.object_names import root_name
from backup.format.pack import HEADER_BYTES, OpenPack, padded_size, parse_header
from backup.format.root_record import RootRecord
from backup.format.snapshot import Body, open_body
from backup.trust.key_files import Identity, open_domains
from backup.trust.retention_log import RetentionLog, load_retention_log
from backup.trust.root_chain import load_root_chain
from backup.trust.snapshot_slots import read_slot
from tests.backup.fixtures.make_vectors import padme
from tests.backup.memory_stores import MemoryStore

T = TypeVar("T")

VECTORS = Path(backup.__file__).parent / "vectors"
Vector = dict[str, Any]
FILES = {path.stem: json.loads(path.read_text()) for path in sorted(VECTORS.glob("*.json"))}

# For each failure name of a vector: the error class of the reader and words of its message.
FAILURES: dict[str, tuple[type[BackupError], str]] = {
    "canonical": (Damaged, "JSON|not a signed record|not a snapshot|not a valid snapshot"),
    "chain": (Damaged, "does not follow|another repository|another owner|root record that this"),
    "commitment": (Damaged, "does not match its key"),
    "fields": (
        Damaged,
        r"wrong value|lacks|invalid|not an age|lists|too |empty page|no num|not a \w+ page",
    ),
    "format-unknown": (FormatUnknown, "newer version"),
    "frame": (Damaged, "frame"),
    "header": (Damaged, "does not start like a pack|invalid header"),
    "kind": (Damaged, r"is not a \w+ record of format 1|is not a record"),
    "length": (Damaged, "shorter or longer"),
    "order": (Damaged, "out of order|invalid"),
    "padding": (Damaged, "padding"),
    "parent": (Damaged, "the page that its parent describes"),
    "path-text": (Damaged, "invalid path text"),
    "place": (
        Damaged,
        "it was moved|contains snapshot|another domain's key|no root record authorizes",
    ),
    "recipient": (Damaged, "not the one|another key|differs from the key"),
    "salt": (Damaged, "salt"),
    "signature": (Damaged, "valid signature|too short|not signed by a keeper"),
    "size": (Damaged, "is not read"),
    "tag": (Damaged, "damaged in segment"),
    "trust": (Damaged, "trust|no root record grants|may not write for|valid signature"),
    "twice": (Damaged, "twice"),
    "wrap": (BackupError, "does not open|not opened|opens no|wrong length|opens nothing"),
}

# Faults that the break-glass reader does not check: a signature or hash already proves who wrote
# the bytes, and a read of a blob notices a missing segment.
LENIENT = {
    "canonical", "fields", "kind", "length", "order", "padding", "path-text", "salt", "twice",
}  # fmt: skip


def each(*kinds: str) -> pytest.MarkDecorator:
    rows = [
        pytest.param(FILES[kind], vector, id=f"{kind}: {vector.get('name', vector['about'])}")
        for kind in kinds
        for vector in FILES[kind]["vectors"]
    ]
    return pytest.mark.parametrize(("file", "vector"), rows)


def refused_or_read(vector: Vector, read: Callable[[], T]) -> T | None:
    if "failure" not in vector:
        return read()
    error, text = FAILURES[vector["failure"]]
    with pytest.raises(error, match=text):
        read()
    return None


def text_bytes(vector: Vector) -> bytes:
    if "hex" in vector:
        return bytes.fromhex(vector["hex"])
    return b"".join(bytes.fromhex(part) * times for part, times in vector["runs"])


def object_bytes(file: Vector, vector: Vector) -> bytes:
    if "zeros" in vector:
        return bytes(vector["zeros"])
    if "of" not in vector:
        return base64.b64decode(vector["data"])
    (whole,) = (one["data"] for one in file["vectors"] if one.get("name") == vector["of"])
    data = bytearray(base64.b64decode(whole))
    for at, patch in vector.get("patch", ()):
        piece = bytes.fromhex(patch)
        data[at : at + len(piece)] = piece
    return bytes(data[: vector.get("length")])


def stores(file: Vector, vector: Vector) -> tuple[MemoryStore, MemoryStore]:
    """Return both stores with the object in its place, and its dependencies."""
    vault, keys = MemoryStore(), MemoryStore()
    for name, data in {**file["objects"], **vector.get("beside", {})}.items():
        if name != vector["at"]:
            vault.put(name, base64.b64decode(data))
    where = keys if vector["at"].startswith("k/") else vault
    where.put(vector["at"], object_bytes(file, vector))
    return vault, keys


def identity(file: Vector, name: str) -> pyrage.x25519.Identity:
    return pyrage.x25519.Identity.from_str(file["keys"][name])


def test_every_failure_has_a_vector() -> None:
    named = {
        one["failure"] for file in FILES.values() for one in file["vectors"] if "failure" in one
    }
    assert named == set(FAILURES)
    for kind, file in FILES.items():
        assert file["format"] == 1
        assert {"failure" in vector for vector in file["vectors"]} >= {False}, kind
        assert all(vector["about"] for vector in file["vectors"])


@each("json")
def test_json(file: Vector, vector: Vector) -> None:
    data = text_bytes(vector)
    value = refused_or_read(vector, lambda: from_json(data, "it"))
    assert "failure" in vector or to_json(value) == data


@each("path_text")
def test_path_text(file: Vector, vector: Vector) -> None:
    path = refused_or_read(vector, lambda: from_path_text(vector["text"], "it"))
    if "failure" not in vector:
        assert isinstance(path, bytes)
        assert path.hex() == vector["hex"]
        assert to_path_text(path) == vector["text"]


@each("time")
def test_times(file: Vector, vector: Vector) -> None:
    moment = refused_or_read(vector, lambda: from_time(vector["text"], "it"))
    assert moment is None or to_time(moment) == vector["text"]


@each("padme")
def test_padme(file: Vector, vector: Vector) -> None:
    assert padded_size(vector["size"]) == padme(vector["size"]) == vector["padded"]
    assert padded_size(vector["padded"]) == vector["padded"]


@each("root")
def test_root_records(file: Vector, vector: Vector) -> None:
    vault, _ = stores(file, vector)
    owner = bytes.fromhex(file["keys"]["owner"])

    def read() -> RootRecord:
        trust = load_root_chain(vault, owner=owner)
        for name, problem in trust.problems:
            if name == vector["at"]:
                raise Damaged(problem)
        return trust.root

    root = refused_or_read(vector, read)
    if root is None:
        # The record before the object stays in force, whatever the object is.
        if vector["failure"] != "format-unknown":
            assert load_root_chain(vault, owner=owner).root.number == 0
        return
    assert root_name(root.number) == vector["at"]


@each("keep")
def test_keep_records(file: Vector, vector: Vector) -> None:
    vault, _ = stores(file, vector)
    trust = load_root_chain(vault)

    def read() -> RetentionLog:
        keeps = load_retention_log(vault, trust)
        for name, problem in keeps.problems:
            if name == vector["at"]:
                raise Damaged(problem)
        return keeps

    keeps = refused_or_read(vector, read)
    if keeps is not None:
        digest = hashlib.sha256(object_bytes(file, vector)).hexdigest()
        assert keeps.head is not None
        assert keeps.head.sha256 == digest


@each("key")
def test_key_records(file: Vector, vector: Vector) -> None:
    vault, keys = stores(file, vector)
    custodian = Identity(keys=(identity(file, "custodian"),), owner=None, repository=None)
    opened = refused_or_read(
        vector, lambda: open_domains(load_root_chain(vault).root, keys, custodian)
    )
    if isinstance(opened, dict):
        assert str(opened["main", 0]) == file["keys"]["domain"]


@each("snapshot")
def test_snapshots(file: Vector, vector: Vector) -> None:
    vault, _ = stores(file, vector)

    def read() -> Body:
        writer = vector["at"].split("/")[1]
        slot = read_slot(vault, load_root_chain(vault), writer, vector["at"])
        if slot.problem is not None:
            assert not vector.get("sealed")
            raise Damaged(slot.problem)
        body = open_body(slot.sealed, [identity(file, "domain")], slot.name)
        assert body.id_key.hex() == file["keys"]["id_key"]
        return body

    body = refused_or_read(vector, read)
    if body is not None:
        assert body.files == vector["body"]["files"]
        assert body.root_page.id.hex() == vector["body"]["root"][5]


@each("pack")
def test_packs(file: Vector, vector: Vector) -> None:
    data = object_bytes(file, vector)

    def read() -> OpenPack:
        header = parse_header(data[:HEADER_BYTES], "it")
        opened = OpenPack(header, [identity(file, "domain")], "it")
        opened.open_all(data)
        return opened

    opened = refused_or_read(vector, read)
    if isinstance(opened, OpenPack):
        payload = opened.open_all(data)
        header = opened.header
        assert hashlib.sha256(data).hexdigest() == vector["sha256"]
        assert (header.segments, header.generation) == (vector["segments"], vector["generation"])
        assert header.repository.hex() == file["keys"]["repository"]
        assert (header.writer, header.domain) == ("desk-1", "main")
        assert opened.file_key.hex() == vector["file_key"]
        assert (header.salt.hex(), header.commitment.hex()) == (
            vector["salt"],
            vector["commitment"],
        )
        assert len(payload) == vector["payload_bytes"]
        assert hashlib.sha256(payload).hexdigest() == vector["payload_sha256"]


@each("frame")
def test_frames(file: Vector, vector: Vector) -> None:
    data = bytes.fromhex(vector["hex"])
    raw = refused_or_read(vector, lambda: from_frame(data, "it"))
    assert "failure" in vector or raw == bytes.fromhex(vector["raw"])


@each("page")
def test_pages(file: Vector, vector: Vector) -> None:
    data = base64.b64decode(vector["data"])

    def read() -> list[str]:
        if vector["kind"] == "list":
            return [ref.id.hex() for ref in list_from_bytes(data, "it")]
        child = None
        if "parent" in vector:
            first, last = (vector["parent"][name].encode() for name in ("first", "last"))
            (ref,) = list_from_bytes(
                to_json({"items": [[0, 0, 9, 0, 9, "00" * 32, -1]], "kind": "list",
                         "packs": ["00" * 32]}), "it",
            )  # fmt: skip
            child = Child(first=first, last=last, entries=vector["parent"]["entries"], page=ref)
        if vector["kind"] == "leaf":
            return [entry.text for entry in leaf_from_bytes(data, "it", child)]
        return [to_path_text(each.first) for each in node_from_bytes(data, "it", child)]

    paths = refused_or_read(vector, read)
    assert "failure" in vector or paths == vector["paths"]


# --- break-glass reader ------------------------------------------------------------------------


@pytest.fixture
def glass(tmp_path: Path) -> BreakGlassReader:
    return BreakGlassReader(tmp_path / "vault", tmp_path / "keys", tmp_path / "out")


def put(file: Vector, vector: Vector, glass: BreakGlassReader, name: str = "") -> str:
    """Write the objects of a vector as files; return the name of its own."""
    objects = {**file["objects"], **vector.get("beside", {})}
    own = name or vector["at"]
    raw = {place: base64.b64decode(data) for place, data in objects.items()}
    raw[own] = object_bytes(file, vector)
    for place, data in raw.items():
        path = (glass.keys if place.startswith("k/") else glass.vault) / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return own


def believe_roots(glass: BreakGlassReader, *, without: str = "") -> None:
    for path in sorted(glass.vault.glob("pub/root/*")):
        name = path.relative_to(glass.vault).as_posix()
        if name != without:
            glass.attempt("the list of writers", glass.read_record, "root", name)


def assert_last_resort(vector: Vector, read: Callable[[], object]) -> bool:
    """Return whether the object was read; only lenient failures may pass."""
    try:
        read()
    except Exception:
        assert "failure" in vector
        return False
    assert "failure" not in vector or vector["failure"] in LENIENT, vector["about"]
    return True


@each("root")
def test_break_glass_reader_reads_root_records(
    glass: BreakGlassReader, file: Vector, vector: Vector
) -> None:
    name = put(file, vector, glass)
    if name != root_name(0):
        believe_roots(glass, without=name)
    if assert_last_resort(vector, lambda: glass.read_record("root", name)):
        assert root_name(glass.root["number"]) == name or vector["failure"] in LENIENT


@each("key")
def test_break_glass_reader_reads_key_records(
    glass: BreakGlassReader, file: Vector, vector: Vector
) -> None:
    put(file, vector, glass)
    believe_roots(glass)
    glass.identities = [identity(file, "custodian")]

    def read() -> None:
        assert str(glass.open_domain_key("main", 0)) == file["keys"]["domain"]

    assert_last_resort(vector, read)


@each("snapshot")
def test_break_glass_reader_reads_snapshots(
    glass: BreakGlassReader, monkeypatch: pytest.MonkeyPatch, file: Vector, vector: Vector
) -> None:
    name = put(file, vector, glass)
    believe_roots(glass)
    monkeypatch.setattr(glass, "open_domain_key", lambda *_: identity(file, "domain"))

    def read() -> None:
        glass.open_point(glass.read_record("snapshot", name))
        assert glass.body["id_key"] == file["keys"]["id_key"]

    assert_last_resort(vector, read)


@each("pack")
def test_break_glass_reader_reads_packs(
    glass: BreakGlassReader, monkeypatch: pytest.MonkeyPatch, file: Vector, vector: Vector
) -> None:
    digest = hashlib.sha256(object_bytes(file, vector)).hexdigest()
    put(file, vector, glass, f"w/desk-1/p/{digest[:2]}/{digest}")
    believe_roots(glass)
    monkeypatch.setattr(glass, "open_domain_key", lambda *_: identity(file, "domain"))
    glass.point, glass.body = {"writer": "desk-1", "domain": "main"}, {"files": 0}

    def read() -> None:
        payload = glass.read_pack(digest)
        if glass.problems:
            raise ValueError(glass.problems)
        wanted = vector.get("payload_sha256")
        assert wanted in (None, hashlib.sha256(payload).hexdigest())

    assert_last_resort(vector, read)


@each("frame")
def test_break_glass_reader_reads_frames(
    glass: BreakGlassReader, monkeypatch: pytest.MonkeyPatch, file: Vector, vector: Vector
) -> None:
    data = bytes.fromhex(vector["hex"])
    monkeypatch.setattr(glass, "read_pack", lambda _: data)

    def read() -> None:
        assert glass.read_frame("it", 0, len(data), None).hex() == vector.get("raw")

    assert_last_resort(vector, read)


@each("page")
def test_break_glass_reader_reads_pages(
    glass: BreakGlassReader, monkeypatch: pytest.MonkeyPatch, file: Vector, vector: Vector
) -> None:
    if vector["kind"] == "list":
        pytest.skip("a list has no rules of its own but those of references")
    data, read_paths = base64.b64decode(vector["data"]), []
    monkeypatch.setattr(glass, "read_blob", lambda *_: data)
    monkeypatch.setattr(glass, "attempt", lambda path, *_: read_paths.append(path))
    parent = vector.get("parent")
    listed = None if parent is None else (parent["first"], parent["last"])

    def read() -> None:
        glass.restore_page(int(vector["kind"] == "node"), [], None, listed)

    if "entries" in vector["about"] and vector.get("failure") == "parent":
        pytest.skip("it does not count what the page above counts")
    if vector.get("failure") == "order":
        with pytest.raises(ValueError, match="not the page that its parent"):
            read()
    elif assert_last_resort(vector, read) and "failure" not in vector:
        assert read_paths == vector["paths"]
