"""Reading ahead: frames are fetched, decrypted and unpacked in threads while the caller works.

- Results come in the caller's order, each blob checked against its id.
- Frames that follow each other in a pack are read as one range; what is under way is bounded by
  an estimate of its raw size, since a frame tells its own only when it is read.
- What is damaged is given as an error beside its step; a store that does not answer is raised.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import field
from typing import TypeVar

from backup.errors import BackupError, StoreUnavailable
from backup.format.manifest import BlobRef
from backup.lazy_dataclass import dataclass
from backup.reading.blob_reader import BlobReader, FrameKey, Raw, frame_key

_STEPS_AHEAD = 4096
_BATCHES_AHEAD = 3
_BATCH_STORED = 4 * 1024 * 1024
_BATCH_RAW = 8 * 1024 * 1024
_FRAME_RAW = 1024 * 1024  # what a frame of small blobs is taken for
_GAP = 64 * 1024  # less than a segment: decrypted anyway

T = TypeVar("T")


@dataclass(kw_only=True, slots=True, eq=False)
class _Batch:
    """Frames of one pack that are read together."""

    refs: list[BlobRef] = field(default_factory=list)
    raw_bytes: int = 0
    frames_needed: int = 0
    read: Future[list[Raw | BackupError]] = field(default_factory=Future)
    frames: list[Raw | BackupError] | None = None  # once somebody waited for it

    def takes(self, ref: BlobRef) -> bool:
        """Whether the frame lies right behind the last one, and there is room."""
        if not self.refs:
            return True
        first, last = self.refs[0], self.refs[-1]
        gap = ref.offset - last.offset - last.stored
        return (
            ref.pack == last.pack
            and 0 <= gap < _GAP
            and ref.offset + ref.stored - first.offset <= _BATCH_STORED
            and self.raw_bytes < _BATCH_RAW
        )

    def add(self, ref: BlobRef) -> int:
        """Take a frame and give its number in the batch."""
        self.refs.append(ref)
        self.frames_needed += 1
        self.raw_bytes += max(_FRAME_RAW, ref.inner + ref.length)
        return len(self.refs) - 1


@dataclass(kw_only=True, slots=True, eq=False)
class _Frame:
    """A frame under way, and how many waiting steps need it."""

    batch: _Batch
    number: int
    users: int = 1


class _Ahead:
    """The frames that waiting steps need, and the batches that they are read in."""

    def __init__(self, reader: BlobReader, pool: ThreadPoolExecutor) -> None:
        self._reader = reader
        self._pool = pool
        self._frames: dict[FrameKey, _Frame] = {}
        self._open = _Batch()
        self.batches = 0  # that were sent, and have frames which are still needed

    def want(self, ref: BlobRef) -> None:
        """Have the blob's frame read."""
        key = frame_key(ref)
        known = self._frames.get(key)
        if known is not None:
            known.users += 1
            return
        kept = self._reader.kept(ref)
        if kept is not None:
            batch = _Batch(read=Future(), frames_needed=1)
            batch.read.set_result([kept])
            self.batches += 1
            self._frames[key] = _Frame(batch=batch, number=0)
            return
        if not self._open.takes(ref):
            self.send()
        self._frames[key] = _Frame(batch=self._open, number=self._open.add(ref))
        if ref.next is not None:
            self.send()

    def send(self) -> None:
        """Have read what was wanted so far."""
        batch = self._open
        if batch.refs:
            self._pool.submit(_read_into, batch.read, self._reader, batch.refs)
            self.batches += 1
            self._open = _Batch()

    def get(self, ref: BlobRef) -> Raw | BackupError:
        """The blob, once it is there."""
        key = frame_key(ref)
        frame = self._frames[key]
        if frame.batch is self._open:
            self.send()
        batch = frame.batch
        if batch.frames is None:
            batch.frames = batch.read.result()
        raw = batch.frames[frame.number]
        frame.users -= 1
        if not frame.users:
            del self._frames[key]
            batch.frames_needed -= 1
            if not batch.frames_needed:
                self.batches -= 1
        return self._checked(ref, raw)

    def _checked(self, ref: BlobRef, raw: Raw | BackupError) -> Raw | BackupError:
        try:
            if not isinstance(raw, BackupError):
                return self._reader.checked(ref, raw)
            problem = raw
        except BackupError as error:
            problem = error
        try:
            return self._reader.healed(ref, problem)
        except StoreUnavailable:
            raise
        except BackupError as error:
            return error


def fetch_ahead(
    reader: BlobReader,
    steps: Iterable[T],
    ref_of: Callable[[T], BlobRef | None],
    pool: ThreadPoolExecutor,
) -> Iterator[tuple[T, Raw | BackupError | None]]:
    """Give each step with its blob, reading a little ahead; None for a step without one.

    What is given may be a view of a buffer, which lives as long as the view.
    """
    waiting: deque[tuple[T, BlobRef | None]] = deque()
    ahead = _Ahead(reader, pool)
    for step in steps:
        ref = ref_of(step)
        if ref is not None:
            ahead.want(ref)
        waiting.append((step, ref))
        while ahead.batches > _BATCHES_AHEAD or len(waiting) > _STEPS_AHEAD:
            step, ref = waiting.popleft()
            yield step, None if ref is None else ahead.get(ref)
    ahead.send()
    for step, ref in waiting:
        yield step, None if ref is None else ahead.get(ref)


def _read_into(
    read: Future[list[Raw | BackupError]], reader: BlobReader, refs: list[BlobRef]
) -> None:
    try:
        read.set_result(reader.frames(refs))
    except BaseException as error:
        read.set_exception(error)
