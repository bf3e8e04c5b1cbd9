"""Chunks: where the content of a file is cut, so that an edit changes few of them.

- Cutting is content-defined (FastCDC); it is for deduplication only, hiding sizes is the pack's
  job.
- The size is chosen by content: in a database or a dump small edits are scattered, so its chunks
  are small; media are written once, so theirs are large and their references few.
- A chunk is never larger than 4 times its average, and at most 4 MiB.
"""

from collections.abc import Iterator
from typing import Protocol

from pyfastcdc import FastCDC

SMALL_FILE_BYTES = 64 * 1024  # below this a file is one blob, uncut
EDITED_CHUNK_BYTES = 64 * 1024
MEDIA_CHUNK_BYTES = 1024 * 1024

_EDITED_SUFFIXES = (
    b".db", b".sqlite", b".sqlite3", b".db3", b".mdb", b".ibd", b".frm", b".dbf", b".sql", b".dump",
    b".csv", b".tsv", b".json", b".jsonl", b".xml", b".log", b".txt", b".mbox", b".pst", b".vmdk",
    b".qcow2", b".vdi", b".raw", b".img",
)  # fmt: skip


class Reader(Protocol):
    """What content is read from."""

    def readinto(self, buffer: memoryview) -> int: ...


def chunk_bytes_for(name: bytes) -> int:
    """The average chunk size for a file of this name."""
    return EDITED_CHUNK_BYTES if name.lower().endswith(_EDITED_SUFFIXES) else MEDIA_CHUNK_BYTES


def cut(content: Reader, average: int) -> Iterator[memoryview]:
    """Cut content into chunks; each is valid only until the next one is asked for."""
    cutter = FastCDC(average, min_size=average // 4, max_size=average * 4)
    for chunk in cutter.cut_stream(content):
        yield chunk.data
