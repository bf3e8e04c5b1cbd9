"""Prefetch of frames: threads read frames before the caller needs them.

- The caller passes steps. A step is any value of the caller, such as the position of a write, and
  the reference of the blob for it or None. Each step is returned with its blob, in the same order.
  Each blob is compared with its id.
- A frame is a compressed part of a pack; it contains one or more blobs.
- Threads read and decrypt frames. The caller's thread decodes a frame when it requests the blob.
  The content is then still in the processor's cache when the caller hashes and writes it.
- Frames of the next steps are read pack by pack, in long ranges. Reading in the order of the steps
  would need many short reads: a file that changed before every run has blobs in the packs of many
  runs.
- A round is a series of steps; the frames for a round are read at the same time. A batch is a range
  of one pack that is read at once.
- The frames in memory are limited by an estimate of their decoded size. The exact size is known
  only after a frame was decoded.
- If a blob is damaged, an error is returned in its place. If the store is unavailable,
  `StoreUnavailable` is raised.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from backup.errors import BackupError, StoreUnavailable
from backup.format.manifest import BlobRef
from backup.reader.blob_reader import BlobReader, FrameKey, Raw, frame_key
from backup.system.interruptible_wait import result_of

_THREADS = 2
_STEPS_AHEAD = 4096
_ROUND_STEPS = 1024
_RAW_AHEAD = 12 * 1024 * 1024  # decoded size of the frames of all rounds, in bytes
_ROUND_RAW = 8 * 1024 * 1024  # decoded size of the frames of one round, in bytes
_BATCH_STORED = 15 * 256 * 1024  # bytes; extended to whole encrypted segments, at most 4 MiB
_SHARED_RAW = 1024 * 1024  # usual decoded size of a frame with several blobs
_SMALL_BYTES = 16 * 1024  # a smaller blob nearly always shares its frame
_USUAL_RATIO = 3  # of the decoded size to the stored size
_NOTHING = memoryview(b"")
_NOWHERE = 1 << 64  # beyond every pack

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Batch:
    """Frames of one pack that are read together."""

    refs: list[BlobRef] = field(default_factory=list)
    read: Future[list[memoryview | BackupError]] = field(default_factory=Future)
    packed: list[memoryview | BackupError] | None = None  # set after the wait for `read`


_UNREAD = _Batch()
_Where = tuple[_Batch, int]  # the batch of a frame, and the index of the frame in the batch


@dataclass(slots=True, eq=False)
class _Frame:
    """Frame that steps need, and the number of steps that still wait for it."""

    key: FrameKey
    ref: BlobRef
    users: int = 1
    where: _Where = (_UNREAD, 0)
    raw: Raw | BackupError | None = None  # decoded; kept for the next step that needs the frame


@dataclass(slots=True, eq=False)
class _Round:
    """Consecutive steps with frames that are read at the same time."""

    steps: list[tuple[Any, BlobRef | None, _Frame | None]] = field(default_factory=list)
    wanted: list[_Frame] = field(default_factory=list)  # frames to read, not in an earlier round
    raw_bytes: int = 0  # estimated decoded size of its frames
    stored_bytes: int = 0  # stored size of the wanted frames


class _FrameReads:
    """Frames that are read ahead, round by round, in batches by pack."""

    def __init__(self, reader: BlobReader, pool: ThreadPoolExecutor) -> None:
        self._reader = reader
        self._pool = pool
        self._frames: dict[FrameKey, _Frame] = {}

    def rounds(self, steps: Iterable[tuple[T, BlobRef | None]]) -> Iterator[_Round]:
        """Start to read the frames of each round, then yield the round."""
        most_raw = 2 * self._reader.read_over_bytes
        round_ = _Round()
        for step, ref in steps:
            round_.steps.append((step, ref, None if ref is None else self._wanted(ref, round_)))
            if round_.raw_bytes >= most_raw or round_.stored_bytes >= _BATCH_STORED:
                most_raw = min(2 * most_raw, _ROUND_RAW)
            elif len(round_.steps) < _ROUND_STEPS:
                continue
            self._send(round_.wanted)
            yield round_
            round_ = _Round()
        self._send(round_.wanted)
        yield round_

    def _wanted(self, ref: BlobRef, round_: _Round) -> _Frame:
        key = frame_key(ref)
        frame = self._frames.get(key)
        if frame is not None:
            frame.users += 1
            return frame
        frame = self._frames[key] = _Frame(key, ref)
        frame.raw = self._reader.cached_frame(ref)
        round_.raw_bytes += _raw_bytes(ref)
        if frame.raw is None:
            round_.wanted.append(frame)
            round_.stored_bytes += ref.stored
        return frame

    def _send(self, wanted: list[_Frame]) -> None:
        places = _read_together(self._reader, [frame.ref for frame in wanted], self._pool)
        for frame, where in zip(wanted, places, strict=True):
            frame.where = where

    def blobs_of(self, round_: _Round) -> Iterator[tuple[Any, Raw | BackupError | None]]:
        """Yield the steps of a round, each with its blob."""
        for step, ref, frame in round_.steps:
            if ref is None or frame is None:
                yield step, None
                continue
            raw = frame.raw
            if raw is None:
                raw = self._unpacked(frame)
            frame.users -= 1
            if frame.users:
                frame.raw = raw
            else:
                frame.raw = None
                del self._frames[frame.key]
            yield step, self._checked(ref, raw)

    def _checked(self, ref: BlobRef, raw: Raw | BackupError) -> Raw | BackupError:
        try:
            if not isinstance(raw, BackupError):
                return self._reader.verified_blob(ref, raw)
            problem = raw
        except BackupError as error:
            problem = error
        return _healed(self._reader, ref, problem)

    def _unpacked(self, frame: _Frame) -> Raw | BackupError:
        batch, number = frame.where
        packed = _packed(batch)
        chunk = packed[number]
        packed[number] = _NOTHING  # without the frames of the batch, its buffer is free
        if isinstance(chunk, BackupError):
            return chunk
        try:
            return self._reader.decode_frame(frame.ref, chunk)
        except BackupError as error:
            return error


def reading_threads(count: int = _THREADS) -> ThreadPoolExecutor:
    """Return the threads that read ahead."""
    return ThreadPoolExecutor(count)


def prefetch_frames(
    reader: BlobReader, steps: Iterable[tuple[T, BlobRef | None]], pool: ThreadPoolExecutor
) -> Iterator[tuple[T, Raw | BackupError | None]]:
    """Yield each step with its blob, or None if the step has no reference.

    A blob may be a view of a buffer. The buffer is reused when the view no longer exists.
    """
    waiting: deque[_Round] = deque()
    ahead = _FrameReads(reader, pool)
    raw_ahead = steps_ahead = 0
    for latest in ahead.rounds(steps):
        waiting.append(latest)
        raw_ahead += latest.raw_bytes
        steps_ahead += len(latest.steps)
        while raw_ahead > _RAW_AHEAD or steps_ahead > _STEPS_AHEAD:
            first = waiting.popleft()
            yield from ahead.blobs_of(first)
            raw_ahead -= first.raw_bytes
            steps_ahead -= len(first.steps)
    for first in waiting:
        yield from ahead.blobs_of(first)


def _read_together(
    reader: BlobReader, refs: Sequence[BlobRef], pool: ThreadPoolExecutor
) -> list[_Where]:
    """Start to read frames, pack by pack; return the batch and number of each."""
    places: list[_Where] = [(_UNREAD, 0)] * len(refs)
    packs: defaultdict[bytes, list[int]] = defaultdict(list)
    for at, ref in enumerate(refs):
        packs[ref.pack].append(at)
    read_over_bytes = reader.read_over_bytes
    for of_pack in packs.values():
        of_pack.sort(key=lambda at: refs[at].offset)
        batch, begin, end = _Batch(), 0, 0
        its = batch.refs
        for at in of_pack:
            ref = refs[at]
            _, offset, stored, _, _, _, following = ref
            if its and offset == its[-1].offset and frame_key(ref) == frame_key(its[-1]):
                places[at] = batch, len(its) - 1
                continue
            # Read a frame together with the frame before it if both are close and the batch has
            # room.
            if its and not (
                0 <= offset - end < read_over_bytes and offset + stored - begin <= _BATCH_STORED
            ):
                pool.submit(_read_into, batch.read, reader, its)
                batch = _Batch()
                its = batch.refs
            if not its:
                begin = offset
            # If a frame continues in the next pack, it is the last frame of its pack.
            end = offset + stored if following is None else _NOWHERE
            places[at] = batch, len(its)
            its.append(ref)
        pool.submit(_read_into, batch.read, reader, its)
    return places


def _packed(batch: _Batch) -> list[memoryview | BackupError]:
    if batch.packed is None:
        batch.packed = result_of(batch.read)
    return batch.packed


def _healed(reader: BlobReader, ref: BlobRef, problem: BackupError) -> Raw | BackupError:
    try:
        return reader.healed_blob(ref, problem)
    except StoreUnavailable:
        raise
    except BackupError as error:
        return error


def _raw_bytes(ref: BlobRef) -> int:
    """Estimate the decoded size of a frame from its first requested blob."""
    _, _, stored, inner, length, _, _ = ref
    guess = _SHARED_RAW
    if length >= _SMALL_BYTES and _USUAL_RATIO * stored < guess:
        guess = _USUAL_RATIO * stored
    return guess if guess > inner + length else inner + length


def _read_into(
    read: Future[list[memoryview | BackupError]], reader: BlobReader, refs: list[BlobRef]
) -> None:
    try:
        read.set_result(reader.read_frames(refs))
    except BaseException as error:
        read.set_exception(error)
