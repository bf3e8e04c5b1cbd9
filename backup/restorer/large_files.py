"""Large files: restored in pieces by all workers.

- A worker that reaches a large file only creates it, empty and with mode 0600. After all units, the
  workers write the pieces of the file. Then the file gets its attributes.
- Each piece is written at its own offset, and the path is opened again step by step.
- If a piece cannot be restored, the whole file is removed.
- An interrupted restore leaves a file with gaps. The next restore compares each piece of it, in one
  worker.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from backup.format.manifest import BlobRef, Entry
from backup.restorer.safe_paths import open_folder

SPLIT_BYTES = 64 * 1024 * 1024
_PIECE_BYTES = 16 * 1024 * 1024  # small, so that all workers end at about the same time

_FLAGS = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """Part of a file: blobs one after the other from an offset."""

    entry: Entry  # without its references
    start: int
    refs: list[BlobRef]

    @property
    def end(self) -> int:
        """Offset in the file at which the piece ends."""
        return self.start + sum(ref.length for ref in self.refs)

    def __reduce__(self) -> tuple[object, ...]:
        # Pickle plain tuples: named ones take seven times as long.
        return _piece, (self.entry, self.start, [tuple(ref) for ref in self.refs])


def _piece(entry: Entry, start: int, refs: Iterable[tuple[Any, ...]]) -> Piece:
    return Piece(entry=entry, start=start, refs=[*map(BlobRef._make, refs)])


def is_split(entry: Entry) -> bool:
    """Return whether a file is restored in pieces; one with holes is not."""
    return entry.size >= SPLIT_BYTES and not entry.holes


def pieces_of(entry: Entry, refs: Iterator[BlobRef]) -> Iterator[Piece]:
    """Cut a file's references into pieces.

    The caller compares the sum of the pieces with the size of the file.
    """
    bare = replace(entry, blobs=(), lists=())
    start = end = 0
    taken: list[BlobRef] = []
    for ref in refs:
        taken.append(ref)
        end += ref.length
        if end - start >= _PIECE_BYTES:
            yield Piece(entry=bare, start=start, refs=taken)
            start, taken = end, []
    if taken:
        yield Piece(entry=bare, start=start, refs=taken)


@contextmanager
def reopen_file(root: int, entry: Entry) -> Iterator[int]:
    """Open a file that a worker created; `OSError` if it became a link."""
    with open_folder(root, entry.path) as (folder, name):
        descriptor = os.open(name, _FLAGS, dir_fd=folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
