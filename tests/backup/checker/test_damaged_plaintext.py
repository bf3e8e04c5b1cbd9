"""Damaged ciphertext never yields wrong plaintext, with either reader.

- Names and signatures would find each flipped bit first, so the tests bypass them: packs are read
  without a check of their hash, and damaged objects are signed again.
- Each byte is damaged. In a parsed header, each bit of it is flipped; elsewhere, one bit that
  differs from the bit in the byte before.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from backup import break_glass
from backup.errors import BackupError
from backup.format.manifest import BlobRef, ref_to_json
from backup.format.object_names import pack_name, snapshot_name
from backup.format.pack import HEADER_BYTES, SEGMENT_BYTES, SEGMENT_PAYLOAD
from backup.format.root_record import key_from_bytes, key_to_bytes
from backup.format.signature import SNAPSHOT_CONTEXT, sign, signed_content
from backup.format.snapshot import Body
from backup.reader.blob_reader import BlobReader
from backup.repository import Repository
from backup.trust.key_files import open_domains
from tests.backup.sample_repository import Whole, whole_repository
from tests.backup.site import WRITER
from tests.backup.trust.test_corruption import flipped
from tests.sampling import sample

LAST = snapshot_name(WRITER, 3)
KEY = "k/main/0000000000/0000000001"  # the newest of its generation


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return whole_repository(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def glass(
    whole: Whole,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> "Glass":
    glass = Glass(whole, tmp_path, capsys)
    original = Path.read_bytes
    # To write a file for each of thousands of damages would take most of the time.
    monkeypatch.setattr(
        Path,
        "read_bytes",
        lambda path: original(path) if (data := glass.held.get(path)) is None else data,
    )
    return glass


@dataclass(frozen=True, kw_only=True)
class Pack:
    """A pack and all of its blobs that the last point needs."""

    name: str
    data: bytes
    blobs: tuple[tuple[BlobRef, bytes], ...]

    @property
    def segments(self) -> int:
        return -(-(len(self.data) - HEADER_BYTES) // SEGMENT_BYTES)


class Glass:
    """The break-glass reader on a repository in folders, at the last point."""

    def __init__(self, whole: Whole, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.folders = {"k": folder / "keys", "vault": folder / "vault"}
        self.held: dict[Path, bytes] = {}  # content that is read instead of a file
        for name in [*whole.vault.names(), *whole.keys.names()]:
            path = self.path(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(whole.get(name))
        self.tool = break_glass.BreakGlassReader(folder / "vault", folder / "keys", folder / "out")
        self.tool.run(str(whole.site.folder / "custodian.txt"))
        (self.point,) = (one for one in self.tool.list_points() if one["object"] == LAST)
        self.tool.open_point(self.point)
        assert self.tool.problems == {}

    def path(self, name: str) -> Path:
        return self.folders["k" if name.startswith("k/") else "vault"] / name

    def put(self, name: str, data: bytes) -> None:
        self.held[self.path(name)] = data

    def attempt(self, action: Any, *arguments: Any) -> Any:
        """Read as a restore does; return no data when a failure is reported."""
        for cache in (self.tool.read_pack, self.tool.read_frame):
            cache.cache_clear()
        self.tool.problems.clear()
        result = self.tool.attempt("this", action, *arguments)
        assert result is not None or self.tool.problems
        self._capsys.readouterr()
        return result


def opened(whole: Whole) -> tuple[Repository, Body, BlobReader]:
    repository = Repository.open(whole.vault, whole.keys, whole.site.identity)
    _, body, reader = repository.open_point(repository.resolve("desk-1/3"))
    return repository, body, reader


def packs_of(whole: Whole) -> Iterator[Pack]:
    """Return the packs of the last point: pages, a small file, a large file."""
    repository, body, reader = opened(whole)
    point = repository.resolve("desk-1/3")
    refs = [body.root_page, *(ref for one in repository.entries(point) for ref in one.blobs)]
    for sha256 in sorted({ref.pack for ref in refs}):
        name = pack_name(WRITER, sha256.hex())
        blobs = tuple((ref, reader.blob(ref)) for ref in refs if ref.pack == sha256)
        yield Pack(name=name, data=whole.vault.get(name), blobs=blobs)


def spoilt_packs(pack: Pack) -> Iterator[tuple[bytes, int | None]]:
    """Yield damaged copies with their damaged segment; None: none may open."""
    data = pack.data
    parsed = 162 + int.from_bytes(data[160:162], "big") + 2
    header = [
        (at, bit) for at in range(HEADER_BYTES) for bit in (range(8) if at < parsed else [None])
    ]
    for at, bit in sample(header, f"header {pack.segments}"):
        yield flipped(data, at, bit), None
    # With both steps, every bit number has its turn.
    step = 1 if pack.segments == 1 else 7
    body = [*range(HEADER_BYTES, len(data), step), len(data) - 1]
    for at in sample(body, f"segments {pack.segments}"):
        yield flipped(data, at), (at - HEADER_BYTES) // SEGMENT_BYTES
    for length in sample(range(0, len(data), 61), f"cuts {pack.segments}"):
        yield data[:length], max(0, length - HEADER_BYTES) // SEGMENT_BYTES
    yield data[:-1], pack.segments - 1


def check_pack(pack: Pack, read: Callable[[bytes, BlobRef], object]) -> None:
    for ref, content in pack.blobs:
        assert read(pack.data, ref) == content
    wrong = []
    for data, segment in spoilt_packs(pack):
        for ref, content in pack.blobs:
            given = read(data, ref)
            first = ref.offset // SEGMENT_PAYLOAD
            last = (ref.offset + ref.stored - 1) // SEGMENT_PAYLOAD
            # A cut removes the later segments too, and the mark of the last segment.
            is_hit = segment is None or first <= segment <= last
            if given is not None and (is_hit or given != content):
                wrong.append((data, given))
    assert wrong == []


def test_tested_packs_have_pages_small_and_large_files(whole: Whole) -> None:
    packs = list(packs_of(whole))
    assert sorted(pack.segments for pack in packs) == [1, 1, 2]
    contents = {content for pack in packs for _, content in pack.blobs}
    top = whole.site.folder / "source"
    files = {(top / "call.wav").read_bytes(), (top / "calls" / "note.txt").read_bytes()}
    (page,) = contents - files
    assert page.startswith(b'{"items":')
    assert files < contents


@pytest.mark.parametrize("number", range(3))
def test_reader_returns_nothing_wrong_from_damaged_pack(whole: Whole, number: int) -> None:
    pack = list(packs_of(whole))[number]
    _, body, _ = opened(whole)
    vault = whole.vault.copy()
    repository = Repository.open(vault, whole.keys, whole.site.identity)
    point = repository.resolve("desk-1/3")

    def read(data: bytes, ref: BlobRef) -> object:
        vault.replace(pack.name, data)
        try:
            return repository._reader(point, body).blob(ref)
        except BackupError:
            return None

    check_pack(pack, read)


@pytest.mark.parametrize("number", range(3))
def test_break_glass_returns_nothing_wrong_from_damaged_pack(
    whole: Whole, glass: Glass, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    pack = list(packs_of(whole))[number]
    # The key store is sound; the cache avoids opening a key for each damage.
    monkeypatch.setattr(glass.tool, "open_domain_key", lru_cache(glass.tool.open_domain_key))

    def read(data: bytes, ref: BlobRef) -> object:
        glass.put(pack.name, data)
        return glass.attempt(glass.tool.read_blob, ref_to_json(ref), None)

    check_pack(pack, read)


def spoilt_snapshots(whole: Whole) -> Iterator[bytes]:
    """Yield snapshots with a sealed part damaged before the signature."""
    public, _, sealed = signed_content(whole.vault.get(LAST), LAST).partition(b"\n")
    header = sealed.index(b"\n---") + 64
    flips = [
        (at, bit) for at in range(len(sealed)) for bit in (range(8) if at < header else [None])
    ]
    for at, bit in sample(flips, "snapshot"):
        yield signed_snapshot(whole, public, flipped(sealed, at, bit))
    for length in sample(range(0, len(sealed), 7), "snapshot, cut"):
        yield signed_snapshot(whole, public, sealed[:length])


def signed_snapshot(whole: Whole, public: bytes, sealed: bytes) -> bytes:
    return sign(SNAPSHOT_CONTEXT, public + b"\n" + sealed, whole.site.host.signing_key)


def test_reader_returns_no_wrong_details_of_damaged_snapshot(whole: Whole) -> None:
    vault = whole.vault.copy()
    repository = Repository.open(vault, whole.keys, whole.site.identity)
    point = repository.resolve("desk-1/3")
    sound = repository.open_point(point)[1]
    assert sound.files == 2
    wrong = []
    for data in spoilt_snapshots(whole):
        vault.replace(LAST, data)
        try:
            wrong.append(repository.open_point(point)[1])
        except BackupError:
            continue
    assert wrong == []


def test_break_glass_returns_no_wrong_details_of_snapshot(
    whole: Whole, glass: Glass, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The key store is sound; the cache avoids opening a key for each damage.
    monkeypatch.setattr(glass.tool, "open_domain_key", lru_cache(glass.tool.open_domain_key))

    def read() -> Any:
        # A restore uses `body`, so the result of an earlier call must not remain there.
        glass.tool.body = None
        glass.tool.open_point(glass.tool.read_record("snapshot", LAST))
        return glass.tool.body

    assert glass.attempt(read)["files"] == 2
    wrong = []
    for data in spoilt_snapshots(whole):
        glass.put(LAST, data)
        wrong += [body] if (body := glass.attempt(read)) is not None else []
    assert wrong == []


def spoilt_keys(whole: Whole) -> Iterator[bytes]:
    """Yield key records with a newest wrap damaged before the signature."""
    owner = json.loads((whole.site.folder / "owner.json").read_text())
    signing = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(owner["owner_key"]))
    record = key_from_bytes(whole.keys.get(KEY), whole.site.host.owner, KEY)
    wrapped = record.wrapped
    flips = [(at, bit) for at in range(len(wrapped)) for bit in range(8)]
    for at, bit in sample(flips, "key record"):
        yield key_to_bytes(replace(record, wrapped=flipped(wrapped, at, bit)), signing)
    for at in sample(range(len(wrapped)), "key record, cut"):
        yield key_to_bytes(replace(record, wrapped=wrapped[:at]), signing)


def test_reader_opens_no_wrong_key_from_damaged_record(whole: Whole) -> None:
    keys = whole.keys.copy()
    repository = Repository.open(whole.vault, keys, whole.site.identity)
    root = repository.trust.root
    only = replace(root, domains=root.domains[:1])
    sound = open_domains(only, keys, whole.site.identity)
    assert set(sound) == {("main", 0)}
    wrong = []
    for data in spoilt_keys(whole):
        keys.replace(KEY, data)
        try:
            wrong.append(open_domains(only, keys, whole.site.identity))
        except BackupError:
            continue
    assert wrong == []


def test_break_glass_opens_no_wrong_key_from_record(whole: Whole, glass: Glass) -> None:
    assert glass.attempt(glass.tool.open_domain_key, "main", 0) is not None
    wrong = []
    for data in spoilt_keys(whole):
        glass.put(KEY, data)
        key = glass.attempt(glass.tool.open_domain_key, "main", 0)
        wrong += [key] if key is not None else []
    assert wrong == []


@pytest.mark.parametrize("kind", ["snapshot", "key"])
def test_break_glass_reader_refuses_damaged_records(whole: Whole, glass: Glass, kind: str) -> None:
    """The signature over the ciphertext fails in the break-glass reader.

    `test_corruption` tests the package's reader.
    """
    name = LAST if kind == "snapshot" else KEY
    data = whole.get(name)
    assert glass.attempt(glass.tool.read_record, kind, name) is not None
    for at in sample(range(len(data)), f"record {kind}"):
        glass.put(name, flipped(data, at))
        assert glass.attempt(glass.tool.read_record, kind, name) is None, at
