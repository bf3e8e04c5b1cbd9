"""External sort of rows: bounded memory, an encrypted temporary file.

Rules
- Rows are sorted in groups, the runs. The runs are written to a file, and merged when they are
  read. If there are many runs, some are merged into one run first, so that the memory does not grow
  with their number.
- If all rows of a run come after the rows of the run before it, as in a log that is in order of
  time, the two runs become one run.
- The file has no name, so it is deleted when the process ends. Its pages are encrypted with a key
  that exists only in this process. Thus nobody can decrypt the remains on the disk.
- A run is part of the result only after a call of `keep`, because the caller may detect only after
  the last row that the rows are not valid.
"""

import heapq
import os
import secrets
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import orjson
import zstandard
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from standfast.errors import StandfastError

Row: TypeAlias = list[Any]  # its values can be represented in JSON
_MOST_RUNS = 512  # runs that are merged at once; one page of each is in memory
_PAGE = 64  # rows
_PAGE_BYTES = 64 * 1024  # a page ends when it exceeds this size
_SIZE_BYTES = 4  # length of the size field before each page


class Run(NamedTuple):
    """Rows in order, in one part of the file."""

    begin: int
    end: int
    first: Row
    last: Row  # empty if it is not known


class SortedRuns:
    """Rows on the disk; close it after use."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - see close
        except OSError as error:
            raise self._unwritable(error) from error
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
        """Sort rows, and write them as one run, which is not in the result yet.

        Raise StandfastError if the disk is full.
        """
        rows.sort()
        begin, end = self._write(rows)
        return Run(begin, end, rows[0] if rows else [], rows[-1] if rows else [])

    def keep(self, run: Run) -> None:
        """Include a run in the result."""
        before = self._kept[-1] if self._kept else None
        if before and before.end == run.begin and [] < before.last <= run.first:
            self._kept[-1] = Run(before.begin, run.end, before.first, run.last)
        else:
            self._kept.append(run)

    def clear(self) -> None:
        """Remove all rows from the result."""
        self._kept.clear()

    def merged(self) -> Iterator[Row]:
        """Yield the rows of all runs in order.

        Raise StandfastError if the disk is full.
        """
        while (surplus := len(self._kept) - _MOST_RUNS) > 0:
            count = min(surplus + 1, _MOST_RUNS)
            merged = self._write(self._merged(self._kept[:count]))
            self._kept = [*self._kept[count:], Run(*merged, [], [])]
        return self._merged(self._kept)

    def _merged(self, runs: Iterable[Run]) -> Iterator[Row]:
        return heapq.merge(*map(self._rows, runs))

    def _write(self, rows: Iterable[Row]) -> tuple[int, int]:
        begin = self._end
        try:
            for page in _pages(rows):
                sealed = self._cipher.encrypt(_nonce(self._end), self._packer.compress(page), None)
                rest = memoryview(len(sealed).to_bytes(_SIZE_BYTES, "big") + sealed)
                while rest:
                    rest = rest[self._file.write(rest) :]
                self._end += _SIZE_BYTES + len(sealed)
        except OSError as error:
            raise self._unwritable(error) from error
        return begin, self._end

    def _rows(self, run: Run) -> Iterator[Row]:
        offset, end = run.begin, run.end
        while offset < end:
            size = int.from_bytes(os.pread(self._file.fileno(), _SIZE_BYTES, offset), "big")
            sealed = os.pread(self._file.fileno(), size, offset + _SIZE_BYTES)
            packed = self._cipher.decrypt(_nonce(offset), sealed, None)
            yield from orjson.loads(self._unpacker.decompress(packed))
            offset += _SIZE_BYTES + size

    def _unwritable(self, error: OSError) -> StandfastError:
        return StandfastError(
            f"{self._folder}: the records cannot be sorted there: {error.strerror}. Make free "
            "space that this user may write to, then run the command again."
        )


def _pages(rows: Iterable[Row]) -> Iterator[bytes]:
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
