"""Pack writer: appends frames, cuts, encrypts and stores packs; buffers.

A frame is a piece of content, compressed if this makes it smaller. A pack is a sequence of frames,
encrypted together.

- Compression, encryption and uploads run in threads. The single calling thread orders the frames
  and does all bookkeeping. So no lock is needed, and the content of data packs depends only on the
  input. The order of manifest pages in their packs depends on timing, because a page is written
  after the packs that it names are stored.
- A few compression tasks and a few packs are in progress at a time, however large the source is.
- A frame that does not fit into a pack continues in the next pack. Only `flush`, `locate_all` and
  `cut` produce a pack that is not full.
- Incompressible content can be read directly to its final place in the pack (`window`).
- `on_located` is called for each frame when its position in a pack is known. `on_acknowledged` is
  called for each pack, in order, after the store has acknowledged it.
- A buffer is reused memory with room for a whole pack, encrypted or not. It starts at a page
  boundary, so a store can pass it to the disk directly.
- The pool of buffers grows to the largest number of buffers in use at once. `PackWriter` limits
  this number.
- A buffer is not cleared: it still contains the bytes of its previous use.
- If the system has no memory, the run ends with `BackupError`. An `OSError` would be taken for an
  unreadable file, and the run would continue without the pack.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from backup.archiver.archiver_records import UNLOCATED, Frame
from backup.errors import AlreadyThere, BackupError
from backup.format.frame import AS_IS, Effort, to_frame
from backup.format.object_names import pack_name
from backup.format.pack import CAPACITY, MAX_PACK_BYTES, PackSettings, padded_size, seal_pack
from backup.stores import Store, expect_existing
from backup.system.buffer_pool import large_memory
from backup.system.interruptible_wait import result_of


class PackBuffers:
    """Pool of buffers; safe to call from several threads."""

    def __init__(self) -> None:
        self._free: list[memoryview] = []

    def take(self) -> memoryview:
        """Return a buffer of MAX_PACK_BYTES bytes for exclusive use.

        Raise `BackupError` if the system has no memory.
        """
        try:
            return self._free.pop()
        except IndexError:
            pass
        try:
            return large_memory(MAX_PACK_BYTES)
        except OSError as error:
            raise BackupError(
                f"memory for a pack: {error.strerror}. Free memory on this host, then run again."
            ) from error

    def release(self, buffer: memoryview) -> None:
        """Put a buffer back into the pool; views of it must not be used any more."""
        self._free.append(buffer)

    def close(self) -> None:
        """Free the unused buffers now, not at the next garbage collection."""
        self._free.clear()


_TASKS_UNDER_WAY = 6
# Packs in progress: one is encrypted while the others are written and synced. Three packs at a time
# on a local disk take 5 % less time than two. For a remote store the number is lower, because each
# pack is in memory twice during its upload.
PACKS_UNDER_WAY, _PACKS_UNDER_WAY_REMOTE = 4, 3

# The frame to fill in, its content of at most 8 MiB, and the compression effort.
FrameContent = tuple[Frame, bytes | memoryview, Effort]


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredPack:
    """A pack that the store acknowledged."""

    number: int
    name: bytes
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Outlet:
    """Store, settings and resources that all pack writers of a run share."""

    store: Store
    pack_settings: PackSettings
    random: Callable[[int], bytes]
    compressing: ThreadPoolExecutor
    sending: ThreadPoolExecutor
    buffers: PackBuffers

    def send(self, payload: memoryview, size: int) -> tuple[bytes, int]:
        """Encrypt and store the first `size` bytes; release the buffer.

        Return the pack's name and size. Threads call this method.
        """
        padded = padded_size(size)
        payload[size:padded] = bytes(padded - size)
        sealed = self.buffers.take()
        pack = seal_pack(payload[:padded], self.pack_settings, self.random, sealed)
        self.buffers.release(payload)  # other packs can use this memory during the upload
        name = pack_name(self.pack_settings.writer, pack.name.hex())
        try:
            self.store.put(name, pack.data)
        except AlreadyThere:
            # The name is the hash of the bytes. So if an object of this name and size exists, it is
            # the same pack: an earlier call stored it, and the answer of the store was lost.
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
        on_acknowledged: Callable[[StoredPack], None],
    ) -> None:
        self._outlet = outlet
        is_remote = outlet.store.calls_at_once > 1
        self._most_packs = _PACKS_UNDER_WAY_REMOTE if is_remote else PACKS_UNDER_WAY
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
        self.acknowledged = 0  # number of the last pack of this object that the store has

    def append(self, contents: Sequence[FrameContent]) -> None:
        """Append frames; one task compresses all of them.

        Later calls of this or another method write the compressed frames to packs.
        """
        # Keep only the frames, so that the content is released after its compression.
        frames = [frame for frame, _, _ in contents]
        self._tasks.append((frames, self._outlet.compressing.submit(_to_frames, contents)))
        self._locate_frames(_TASKS_UNDER_WAY)
        # Process the packs that are acknowledged already. Otherwise the caller would wait for this
        # work at the end of the run.
        while self._packs and self._packs[0][1].done():
            self._acknowledge()

    def window(self, size: int) -> memoryview | None:
        """Return memory of the pack for an uncompressed frame of `size` bytes.

        Return None if the pack has too little room. The next call may overwrite this memory, unless
        `keep_window` makes its content a part of the pack.
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
        """Append an uncompressed frame of at most 8 MiB, made of parts.

        The parts may be slices of the last window, in the order of their offsets in it.
        """
        self._append_frame(frame, (bytes([AS_IS]), *parts))

    def locate_all(self) -> None:
        """Write every appended frame to a pack; send the last pack, full or not."""
        self._locate_frames(0)
        if self._filled:
            self._send()

    def flush(self) -> None:
        """Write every appended frame to a pack; wait until the store has it."""
        self._locate_frames(0)
        self.cut()

    def cut(self) -> None:
        """Send the pack that is being filled, full or not; wait for all packs."""
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
            stored = result_of(future)
            for frame, parts in zip(frames, stored, strict=True):
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
        name, size = result_of(future)
        self.acknowledged = number
        self._on_acknowledged(StoredPack(number=number, name=name, size=size))


def _to_frames(contents: Sequence[FrameContent]) -> list[tuple[bytes, bytes | memoryview]]:
    return [to_frame(raw, effort) for _, raw, effort in contents]
