"""File of collected records, hashed while it is written.

    with CollectedFile(files, "/sign-ins.jsonl") as records:
        records.write(b"...")
        return records.item()

Rules
- The bytes are written as they were received; nothing is parsed.
- A failure to write is `StorageError`.
"""

import os
from typing import Self

from standfast.evidence.item_file import ItemFolder, ItemWriter
from standfast.evidence.manifest import Item, Kind
from standfast.evidence.private_files import make_private
from standfast.evidence.tree_copy import storing

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class CollectedFile:
    """One new file below the folder `files`; `path` is the path of its item."""

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
        """Synchronise the file and return its item.

        `missing` states which part could not be collected, and why. If nothing was collected, the
        file is removed, and the item has the kind UNREAD.
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
    """Return the item of a file of which nothing could be collected."""
    return Item(path=path, kind=Kind.UNREAD, reason=reason)
