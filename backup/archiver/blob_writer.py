"""Blob writer: stores each blob once (deduplication), bundles small blobs.

- A blob has an id, the keyed hash of its content. If the upload cache (this host's list of stored
  blobs) has the id, the blob is not stored again.
- Blobs are stored in frames, the compressed units of a pack. Small compressible blobs share frames
  of about 1 MiB with their neighbours in path order; such a shared frame is a bundle. Larger
  compressible blobs have a frame each. `Packing` contains the size limit for each type of content.
- A window is memory into which content is read. For incompressible content, the window is a free
  part of the unfinished pack. The content then becomes a frame in this place and is not copied.
- A frame can continue in the next pack. After the store has acknowledged a pack, the upload cache
  records the pack, and the blobs whose last byte is in it.
- The number of blobs per frame and per pack is limited. Otherwise the records of very small blobs
  would fill the memory before their pack is full.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from itertools import accumulate
from typing import Protocol

from blake3 import blake3

from backup.archiver.archiver_records import (
    UNLOCATED,
    BlobLocation,
    Frame,
    PendingBlob,
    Ref,
    set_locations,
)
from backup.archiver.chunker import USUAL_PACKING, WINDOW_BYTES, Packing
from backup.archiver.pack_writer import FrameContent, Outlet, PackWriter, StoredPack
from backup.archiver.upload_cache.cache import UploadCache
from backup.format.frame import WORTHWHILE_RATIO, Effort, is_compressible
from backup.system.buffer_pool import Buffers

BUNDLE_BYTES = 1024 * 1024
_PAGES = Packing(effort=Effort.PAGE, shares_below_bytes=0)
MOST_BLOBS_IN_BUNDLE = 2048
MOST_BLOBS_IN_PACK = 32_768
_MANY_LOOKUPS = 256  # after this number of lookups in the cache, all ids are loaded into memory


class RunEvents(Protocol):
    """Receiver of events of a backup run; called from one thread only."""

    def path_reached(self, path: bytes) -> None:
        """Show progress: the archiver is at this path."""

    def commit_possible(self) -> None:
        """Commit an interim recovery point (the paths so far) if it is due.

        This method is called after each path, and also while a large file is read. Within a large
        file, only the paths before the file are committed.
        """

    def pack_stored(self, pack: StoredPack) -> None:
        """Count a pack that the store acknowledged."""


class BlobWriter:
    """Stores blobs and returns references; call from one thread only."""

    def __init__(
        self,
        *,
        outlet: Outlet,
        cache: UploadCache,
        id_key: bytes,
        set_name: str,
        events: RunEvents,
        packing: Packing = USUAL_PACKING,
    ) -> None:
        self._outlet = outlet
        self._cache = cache
        self._hasher = blake3(key=id_key)  # reused: a new hasher costs as much as hashing 400 bytes
        self._id_key = id_key
        self._set_name = set_name
        self._events = events
        self._packs = PackWriter(
            outlet, cache.number_pack, self._on_frame_located, self._on_pack_acknowledged
        )
        self._packing = packing
        self._bundle: list[bytes | memoryview] = []
        self._bundle_bytes = 0
        self._bundle_frame = Frame()
        self._bundle_effort = Effort.SMALL  # the lowest effort of the blobs in the bundle
        self._bundled: list[PendingBlob] = []
        # Frames with one blob each; one task compresses all of them.
        self._single_frames: list[FrameContent] = []
        self._single_frame_bytes = 0
        self._pending: dict[str, PendingBlob] = {}
        # Blobs of each frame that the store does not have yet.
        self._under_way: dict[Frame, list[PendingBlob]] = {}
        self._located_frames: deque[Frame] = deque()  # in the order of the packs
        self._last_pack = UNLOCATED  # pack in which the last frame ends
        self._blobs_in_last_pack = 0  # number of blobs in frames that end in this pack
        self._windows = Buffers(WINDOW_BYTES)
        self._lookups = 0
        self._is_in_pack = False  # whether the last window is memory of the pack that is filled
        self._is_incompressible = True  # whether the last new content was incompressible
        self.new_bytes = 0  # bytes of content that was not stored before, uncompressed
        self.incompressible_bytes = 0  # the incompressible part of `new_bytes`

    def open_page_writer(self) -> "BlobWriter":
        """Return a writer for manifest pages; each page has its own frame."""
        return BlobWriter(
            outlet=self._outlet,
            cache=self._cache,
            id_key=self._id_key,
            set_name=self._set_name,
            events=self._events,
            packing=_PAGES,
        )

    def add(self, data: bytes | memoryview) -> Ref:
        """Store a blob of at most 8 MiB, unless it is stored already."""
        blob_id = self.compute_id(data)
        return self._find_known(blob_id) or self._add_new(data, blob_id, self._packing)

    def add_small(self, data: bytes, sizes: Sequence[int]) -> list[Ref]:
        """Store the consecutive small blobs of `data`, as `add` does."""
        view = memoryview(data)
        ends = list(accumulate(sizes))
        ids = [
            self.compute_id(view[end - size : end]) for size, end in zip(sizes, ends, strict=True)
        ]
        new = set(ids)
        known = new & self._pending.keys() or any(map(self._find, self._cache.may_have(new)))
        if not known and len(new) == len(ids):
            return self._add_new_together(view, sizes, ends, ids)
        return [
            self._find_known(blob_id)
            or self._add_new(data[end - size : end], blob_id, self._packing)
            for size, end, blob_id in zip(sizes, ends, ids, strict=True)
        ]

    def compute_id(self, data: bytes | memoryview) -> str:
        """Return the id of a blob: its keyed BLAKE3 hash in hexadecimal."""
        hasher = self._hasher
        hasher.reset()
        return hasher.update(data).digest().hex()

    def window(self, size: int) -> memoryview:
        """Return `size` bytes of memory to read into; the next call reuses them."""
        # Use memory of the pack only for incompressible content. Compressible content would have to
        # be copied out of it before the next frame is written there.
        window = self._packs.window(size) if self._is_incompressible else None
        self._is_in_pack = window is not None
        if window is not None:
            return window
        return self._windows.take(size)

    def add_window(self, window: memoryview, ends: Sequence[int], packing: Packing) -> list[Ref]:
        """Store the blobs of the last window; `ends` are their end offsets."""
        refs: list[Ref] = []
        frame, parts, blobs = Frame(), [], []
        is_incompressible: bool | None = None
        begin = inner = 0
        for end in ends:
            part = window[begin:end]
            begin = end
            blob_id = self.compute_id(part)
            known = self._find_known(blob_id)
            if known is None and is_incompressible is None:
                is_incompressible = self._is_incompressible = not is_compressible(window)
                if not is_incompressible and self._is_in_pack:
                    # Frames that `_add_new` appends may overwrite the window.
                    window = memoryview(bytes(window))
                    part = window[end - len(part) : end]
            if known is None and is_incompressible:
                known = PendingBlob(frame, inner, len(part), blob_id)
                self._pending[blob_id] = known
                parts.append(part)
                blobs.append(known)
                inner += len(part)
            refs.append(known or self._add_new(part, blob_id, packing))
        # Copy the parts of the unfinished bundle, because the next window reuses their memory.
        self._bundle = [bytes(part) for part in self._bundle]
        if parts:
            self._under_way[frame] = blobs
            if self._is_in_pack and len(parts) == len(ends):
                self._packs.keep_window(inner, frame)
            else:
                self._packs.append_uncompressed(parts, frame)
        return refs

    def locate_all(self) -> None:
        """Assign a location to every added blob; begin to send the last pack."""
        self._send_single_frames()
        self._close_bundle()
        self._packs.locate_all()

    def flush(self) -> None:
        """Send all blobs that were added and wait until the store has them."""
        self._send_single_frames()
        self._close_bundle()
        self._packs.flush()

    def has(self, ref: Ref) -> bool:
        """Return whether the store has the whole blob."""
        return isinstance(ref, BlobLocation) or self._packs.has(ref.frame)

    def has_packs_up_to(self, number: int) -> bool:
        """Return whether the store has this writer's packs up to this number."""
        return number <= self._packs.acknowledged

    def _find_known(self, blob_id: str) -> Ref | None:
        return self._pending.get(blob_id) or self._find(blob_id)

    def _find(self, blob_id: str) -> BlobLocation | None:
        self._lookups += 1
        if self._lookups == _MANY_LOOKUPS:
            self._cache.load_id_filter()
        return self._cache.find(blob_id)

    def _add_new(self, data: bytes | memoryview, blob_id: str, packing: Packing) -> PendingBlob:
        if len(data) >= packing.shares_below_bytes:
            # The bundle remains unfinished, so that small blobs before and after a large blob share
            # it.
            blob = PendingBlob(Frame(), 0, len(data), blob_id)
            self._pending[blob_id] = blob
            self._under_way[blob.frame] = [blob]
            self._single_frames.append((blob.frame, data, packing.effort))
            self._single_frame_bytes += len(data)
            if self._single_frame_bytes >= BUNDLE_BYTES:
                self._send_single_frames()
            return blob
        blob = PendingBlob(self._bundle_frame, self._bundle_bytes, len(data), blob_id)
        self._bundle_effort = min(self._bundle_effort, packing.effort)
        self._add_to_bundle([blob], [blob_id], data)
        return blob

    def _add_new_together(
        self, view: memoryview, sizes: Sequence[int], ends: Sequence[int], ids: Sequence[str]
    ) -> list[Ref]:
        """Add new, distinct blobs to bundles, as many as possible at once."""
        added: list[Ref] = []
        while len(added) < len(ids):
            first = len(added)
            begin = ends[first] - sizes[first]
            stop = bisect_left(ends, begin + BUNDLE_BYTES - self._bundle_bytes) + 1
            part = slice(first, min(stop, first + MOST_BLOBS_IN_BUNDLE - len(self._bundled)))
            frame, before = self._bundle_frame, self._bundle_bytes - begin
            blobs = [
                PendingBlob(frame, before + end - size, size, blob_id)
                for size, end, blob_id in zip(sizes[part], ends[part], ids[part], strict=True)
            ]
            added += blobs
            self._add_to_bundle(blobs, ids[part], view[begin : ends[len(added) - 1]])
        return added

    def _add_to_bundle(
        self, blobs: Sequence[PendingBlob], ids: Sequence[str], data: bytes | memoryview
    ) -> None:
        """Add blobs and their content to the unfinished bundle.

        The blobs have their offsets in the bundle already.
        """
        self._pending.update(zip(ids, blobs, strict=True))
        self._bundled += blobs
        self._bundle.append(data)
        self._bundle_bytes += len(data)
        if self._bundle_bytes >= BUNDLE_BYTES or len(self._bundled) >= MOST_BLOBS_IN_BUNDLE:
            self._close_bundle()

    def _close_bundle(self) -> None:
        if self._bundled:
            raw, blobs, effort = b"".join(self._bundle), self._bundled, self._bundle_effort
            self._bundle, self._bundled = [], []
            self._bundle_frame, self._bundle_bytes, self._bundle_effort = Frame(), 0, Effort.SMALL
            frame = blobs[0].frame
            self._under_way[frame] = blobs
            self._packs.append([(frame, raw, effort)])

    def _send_single_frames(self) -> None:
        if self._single_frames:
            contents, self._single_frames, self._single_frame_bytes = self._single_frames, [], 0
            self._packs.append(contents)

    def _on_frame_located(self, frame: Frame) -> None:
        blobs = self._under_way[frame]
        set_locations(frame, blobs)
        self._located_frames.append(frame)
        if frame.last_pack != self._last_pack:
            self._last_pack, self._blobs_in_last_pack = frame.last_pack, 0
        self._blobs_in_last_pack += len(blobs)
        if self._blobs_in_last_pack >= MOST_BLOBS_IN_PACK:
            self._packs.cut()

    def _on_pack_acknowledged(self, pack: StoredPack) -> None:
        complete: list[BlobLocation] = []
        while self._located_frames and self._packs.has(self._located_frames[0]):
            frame = self._located_frames.popleft()
            blobs = self._under_way.pop(frame)
            raw = 0
            sizes: dict[str, int] = {}
            for blob in blobs:
                complete.append(blob.location)
                del self._pending[blob.id]
                raw += blob.length
                sizes[blob.id] = blob.length
            new = raw - sum(sizes[id_] for id_ in self._cache.find_forgotten(sizes))
            self.new_bytes += new
            self.incompressible_bytes += new if frame.stored > WORTHWHILE_RATIO * raw else 0
        self._cache.acknowledge(pack.number, pack.name, pack.size, self._set_name, complete)
        self._events.pack_stored(pack)
