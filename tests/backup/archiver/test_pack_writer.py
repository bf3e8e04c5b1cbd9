"""Pack writer: the time at which a pack counts as stored."""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any

import pytest

from backup.archiver.archiver_records import Frame
from backup.archiver.pack_writer import Outlet, PackBuffers, PackWriter, StoredPack
from backup.errors import AlreadyThere, StoreUnavailable
from backup.format.frame import Effort, to_frame
from backup.format.object_names import pack_name
from backup.format.pack import CAPACITY, PackSettings, seal_pack
from backup.stores import Store
from tests.backup.memory_stores import MemoryStore
from tests.backup.site import Died, Site
from tests.backup.trees import noise

MIB = 1024 * 1024
PATIENCE_SECONDS = 60


@contextmanager
def outlet_to(site: Site, store: Store) -> Iterator[Outlet]:
    """Return an outlet that puts packs of the site's host into a store."""
    host = site.host
    domain = site.repository().trust.root.domains[0]
    pack_settings = PackSettings(
        repository=host.repository,
        writer=host.writer,
        domain=domain.id,
        generation=domain.generation,
        recipient=domain.recipient,
    )
    with ThreadPoolExecutor(2) as pool:
        yield Outlet(
            store=store,
            pack_settings=pack_settings,
            random=os.urandom,
            compressing=pool,
            sending=pool,
            buffers=PackBuffers(),
        )


def test_stored_packs_are_recorded_during_the_run(site: Site) -> None:
    noted: list[StoredPack] = []
    with outlet_to(site, MemoryStore()) as outlet:
        tape = PackWriter(outlet, count(1).__next__, lambda frame: None, noted.append)
        # The first six blobs fill one pack and begin another; the last six wait for more.
        for number in range(12):
            tape.append([(Frame(), noise(4 * MIB, number), Effort.DUMP)])
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not noted and time.monotonic() < deadline:
            tape.append([(Frame(), b"more", Effort.DUMP)])
            time.sleep(0.01)
        assert noted
        tape.flush()
    assert [pack.number for pack in noted] == [1, 2, 3, 4]


def test_frame_is_stored_with_its_last_pack(
    site: Site,
) -> None:
    store = MemoryStore()
    frames = [Frame() for _ in range(18)]
    stored: list[list[bool]] = []
    with outlet_to(site, store) as outlet:

        def note(pack: StoredPack) -> None:
            name = pack_name(site.host.writer, pack.name.hex())
            assert store.stat(name).size_bytes == pack.size
            stored.append([tape.has(frame) for frame in frames])

        tape = PackWriter(outlet, count(1).__next__, lambda frame: None, note)
        for number, frame in enumerate(frames):
            tape.append([(frame, noise(3 * MIB, number), Effort.DUMP)])
        tape.flush()
    # Packs have 16 MiB, so some frames continue in the next pack.
    assert any(frame.next == frame.pack + 1 for frame in frames)
    assert stored == [[frame.last_pack <= number for frame in frames] for number in (1, 2, 3, 4)]


@pytest.mark.parametrize("ails", [StoreUnavailable("no answer"), Died()], ids=["put", "death"])
def test_thread_error_is_raised_and_pack_not_recorded(site: Site, ails: BaseException) -> None:
    class Failing(MemoryStore):
        def _put(self, name: str, data: bytes | bytearray | memoryview) -> None:
            raise ails

    noted: list[StoredPack] = []
    frame = Frame()
    with outlet_to(site, Failing()) as outlet:
        tape = PackWriter(outlet, count(1).__next__, lambda frame: None, noted.append)
        tape.append([(frame, b"a line\n", Effort.DUMP)])
        with pytest.raises(type(ails)):
            tape.flush()
    assert not noted
    assert not tape.has(frame)


@pytest.mark.parametrize("is_whole", [True, False])
def test_existing_pack_is_recorded_only_if_complete(site: Site, is_whole: bool) -> None:
    class There(MemoryStore):
        def _put(self, name: str, data: bytes | bytearray | memoryview) -> None:
            super()._put(name, data if is_whole else data[:-1])
            super()._put(name, data)  # as a retry after a lost answer

    noted: list[StoredPack] = []
    frame = Frame()
    with outlet_to(site, There()) as outlet:
        tape = PackWriter(outlet, count(1).__next__, lambda frame: None, noted.append)
        tape.append([(frame, b"a line\n", Effort.DUMP)])
        with nullcontext() if is_whole else pytest.raises(AlreadyThere):
            tape.flush()
    assert [pack.number for pack in noted] == [1] * is_whole
    assert tape.has(frame) == is_whole


def test_unused_pack_space_is_zeros(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    sealed: list[bytes] = []

    def noted(payload: memoryview, *more: Any) -> Any:
        sealed.append(bytes(payload))
        return seal_pack(payload, *more)

    monkeypatch.setattr("backup.archiver.pack_writer.seal_pack", noted)
    with outlet_to(site, MemoryStore()) as outlet:
        before = outlet.buffers.take()
        before[:] = b"x" * len(before)
        outlet.buffers.release(before)
        frame = Frame()
        tape = PackWriter(outlet, count(1).__next__, lambda frame: None, lambda pack: None)
        tape.append([(frame, b"a line\n", Effort.DUMP)])
        tape.flush()
    (payload,) = sealed
    assert len(payload) > frame.stored
    assert not any(payload[frame.stored :])


def test_buffer_in_use_belongs_to_one_pack(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    buffers: list[PackBuffers] = []

    def use_all_but(ours: memoryview) -> None:
        before = bytes(ours[:64])
        taken = [buffers[0].take() for _ in range(4)]
        for number, other in enumerate(taken):
            other[:64] = bytes([number]) * 64
        assert [other[0] for other in taken] == [0, 1, 2, 3]
        assert bytes(ours[:64]) == before
        for other in taken:
            buffers[0].release(other)

    def sealing(payload: memoryview, *more: Any) -> Any:
        use_all_but(payload)
        return seal_pack(payload, *more)

    class Sending(MemoryStore):
        def _put(self, name: str, data: bytes | bytearray | memoryview) -> None:
            use_all_but(memoryview(data))
            super()._put(name, data)

    monkeypatch.setattr("backup.archiver.pack_writer.seal_pack", sealing)
    with outlet_to(site, Sending()) as outlet:
        buffers.append(outlet.buffers)
        tape = PackWriter(outlet, count(1).__next__, lambda frame: None, lambda pack: None)
        for number in range(3):
            tape.append([(Frame(), b"a line of %d\n" % number, Effort.DUMP)])
            tape.flush()


class WhenAsked(Future[Any]):
    """A future that makes its call only when its result is requested."""

    def __init__(self, call: Callable[[], Any]) -> None:
        super().__init__()
        self._call = call

    def result(self, timeout: float | None = None) -> Any:
        del timeout
        return self._call()


class Late(ThreadPoolExecutor):
    def submit(self, call: Any, /, *given: Any, **named: Any) -> WhenAsked:
        return WhenAsked(partial(call, *given, **named))


@pytest.mark.parametrize(("calls_at_once", "most"), [(1, 4), (8, 3)], ids=["disk", "network"])
def test_packs_in_progress_are_limited(site: Site, calls_at_once: int, most: int) -> None:
    store = MemoryStore()
    store.calls_at_once = calls_at_once
    noted: list[StoredPack] = []
    with outlet_to(site, store) as outlet:
        late = replace(outlet, sending=Late(1))
        tape = PackWriter(late, count(1).__next__, lambda frame: None, noted.append)
        for _ in range(8):
            size = CAPACITY // 2 - 1  # the pack adds one byte for the kind of the blob
            for _ in range(2):
                assert tape.window(size) is not None
                tape.keep_window(size, Frame())
        assert len(noted) == 8 - most
        tape.flush()
    assert len(noted) == 8


def test_compression_error_is_raised(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_memory(raw: bytes | memoryview, effort: Effort) -> tuple[bytes, bytes | memoryview]:
        if raw == b"second":
            raise MemoryError
        return to_frame(raw, effort)

    monkeypatch.setattr("backup.archiver.pack_writer.to_frame", without_memory)
    located: list[Frame] = []
    frames = [Frame(), Frame()]
    with outlet_to(site, MemoryStore()) as outlet:
        tape = PackWriter(outlet, count(1).__next__, located.append, lambda pack: None)
        for frame, raw in zip(frames, (b"first", b"second"), strict=True):
            tape.append([(frame, raw, Effort.DUMP)])
        with pytest.raises(MemoryError):
            tape.flush()
    assert located == frames[:1]
    assert not any(map(tape.has, frames))
