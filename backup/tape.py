"""The tape: frames one after the other, cut into packs that are exactly full, encrypted and stored.

- Compression, encryption and storing run in a pool of threads; order and every record are kept by
  the one thread that calls.  So there is nothing to lock, and a result depends on nothing but its
  input.
- What is under way is bounded: a few frames and a few packs, however large the source is.
- A frame that does not fit goes on in the next pack.  Only `flush` makes a pack that is not full.
- `on_acknowledged` is called for each pack in order, after the store has said that it has it.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from backup.errors import AlreadyThere
from backup.format.frame import to_frame
from backup.format.layout import pack_name
from backup.format.pack import CAPACITY, Destination, seal_pack
from backup.places import UNPLACED, Frame
from backup.stores import Store

_FRAMES_UNDER_WAY = 6
_PACKS_UNDER_WAY = 2  # so that a slow sync of one does not hold up the next


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
    pool: ThreadPoolExecutor

    def send(self, payload: bytearray) -> tuple[bytes, int]:
        """Seal and store one pack, and empty `payload`; runs in the pool.  Gives name and size."""
        pack = seal_pack(payload, self.destination, self.random)
        payload.clear()  # 16 MiB that nobody needs while the store takes its time
        name = pack_name(self.destination.writer, pack.name.hex())
        try:
            self.store.put(name, pack.data)
        except AlreadyThere:
            # The name is the hash of the bytes: the same pack, put by a call whose answer was lost.
            if self.store.stat(name).size_bytes != len(pack.data):
                raise
        return pack.name, len(pack.data)


class Tape:
    """One stretch of packs; call from one thread only."""

    def __init__(
        self,
        outlet: Outlet,
        number_pack: Callable[[], int],
        on_acknowledged: Callable[[Stored], None],
    ) -> None:
        self._outlet = outlet
        self._number_pack = number_pack
        self._on_acknowledged = on_acknowledged
        self._frames: deque[tuple[Frame, Future[bytes]]] = deque()
        self._packs: deque[tuple[int, Future[tuple[bytes, int]]]] = deque()
        self._payload = bytearray()
        self._number = UNPLACED
        self.acknowledged = 0  # every pack of this tape up to this number is in the store

    def append(self, raw: bytes, frame: Frame) -> None:
        """Take a stretch of at most 8 MiB; `frame` gets its place later, in order."""
        self._frames.append((frame, self._outlet.pool.submit(to_frame, raw)))
        self._lay_frames(_FRAMES_UNDER_WAY)

    def flush(self) -> None:
        """Store everything that was appended; afterwards every frame is laid and acknowledged."""
        self._lay_frames(0)
        if self._payload:
            self._send()
        while self._packs:
            self._acknowledge()

    def has(self, frame: Frame) -> bool:
        """Whether the store has the whole frame."""
        return frame.pack != UNPLACED and frame.last_pack <= self.acknowledged

    def _lay_frames(self, most_left: int) -> None:
        while len(self._frames) > most_left:
            frame, future = self._frames.popleft()
            self._lay(frame, future.result())

    def _lay(self, frame: Frame, data: bytes) -> None:
        if not self._payload:
            self._number = self._number_pack()
        frame.pack, frame.offset, frame.stored = self._number, len(self._payload), len(data)
        room = CAPACITY - len(self._payload)
        self._payload += data[:room]
        if len(data) > room:
            self._send()
            self._number = frame.next = self._number_pack()
            self._payload += data[room:]
        if len(self._payload) == CAPACITY:
            self._send()

    def _send(self) -> None:
        payload, self._payload = self._payload, bytearray()
        self._packs.append((self._number, self._outlet.pool.submit(self._outlet.send, payload)))
        while len(self._packs) > _PACKS_UNDER_WAY:
            self._acknowledge()

    def _acknowledge(self) -> None:
        number, future = self._packs.popleft()
        name, size = future.result()
        self.acknowledged = number
        self._on_acknowledged(Stored(number=number, name=name, size=size))
