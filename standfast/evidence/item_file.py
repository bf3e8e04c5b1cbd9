"""Stored files of items of a sealed folder: writing, verified reading.

    with open_item(folder, item, key) as content:
        for line in content: ...

An item is one collected file; the signed manifest of its folder contains the hash of the item.

Rules
- All code that reads collected content uses `open_item`. Time stamps, copies and verifications need
  only the stored bytes, which may be encrypted.
- The content is hashed while it is read. If it differs from the manifest, the read that reaches the
  end of the file raises `Damaged`. Therefore a reader must not use the content before the end.
- If there is a data key, content is encrypted before it is written. No plain text is on the disk.
- No link is followed, and no device or pipe is opened.
"""

import hashlib
import io
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypedDict

from standfast.errors import Damaged, Refused
from standfast.evidence.item_encryption import ItemDecryption, ItemEncryption
from standfast.evidence.manifest import Item

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

FILES_FOLDER = "files"
KEY_FILE = "key.age"  # written by `wrapped_key`
BLOCK = 1024 * 1024
_CHANGED = "its content is not what was collected"
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, kw_only=True)
class ItemFolder:
    """The folder `files` during a collection, and its data key, if any."""

    path: Path
    key: bytes | None = field(default=None, repr=False)

    def place(self, path: str) -> Path:
        """Return the file for the copy of the item with this path."""
        return self.path / path.lstrip("/")


class Digests(TypedDict, total=False):
    """Sizes and hashes of an item: of its content, and of its stored bytes."""

    size_bytes: int
    sha256: str
    sealed_size_bytes: int
    sealed_sha256: str


class ItemWriter:
    """Writer of one item, which hashes its content and may encrypt it.

    `put` is called with the bytes to store.
    """

    def __init__(self, put: Callable[[bytes], object], key: bytes | None) -> None:
        self.size_bytes, self._hashed = 0, hashlib.sha256()
        self._put, self._sealed_bytes, self._sealed_hash = put, 0, hashlib.sha256()
        self._encryption = None
        if key is not None:
            self._encryption = ItemEncryption(key, self._put_sealed)

    def write(self, block: bytes) -> None:
        """Append a block."""
        self._hashed.update(block)
        self.size_bytes += len(block)
        if self._encryption is None:
            self._put(block)
        else:
            self._encryption.write(block)

    def finish(self) -> Digests:
        """Write the pending bytes, and return sizes and hashes."""
        found = Digests(size_bytes=self.size_bytes, sha256=self._hashed.hexdigest())
        if self._encryption is not None:
            self._encryption.finish()
            found["sealed_size_bytes"] = self._sealed_bytes
            found["sealed_sha256"] = self._sealed_hash.hexdigest()
        return found

    def _put_sealed(self, block: bytes) -> None:
        self._sealed_hash.update(block)
        self._sealed_bytes += len(block)
        self._put(block)


def open_item(folder: Path, item: Item, key: bytes | None = None) -> BinaryIO:
    """Open the content of an item of kind FILE in a sealed folder.

    `key` is the data key of the folder if its items are encrypted. Raise Damaged if the file
    differs from the manifest, in this call or in the read that reaches the end. The message of
    Damaged is the cause, without the name of the item. Raise Refused if the item is encrypted and
    there is no key, and OSError if a read fails.
    """
    if item.sealed_sha256 and key is None:
        raise Refused("evidence: encrypted to its custodians. Open it with `evidence open`")
    stored = _open_stored(folder, item)
    content: io.RawIOBase = stored
    if item.sealed_sha256 and key is not None:
        content = _Decrypted(key, stored, item.sealed_size_bytes)
    return io.BufferedReader(_Verified(item, content), BLOCK)


def stored_problem(folder: Path, item: Item) -> str:
    """Return how the stored bytes of a FILE item differ from the manifest.

    Return "" if they do not differ. No key is needed. Raise OSError if they cannot be read.
    """
    try:
        with _open_stored(folder, item) as stored:
            is_same = hashlib.file_digest(stored, "sha256").hexdigest() == item.stored_sha256
    except Damaged as damage:
        return str(damage)
    return "" if is_same else _CHANGED


def _open_stored(folder: Path, item: Item) -> io.FileIO:
    """Open the stored bytes of an item; Damaged if size or kind differs."""
    if ".." in item.location.split("/"):
        raise Damaged("its path leads out of the evidence")
    path = folder / FILES_FOLDER / item.location
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise Damaged("is not a file any more")
        stream = io.FileIO(os.open(path, _OPEN))
    except (FileNotFoundError, NotADirectoryError):
        raise Damaged("is missing") from None
    except OSError as error:
        raise Damaged(f"cannot be read: {error.strerror}") from error
    size = os.fstat(stream.fileno()).st_size
    if size != item.stored_size_bytes:
        stream.close()
        raise Damaged(f"has {size} bytes instead of {item.stored_size_bytes}")
    return stream


class _Decrypted(io.RawIOBase):
    """Content of an encrypted item, in memory for one segment at a time."""

    def __init__(self, key: bytes, stored: io.FileIO, size_bytes: int) -> None:
        self._stored, self._left = stored, memoryview(b"")
        self._decryption = ItemDecryption(key, io.BufferedReader(stored, BLOCK), size_bytes)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        self._left = self._left or memoryview(self._decryption.next_segment())
        target = memoryview(buffer)
        count = min(len(target), len(self._left))
        target[:count] = self._left[:count]
        self._left = self._left[count:]
        return count

    def close(self) -> None:
        self._stored.close()
        super().close()


class _Verified(io.RawIOBase):
    """Content of an item, with a comparison of the hash at its end."""

    def __init__(self, item: Item, content: io.RawIOBase) -> None:
        self._item, self._content = item, content
        self._hashed = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        count = self._content.readinto(buffer) or 0
        self._hashed.update(memoryview(buffer)[:count])
        if not count and self._hashed.hexdigest() != self._item.sha256:
            raise Damaged(_CHANGED)
        return count

    def close(self) -> None:
        self._content.close()
        super().close()
