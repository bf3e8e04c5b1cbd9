"""Chunks: where the content of a file is cut, so that an edit changes few of them.

- Cutting is content-defined (FastCDC); it is for deduplication only, hiding sizes is the pack's
  job.
- A chunk is never larger than 4 times its average, and at most 4 MiB: so it fits into a window.
- A chunk of a dump has a frame of its own: of each night's frames later nights need a few, and who
  restores would unpack what lies between them. In other files it shares one, if it is small.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from backup.format.frame import Effort
from backup.sources.chunk_sizes import EDITED_CHUNK_BYTES, MAX_CHUNK_BYTES, MEDIA_CHUNK_BYTES

if TYPE_CHECKING:
    from pyfastcdc import FastCDC

_LEAST_SHARE = 4  # of an average: the smallest chunk, but for a file's last
WINDOW_BYTES = MAX_CHUNK_BYTES
_LEAST_WINDOW_BYTES = 1024 * 1024


class Reader(Protocol):
    """What content is read from."""

    size: int  # as far as it is known

    def readinto(self, buffer: memoryview) -> int: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Packing:
    """How blobs that compress are packed."""

    effort: Effort
    shares_below_bytes: int  # a smaller blob shares its frame with its neighbours


AS_USUAL = Packing(effort=Effort.USUAL, shares_below_bytes=256 * 1024)
_EDITED = Packing(effort=Effort.DUMP, shares_below_bytes=EDITED_CHUNK_BYTES // _LEAST_SHARE)


def packing_for(average: int) -> Packing:
    """How to pack content of this chunk size."""
    return _EDITED if average == EDITED_CHUNK_BYTES else AS_USUAL


def windows(
    content: Reader, average: int, window_of: Callable[[int], memoryview]
) -> Iterator[tuple[memoryview, list[int]]]:
    """Read content into windows; gives each, cut off behind its last chunk, with its chunks' ends.

    `window_of` gives memory of so many bytes; the last one is not looked at any more then.
    """
    cutter = None if average == MEDIA_CHUNK_BYTES else _cutter(average)
    rest = memoryview(b"")
    position = 0
    while True:
        expected = max(content.size - position, _LEAST_WINDOW_BYTES)
        window = window_of(min(WINDOW_BYTES, len(rest) + expected + 1))
        window[: len(rest)] = rest
        filled = len(rest)
        while filled < len(window) and (count := content.readinto(window[filled:])):
            filled += count
            position += count
        is_end = filled < len(window)
        if cutter is None:
            ends = [filled] if filled else []
        else:
            ends = [chunk.offset + chunk.length for chunk in cutter.cut_buf(window[:filled])]
        if not is_end and (len(ends) > 1 or filled < MAX_CHUNK_BYTES):
            ends.pop()  # where the window ends, not where the chunk does
        end = ends[-1] if ends else 0
        # Whoever takes the window may put something else where it was.
        rest = memoryview(b"" if is_end else bytes(window[end:filled]))
        if ends:
            yield window[:end], ends
        if is_end:
            return


@lru_cache
def _cutter(average: int) -> "FastCDC":
    from pyfastcdc import FastCDC  # a tenth of the start, and a night without news cuts nothing

    return FastCDC(average, min_size=average // _LEAST_SHARE, max_size=average * 4)
