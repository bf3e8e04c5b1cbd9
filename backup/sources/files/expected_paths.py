"""Expected paths of a walk: those of the last run, with stat vectors.

- Names that a folder contains as expected are examined several hundred at a time: without changes,
  that is most of the walk.
- Only a file that fully matches is reported here; the walk examines everything else one by one. A
  folder must be entered, and not every file system reports a size or a second name for it.
"""

import os
from collections.abc import Callable, Sequence
from operator import and_, attrgetter, eq
from stat import S_ISREG
from typing import Any

from backup.format.manifest import path_key
from backup.sources.files.file_status import Vector, vector_of_file

_link_count: Callable[[Any], int] = attrgetter("st_nlink")
_mode: Callable[[Any], int] = attrgetter("st_mode")
_AT_ONCE = 256


class Expected:
    """Ordered paths with their vectors; None means: always examine."""

    def __init__(self, paths: Sequence[bytes], vectors: Sequence[Vector | None]) -> None:
        """Start at the first path."""
        self.vectors = vectors
        self._paths = paths
        self.next = min(1, len(paths))  # number of the path to come

    def __len__(self) -> int:
        return len(self._paths)

    def find(self, path: bytes) -> int | None:
        """Return the number of a path, or None; continue after it."""
        number, paths = self.next, self._paths
        while number < len(paths):
            if path == paths[number]:
                self.next = number + 1
                return number
            if path_key(path) < path_key(paths[number]):
                return None
            number = self.next = number + 1  # that path is gone
        return None

    def compare_next(self, folder: int, prefix: bytes, names: Sequence[bytes], start: int) -> bytes:
        """Compare the next names of a folder with the expected paths.

        Return one byte per name: 1 if it is a file as expected, 0 if the walk must examine it. The
        first has the number `next`. Return nothing if another path comes next.
        """
        first, paths = self.next, self._paths
        if first == len(paths) or prefix + names[start] != paths[first]:
            return b""
        listed = [prefix + name for name in names[start : start + _AT_ONCE]]
        known = paths[first : first + len(listed)]
        count = len(listed)
        if listed != known:
            pairs = zip(listed, known, strict=False)
            count = next((i for i, (a, b) in enumerate(pairs) if a != b), len(known))
        if count == 1:  # mostly a folder, whose content comes next
            return bytes(1)
        expected = self.vectors[first : first + count]
        try:
            statuses = [
                os.stat(name, dir_fd=folder, follow_symlinks=False)
                for name in names[start : start + count]
            ]
        except OSError:  # the walk examines each alone and reports the error
            return bytes(count)
        if max(map(_link_count, statuses)) > 1:
            return bytes(count)
        are_same = map(eq, map(vector_of_file, statuses), expected)
        return bytes(map(and_, are_same, map(S_ISREG, map(_mode, statuses))))
