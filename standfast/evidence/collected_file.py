"""File of collected records, hashed while it is written.

    with CollectedFile(files, "/sign-ins.jsonl") as records:
        records.write(b"...")
        return records.item()

An item is the entry of a file in the manifest of the evidence.

Rules
- The bytes are written as they were received. Nothing is parsed.
- A failure to write raises `StorageError`.
"""

import os
from typing import Self

from standfast.evidence.item_file import ItemFolder, ItemWriter
from standfast.evidence.manifest import Item, Kind
from standfast.evidence.private_files import make_private
from standfast.evidence.tree_copy import storing

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class CollectedFile:
    """One new file of evidence; `path` is its path in the manifest."""

    def __init__(self, files: ItemFolder, path: str) -> None:
        self._path = path
        self._place = files.place(path)
        with storing():
            make_private(self._place.parent)
            self._stream = os.fdopen(os.open(self._place, _NEW, 0o600), "wb")
            self._writer = ItemWriter(self._stream.write, files.key)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with storing():
            self._stream.close()

    @property
    def size_bytes(self) -> int:
        """Return the number of bytes that were collected so far."""
        return self._writer.size_bytes

    def write(self, block: bytes) -> None:
        """Append a block."""
        with storing():
            self._writer.write(block)

    def item(self, missing: str = "") -> Item:
        """Write the file to the disk, and return its item.

        `missing` states which part could not be collected, and the reason. If nothing was
        collected, the file is removed, and the item has the kind UNREAD.
        """
        if missing and not self.size_bytes:
            with storing():
                self._place.unlink()
            return unread(self._path, missing)
        with storing():
            digests = self._writer.finish()
            self._stream.flush()
            os.fsync(self._stream.fileno())
        return Item(path=self._path, kind=Kind.FILE, reason=missing, **digests)


def unread(path: str, reason: str) -> Item:
    """Return the item of a file if nothing of it could be collected."""
    return Item(path=path, kind=Kind.UNREAD, reason=reason)
