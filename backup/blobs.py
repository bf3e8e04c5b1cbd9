"""Blobs in: each content once, small ones bundled, its place recorded when the store has it.

- A blob that this host has stored before is not stored again; it is known by its keyed hash.
- Blobs under 256 KiB share a frame of about 1 MiB with their neighbours in path order; larger
  ones have a frame of their own.
- Rows go into the send-log per pack, after the pack was acknowledged, and only blobs that are
  whole by then.
"""

from collections import deque
from collections.abc import Callable

from blake3 import blake3

from backup.places import Frame, PendingBlob, Place, Ref
from backup.send_log import SendLog
from backup.tape import Outlet, Stored, Tape

BUNDLE_BYTES = 1024 * 1024
BUNDLED_BELOW_BYTES = 256 * 1024


class BlobSink:
    """Takes blobs and gives references; call from one thread only."""

    def __init__(
        self,
        *,
        outlet: Outlet,
        log: SendLog,
        id_key: bytes,
        set_name: str,
        bundles: bool,
        on_stored: Callable[[Stored], None],
    ) -> None:
        self._log = log
        self._id_key = id_key
        self._set_name = set_name
        self._on_stored = on_stored
        self._tape = Tape(outlet, log.number_pack, self._acknowledged)
        self._bundled_below = BUNDLED_BELOW_BYTES if bundles else 0
        self._bundle = bytearray()
        self._bundled: list[PendingBlob] = []
        self._pending: dict[str, PendingBlob] = {}
        self._appended: deque[list[PendingBlob]] = deque()  # a frame's blobs, in the tape's order

    def add(self, data: bytes | memoryview) -> Ref:
        """Store a blob of at most 8 MiB, unless it is stored already; the data is copied."""
        blob_id = blake3(data, key=self._id_key).hexdigest()
        known = self._pending.get(blob_id) or self._log.find(blob_id)
        if known is not None:
            return known
        if len(data) < self._bundled_below:
            return self._bundle_blob(data, blob_id)
        # The bundle stays open: a large file between two small ones does not part them.
        blob = PendingBlob(frame=Frame(), inner=0, length=len(data), id=blob_id)
        self._pending[blob_id] = blob
        self._append(bytes(data), [blob])
        return blob

    def flush(self) -> None:
        """Store everything that was added; afterwards every reference is settled."""
        self._close_bundle()
        self._tape.flush()

    def has(self, ref: Ref) -> bool:
        """Whether the store has the whole blob."""
        return isinstance(ref, Place) or self._tape.has(ref.frame)

    def _bundle_blob(self, data: bytes | memoryview, blob_id: str) -> PendingBlob:
        frame = self._bundled[0].frame if self._bundled else Frame()
        blob = PendingBlob(frame=frame, inner=len(self._bundle), length=len(data), id=blob_id)
        self._pending[blob_id] = blob
        self._bundled.append(blob)
        self._bundle += data
        if len(self._bundle) >= BUNDLE_BYTES:
            self._close_bundle()
        return blob

    def _close_bundle(self) -> None:
        if self._bundled:
            raw, blobs = bytes(self._bundle), self._bundled
            self._bundle.clear()
            self._bundled = []
            self._append(raw, blobs)

    def _append(self, raw: bytes, blobs: list[PendingBlob]) -> None:
        # Queued first: laying this frame may acknowledge a pack, whose frames are looked for here.
        self._appended.append(blobs)
        self._tape.append(raw, blobs[0].frame)

    def _acknowledged(self, pack: Stored) -> None:
        whole: list[Place] = []
        while self._appended and self._tape.has(self._appended[0][0].frame):
            for blob in self._appended.popleft():
                whole.append(blob.place())
                del self._pending[blob.id]
        self._log.acknowledge(pack.number, pack.name, pack.size, self._set_name, whole)
        self._on_stored(pack)
