"""Chunk boundaries, chosen so that an edit changes few chunks.

- Cutting is content-defined (FastCDC). Its only purpose is deduplication; packs hide sizes.
- A chunk is at most 4 times its average and at most 4 MiB, so it fits into a window.
- A chunk of a database dump has a frame of its own. Later recovery points need few of the chunks of
  each day; in shared frames, a restore would also unpack the chunks between them. In other files,
  small chunks share frames.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from backup.format.frame import Effort
from backup.sources.chunk_sizes import EDITED_CHUNK_BYTES, MAX_CHUNK_BYTES, MEDIA_CHUNK_BYTES

if TYPE_CHECKING:
    from pyfastcdc import FastCDC

_LEAST_SHARE = 4  # the smallest chunk is 1/4 of the average, except the last of a file
WINDOW_BYTES = MAX_CHUNK_BYTES
_LEAST_WINDOW_BYTES = 1024 * 1024


class Reader(Protocol):
    """Content to read from."""

    size: int  # in bytes, as far as known

    def readinto(self, buffer: memoryview) -> int: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Packing:
    """Packing of compressible blobs."""

    effort: Effort
    shares_below_bytes: int  # smaller blobs share a frame with their neighbours


AS_USUAL = Packing(effort=Effort.USUAL, shares_below_bytes=256 * 1024)
_EDITED = Packing(effort=Effort.DUMP, shares_below_bytes=EDITED_CHUNK_BYTES // _LEAST_SHARE)


def choose_packing(average: int) -> Packing:
    """Return the packing for content with this average chunk size, in bytes."""
    return _EDITED if average == EDITED_CHUNK_BYTES else AS_USUAL


def windows(
    content: Reader, average: int, window_of: Callable[[int], memoryview]
) -> Iterator[tuple[memoryview, list[int]]]:
    """Read content into windows; yield each with the ends of its chunks.

    A window is cut after its last chunk. `window_of` returns memory of the given size; the previous
    window is not used after that call.
    """
    cutter = None if average == MEDIA_CHUNK_BYTES else _chunk_cutter(average)
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
            ends.pop()  # the end of the window, not of the chunk
        end = ends[-1] if ends else 0
        # The caller may reuse the window's memory.
        rest = memoryview(b"" if is_end else bytes(window[end:filled]))
        if ends:
            yield window[:end], ends
        if is_end:
            return


@lru_cache
def _chunk_cutter(average: int) -> "FastCDC":
    # This import takes a tenth of the start-up, and a run without changes cuts nothing.
    from pyfastcdc import FastCDC

    return FastCDC(average, min_size=average // _LEAST_SHARE, max_size=average * 4)
