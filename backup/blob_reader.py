"""Blobs out: from references to verified content, reading only the segments that a frame lies in.

- Every blob is checked against its keyed hash before it is given to anyone.
- A frame is fetched once for all the blobs that follow each other in it; the newest frames are
  kept (64 MiB).
- `fetch_ahead` reads frames in other threads while the caller writes; results come in the
  caller's order.
"""

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import pyrage
from blake3 import blake3

from backup.errors import BackupError, Damaged, NotFound
from backup.format.frame import from_frame
from backup.format.layout import pack_name
from backup.format.manifest import BlobRef
from backup.format.pack import (
    CAPACITY,
    HEADER_BYTES,
    SEGMENT_BYTES,
    SEGMENT_PAYLOAD,
    OpenPack,
    parse_header,
)
from backup.stores import Store

_KEPT_BYTES = 64 * 1024 * 1024
_KEPT_PACKS = 512
_FRAMES_AHEAD = 6
_STEPS_AHEAD = 4096

T = TypeVar("T")


class BlobReader:
    """Reads one writer's packs of one domain; safe to call from several threads."""

    def __init__(
        self,
        *,
        vault: Store,
        writer: str,
        domain: str,
        repository: bytes,
        identities: list[pyrage.x25519.Identity],
        id_key: bytes,
    ) -> None:
        self._vault = vault
        self._writer = writer
        self._belongs = (repository, writer, domain)
        self._identities = identities
        self._id_key = id_key
        self._lock = threading.Lock()
        self._packs: OrderedDict[bytes, OpenPack] = OrderedDict()
        self._frames: OrderedDict[tuple[bytes, int], bytes] = OrderedDict()
        self._kept_bytes = 0
        self.bytes_read = 0  # from the store
        self.reached: set[bytes] = set()  # every pack that was opened

    def blob(self, ref: BlobRef) -> bytes:
        """A blob's content; `Damaged` when it is missing, cut, or not what its id says."""
        return self.checked(ref, self.frame(ref))

    def checked(self, ref: BlobRef, raw: bytes) -> bytes:
        """Cut a blob from its frame's raw bytes and check its id."""
        content = raw[ref.inner : ref.inner + ref.length]
        if len(content) != ref.length or blake3(content, key=self._id_key).digest() != ref.id:
            raise Damaged(
                f"{self._name(ref.pack)} holds other content than its reference says;"
                " verify the repository with a key"
            )
        return content

    def frame(self, ref: BlobRef) -> bytes:
        """The raw bytes of the frame that a blob lies in."""
        key = (ref.pack, ref.offset)
        with self._lock:
            raw = self._frames.get(key)
            if raw is not None:
                self._frames.move_to_end(key)
                return raw
        first = min(ref.stored, CAPACITY - ref.offset)
        data = self._read(ref.pack, ref.offset, first)
        if ref.next is not None:
            data += self._read(ref.next, 0, ref.stored - first)
        raw = from_frame(data, self._name(ref.pack))
        with self._lock:
            if key not in self._frames:
                self._frames[key] = raw
                self._kept_bytes += len(raw)
            while self._kept_bytes > _KEPT_BYTES and len(self._frames) > 1:
                _, dropped = self._frames.popitem(last=False)
                self._kept_bytes -= len(dropped)
        return raw

    def open_pack(self, sha256: bytes) -> OpenPack:
        """A pack's header, opened and checked to be this writer's and domain's."""
        with self._lock:
            known = self._packs.get(sha256)
            if known is not None:
                self._packs.move_to_end(sha256)
                return known
        name = self._name(sha256)
        header = parse_header(self._range(name, 0, HEADER_BYTES), name)
        if (header.repository, header.writer, header.domain) != self._belongs:
            raise Damaged(f"{name} is a pack of another writer, domain or repository")
        opened = OpenPack(header, self._identities, name)
        with self._lock:
            self._packs[sha256] = opened
            self.reached.add(sha256)
            while len(self._packs) > _KEPT_PACKS:
                self._packs.popitem(last=False)
        return opened

    def _read(self, sha256: bytes, start: int, length: int) -> bytes:
        pack = self.open_pack(sha256)
        name = self._name(sha256)
        first = start // SEGMENT_PAYLOAD
        last = (start + length - 1) // SEGMENT_PAYLOAD
        sealed = self._range(
            name, HEADER_BYTES + first * SEGMENT_BYTES, (last - first + 1) * SEGMENT_BYTES
        )
        plain = pack.open_segments(first, sealed)
        begin = start - first * SEGMENT_PAYLOAD
        part = plain[begin : begin + length]
        if len(part) != length:
            raise Damaged(
                f"{name} is shorter than a reference into it says; restore it from a copy"
            )
        return part

    def _range(self, name: str, start: int, length: int) -> bytes:
        try:
            data = self._vault.get_range(name, start, length)
        except NotFound:
            raise Damaged(
                f"{name} is missing from the store; take it from a copy of the repository"
            ) from None
        with self._lock:
            self.bytes_read += len(data)
        return data

    def _name(self, sha256: bytes) -> str:
        return pack_name(self._writer, sha256.hex())


@dataclass(kw_only=True, slots=True, eq=False)
class _Fetch:
    """A frame under way and how many waiting steps need it."""

    frame: Future[bytes]
    users: int = 0


def fetch_ahead(
    reader: BlobReader,
    steps: Iterable[T],
    ref_of: Callable[[T], BlobRef | None],
    pool: ThreadPoolExecutor,
) -> Iterator[tuple[T, bytes | BackupError | None]]:
    """Give each step with its blob, reading a little ahead; an error is given, not raised."""
    waiting: deque[tuple[T, BlobRef | None]] = deque()
    fetches: dict[tuple[bytes, int], _Fetch] = {}

    def next_result() -> tuple[T, bytes | BackupError | None]:
        step, ref = waiting.popleft()
        if ref is None:
            return step, None
        fetch = fetches[ref.pack, ref.offset]
        fetch.users -= 1
        if not fetch.users:
            del fetches[ref.pack, ref.offset]
        try:
            return step, reader.checked(ref, fetch.frame.result())
        except BackupError as error:
            return step, error

    for step in steps:
        ref = ref_of(step)
        if ref is not None:
            key = (ref.pack, ref.offset)
            if key not in fetches:
                fetches[key] = _Fetch(frame=pool.submit(reader.frame, ref))
            fetches[key].users += 1
        waiting.append((step, ref))
        while len(fetches) > _FRAMES_AHEAD or len(waiting) > _STEPS_AHEAD:
            yield next_result()
    while waiting:
        yield next_result()
