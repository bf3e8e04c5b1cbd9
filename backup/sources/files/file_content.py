"""Content of an open file: holes, and changes while it is read.

The file is read up to the size that it had when it was opened. If it changes while it is read,
`changed` returns how.
"""

import errno
import os
from contextlib import suppress

REPLACED_BEFORE = "was replaced by another file before it was read"
MOST_HOLES = 4096


class FileContent:
    """Content of an open file; see `backup.sources.Content`."""

    def __init__(
        self, descriptor: int, opened: os.stat_result, *, is_replaced: bool = False
    ) -> None:
        self.descriptor = descriptor
        self.opened = opened
        self.is_replaced = is_replaced
        self.size = opened.st_size
        self.holes = _holes(descriptor, opened)
        self._extents = _extents(self.size, self.holes)
        self._is_short = False

    def readinto(self, buffer: memoryview) -> int:
        if not self._extents:
            return 0
        start, length = self._extents[0]
        count = os.preadv(self.descriptor, [buffer[:length]], start)
        if count == 0:
            # The file became shorter and ends here now.
            self._is_short = True
            self._extents.clear()
            self.size = start
            self.holes = tuple(hole for hole in self.holes if sum(hole) <= start)
            return 0
        self._extents[0] = (start + count, length - count)
        if length == count:
            del self._extents[0]
        return count

    def changed(self) -> str | None:
        if self._is_short:
            return "became shorter while it was read"
        if self.is_replaced:
            return REPLACED_BEFORE
        return describe_change(self.descriptor, self.opened)


def describe_change(descriptor: int, before: os.stat_result) -> str | None:
    """Return how an open file changed since it was opened, or None."""
    now = os.fstat(descriptor)
    if (now.st_size, now.st_mtime_ns, now.st_ctime_ns) != (
        before.st_size,
        before.st_mtime_ns,
        before.st_ctime_ns,
    ):
        return "changed while it was read"
    return None


def _holes(descriptor: int, status: os.stat_result) -> tuple[tuple[int, int], ...]:
    if status.st_blocks * 512 >= status.st_size:
        return ()
    holes = []
    position = 0
    with suppress(OSError):  # a file system without SEEK_DATA reports no holes
        while position < status.st_size:
            try:
                data = os.lseek(descriptor, position, os.SEEK_DATA)
            except OSError as error:
                if error.errno != errno.ENXIO:  # ENXIO: no data from here to the end
                    raise
                data = status.st_size
            data = min(data, status.st_size)
            if data > position:
                holes.append((position, data - position))
            if data >= status.st_size:
                break
            position = os.lseek(descriptor, data, os.SEEK_HOLE)
    # If a file has very many holes, only the largest are kept. The others are stored as zeros.
    holes = sorted(holes, key=lambda hole: -hole[1])[:MOST_HOLES]
    return tuple(sorted(holes))


def _extents(size: int, holes: tuple[tuple[int, int], ...]) -> list[tuple[int, int]]:
    extents = []
    position = 0
    for start, length in (*holes, (size, 0)):
        if start > position:
            extents.append((position, start - position))
        position = start + length
    return extents
