"""Reading ahead: frames are fetched and decrypted in threads while the caller works.

- A frame is unpacked by who asks for it, when it does: so what comes out is still near the
  processor when its id is checked and when it is written.
- Results come in the caller's order, each blob checked against its id.
- What the next steps need is read pack by pack, each in ranges as long as may be: a file that was
  changed night after night lies in the packs of many nights, a little here and a little there.
- What is under way is bounded by an estimate of its raw size, since a frame tells its own only when
  it is read.
- What is damaged is given as an error beside its step; a store that does not answer is raised.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import field
from typing import TypeVar

from backup.errors import BackupError, StoreUnavailable
from backup.format.manifest import BlobRef
from backup.lazy_dataclass import dataclass
from backup.reading.blob_reader import BlobReader, FrameKey, Raw, frame_key

_THREADS = 2
_STEPS_AHEAD = 4096
_RAW_AHEAD = 12 * 1024 * 1024
_ROUND_RAW = 8 * 1024 * 1024
_BATCH_STORED = 15 * 256 * 1024  # with the segments that it begins and ends in, 4 MiB at most
_SHARED_RAW = 1024 * 1024  # what a frame of several blobs has
_SMALL_BYTES = 16 * 1024  # a blob below this hardly ever has a frame of its own
_USUAL_RATIO = 3  # of the raw to the stored size
_NOTHING = memoryview(b"")

T = TypeVar("T")


@dataclass(kw_only=True, slots=True, eq=False)
class _Batch:
    """Frames of one pack that are read together."""

    refs: list[BlobRef] = field(default_factory=list)
    raw_bytes: int = 0
    frames_needed: int = 0
    read: Future[list[memoryview | BackupError]] = field(default_factory=Future)
    packed: list[memoryview | BackupError] | None = None  # once somebody waited for it

    def takes(self, ref: BlobRef, read_over_bytes: int) -> bool:
        """Whether the frame lies close behind the last one, and there is room."""
        if not self.refs:
            return True
        first, last = self.refs[0], self.refs[-1]
        return (
            last.next is None
            and 0 <= ref.offset - last.offset - last.stored < read_over_bytes
            and ref.offset + ref.stored - first.offset <= _BATCH_STORED
        )

    def add(self, frame: "_Frame") -> None:
        """Take a frame, which is read with this batch."""
        frame.batch, frame.number = self, len(self.refs)
        self.refs.append(frame.ref)
        self.frames_needed += 1
        self.raw_bytes += frame.raw_bytes


_UNSENT = _Batch()


@dataclass(kw_only=True, slots=True, eq=False)
class _Frame:
    """A frame that waiting steps need, and how many of them."""

    key: FrameKey
    ref: BlobRef
    raw_bytes: int  # about
    users: int = 1
    batch: _Batch = _UNSENT
    number: int = 0  # in the batch
    raw: Raw | BackupError | None = None  # once somebody asked for it


class _Ahead:
    """The frames that waiting steps need: wanted by the round, and read in batches."""

    def __init__(self, reader: BlobReader, pool: ThreadPoolExecutor) -> None:
        self._reader = reader
        self._pool = pool
        self._frames: dict[FrameKey, _Frame] = {}
        self._round: list[_Frame] = []
        self._round_raw = self._round_stored = 0
        # Little of the first round, as a call goes, so that there is something to do soon; of each
        # one after it twice as much.
        self._most_raw = 2 * reader.read_over_bytes
        self.raw_bytes = 0  # about, of the batches that were sent and are still needed

    def want(self, ref: BlobRef) -> _Frame:
        """Have the blob's frame read."""
        key = frame_key(ref)
        frame = self._frames.get(key)
        if frame is not None:
            frame.users += 1
            return frame
        frame = self._frames[key] = _Frame(key=key, ref=ref, raw_bytes=_raw_bytes(ref))
        kept = self._reader.kept(ref)
        if kept is not None:
            frame.raw = kept
            frame.batch = _Batch(frames_needed=1, raw_bytes=len(kept))
            self.raw_bytes += len(kept)
            return frame
        self._round.append(frame)
        self._round_raw += frame.raw_bytes
        self._round_stored += ref.stored
        if self._round_raw >= self._most_raw or self._round_stored >= _BATCH_STORED:
            self.send()
            self._most_raw = min(2 * self._most_raw, _ROUND_RAW)
        return frame

    def send(self) -> None:
        """Have read what was wanted so far: first the pack that is needed first."""
        packs: defaultdict[bytes, list[_Frame]] = defaultdict(list)
        for frame in self._round:
            packs[frame.ref.pack].append(frame)
        self._round, self._round_raw, self._round_stored = [], 0, 0
        for frames in packs.values():
            frames.sort(key=lambda frame: frame.ref.offset)
            batch = _Batch()
            for frame in frames:
                if not batch.takes(frame.ref, self._reader.read_over_bytes):
                    self._submit(batch)
                    batch = _Batch()
                batch.add(frame)
            self._submit(batch)

    def _submit(self, batch: _Batch) -> None:
        self.raw_bytes += batch.raw_bytes
        self._pool.submit(_read_into, batch.read, self._reader, batch.refs)

    def get(self, frame: _Frame, ref: BlobRef) -> Raw | BackupError:
        """The blob that lies in a wanted frame, once it is there."""
        raw = frame.raw
        if raw is None:
            raw = frame.raw = self._unpacked(frame)
        frame.users -= 1
        if not frame.users:
            del self._frames[frame.key]
            batch = frame.batch
            batch.frames_needed -= 1
            if not batch.frames_needed:
                self.raw_bytes -= batch.raw_bytes
        return self._checked(ref, raw)

    def _unpacked(self, frame: _Frame) -> Raw | BackupError:
        if frame.batch is _UNSENT:
            self.send()
        batch = frame.batch
        if batch.packed is None:
            batch.packed = batch.read.result()
        packed = batch.packed[frame.number]
        batch.packed[frame.number] = _NOTHING  # the buffer is free when this was the last of it
        if isinstance(packed, BackupError):
            return packed
        try:
            return self._reader.unpacked(frame.ref, packed)
        except BackupError as error:
            return error

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


def reading_threads() -> ThreadPoolExecutor:
    """Give the threads that `fetch_ahead` reads by."""
    return ThreadPoolExecutor(_THREADS)


def fetch_ahead(
    reader: BlobReader, steps: Iterable[tuple[T, BlobRef | None]], pool: ThreadPoolExecutor
) -> Iterator[tuple[T, Raw | BackupError | None]]:
    """Give each step with its blob, reading a little ahead; None for a step without one.

    What is given may be a view of a buffer, which lives as long as the view.
    """
    waiting: deque[tuple[T, tuple[_Frame, BlobRef] | None]] = deque()
    ahead = _Ahead(reader, pool)
    for step, ref in steps:
        waiting.append((step, None if ref is None else (ahead.want(ref), ref)))
        while ahead.raw_bytes > _RAW_AHEAD or len(waiting) > _STEPS_AHEAD:
            first, wanted = waiting.popleft()
            yield first, None if wanted is None else ahead.get(*wanted)
    ahead.send()
    for first, wanted in waiting:
        yield first, None if wanted is None else ahead.get(*wanted)


def _raw_bytes(ref: BlobRef) -> int:
    """What a frame is taken for, by the first blob that is wanted of it."""
    is_shared = ref.length < _SMALL_BYTES
    guess = _SHARED_RAW if is_shared else min(_USUAL_RATIO * ref.stored, _SHARED_RAW)
    return max(ref.inner + ref.length, guess)


def _read_into(
    read: Future[list[memoryview | BackupError]], reader: BlobReader, refs: list[BlobRef]
) -> None:
    try:
        read.set_result(reader.packed(refs))
    except BaseException as error:
        read.set_exception(error)
