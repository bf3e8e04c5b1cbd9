"""Extents of a sparse file: the parts between its holes, in order."""

import errno
from collections.abc import Iterator

from backup.format.manifest import Entry


class Extents:
    """Parts of a file between its holes that are not written yet, in order."""

    def __init__(self, entry: Entry) -> None:
        self._left: list[tuple[int, int]] = []  # (start, length)
        position = 0
        for start, length in (*entry.holes, (entry.size, 0)):
            if start > position:
                self._left.append((position, start - position))
            position = start + length
        self._left.reverse()

    @property
    def is_filled(self) -> bool:
        """Return whether all parts have their content."""
        return not self._left

    def take(self, length: int) -> Iterator[tuple[int, int]]:
        """Yield (start, length) of the parts for the next `length` bytes.

        Raise `OSError` if the file has fewer bytes left.
        """
        while length:
            if not self._left:
                raise OSError(errno.EFBIG, "has more content than its size says")
            start, room = self._left.pop()
            count = min(room, length)
            if count < room:
                self._left.append((start + count, room - count))
            length -= count
            yield start, count
