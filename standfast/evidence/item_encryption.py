"""Encryption of items with the data key of their folder, in segments.

    writer = ItemEncryption(key := new_key(), stream.write)
    writer.write(b"..."); writer.finish()

An item is one collected file of an evidence folder. All items of a folder have the same data key.

Rules
- An encrypted item consists of `sf-item1`, a salt of 32 bytes, and segments of 1 MiB. The last
  segment may be shorter or empty.
- Each segment is encrypted with AES-256-GCM. The nonce is the number of the segment in 11 bytes,
  and one byte: 1 for the last segment, otherwise 0. Therefore decryption detects a segment that was
  moved, repeated or cut off.
- The key of an item is derived from the data key and the salt with HKDF-SHA-256.
- The plain data key is only in memory, while a folder is collected or read. On the disk, the data
  key is always encrypted (`wrapped_key`). Nobody can read the items without the data key.
"""

import os
from collections.abc import Callable
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from standfast.errors import Damaged

SEGMENT_BYTES = 1024 * 1024
TAG_BYTES = 16
_MAGIC = b"sf-item1"
_SALT_BYTES = 32
_HEADER_BYTES = len(_MAGIC) + _SALT_BYTES
_CONTEXT = b"standfast-evidence item"


def new_key() -> bytes:
    """Return a random data key for one folder."""
    return os.urandom(32)


class ItemEncryption:
    """Encryption of one item; `put` is called with the bytes to store."""

    def __init__(self, key: bytes, put: Callable[[bytes], object]) -> None:
        salt = os.urandom(_SALT_BYTES)
        self._cipher, self._put = _cipher(key, salt), put
        self._number, self._pending = 0, bytearray()
        put(_MAGIC + salt)

    def write(self, block: bytes) -> None:
        """Encrypt all complete segments; keep the other bytes until `finish`."""
        self._pending += block
        while len(self._pending) > SEGMENT_BYTES:
            self._segment(bytes(self._pending[:SEGMENT_BYTES]), is_last=False)
            del self._pending[:SEGMENT_BYTES]

    def finish(self) -> None:
        """Write the last segment."""
        self._segment(bytes(self._pending), is_last=True)
        self._pending.clear()

    def _segment(self, plain: bytes, *, is_last: bool) -> None:
        self._put(self._cipher.encrypt(_nonce(self._number, is_last=is_last), plain, None))
        self._number += 1


class ItemDecryption:
    """Decryption of one item of `size_bytes` stored bytes, by segments."""

    def __init__(self, key: bytes, stored: BinaryIO, size_bytes: int) -> None:
        header = stored.read(_HEADER_BYTES)
        if not header.startswith(_MAGIC):
            raise Damaged("is not an encrypted item")
        self._cipher = _cipher(key, header[len(_MAGIC) :])
        self._stored, self._left, self._number = stored, size_bytes - _HEADER_BYTES, 0

    def next_segment(self) -> bytes:
        """Return the content of the next segment, or b"" at the end."""
        if self._left <= 0:
            return b""
        sealed = self._stored.read(min(self._left, SEGMENT_BYTES + TAG_BYTES))
        self._left -= len(sealed)
        nonce = _nonce(self._number, is_last=self._left == 0)
        self._number += 1
        try:
            return self._cipher.decrypt(nonce, sealed, None)
        except InvalidTag:
            raise Damaged("cannot be decrypted: it was changed or cut off") from None


def _cipher(key: bytes, salt: bytes) -> AESGCM:
    derived = HKDF(algorithm=SHA256(), length=32, salt=salt, info=_CONTEXT).derive(key)
    return AESGCM(derived)


def _nonce(number: int, *, is_last: bool) -> bytes:
    return number.to_bytes(11) + bytes([is_last])
