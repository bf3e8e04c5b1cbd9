"""Chunks: where the content of a file is cut, so that an edit changes few of them.

- Cutting is content-defined (FastCDC); it is for deduplication only, hiding sizes is the pack's
  job.
- The size is chosen by content: in a database or a dump small edits are scattered, so its chunks
  are small; of other files fewer parts are edited, so their chunks are large and their references
  few.
- Recordings and pictures are written once and never edited: they are cut every 4 MiB, which spares
  looking for places to cut at.
- A chunk is never larger than 4 times its average, and at most 4 MiB: so it fits into a window.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from backup.format.frame import LEVEL

if TYPE_CHECKING:
    from pyfastcdc import FastCDC

SMALL_FILE_BYTES = 64 * 1024  # below this a file is one blob, uncut
EDITED_CHUNK_BYTES = 64 * 1024
CHUNK_BYTES = 1024 * 1024
LARGEST_CHUNK_BYTES = 4 * CHUNK_BYTES
MEDIA_CHUNK_BYTES = LARGEST_CHUNK_BYTES  # exactly; the others are averages
_WINDOW_BYTES = LARGEST_CHUNK_BYTES
_LEAST_WINDOW_BYTES = 1024 * 1024
_FAST_LEVEL = 1

_EDITED_SUFFIXES = (
    b".db", b".sqlite", b".sqlite3", b".db3", b".mdb", b".ibd", b".frm", b".dbf", b".sql", b".dump",
    b".csv", b".tsv", b".json", b".jsonl", b".xml", b".log", b".txt", b".mbox", b".pst", b".vmdk",
    b".qcow2", b".vdi", b".raw", b".img",
)  # fmt: skip


_MEDIA_SUFFIXES = (
    b".wav", b".mp3", b".opus", b".ogg", b".oga", b".m4a", b".aac", b".amr", b".flac", b".gsm",
    b".mp4", b".m4v", b".mkv", b".webm", b".mov", b".avi", b".jpg", b".jpeg", b".png", b".heic",
)  # fmt: skip


class Reader(Protocol):
    """What content is read from."""

    size: int  # as far as it is known

    def readinto(self, buffer: memoryview) -> int: ...


def chunk_bytes_for(name: bytes) -> int:
    """The average chunk size for a file of this name."""
    name = name.lower()
    if name.endswith(_EDITED_SUFFIXES):
        return EDITED_CHUNK_BYTES
    return MEDIA_CHUNK_BYTES if name.endswith(_MEDIA_SUFFIXES) else CHUNK_BYTES


def level_for(average: int) -> int:
    """How hard to compress content of this chunk size: a dump is read anew every night."""
    return _FAST_LEVEL if average == EDITED_CHUNK_BYTES else LEVEL


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
        window = window_of(min(_WINDOW_BYTES, len(rest) + expected + 1))
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
        if not is_end and (len(ends) > 1 or filled < LARGEST_CHUNK_BYTES):
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

    return FastCDC(average, min_size=average // 4, max_size=average * 4)
