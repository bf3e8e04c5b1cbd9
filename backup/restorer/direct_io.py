"""Direct I/O: writes of restored files past the page cache, if possible.

- Direct I/O bypasses the page cache. It is used if the caller of the restore waits for the disk. A
  write through the page cache copies every byte, and the disk begins to write much later than with
  direct I/O.
- Direct I/O accepts only whole blocks. Bytes before the first and after the last whole block are
  written through the cache. If the file system has no direct I/O, all bytes are written through the
  cache.
"""

import errno
import fcntl
import os
from contextlib import suppress

from backup.reader.blob_reader import Raw
from backup.system.buffer_pool import large_memory

WORTHWHILE_BYTES = 512 * 1024  # a smaller file is written faster through the page cache

_O_DIRECT = getattr(os, "O_DIRECT", 0)  # 0 on systems without direct I/O
_BLOCK_BYTES = 4096
BUFFER_BYTES = 4 * 1024 * 1024


def write_at(descriptor: int, content: memoryview, start: int) -> None:
    """Write all content at an offset, through the page cache."""
    while content:
        count = os.pwrite(descriptor, content, start)
        content = content[count:]
        start += count


class DirectWriter:
    """Writer of one consecutive part of a file at a time, aligned to blocks."""

    def __init__(self) -> None:
        self._buffer = large_memory(BUFFER_BYTES)
        self._descriptor = -1
        self._at = 0  # offset in the file of the first block of the buffer
        self._head = 0  # bytes in the first block before the content
        self._filled = 0
        self._is_direct = False

    def begin(self, descriptor: int, start: int) -> None:
        """Begin a part at an offset of an open file."""
        self._descriptor = descriptor
        self._head = self._filled = start % _BLOCK_BYTES
        self._at = start - self._head
        self._is_direct = _O_DIRECT != 0

    def write(self, content: Raw) -> None:
        """Write the next bytes; their memory may be reused afterwards."""
        rest = memoryview(content)
        while rest:
            piece, rest = rest[: BUFFER_BYTES - self._filled], rest[BUFFER_BYTES - self._filled :]
            self._buffer[self._filled : self._filled + len(piece)] = piece
            self._filled += len(piece)
            if self._filled == BUFFER_BYTES:
                self._put()

    def end(self) -> None:
        """Write the rest of the part; nothing is synced."""
        self._put()

    def _put(self) -> None:
        filled = self._filled
        first = min(_BLOCK_BYTES, filled) if self._head else 0
        last = max(first, filled // _BLOCK_BYTES * _BLOCK_BYTES)
        write_at(self._descriptor, self._buffer[self._head : first], self._at + self._head)
        self._put_blocks(first, last)
        write_at(self._descriptor, self._buffer[last:filled], self._at + last)
        self._at += filled
        self._head = self._filled = 0

    def _put_blocks(self, first: int, last: int) -> None:
        if self._is_direct and first < last:
            _set_direct(self._descriptor, on=True)
            try:
                count = os.pwrite(self._descriptor, self._buffer[first:last], self._at + first)
                first += count
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                self._is_direct = False  # the file system has no direct I/O
            finally:
                _set_direct(self._descriptor, on=False)
        write_at(self._descriptor, self._buffer[first:last], self._at + first)


def _set_direct(descriptor: int, *, on: bool) -> None:
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    with suppress(OSError):
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | _O_DIRECT if on else flags & ~_O_DIRECT)
