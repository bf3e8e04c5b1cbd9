"""Stored file of one item of a sealed folder, and its verified reading.

    with open_item(folder, item, key) as content:
        for line in content: ...

Rules
- Every reader of collected content uses `open_item`. Time stamps, copies and verifications read
  only the stored bytes.
- The content is verified while it is read. If it differs from the manifest, the read that reaches
  the end raises `Damaged`: until then, the bytes may be an intruder's.
- No link is followed, and no device or pipe is opened.
"""

import hashlib
import io
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from standfast.errors import Damaged
from standfast.evidence.manifest import Item

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

FILES_FOLDER = "files"
BLOCK = 1024 * 1024
_CHANGED = "its content is not what was collected"
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def open_item(folder: Path, item: Item, key: bytes | None = None) -> BinaryIO:
    """Open the content of a FILE item of the sealed folder `folder`.

    `key` is the data key of the folder if its items are encrypted. Raise Damaged if the file is not
    what was sealed, here or in the read that reaches its end, with the cause as its message, which
    does not name the item; OSError if a read fails.
    """
    return io.BufferedReader(_VerifiedContent(item, _open_stored(folder, item)), BLOCK)


def stored_problem(folder: Path, item: Item) -> str:
    """Return how the stored bytes of a FILE item differ from the manifest.

    No key is needed. "" means that they are the same; OSError that they cannot be read.
    """
    try:
        with _open_stored(folder, item) as stored:
            is_same = hashlib.file_digest(stored, "sha256").hexdigest() == item.sha256
    except Damaged as damage:
        return str(damage)
    return "" if is_same else _CHANGED


def _open_stored(folder: Path, item: Item) -> io.FileIO:
    """Open the stored bytes of an item; Damaged if they cannot be its own."""
    if ".." in item.location.split("/"):
        raise Damaged("its path leads out of the evidence")
    path = folder / FILES_FOLDER / item.location
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise Damaged("is no file any more")
        stream = io.FileIO(os.open(path, _OPEN))
    except (FileNotFoundError, NotADirectoryError):
        raise Damaged("is missing") from None
    except OSError as error:
        raise Damaged(f"cannot be read: {error.strerror}") from error
    size = os.fstat(stream.fileno()).st_size
    if size != item.size_bytes:
        stream.close()
        raise Damaged(f"has {size} bytes instead of {item.size_bytes}")
    return stream


class _VerifiedContent(io.RawIOBase):
    """Content of an item; it is compared with the manifest at its end."""

    def __init__(self, item: Item, stored: io.FileIO) -> None:
        self._item, self._stored = item, stored
        self._hashed = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        count = self._stored.readinto(buffer) or 0
        self._hashed.update(memoryview(buffer)[:count])
        if not count and self._hashed.hexdigest() != self._item.sha256:
            raise Damaged(_CHANGED)
        return count

    def close(self) -> None:
        self._stored.close()
        super().close()
