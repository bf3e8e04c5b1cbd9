"""What a walk of files is likely to meet: paths of the last run in order, and their stat vectors.

- Names that stand in a folder as they are expected are looked at in one go, some hundred at a time:
  in a night without news that is most of the walk.
- Only a file that is wholly as expected is told so here; everything else is for who looks at it
  alone.  A folder has to be gone into, and not every file system gives one a size or a second name.
"""

import os
from collections.abc import Callable, Sequence
from operator import and_, attrgetter, eq
from stat import S_ISREG
from typing import Any

from backup.format.manifest import path_key
from backup.sources.files.file_status import Vector, vector_of_file
from backup.sources.files.metadata_prefetch import PrefetchedFolder

_names_of_file: Callable[[Any], int] = attrgetter("st_nlink")
_mode_of: Callable[[Any], int] = attrgetter("st_mode")
_AT_ONCE = 256


class Expected:
    """Paths in order, each with its vector, or None where it must be looked at in any case."""

    def __init__(self, paths: Sequence[bytes], vectors: Sequence[Vector | None]) -> None:
        """The walk stands at the first of them."""
        self.vectors = vectors
        self._paths = paths
        self.next = min(1, len(paths))  # the number of the one that is to come

    def __len__(self) -> int:
        return len(self._paths)

    def number_of(self, path: bytes) -> int | None:
        """The number of a path, if it is there; the next one is looked for behind it."""
        number, paths = self.next, self._paths
        while number < len(paths):
            if path == paths[number]:
                self.next = number + 1
                return number
            if path_key(path) < path_key(paths[number]):
                return None
            number = self.next = number + 1  # that one is gone
        return None

    def are_next(
        self,
        folder: int,
        prefix: bytes,
        names: Sequence[bytes],
        at: int,
        surveyed: PrefetchedFolder | None = None,
    ) -> bytes:
        """Which of an open folder's names from `at` on are as expected, as far as they come next.

        A 1 for each that is, and a 0 for one that somebody has to look at; the first has the number
        `next`. Empty when another path would come next. With `surveyed` nobody looks at them again.
        """
        first, paths = self.next, self._paths
        if first == len(paths) or prefix + names[at] != paths[first]:
            return b""
        found = [prefix + name for name in names[at : at + _AT_ONCE]]
        known = paths[first : first + len(found)]
        count = len(found)
        if found != known:
            pairs = zip(found, known, strict=False)
            count = next((at for at, (a, b) in enumerate(pairs) if a != b), len(known))
        if count == 1:  # most are folders, whose content comes next
            return bytes(1)
        expected = self.vectors[first : first + count]
        if surveyed is not None:
            are_same = map(eq, surveyed.vectors[at : at + count], expected)
            return bytes(map(and_, are_same, surveyed.are_plain[at : at + count]))
        try:
            statuses = [
                os.stat(name, dir_fd=folder, follow_symlinks=False)
                for name in names[at : at + count]
            ]
        except OSError:  # whoever looks at it alone says what ails it
            return bytes(count)
        if max(map(_names_of_file, statuses)) > 1:
            return bytes(count)
        are_same = map(eq, map(vector_of_file, statuses), expected)
        return bytes(map(and_, are_same, map(S_ISREG, map(_mode_of, statuses))))
