"""Blobs in: each content once, small ones bundled, its place recorded when the store has it.

- A blob that this host has stored before is not stored again; it is known by its keyed hash.
- What compresses and is small shares frames of about 1 MiB with its neighbours in path order; what
  compresses and is larger has a frame of its own. How small that is depends on what it is.
- What does not compress stays where it was read to: a window in the pack, which becomes a frame.
- Rows go into the send-log per pack, after the pack was acknowledged, and only blobs that are
  whole by then.
- Of very small blobs a frame and a pack take a number and no more, or a pack of them would fill the
  memory before it was full.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from itertools import accumulate

from blake3 import blake3

from backup.archiver.blob_location import (
    UNLOCATED,
    BlobLocation,
    Frame,
    PendingBlob,
    Ref,
    set_locations,
)
from backup.archiver.chunker import AS_USUAL, WINDOW_BYTES, Packing
from backup.archiver.pack_writer import Outlet, PackWriter, Stored, Stretch
from backup.archiver.upload_cache.cache import UploadCache
from backup.format.frame import WORTHWHILE, Effort, compresses
from backup.system.buffer_pool import Buffers

BUNDLE_BYTES = 1024 * 1024
_PAGES = Packing(effort=Effort.PAGE, shares_below_bytes=0)
_MOST_IN_BUNDLE = 2048
_MOST_IN_PACK = 32_768
_MANY_FINDS = 256  # a night of few changes does without all ids in memory


class BlobWriter:
    """Takes blobs and gives references; call from one thread only."""

    def __init__(
        self,
        *,
        outlet: Outlet,
        log: UploadCache,
        id_key: bytes,
        set_name: str,
        bundles: bool,
        on_stored: Callable[[Stored], None],
    ) -> None:
        self._log = log
        self._hasher = blake3(key=id_key)  # used again: a new one costs as much as 400 bytes
        self._set_name = set_name
        self._on_stored = on_stored
        self._tape = PackWriter(outlet, log.number_pack, self._laid, self._acknowledged)
        self._packing = AS_USUAL if bundles else _PAGES
        self._bundle: list[bytes | memoryview] = []
        self._bundle_bytes = 0
        self._bundle_frame = Frame()
        self._bundle_effort = Effort.SMALL  # or the least of what is in it
        self._bundled: list[PendingBlob] = []
        self._alone: list[Stretch] = []  # each for a frame of its own; compressed together
        self._alone_bytes = 0
        self._pending: dict[str, PendingBlob] = {}
        self._under_way: dict[Frame, list[PendingBlob]] = {}  # of frames that have no place yet
        self._laid_frames: deque[Frame] = deque()  # in the tape's order
        self._filling = UNLOCATED  # the pack in which a frame ended last
        self._in_filling = 0  # blobs that ended there
        self._windows = Buffers(WINDOW_BYTES)
        self._finds = 0
        self._is_in_pack = False  # the window that was given last
        self._is_dense = True  # what came in it, as far as it was looked at
        self.new_bytes = 0  # of content that was not stored before, as it is
        self.dense_bytes = 0  # of those, what hardly compressed

    def add(self, data: bytes | memoryview) -> Ref:
        """Store a blob of at most 8 MiB, unless it is stored already."""
        blob_id = self.id_of(data)
        return self._known(blob_id) or self._add_new(data, blob_id, self._packing)

    def add_small(self, data: bytes, sizes: Sequence[int]) -> list[Ref]:
        """Store small blobs that lie one behind the other, as `add` stores one."""
        view = memoryview(data)
        ends = list(accumulate(sizes))
        ids = [self.id_of(view[end - size : end]) for size, end in zip(sizes, ends, strict=True)]
        new = set(ids)
        known = new & self._pending.keys() or any(map(self._find, self._log.may_have(new)))
        if not known and len(new) == len(ids):
            return self._add_new_together(view, sizes, ends, ids)
        return [
            self._known(blob_id) or self._add_new(data[end - size : end], blob_id, self._packing)
            for size, end, blob_id in zip(sizes, ends, ids, strict=True)
        ]

    def id_of(self, data: bytes | memoryview) -> str:
        """The id that a blob has."""
        hasher = self._hasher
        hasher.reset()
        return hasher.update(data).digest().hex()

    def window(self, size: int) -> memoryview:
        """Memory of so many bytes to read into; what is not stored by the next call is lost."""
        # What compresses would have to be copied out of the pack before anything is laid there.
        window = self._tape.window(size) if self._is_dense else None
        self._is_in_pack = window is not None
        if window is not None:
            return window
        return self._windows.take(size)

    def add_window(self, window: memoryview, ends: Sequence[int], packing: Packing) -> list[Ref]:
        """Store the blobs that end at these places of the window that `window` gave last."""
        refs: list[Ref] = []
        frame, parts, blobs = Frame(), [], []
        is_dense: bool | None = None
        begin = inner = 0
        for end in ends:
            part = window[begin:end]
            begin = end
            blob_id = self.id_of(part)
            known = self._known(blob_id)
            if known is None and is_dense is None:
                is_dense = self._is_dense = not compresses(window)
                if not is_dense and self._is_in_pack:
                    # Frames that are laid while this goes on come to lie where the window is.
                    window = memoryview(bytes(window))
                    part = window[end - len(part) : end]
            if known is None and is_dense:
                known = PendingBlob(frame, inner, len(part), blob_id)
                self._pending[blob_id] = known
                parts.append(part)
                blobs.append(known)
                inner += len(part)
            refs.append(known or self._add_new(part, blob_id, packing))
        self._bundle = [bytes(part) for part in self._bundle]  # the window is about to be free
        if parts:
            self._under_way[frame] = blobs
            if self._is_in_pack and len(parts) == len(ends):
                self._tape.lay_window(inner, frame)
            else:
                self._tape.lay_as_is(parts, frame)
        return refs

    def place(self) -> None:
        """Give everything that was added its place, and begin to store the last of it."""
        self._send_alone()
        self._close_bundle()
        self._tape.lay()

    def flush(self) -> None:
        """Store everything that was added; afterwards every reference is settled."""
        self._send_alone()
        self._close_bundle()
        self._tape.flush()

    def has(self, ref: Ref) -> bool:
        """Whether the store has the whole blob."""
        return isinstance(ref, BlobLocation) or self._tape.has(ref.frame)

    def has_packs_up_to(self, number: int) -> bool:
        """Whether the store has every pack that this sink began, up to this number."""
        return number <= self._tape.acknowledged

    def _known(self, blob_id: str) -> Ref | None:
        return self._pending.get(blob_id) or self._find(blob_id)

    def _find(self, blob_id: str) -> BlobLocation | None:
        self._finds += 1
        if self._finds == _MANY_FINDS:
            self._log.look_up_in_memory()
        return self._log.find(blob_id)

    def _add_new(self, data: bytes | memoryview, blob_id: str, packing: Packing) -> PendingBlob:
        if len(data) >= packing.shares_below_bytes:
            # The bundle stays open: a large blob between two small ones does not part them.
            blob = PendingBlob(Frame(), 0, len(data), blob_id)
            self._pending[blob_id] = blob
            self._under_way[blob.frame] = [blob]
            self._alone.append((blob.frame, data, packing.effort))
            self._alone_bytes += len(data)
            if self._alone_bytes >= BUNDLE_BYTES:
                self._send_alone()
            return blob
        blob = PendingBlob(self._bundle_frame, self._bundle_bytes, len(data), blob_id)
        self._bundle_effort = min(self._bundle_effort, packing.effort)
        self._bundle_up([blob], [blob_id], data)
        return blob

    def _add_new_together(
        self, view: memoryview, sizes: Sequence[int], ends: Sequence[int], ids: Sequence[str]
    ) -> list[Ref]:
        """Add what is new and comes once: a bundle takes a piece of it, instead of one a blob."""
        added: list[Ref] = []
        while len(added) < len(ids):
            first = len(added)
            begin = ends[first] - sizes[first]
            behind = bisect_left(ends, begin + BUNDLE_BYTES - self._bundle_bytes) + 1
            some = slice(first, min(behind, first + _MOST_IN_BUNDLE - len(self._bundled)))
            frame, before = self._bundle_frame, self._bundle_bytes - begin
            blobs = [
                PendingBlob(frame, before + end - size, size, blob_id)
                for size, end, blob_id in zip(sizes[some], ends[some], ids[some], strict=True)
            ]
            added += blobs
            self._bundle_up(blobs, ids[some], view[begin : ends[len(added) - 1]])
        return added

    def _bundle_up(
        self, blobs: Sequence[PendingBlob], ids: Sequence[str], data: bytes | memoryview
    ) -> None:
        """Add blobs that have their places in the open bundle, and what they hold, in one piece."""
        self._pending.update(zip(ids, blobs, strict=True))
        self._bundled += blobs
        self._bundle.append(data)
        self._bundle_bytes += len(data)
        if self._bundle_bytes >= BUNDLE_BYTES or len(self._bundled) >= _MOST_IN_BUNDLE:
            self._close_bundle()

    def _close_bundle(self) -> None:
        if self._bundled:
            raw, blobs, effort = b"".join(self._bundle), self._bundled, self._bundle_effort
            self._bundle, self._bundled = [], []
            self._bundle_frame, self._bundle_bytes, self._bundle_effort = Frame(), 0, Effort.SMALL
            frame = blobs[0].frame
            self._under_way[frame] = blobs
            self._tape.append([(frame, raw, effort)])

    def _send_alone(self) -> None:
        if self._alone:
            stretches, self._alone, self._alone_bytes = self._alone, [], 0
            self._tape.append(stretches)

    def _laid(self, frame: Frame) -> None:
        blobs = self._under_way[frame]
        set_locations(frame, blobs)
        self._laid_frames.append(frame)
        if frame.last_pack != self._filling:
            self._filling, self._in_filling = frame.last_pack, 0
        self._in_filling += len(blobs)
        if self._in_filling >= _MOST_IN_PACK:
            self._tape.cut()

    def _acknowledged(self, pack: Stored) -> None:
        whole: list[BlobLocation] = []
        while self._laid_frames and self._tape.has(self._laid_frames[0]):
            frame = self._laid_frames.popleft()
            blobs = self._under_way.pop(frame)
            raw = 0
            sizes: dict[str, int] = {}
            for blob in blobs:
                whole.append(blob.location)
                del self._pending[blob.id]
                raw += blob.length
                sizes[blob.id] = blob.length
            new = raw - sum(sizes[id_] for id_ in self._log.sent_before(sizes))
            self.new_bytes += new
            self.dense_bytes += new if frame.stored > WORTHWHILE * raw else 0
        self._log.acknowledge(pack.number, pack.name, pack.size, self._set_name, whole)
        self._on_stored(pack)
