"""Large files, brought back in pieces by all lanes at once.

- A lane that comes to a large file only makes it, empty and private, so that its folder is done;
  when every stretch is done, its content is handed out in pieces, and then it gets its attributes.
- A piece is written at its own place, and a path is opened step by step each time, as ever.
- The first piece that cannot be brought back costs the file.
- A restore that is cut off leaves a private file with gaps; the next one proves each piece of it,
  in one lane.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from backup.format.manifest import BlobRef, Entry
from backup.restorer.safe_paths import open_folder

SPLIT_BYTES = 64 * 1024 * 1024
_PIECE_BYTES = 16 * 1024 * 1024  # little, so that all lanes end at about the same time

_FLAGS = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """A part of a file: from an offset on, these blobs one after the other."""

    entry: Entry  # without its references
    start: int
    refs: list[BlobRef]

    @property
    def end(self) -> int:
        """Where it ends in the file."""
        return self.start + sum(ref.length for ref in self.refs)

    def __reduce__(self) -> tuple[object, ...]:
        # To a lane it goes with plain tuples: named ones take seven times as long.
        return _piece, (self.entry, self.start, [tuple(ref) for ref in self.refs])


def _piece(entry: Entry, start: int, refs: Iterable[tuple[Any, ...]]) -> Piece:
    return Piece(entry=entry, start=start, refs=[*map(BlobRef._make, refs)])


def is_split(entry: Entry) -> bool:
    """Whether a file is brought back in pieces; one with holes is not."""
    return entry.size >= SPLIT_BYTES and not entry.holes


def pieces_of(entry: Entry, refs: Iterator[BlobRef]) -> Iterator[Piece]:
    """Cut a file's references; what they do not come to, or go beyond, is for who writes them."""
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
def opened_again(root: int, entry: Entry) -> Iterator[int]:
    """Open a file that a lane made; `OSError` when it is not there as it was made."""
    with open_folder(root, entry.path) as (folder, name):
        descriptor = os.open(name, _FLAGS, dir_fd=folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
