"""The tape: frames one after the other, cut into packs that are exactly full, encrypted and stored.

- Compression, encryption and storing run in threads; order and every record are kept by
  the one thread that calls.  So there is nothing to lock, and the packs of a tape depend on nothing
  but what it is given.  When one counts as stored is a matter of time, and with it the order in
  which pages of the manifest are given to theirs.
- What is under way is bounded: some frames and a few packs, however large the source is.
- A frame that does not fit goes on in the next pack.  Only `flush` makes a pack that is not full.
- What does not compress can be read straight to where it stays (`window`), and is never copied.
- `on_laid` is called for each frame when it has its place, `on_acknowledged` for each pack in
  order, after the store has said that it has it.
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
from backup.stores import Store, said_to_be_there

_TASKS_UNDER_WAY = 6
# One is sealed while others are written and synced: a disk has three to do, which takes it 5 % less
# than two would.  To a network, a pack on its way is in memory twice.
PACKS_UNDER_WAY, _PACKS_UNDER_WAY_FAR = 4, 3

# Where its frame comes to lie, the stretch itself, of at most 8 MiB, and how hard to compress it.
Stretch = tuple[Frame, bytes | memoryview, Effort]


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """A pack that the store acknowledged."""

    number: int
    name: bytes
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Outlet:
    """Where packs go: the same for every tape of a run."""

    store: Store
    destination: Destination
    random: Callable[[int], bytes]
    compressing: ThreadPoolExecutor
    sending: ThreadPoolExecutor
    buffers: PackBuffers

    def send(self, payload: memoryview, size: int) -> tuple[bytes, int]:
        """Seal and store the first `size` bytes, and give the buffer back; runs in a thread.

        Gives the pack's name and size.
        """
        padded = padded_size(size)
        payload[size:padded] = bytes(padded - size)
        sealed = self.buffers.take()
        pack = seal_pack(payload[:padded], self.destination, self.random, sealed)
        self.buffers.give_back(payload)  # 16 MiB that others can use while the store takes its time
        name = pack_name(self.destination.writer, pack.name.hex())
        try:
            self.store.put(name, pack.data)
        except AlreadyThere:
            # The name is the hash of the bytes: the same pack, put by a call whose answer was lost.
            with said_to_be_there(name):
                size_there = self.store.stat(name).size_bytes
            if size_there != len(pack.data):
                raise
        self.buffers.give_back(sealed)
        return pack.name, len(pack.data)


class PackWriter:
    """One stretch of packs; call from one thread only."""

    def __init__(
        self,
        outlet: Outlet,
        number_pack: Callable[[], int],
        on_laid: Callable[[Frame], None],
        on_acknowledged: Callable[[Stored], None],
    ) -> None:
        self._outlet = outlet
        is_far = outlet.store.calls_at_once > 1
        self._most_packs = _PACKS_UNDER_WAY_FAR if is_far else PACKS_UNDER_WAY
        self._number_pack = number_pack
        self._on_laid = on_laid
        self._on_acknowledged = on_acknowledged
        self._tasks: deque[tuple[list[Frame], Future[list[tuple[bytes, bytes | memoryview]]]]] = (
            deque()
        )
        self._packs: deque[tuple[int, Future[tuple[bytes, int]]]] = deque()
        self._payload: memoryview | None = None
        self._filled = 0
        self._number = UNLOCATED
        self.acknowledged = 0  # every pack of this tape up to this number is in the store

    def append(self, stretches: Sequence[Stretch]) -> None:
        """Take stretches, which one task compresses; each frame gets its place later."""
        frames = [frame for frame, _, _ in stretches]  # the rest is let go of when it is compressed
        self._tasks.append((frames, self._outlet.compressing.submit(_to_frames, stretches)))
        self._lay_frames(_TASKS_UNDER_WAY)
        # What the store has is noted while there is more to come: at the end others wait for it.
        while self._packs and self._packs[0][1].done():
            self._acknowledge()

    def window(self, size: int) -> memoryview | None:
        """Where a frame of so many bytes as they are may be written, if the pack has the room.

        It is free until the next call; what stays there is told by `lay_window`.
        """
        if self._filled + 1 + size > CAPACITY:
            return None
        begin = self._filled + 1
        return self._room()[begin : begin + size]

    def lay_window(self, size: int, frame: Frame) -> None:
        """Make the first `size` bytes of the window a frame."""
        payload = self._room()
        payload[self._filled] = AS_IS
        self._place(frame, size + 1)
        self._filled += size + 1
        self._on_laid(frame)
        if self._filled == CAPACITY:
            self._send()

    def lay_as_is(self, parts: Sequence[memoryview], frame: Frame) -> None:
        """Make a frame of at most 8 MiB of parts one after the other, not compressed.

        Parts that lie in the window must be in its order.
        """
        self._lay(frame, (bytes([AS_IS]), *parts))

    def lay(self) -> None:
        """Lay every frame that was appended; the last pack is sent though it is not full."""
        self._lay_frames(0)
        if self._filled:
            self._send()

    def flush(self) -> None:
        """Store everything that was appended; afterwards every frame is laid and acknowledged."""
        self._lay_frames(0)
        self.cut()

    def cut(self) -> None:
        """Store everything that is laid, though its last pack is not full, and wait for it."""
        if self._filled:
            self._send()
        while self._packs:
            self._acknowledge()

    def has(self, frame: Frame) -> bool:
        """Whether the store has the whole frame."""
        return frame.pack != UNLOCATED and frame.last_pack <= self.acknowledged

    def _lay_frames(self, most_left: int) -> None:
        tasks = self._tasks
        while len(tasks) > most_left:
            frames, future = tasks.popleft()
            for frame, parts in zip(frames, future.result(), strict=True):
                self._lay(frame, parts)

    def _lay(self, frame: Frame, parts: Iterable[bytes | memoryview]) -> None:
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
        self._on_laid(frame)

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
