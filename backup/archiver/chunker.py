"""Chunker: cuts files by content (FastCDC), so an edit changes few chunks.

- The purpose of the boundaries is deduplication. They do not hide the sizes of files; the padded
  packs do.
- A chunk is at most 4 times the average size and at most 4 MiB. So it fits into a window, the
  memory of 4 MiB into which content is read.
- Small chunks share frames (compressed units of a pack) with their neighbours. The chunks of a
  database dump have a frame each. A later recovery point needs only a few chunks of an earlier
  dump. In shared frames, a restore would have to decompress the other chunks too.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from backup.format.frame import Effort
from backup.sources.chunk_sizes import EDITED_CHUNK_BYTES, MAX_CHUNK_BYTES, MEDIA_CHUNK_BYTES

if TYPE_CHECKING:
    from pyfastcdc import FastCDC

_LEAST_SHARE = 4  # a chunk is at least 1/4 of the average, except the last chunk of a file
WINDOW_BYTES = MAX_CHUNK_BYTES
_LEAST_WINDOW_BYTES = 1024 * 1024


class Reader(Protocol):
    """Content to read from."""

    size: int  # in bytes, as far as known

    def readinto(self, buffer: memoryview) -> int: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Packing:
    """Compression effort, and size limit below which blobs share a frame."""

    effort: Effort
    shares_below_bytes: int  # smaller blobs share a frame with their neighbours


USUAL_PACKING = Packing(effort=Effort.USUAL, shares_below_bytes=256 * 1024)
_DUMP_PACKING = Packing(effort=Effort.DUMP, shares_below_bytes=EDITED_CHUNK_BYTES // _LEAST_SHARE)


def choose_packing(average: int) -> Packing:
    """Return the packing for content with this average chunk size, in bytes."""
    return _DUMP_PACKING if average == EDITED_CHUNK_BYTES else USUAL_PACKING


def windows(
    content: Reader, average: int, take_window: Callable[[int], memoryview]
) -> Iterator[tuple[memoryview, list[int]]]:
    """Read content into windows; yield each window and the ends of its chunks.

    The chunk ends are offsets in the window. A yielded window ends with its last chunk. The bytes
    after this chunk begin the next window. `take_window` returns memory of the given size, and may
    reuse the memory of the previous window.
    """
    cutter = None if average == MEDIA_CHUNK_BYTES else _chunk_cutter(average)
    rest = memoryview(b"")
    position = 0
    while True:
        expected = max(content.size - position, _LEAST_WINDOW_BYTES)
        window = take_window(min(WINDOW_BYTES, len(rest) + expected + 1))
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
            ends.pop()  # the end of the window, not the content, cut the last chunk
        end = ends[-1] if ends else 0
        # The caller may reuse the window's memory.
        rest = memoryview(b"" if is_end else bytes(window[end:filled]))
        if ends:
            yield window[:end], ends
        if is_end:
            return


@lru_cache
def _chunk_cutter(average: int) -> "FastCDC":
    # This import takes a tenth of the start-up time, and a run without changes does not need it.
    from pyfastcdc import FastCDC

    return FastCDC(average, min_size=average // _LEAST_SHARE, max_size=average * 4)
