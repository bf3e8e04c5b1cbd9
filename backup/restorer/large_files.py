"""Large files, of 64 MiB or more: restored in pieces by all workers.

- The worker processes of a restore write files in path order. A worker that reaches a large file
  creates it, empty and with mode 0600, and reserves disk space. After all other files, the workers
  write the pieces of the large files. Then the attributes of these files are set.
- Each piece is written at its own offset. For each piece, the file is opened again, without
  following symbolic links.
- If a piece cannot be restored, the whole file is removed.
- An interrupted restore may leave gaps in a large file. The resumed restore does not cut the file
  into pieces: one worker compares each blob, and writes the blobs that differ.
"""

import ctypes
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from backup.format.manifest import BlobRef, Entry
from backup.restorer.safe_paths import open_folder

SPLIT_BYTES = 64 * 1024 * 1024
PIECE_BYTES = 16 * 1024 * 1024  # small, so that all workers end at about the same time

_FLAGS = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_KEEP_SIZE = 1  # from linux/falloc.h


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """Part of a file: consecutive blobs from an offset."""

    entry: Entry  # without its references to blobs
    start: int
    refs: list[BlobRef]

    @property
    def end(self) -> int:
        """Offset in the file at which the piece ends."""
        return self.start + sum(ref.length for ref in self.refs)

    def __reduce__(self) -> tuple[object, ...]:
        # Pickle plain tuples: named tuples take seven times as long.
        return _piece, (self.entry, self.start, [tuple(ref) for ref in self.refs])


def _piece(entry: Entry, start: int, refs: Iterable[tuple[Any, ...]]) -> Piece:
    return Piece(entry=entry, start=start, refs=[*map(BlobRef._make, refs)])


def is_split(entry: Entry) -> bool:
    """Return whether a file is restored in pieces: it is large, without holes."""
    return entry.size >= SPLIT_BYTES and not entry.holes


def pieces_of(entry: Entry, refs: Iterator[BlobRef]) -> Iterator[Piece]:
    """Cut a file's references to blobs into pieces.

    The caller compares the total length of the pieces with the size of the file.
    """
    bare = replace(entry, blobs=(), lists=())
    start = end = 0
    taken: list[BlobRef] = []
    for ref in refs:
        taken.append(ref)
        end += ref.length
        if end - start >= PIECE_BYTES:
            yield Piece(entry=bare, start=start, refs=taken)
            start, taken = end, []
    if taken:
        yield Piece(entry=bare, start=start, refs=taken)


def reserve_space(descriptor: int, size_bytes: int) -> None:
    """Reserve blocks for a file where possible; its size does not change.

    Without a reservation, the file system searches for blocks at each write, which takes a quarter
    of the time of writing. A size of more than half of the free space is not reserved, because it
    may be false: a compromised backup host can state any size. If the disk has too few free blocks,
    ext4 occupies all of them before the reservation fails, and other programs find the disk full.
    """
    disk = os.fstatvfs(descriptor)
    if size_bytes > disk.f_bavail * disk.f_frsize // 2:
        return
    with suppress(AttributeError):  # a C library without this function
        fallocate = ctypes.CDLL(None).fallocate64
        fallocate(descriptor, _KEEP_SIZE, ctypes.c_int64(0), ctypes.c_int64(size_bytes))


@contextmanager
def reopen_file(root: int, entry: Entry) -> Iterator[int]:
    """Open a file that a worker created; raise `OSError` if it is a link now."""
    with open_folder(root, entry.path) as (folder, name):
        descriptor = os.open(name, _FLAGS, dir_fd=folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
