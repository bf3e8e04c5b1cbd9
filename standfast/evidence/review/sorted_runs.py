"""External sort: any number of rows in order, with bounded memory.

Rules
- Rows are sorted in runs, which are written to a file and merged when they are read.
- The file has no name, so it is deleted when the process ends. Its pages are encrypted with a key
  that exists only in this process, so that its remains on the disk cannot be decrypted.
- A run counts only after a call of `keep`, because the caller may detect late that its rows are not
  valid.
"""

import heapq
import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import orjson
import zstandard
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

Row: TypeAlias = list[Any]  # its values can be represented in JSON
Run: TypeAlias = list[tuple[int, int]]  # offset and size of each page
_PAGE = 256  # rows; while runs are merged, one page of each run is in memory
_PAGE_BYTES = 256 * 1024  # a page ends when it exceeds this size


class SortedRuns:
    """Rows on disk; close it after use."""

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - see close
        self._cipher, self._end = AESGCM(secrets.token_bytes(32)), 0
        self._packer, self._unpacker = (
            zstandard.ZstdCompressor(level=1),
            zstandard.ZstdDecompressor(),
        )
        self._kept: list[Run] = []

    def close(self) -> None:
        """Delete the rows."""
        self._file.close()

    def write(self, rows: list[Row]) -> Run:
        """Sort rows and write them as one run, which does not count yet."""
        rows.sort()
        run: Run = []
        for page in _pages(rows):
            sealed = self._cipher.encrypt(_nonce(self._end), self._packer.compress(page), None)
            self._file.write(sealed)
            run.append((self._end, len(sealed)))
            self._end += len(sealed)
        return run

    def keep(self, run: Run) -> None:
        """Include a run in the result."""
        self._kept.append(run)

    def clear(self) -> None:
        """Remove all rows from the result."""
        self._kept.clear()

    def merged(self) -> Iterator[Row]:
        """Yield the rows of all runs in order."""
        return heapq.merge(*map(self._rows, self._kept))

    def _rows(self, run: Run) -> Iterator[Row]:
        for offset, size in run:
            sealed = os.pread(self._file.fileno(), size, offset)
            packed = self._cipher.decrypt(_nonce(offset), sealed, None)
            yield from orjson.loads(self._unpacker.decompress(packed))


def _pages(rows: list[Row]) -> Iterator[bytes]:
    """Yield the rows in pages of JSON."""
    page: list[bytes] = []
    size = 0
    for row in rows:
        page.append(orjson.dumps(row))
        size += len(page[-1])
        if len(page) == _PAGE or size >= _PAGE_BYTES:
            yield b"[%b]" % b",".join(page)
            page, size = [], 0
    if page:
        yield b"[%b]" % b",".join(page)


def _nonce(offset: int) -> bytes:
    """Return the nonce of a page; unique, because each offset is used once."""
    return offset.to_bytes(12, "big")
