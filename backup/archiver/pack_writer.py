"""Pack writer: frames in sequence, cut into full packs, sealed and stored.

- Compression, encryption and uploads run in threads; the single calling thread keeps the order and
  does all bookkeeping. So no lock is needed, and the packs depend only on the input. Timing decides
  when a pack counts as stored, and thus the order in which manifest pages are passed to their own
  writer.
- Work in progress is bounded to some frames and a few packs, however large the source is.
- A frame that does not fit continues in the next pack. Only `flush`, `locate_all` and `cut` produce
  a pack that is not full.
- Incompressible content can be read directly to its final location (`window`) and is never copied.
- `on_located` is called for each frame when it has its location. `on_acknowledged` is called for
  each pack, in order, after the store has confirmed it.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from backup.archiver.blob_location import UNLOCATED, Frame
from backup.archiver.pack_buffers import PackBuffers
from backup.errors import AlreadyThere
from backup.format.frame import AS_IS, Effort, to_frame
from backup.format.object_names import pack_name
from backup.format.pack import CAPACITY, Destination, padded_size, seal_pack
from backup.stores import Store, expect_existing

_TASKS_UNDER_WAY = 6
# Packs in progress: one is sealed while others are written and synced. A local disk gets three at a
# time, which takes 5 % less time than two. On the way to a network store, a pack is in memory
# twice.
PACKS_UNDER_WAY, _PACKS_UNDER_WAY_FAR = 4, 3

# The frame to fill in, its content of at most 8 MiB, and the compression effort.
Stretch = tuple[Frame, bytes | memoryview, Effort]


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """A pack that the store acknowledged."""

    number: int
    name: bytes
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Outlet:
    """Destination and resources shared by all pack writers of a run."""

    store: Store
    destination: Destination
    random: Callable[[int], bytes]
    compressing: ThreadPoolExecutor
    sending: ThreadPoolExecutor
    buffers: PackBuffers

    def send(self, payload: memoryview, size: int) -> tuple[bytes, int]:
        """Seal and store the first `size` bytes and release the buffer.

        Return the pack's name and size. Runs in a thread.
        """
        padded = padded_size(size)
        payload[size:padded] = bytes(padded - size)
        sealed = self.buffers.take()
        pack = seal_pack(payload[:padded], self.destination, self.random, sealed)
        self.buffers.release(payload)  # 16 MiB that other packs can use during the upload
        name = pack_name(self.destination.writer, pack.name.hex())
        try:
            self.store.put(name, pack.data)
        except AlreadyThere:
            # The name is the hash of the bytes, so the existing object is the same pack, put by a
            # call whose answer was lost.
            with expect_existing(name):
                stored_size = self.store.stat(name).size_bytes
            if stored_size != len(pack.data):
                raise
        self.buffers.release(sealed)
        return pack.name, len(pack.data)


class PackWriter:
    """One sequence of packs; call from one thread only."""

    def __init__(
        self,
        outlet: Outlet,
        number_pack: Callable[[], int],
        on_located: Callable[[Frame], None],
        on_acknowledged: Callable[[Stored], None],
    ) -> None:
        self._outlet = outlet
        is_far = outlet.store.calls_at_once > 1
        self._most_packs = _PACKS_UNDER_WAY_FAR if is_far else PACKS_UNDER_WAY
        self._number_pack = number_pack
        self._on_located = on_located
        self._on_acknowledged = on_acknowledged
        self._tasks: deque[tuple[list[Frame], Future[list[tuple[bytes, bytes | memoryview]]]]] = (
            deque()
        )
        self._packs: deque[tuple[int, Future[tuple[bytes, int]]]] = deque()
        self._payload: memoryview | None = None
        self._filled = 0
        self._number = UNLOCATED
        self.acknowledged = 0  # every pack of this writer up to this number is in the store

    def append(self, stretches: Sequence[Stretch]) -> None:
        """Append stretches, which one task compresses; locations follow later."""
        frames = [frame for frame, _, _ in stretches]  # the content is released after compression
        self._tasks.append((frames, self._outlet.compressing.submit(_to_frames, stretches)))
        self._locate_frames(_TASKS_UNDER_WAY)
        # Record acknowledged packs while more content follows: at the end, callers wait for it.
        while self._packs and self._packs[0][1].done():
            self._acknowledge()

    def window(self, size: int) -> memoryview | None:
        """Return room for an uncompressed frame of `size` bytes in the pack.

        Return None if the pack has too little room. The memory is free until the next call;
        `keep_window` keeps its content.
        """
        if self._filled + 1 + size > CAPACITY:
            return None
        begin = self._filled + 1
        return self._room()[begin : begin + size]

    def keep_window(self, size: int, frame: Frame) -> None:
        """Make the first `size` bytes of the window a frame."""
        payload = self._room()
        payload[self._filled] = AS_IS
        self._place(frame, size + 1)
        self._filled += size + 1
        self._on_located(frame)
        if self._filled == CAPACITY:
            self._send()

    def append_uncompressed(self, parts: Sequence[memoryview], frame: Frame) -> None:
        """Append a frame of at most 8 MiB, made of parts, uncompressed.

        Parts that are in the window must be in its order.
        """
        self._append_frame(frame, (bytes([AS_IS]), *parts))

    def locate_all(self) -> None:
        """Locate every appended frame; send the last pack unfilled."""
        self._locate_frames(0)
        if self._filled:
            self._send()

    def flush(self) -> None:
        """Store everything that was appended and wait for the store."""
        self._locate_frames(0)
        self.cut()

    def cut(self) -> None:
        """Store every located frame and wait; the last pack may be unfilled."""
        if self._filled:
            self._send()
        while self._packs:
            self._acknowledge()

    def has(self, frame: Frame) -> bool:
        """Return whether the store has the whole frame."""
        return frame.pack != UNLOCATED and frame.last_pack <= self.acknowledged

    def _locate_frames(self, max_left: int) -> None:
        tasks = self._tasks
        while len(tasks) > max_left:
            frames, future = tasks.popleft()
            for frame, parts in zip(frames, future.result(), strict=True):
                self._append_frame(frame, parts)

    def _append_frame(self, frame: Frame, parts: Iterable[bytes | memoryview]) -> None:
        parts = list(parts)
        self._room()
        self._place(frame, sum(map(len, parts)))
        for part in parts:
            rest = memoryview(part)
            while rest:
                payload = self._room()
                if frame.pack != self._number:
                    frame.next = self._number
                piece, rest = rest[: CAPACITY - self._filled], rest[CAPACITY - self._filled :]
                payload[self._filled : self._filled + len(piece)] = piece
                self._filled += len(piece)
                if self._filled == CAPACITY:
                    self._send()
        self._on_located(frame)

    def _place(self, frame: Frame, size: int) -> None:
        frame.pack, frame.offset, frame.stored = self._number, self._filled, size

    def _room(self) -> memoryview:
        if self._payload is None:
            self._payload = self._outlet.buffers.take()
            self._number = self._number_pack()
        return self._payload

    def _send(self) -> None:
        payload, self._payload = self._room(), None
        size, self._filled = self._filled, 0
        future = self._outlet.sending.submit(self._outlet.send, payload, size)
        self._packs.append((self._number, future))
        while len(self._packs) > self._most_packs:
            self._acknowledge()

    def _acknowledge(self) -> None:
        number, future = self._packs.popleft()
        name, size = future.result()
        self.acknowledged = number
        self._on_acknowledged(Stored(number=number, name=name, size=size))


def _to_frames(stretches: Sequence[Stretch]) -> list[tuple[bytes, bytes | memoryview]]:
    return [to_frame(raw, effort) for _, raw, effort in stretches]
