"""Selecting paths of a recovery point by patterns.

- A pattern is matched against the whole path `<source>/<path>`: `*`, `?` and `[…]` as in a shell,
  but `*` crosses slashes.  Selecting a folder selects everything below it.  No pattern selects
  everything.
- Pages that cannot hold a selected path, or a folder above one, are not read.
- Entries must be asked about in path order.
"""

import fnmatch
import os
import re
from collections.abc import Iterator, Sequence

from backup.format.manifest import path_key

_WILD = re.compile(r"[*?\[]")


class Selection:
    """Which entries a caller wants; remembers which patterns matched something."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._patterns = {
            pattern: re.compile(fnmatch.translate(pattern.strip("/"))) for pattern in patterns
        }
        self._literals = [os.fsencode(_literal_folder(p.strip("/"))) for p in patterns]
        self._inside: bytes | None = None
        self._matched: set[str] = set()

    def takes(self, path: bytes) -> bool:
        """Whether a path is selected, by itself or by a folder above it."""
        if not self._patterns:
            return True
        is_inside = self._inside is not None and path.startswith(self._inside + b"/")
        asked = self.unmatched() if is_inside else list(self._patterns)
        text = os.fsdecode(path) if asked else ""
        matched = [pattern for pattern in asked if self._patterns[pattern].match(text)]
        self._matched.update(matched)
        if matched and not is_inside:
            self._inside = path
        return is_inside or bool(matched)

    def would_take(self, path: bytes) -> bool:
        """The same for a path out of order; remembers nothing."""
        texts = [os.fsdecode(part) for part in (*_above(path), path)]
        return not self._patterns or any(
            rule.match(text) for text in texts for rule in self._patterns.values()
        )

    def may_lie_between(self, first: bytes, last: bytes) -> bool:
        """Whether a page from `first` to `last` may hold a selected path or a folder above one."""
        if not self._literals:
            return True
        low, high = path_key(first), path_key(last)
        for literal in self._literals:
            key = path_key(literal)
            # What lies below a folder sorts right behind it: its key goes on with a zero byte.
            if not literal or (key <= high and low < key + b"\1"):
                return True
            if any(low <= path_key(above) <= high for above in _above(literal)):
                return True
        return False

    def unmatched(self) -> list[str]:
        """Patterns that selected nothing so far."""
        return [pattern for pattern in self._patterns if pattern not in self._matched]


def _literal_folder(pattern: str) -> str:
    """The part of a pattern that every match begins with: a whole path, or whole folders of it."""
    found = _WILD.search(pattern)
    return pattern if found is None else pattern[: found.start()].rpartition("/")[0]


def _above(path: bytes) -> Iterator[bytes]:
    for at, byte in enumerate(path):
        if byte == ord("/"):
            yield path[:at]
