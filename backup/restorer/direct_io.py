"""Direct I/O: writes a part of a file without the page cache.

- Direct I/O is used if the caller waits for the disk. A write through the cache copies every byte,
  and the disk starts only after everything was read and decoded.
- The disk accepts only whole blocks. Bytes before the first and after the last whole block are
  written through the cache. So are all bytes if the file system has no direct I/O.
"""

import errno
import fcntl
import os
from contextlib import suppress

from backup.reader.blob_reader import Raw
from backup.restorer.safe_paths import write_at
from backup.system.huge_pages import large_memory

WORTHWHILE_BYTES = 512 * 1024  # for fewer bytes, the wait for the disk costs more than the copy

_O_DIRECT = getattr(os, "O_DIRECT", 0)  # 0 on systems without direct I/O
_BLOCK_BYTES = 4096
_BUFFER_BYTES = 4 * 1024 * 1024


class DirectWriter:
    """Aligned buffer; writes one consecutive part of a file at a time."""

    def __init__(self) -> None:
        self._buffer = large_memory(_BUFFER_BYTES)
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
            piece, rest = rest[: _BUFFER_BYTES - self._filled], rest[_BUFFER_BYTES - self._filled :]
            self._buffer[self._filled : self._filled + len(piece)] = piece
            self._filled += len(piece)
            if self._filled == _BUFFER_BYTES:
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
