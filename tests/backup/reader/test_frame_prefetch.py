"""Read-ahead of frames: groups, order and number of the frames."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from backup.errors import BackupError, Damaged
from backup.format.manifest import BlobRef
from backup.reader.blob_reader import Raw
from backup.reader.frame_prefetch import prefetch_frames
from backup.reader.manifest_walk import blobs_of, walk
from backup.reader.path_selection import Selection
from backup.stores.directory import DirectoryStore
from backup.stores.s3.store import S3Store
from tests.backup.memory_stores import MemoryStore
from tests.backup.site import Site, new_site
from tests.backup.trees import noise

KIB = 1024
MIB = 1024 * KIB


class Packs:
    """A fake `BlobReader` that records its requests."""

    def __init__(
        self,
        unread: Sequence[BlobRef] = (),
        broken: Sequence[BlobRef] = (),
        read_over_bytes: int = DirectoryStore.read_over_bytes,
    ) -> None:
        self.read_over_bytes = read_over_bytes
        self.batches: list[list[BlobRef]] = []
        self.kept_frames: dict[bytes, bytes] = {}
        self._unread = unread
        self._broken = broken
        self.unpackings: Counter[bytes] = Counter()

    def cached_frame(self, ref: BlobRef) -> Raw | None:
        return self.kept_frames.get(ref.id)

    def read_frames(self, refs: Sequence[BlobRef]) -> list[memoryview | BackupError]:
        self.batches.append(list(refs))
        return [
            Damaged("cannot be read") if ref in self._unread else memoryview(ref.id[::-1])
            for ref in refs
        ]

    def decode_frame(self, ref: BlobRef, packed: memoryview) -> Raw:
        self.unpackings[ref.id] += 1
        if ref in self._broken:
            raise Damaged("does not decompress")
        return bytes(packed[::-1])

    def verified_blob(self, ref: BlobRef, raw: Raw) -> Raw:
        assert raw == ref.id  # the content of the requested frame
        return raw

    def healed_blob(self, ref: BlobRef, error: BackupError) -> bytes:
        raise error


def chunk(pack: int, place: int, *, size: int = 64 * KIB, at: int | None = None) -> BlobRef:
    """Return a chunk of a dump, alone in its frame, stored at half its size."""
    stored = size // 2
    return BlobRef(
        pack=bytes([pack]) * 32,
        offset=place * stored if at is None else at,
        stored=stored,
        inner=0,
        length=size,
        id=bytes([pack]) * 30 + place.to_bytes(2, "big"),
        next=None,
    )


def fetched(packs: Packs, refs: Sequence[BlobRef]) -> list[Raw | BackupError | None]:
    with ThreadPoolExecutor(1) as pool:
        steps = ((ref, ref) for ref in refs)
        return [raw for _, raw in prefetch_frames(packs, steps, pool)]  # type: ignore[arg-type]


def test_packs_of_many_backups_are_read_in_turn() -> None:
    # Of each four chunks, one is in the pack of the run before, and one in an even older pack.
    refs = [chunk(3 if n % 4 == 1 else 2 if n % 4 == 3 else 1, n // 2) for n in range(80)]
    packs = Packs(read_over_bytes=4 * MIB)  # large enough to read all packs in one round
    assert fetched(packs, refs) == [ref.id for ref in refs]
    assert [{ref.pack for ref in batch} for batch in packs.batches[-3:]] == [
        {bytes([pack]) * 32} for pack in (1, 3, 2)
    ]
    assert all(
        [ref.offset for ref in batch] == sorted(ref.offset for ref in batch)
        for batch in packs.batches
    )


def test_prefetch_starts_small_and_doubles() -> None:
    refs = [chunk(1, n) for n in range(300)]  # each counts as 96 KiB
    packs = Packs(read_over_bytes=256 * KIB)
    assert fetched(packs, refs) == [ref.id for ref in refs]
    assert [len(batch) for batch in packs.batches] == [6, 11, 22, 43, 86, 86, 46]


def test_distant_frames_of_a_pack_are_read_separately() -> None:
    near, far = chunk(1, 0), chunk(1, 1, at=10 * MIB)
    packs = Packs()
    assert fetched(packs, [far, near]) == [far.id, near.id]
    assert packs.batches == [[near], [far]]


def test_gaps_are_read_over_across_a_network() -> None:
    refs = [chunk(1, n, at=n * 700 * KIB) for n in range(3)]
    for store, calls in ((DirectoryStore, 3), (S3Store, 1)):
        packs = Packs(read_over_bytes=store.read_over_bytes)
        assert fetched(packs, refs) == [ref.id for ref in refs]
        assert len(packs.batches) == calls


def test_shared_frame_is_read_and_decoded_once() -> None:
    one, other = chunk(1, 0), chunk(1, 1)
    packs = Packs()
    assert fetched(packs, [one, other, one, one]) == [one.id, other.id, one.id, one.id]
    assert packs.batches == [[one, other]]
    assert set(packs.unpackings.values()) == {1}


def test_shared_frame_of_large_file_is_decoded_once() -> None:
    class Sharing(Packs):
        def decode_frame(self, ref: BlobRef, packed: memoryview) -> Raw:
            raw = super().decode_frame(ref, packed)
            self.kept_frames[ref.id] = bytes(raw)
            return raw

    packs, one = Sharing(), chunk(1, 0)
    assert fetched(packs, [one] * 7) == [one.id] * 7
    assert packs.unpackings == {one.id: 1}


def test_cached_frame_is_not_read_again() -> None:
    one, other = chunk(1, 0), chunk(1, 1)
    packs = Packs()
    packs.kept_frames[one.id] = one.id
    assert fetched(packs, [one, other]) == [one.id, other.id]
    assert packs.batches == [[other]]


def test_damaged_frame_costs_only_itself() -> None:
    refs = [chunk(1, n) for n in range(5)]
    packs = Packs(unread=refs[1:2], broken=refs[3:4])
    before, unread, between, broken, after = fetched(packs, refs)
    assert (before, between, after) == (refs[0].id, refs[2].id, refs[4].id)
    assert "cannot be read" in str(unread)
    assert "does not decompress" in str(broken)


@pytest.mark.parametrize("size", [64 * KIB, 256 * KIB, 4 * MIB])
def test_prefetch_is_bounded_for_any_demand(size: int) -> None:
    asked = 0

    def refs() -> Iterator[BlobRef]:
        nonlocal asked
        for number in range(400 * MIB // size):
            asked += size
            yield chunk(number % 5, number, size=size)

    given = most = 0
    with ThreadPoolExecutor(1) as pool:
        steps = ((ref, ref) for ref in refs())
        for ref, _ in prefetch_frames(Packs(), steps, pool):  # type: ignore[arg-type]
            most = max(most, asked - given)
            given += ref.length
    assert given == asked
    assert 8 * MIB <= most <= 12 * MIB + 8 * MIB


def test_incompressible_files_use_few_buffers(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(200):
        (source / f"{number}.bin").write_bytes(noise(400 * KIB, number))
    site = new_site(tmp_path / "site", DirectoryStore(tmp_path / "vault"))
    site.back_up(source)
    repository = site.repository()
    _, body, reader = repository.open_point(repository.resolve("latest"))
    entries = list(walk(reader, body, Selection(())))
    steps = ((None, ref) for entry in entries for ref in blobs_of(reader, entry))
    with ThreadPoolExecutor(2) as pool:
        came = sum(
            len(raw) for _, raw in prefetch_frames(reader, steps, pool) if isinstance(raw, Raw)
        )
    assert came == 200 * 400 * KIB
    assert len(reader._plain._buffers) <= 8  # the buffers have 4 MiB each


class FarStore(MemoryStore):
    """A store in which the next reads of some kind wait until n are made."""

    calls_at_once = 16

    def __init__(self) -> None:
        super().__init__()
        self.meets: Callable[[str, int], bool] = lambda name, length: False
        self._guard = threading.Lock()
        self._left = 0

    def meet(self, count: int, meets: Callable[[str, int], bool]) -> None:
        self._met, self._left, self.meets = threading.Barrier(count, timeout=60), count, meets

    def _get_range(self, name: str, start: int, length: int | None) -> bytes:
        with self._guard:
            waits = self.meets(name, length or 0) and self._left > 0
            self._left -= waits
        if waits:
            self._met.wait()
        return super()._get_range(name, start, length)


@pytest.fixture
def far(tmp_path: Path) -> tuple[FarStore, Site, bytes]:
    content = noise(40 * MIB, 7)
    (tmp_path / "source").mkdir()
    (tmp_path / "source/large.bin").write_bytes(content)
    store = FarStore()
    site = new_site(tmp_path / "site", store)
    site.back_up(tmp_path / "source")
    return store, site, content


def test_two_ranges_of_large_file_are_read_concurrently(
    far: tuple[FarStore, Site, bytes],
) -> None:
    store, site, content = far
    repository = site.repository()
    point = repository.resolve("latest")
    store.meet(2, lambda name, length: "/p/" in name and length > MIB)
    assert b"".join(repository.stream(point, "files/large.bin")) == content


def test_headers_are_read_with_or_next_to_content(
    far: tuple[FarStore, Site, bytes],
) -> None:
    store, site, content = far
    repository = site.repository()
    _, body, reader = repository.open_point(repository.resolve("latest"))
    (entry,) = (one for one in walk(reader, body, Selection(())) if one.kind == "file")
    late = next(ref for ref in blobs_of(reader, entry) if ref.offset > 8 * MIB)
    reader._packs.clear()
    store.meet(2, lambda name, length: True)
    start = content.index(bytes(reader.blob(late)[:64]))
    assert reader.blob(late) == content[start : start + late.length]
