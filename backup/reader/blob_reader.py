"""Blob reader: reads, decrypts, decodes, verifies; keeps frames in memory.

- A frame is a compressed part of a pack with one or more blobs. A pack is encrypted in segments.
- Every blob is compared with its id, a keyed hash, before it is returned.
- Adjacent frames are read and decrypted as one range. Up to 8 MiB of the newest decoded frames
  remain in memory, because other blobs of these frames may be requested next.
- If a pack is missing or damaged, the callback `heal` searches for its blobs in other packs. A
  reader that checks packs must not have this callback, because it would hide the damage.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TypeVar

import pyrage
from blake3 import blake3

from backup.errors import BackupError, Damaged, NotFound, StoreUnavailable, WrongKey
from backup.format.frame import frame_error, try_decode
from backup.format.manifest import BlobRef
from backup.format.object_names import pack_name
from backup.format.pack import (
    CAPACITY,
    HEADER_BYTES,
    SEGMENT_BYTES,
    SEGMENT_PAYLOAD,
    OpenPack,
    parse_header,
)
from backup.stores import Store
from backup.stores.parallel_reads import start_in_background
from backup.system.buffer_pool import Buffers, OwnBuffer

_KEPT_BYTES = 8 * 1024 * 1024
_KEPT_PACKS = 512
_BUFFER_BYTES = 4 * 1024 * 1024  # a little more than `frame_prefetch` reads at once
_LARGE_READ_BYTES = 512 * 1024  # reads of this size or more use reused buffers

Raw = bytes | bytearray | memoryview
Heal = Callable[[BlobRef], bytes | None]
FrameKey = tuple[bytes, int, int, bytes | None]
T = TypeVar("T")


def frame_key(ref: BlobRef) -> FrameKey:
    """Return the location and stored size of a blob's frame."""
    return ref.pack, ref.offset, ref.stored, ref.next


class BlobReader:
    """Reader of one host's packs with one encryption key, for several threads.

    The writer is the backup host; the domain is the group of backup sets that share the key.
    """

    def __init__(
        self,
        *,
        vault: Store,
        writer: str,
        domain: str,
        repository: bytes,
        identities: list[pyrage.x25519.Identity],  # private keys of the domain, verified
        id_key: bytes,
        heal: Heal | None = None,
    ) -> None:
        self._vault = vault
        self.read_over_bytes = vault.read_over_bytes
        self._is_far = vault.calls_at_once > 1
        # Across a network, each call takes long. Segments near the header of a pack are read
        # together with the header, in one call. Other segments are read at the same time as the
        # header.
        self._reach = vault.read_over_bytes if self._is_far else 0
        self._writer = writer
        self._belongs = (repository, writer, domain)
        self._identities = identities
        self._id_key = id_key
        self._heal = heal
        self._lock = threading.Lock()
        self._packs: OrderedDict[bytes, OpenPack] = OrderedDict()
        self._frames: OrderedDict[FrameKey, memoryview] = OrderedDict()
        self._kept_bytes = 0
        self._sealed = OwnBuffer(_BUFFER_BYTES + self._reach)
        self._plain = Buffers(_BUFFER_BYTES)
        self.bytes_read = 0  # from the store
        self.reached: set[bytes] = set()  # every pack that was opened

    def blob(self, ref: BlobRef) -> bytes:
        """Return a blob's content; raise `Damaged` if it cannot be verified."""
        try:
            return bytes(self.verified_blob(ref, self.frame(ref)))
        except StoreUnavailable:
            raise
        except BackupError as error:
            return self.healed_blob(ref, error)

    def verified_blob(self, ref: BlobRef, raw: Raw) -> Raw:
        """Return a blob from its decoded frame; raise `Damaged` if its id differs."""
        _, _, _, inner, length, blob_id, _ = ref
        content = raw[inner : inner + length]
        if len(content) != length or blake3(content, key=self._id_key).digest() != blob_id:
            raise Damaged(
                f"{self._name(ref.pack)} contains other content than its reference says;"
                " verify the vault with a key"
            )
        return content

    def is_content(self, ref: BlobRef, content: Raw) -> bool:
        """Return whether `content` has the length and id of a reference."""
        is_long_enough = len(content) == ref.length
        return is_long_enough and blake3(content, key=self._id_key).digest() == ref.id

    def healed_blob(self, ref: BlobRef, error: BackupError) -> bytes:
        """Return a blob from another pack by `heal`; raise `error` if this fails."""
        content = None if self._heal is None else self._heal(ref)
        if content is None or not self.is_content(ref, content):
            raise error
        return content

    def frame(self, ref: BlobRef) -> Raw:
        """Return the decoded frame of a blob."""
        raw = self.cached_frame(ref)
        return self.decode_frame(ref, self._packed_in([ref])[0]) if raw is None else raw

    def cached_frame(self, ref: BlobRef) -> Raw | None:
        """Return the decoded frame of a blob from memory, or None."""
        if not self._frames:
            return None
        key = frame_key(ref)
        with self._lock:
            raw = self._frames.get(key)
            if raw is not None:
                self._frames.move_to_end(key)
            return raw

    def decode_frame(self, ref: BlobRef, packed: memoryview) -> Raw:
        """Decode a stored frame; raise `Damaged` if it does not decompress."""
        raw = try_decode(packed)
        if raw is None:
            raise frame_error(self._name(ref.pack))
        if len(raw) <= ref.length:  # the frame has only this blob
            return raw
        view = memoryview(raw)
        self._keep(frame_key(ref), view)
        return view

    def read_frames(self, refs: Sequence[BlobRef]) -> list[memoryview | BackupError]:
        """Read and decrypt adjacent frames of one pack, without decompression.

        Return an error in place of each frame that cannot be read. Raise only `StoreUnavailable`.
        """
        try:
            return [*self._packed_in(refs)]
        except StoreUnavailable:
            raise
        except BackupError:
            return [self._packed_or_error(ref) for ref in refs]

    def _packed_or_error(self, ref: BlobRef) -> memoryview | BackupError:
        try:
            return self._packed_in([ref])[0]
        except StoreUnavailable:
            raise
        except BackupError as error:
            return error

    def _packed_in(self, refs: Sequence[BlobRef]) -> list[memoryview]:
        begin, last = refs[0].offset, refs[-1]
        end = min(last.offset + last.stored, CAPACITY)
        pack = refs[0].pack
        plain = self._read(pack, begin, end - begin)
        found: list[memoryview] = []
        for ref in refs:
            at = ref.offset - begin
            data = plain[at : at + min(ref.stored, CAPACITY - ref.offset)]
            if ref.next is not None:
                data = memoryview(bytes(data) + self._read(ref.next, 0, ref.stored - len(data)))
            found.append(data)
        return found

    def _keep(self, key: FrameKey, raw: memoryview) -> None:
        with self._lock:
            if key not in self._frames:
                self._frames[key] = raw
                self._kept_bytes += _held_bytes(raw)
            while self._kept_bytes > _KEPT_BYTES and len(self._frames) > 1:
                _, dropped = self._frames.popitem(last=False)
                self._kept_bytes -= _held_bytes(dropped)

    def open_pack(self, sha256: bytes) -> OpenPack:
        """Open a pack; raise `Damaged` if it is of another writer or domain."""
        return self._cached_pack(sha256) or self._parse_pack(
            sha256, self._range(self._name(sha256), 0, HEADER_BYTES)
        )

    def _cached_pack(self, sha256: bytes) -> OpenPack | None:
        with self._lock:
            known = self._packs.get(sha256)
            if known is not None:
                self._packs.move_to_end(sha256)
            return known

    def _parse_pack(self, sha256: bytes, data: bytes) -> OpenPack:
        name = self._name(sha256)
        header = parse_header(data, name)
        if (header.repository, header.writer, header.domain) != self._belongs:
            raise Damaged(f"{name} is a pack of another writer, domain or repository")
        try:
            opened = OpenPack(header, self._identities, name)
        except WrongKey:
            raise Damaged(
                f"{name} does not open with its domain's key: it is damaged; restore it from a "
                "copy, or use an older point: `backup verify` names the points that need this "
                "pack"
            ) from None
        with self._lock:
            self._packs[sha256] = opened
            self.reached.add(sha256)
            while len(self._packs) > _KEPT_PACKS:
                self._packs.popitem(last=False)
        return opened

    def _read(self, sha256: bytes, start: int, length: int) -> memoryview:
        name = self._name(sha256)
        first = start // SEGMENT_PAYLOAD
        last = (start + length - 1) // SEGMENT_PAYLOAD
        place, size = HEADER_BYTES + first * SEGMENT_BYTES, (last - first + 1) * SEGMENT_BYTES
        sealed: bytes | memoryview
        is_new = self._is_far and self._cached_pack(sha256) is None
        if is_new and place <= self._reach:
            both = memoryview(self._sealed_range(name, 0, place + size))
            pack, sealed = self._parse_pack(sha256, bytes(both[:HEADER_BYTES])), both[place:]
        elif is_new:
            opening = start_in_background(self._vault, lambda: self.open_pack(sha256))
            sealed = self._sealed_range(name, place, size)
            pack = opening()
        else:
            pack = self.open_pack(sha256)
            sealed = self._sealed_range(name, place, size)
        room = self._plain.take(len(sealed)) if len(sealed) >= _LARGE_READ_BYTES else None
        plain = pack.open_segments(first, sealed, room)
        begin = start - first * SEGMENT_PAYLOAD
        part = plain[begin : begin + length]
        if len(part) != length:
            raise Damaged(
                f"{name} is shorter than a reference into it says; restore it from a copy"
            )
        return part

    def _sealed_range(self, name: str, start: int, length: int) -> bytes | memoryview:
        """Return sealed segments, valid until the next read of this thread."""
        room = self._sealed.take(length) if length >= _LARGE_READ_BYTES else None
        if room is None:
            return self._range(name, start, length)
        count = self._from_store(name, lambda: self._vault.read_into(name, start, room))
        with self._lock:
            self.bytes_read += count
        return room[:count]

    def _range(self, name: str, start: int, length: int) -> bytes:
        data = self._from_store(name, lambda: self._vault.get_range(name, start, length))
        with self._lock:
            self.bytes_read += len(data)
        return data

    def _from_store(self, name: str, read: Callable[[], T]) -> T:
        try:
            return read()
        except NotFound:
            raise Damaged(
                f"{name} is missing from the store; take it from a copy of the repository"
            ) from None

    def _name(self, sha256: bytes) -> str:
        return _pack_name(self._writer, sha256)


def _held_bytes(view: memoryview) -> int:
    """Return the size of the whole buffer that a view keeps in memory.

    A view of some hundred KB can keep a buffer of several MiB in memory.
    """
    return memoryview(view.obj).nbytes


@lru_cache(_KEPT_PACKS)  # needed for each frame
def _pack_name(writer: str, sha256: bytes) -> str:
    return pack_name(writer, sha256.hex())
