"""Packs: encryption of data in segments, header, key commitment, padding.

- A pack has a header of 4,096 bytes, then 1 to 255 segments of 65,536 bytes; the last segment may
  be shorter. Each segment contains 65,520 bytes of the payload, encrypted with AES-256-GCM. The
  nonce contains the number of the segment, and whether it is the last segment.
- The file key is random. With age, it is encrypted to the public key of the domain, a group of
  backup sets that share one key. The segment key is derived from the file key and a salt. The salt
  is the BLAKE3 hash of the payload, keyed with the file key. A virtual machine that was rolled back
  may use a file key again. Even then, other data have another salt, and so another segment key.
- The key commitment ensures that only one key opens a pack. The header, with the commitment set to
  zero, is an input of the key derivation.
- The payload is padded with zeros to one of few possible sizes (by the rule Padmé), so its size
  discloses little about the content. A full pack needs no padding.
"""

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass

import pyrage
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from backup.errors import Damaged, FormatUnknown, WrongKey
from backup.format import FORMAT
from backup.format.strict_fields import NAME

HEADER_BYTES = 4096
SEGMENT_BYTES = 65_536
TAG_BYTES = 16
FILE_KEY_BYTES = 32
SEGMENT_PAYLOAD = SEGMENT_BYTES - TAG_BYTES
MAX_SEGMENTS = 255
CAPACITY = MAX_SEGMENTS * SEGMENT_PAYLOAD
MAX_PACK_BYTES = HEADER_BYTES + MAX_SEGMENTS * SEGMENT_BYTES
SMALLEST_PAYLOAD = 4096

_MAGIC = b"sf-pack\0"
_CONTEXT = b"standfast-backup-1 pack\0"
# Magic bytes, format number, number of segments, generation (number of the domain's key pair),
# repository, writer (backup host), domain, salt, key commitment, length of the encrypted file key.
_LAYOUT = struct.Struct(">8sHHI16s32s32s32s32sH")
_COMMITMENT = slice(128, 160)
_MAX_WRAPPED_BYTES = HEADER_BYTES - _LAYOUT.size


@dataclass(frozen=True, kw_only=True, slots=True)
class PackSettings:
    """Header fields and recipient that all packs of a run share."""

    repository: bytes  # 16 bytes
    writer: str
    domain: str
    generation: int  # number of the domain's key pair
    recipient: str  # the domain's age public key


@dataclass(frozen=True, kw_only=True, slots=True)
class SealedPack:
    """A pack ready to be put; `name` is the SHA-256 of `data`."""

    name: bytes
    data: bytes | bytearray | memoryview


@dataclass(frozen=True, kw_only=True, slots=True)
class PackHeader:
    """Header of a pack; `data` is all its 4,096 bytes."""

    segments: int
    generation: int
    repository: bytes
    writer: str
    domain: str
    salt: bytes
    commitment: bytes
    wrapped: bytes  # the encrypted file key
    data: bytes


def padded_size(size: int) -> int:
    """Return the padded size of a payload, in bytes.

    The padding is Padmé (Nikitin et al., PETS 2019), to at least 4,096 bytes.
    """
    if size <= SMALLEST_PAYLOAD:
        return SMALLEST_PAYLOAD
    exponent = size.bit_length() - 1
    free_bits = exponent - exponent.bit_length()
    mask = (1 << free_bits) - 1
    return min((size + mask) & ~mask, CAPACITY)


def seal_pack(
    payload: bytes | bytearray | memoryview,
    settings: PackSettings,
    random: Callable[[int], bytes],
    into: memoryview | None = None,
) -> SealedPack:
    """Encrypt a payload of 1 to CAPACITY bytes with a new random key.

    The pack is written to `into`, which has room for the largest pack, or to new memory.
    """
    if not 0 < len(payload) <= CAPACITY:
        raise ValueError(f"a pack contains 1 to {CAPACITY} bytes, not {len(payload)}")
    if len(payload) < padded_size(len(payload)):
        payload = bytes(payload).ljust(padded_size(len(payload)), b"\0")
    segments = -(-len(payload) // SEGMENT_PAYLOAD)
    file_key = random(FILE_KEY_BYTES)
    salt = blake3(payload, key=file_key).digest()
    wrapped = pyrage.encrypt(file_key, [pyrage.x25519.Recipient.from_str(settings.recipient)])
    if len(wrapped) > _MAX_WRAPPED_BYTES:
        raise ValueError("the wrapped key does not fit into the pack's header")
    header = _LAYOUT.pack(
        _MAGIC, FORMAT, segments, settings.generation, settings.repository,
        settings.writer.encode(), settings.domain.encode(), salt, bytes(32), len(wrapped),
    )  # fmt: skip
    header = (header + wrapped).ljust(HEADER_BYTES, b"\0")
    segment_key, commitment = _derive_keys(file_key, salt, header)
    cipher = AESGCM(segment_key)
    # Encrypt in place: a full pack has 16 MiB, and each copy of it costs time.
    size = HEADER_BYTES + len(payload) + segments * TAG_BYTES
    data = memoryview(bytearray(size)) if into is None else into[:size]
    data[:HEADER_BYTES] = header
    data[_COMMITMENT] = commitment
    with memoryview(payload) as plain:
        for index in range(segments):
            piece = plain[index * SEGMENT_PAYLOAD : (index + 1) * SEGMENT_PAYLOAD]
            start = HEADER_BYTES + index * SEGMENT_BYTES
            target = data[start : start + len(piece) + TAG_BYTES]
            cipher.encrypt_into(_nonce(index, segments), piece, None, target)
    return SealedPack(name=hashlib.sha256(data).digest(), data=data)


def parse_header(data: bytes, where: str) -> PackHeader:
    """Parse a pack's first 4,096 bytes; `OpenPack` verifies them with a key."""
    if len(data) != HEADER_BYTES or not data.startswith(_MAGIC):
        raise Damaged(f"{where} does not start like a pack. Verify the vault")
    _, number, segments, generation, repository, writer, domain, salt, commitment, length = (
        _LAYOUT.unpack_from(data)
    )
    if number > FORMAT:
        raise FormatUnknown(f"{where} has format {number}. Use a newer version of this program")
    end = _LAYOUT.size + length
    is_valid = (
        number == FORMAT
        and 1 <= segments <= MAX_SEGMENTS
        and end <= HEADER_BYTES
        and not any(data[end:])
    )
    names = [_parse_name(field) for field in (writer, domain)]
    if not is_valid or None in names:
        raise Damaged(f"{where} has an invalid header. Verify the vault")
    return PackHeader(
        segments=segments,
        generation=generation,
        repository=repository,
        writer=str(names[0]),
        domain=str(names[1]),
        salt=salt,
        commitment=commitment,
        wrapped=data[_LAYOUT.size : end],
        data=data,
    )


class OpenPack:
    """Decrypter of one pack's segments, with a domain's private key."""

    def __init__(self, header: PackHeader, identities: list[pyrage.x25519.Identity], where: str):
        """Unwrap the file key and check the key commitment.

        Raise `WrongKey` if no private key opens the file key, and `Damaged` if the commitment does
        not match the file key and the header.
        """
        try:
            file_key = pyrage.decrypt(header.wrapped, identities)
        except pyrage.DecryptError:
            raise WrongKey(
                f"{where} does not open with this key: its wrapped key is damaged, or this is"
                " another key"
            ) from None
        if len(file_key) != FILE_KEY_BYTES:
            raise Damaged(f"{where} wraps a key of the wrong length. Verify the vault")
        uncommitted = header.data[: _COMMITMENT.start] + bytes(32) + header.data[_COMMITMENT.stop :]
        segment_key, commitment = _derive_keys(file_key, header.salt, uncommitted)
        if commitment != header.commitment:
            raise Damaged(f"{where} has a header that does not match its key. Verify the vault")
        self.header = header
        self.file_key = file_key
        self._cipher = AESGCM(segment_key)
        self._where = where

    def open_segments(
        self, first: int, data: bytes | memoryview, into: memoryview | None = None
    ) -> memoryview:
        """Decrypt whole segments, starting with number `first`.

        `data` must end at the end of a segment. The result is written to the beginning of `into`,
        which must be at least as large as `data`, or to new memory.
        """
        count = self.header.segments
        segments = -(-len(data) // SEGMENT_BYTES)
        size = max(0, len(data) - segments * TAG_BYTES)
        opened = memoryview(bytearray(size)) if into is None else into[:size]
        with memoryview(data) as sealed:
            for number in range(segments):
                segment = sealed[number * SEGMENT_BYTES : (number + 1) * SEGMENT_BYTES]
                begin = number * SEGMENT_PAYLOAD
                target = opened[begin : begin + len(segment) - TAG_BYTES]
                try:
                    self._cipher.decrypt_into(_nonce(first + number, count), segment, None, target)
                except (InvalidTag, ValueError):
                    raise Damaged(
                        f"{self._where} is damaged in segment {first + number}."
                        " Restore it from a copy"
                    ) from None
        return opened

    def open_all(self, data: bytes) -> memoryview:
        """Decrypt and verify a whole pack: tags, salt, padding and length."""
        body = data[HEADER_BYTES:]
        if -(-len(body) // SEGMENT_BYTES) != self.header.segments:
            raise Damaged(f"{self._where} is shorter or longer than its header says")
        payload = self.open_segments(0, body)
        if blake3(payload, key=self.file_key).digest() != self.header.salt:
            raise Damaged(f"{self._where} has a payload that does not match its salt")
        if padded_size(len(payload)) != len(payload):
            raise Damaged(f"{self._where} has an invalid size: its padding is wrong")
        return payload


def _derive_keys(file_key: bytes, salt: bytes, header: bytes) -> tuple[bytes, bytes]:
    """Return the segment key and the commitment."""
    info = _CONTEXT + header
    derived = HKDF(algorithm=SHA256(), length=64, salt=salt, info=info).derive(file_key)
    return derived[:32], derived[32:]


def _nonce(index: int, count: int) -> bytes:
    return index.to_bytes(11, "big") + (b"\1" if index == count - 1 else b"\0")


def _parse_name(field: bytes) -> str | None:
    # Accept only zero bytes after the name. If other bytes were ignored, two different headers
    # could contain the same name. A zero byte within the name does not match NAME.
    text = field.rstrip(b"\0").decode("ascii", "replace")
    return text if NAME.fullmatch(text) else None
