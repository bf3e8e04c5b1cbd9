"""Buffer pool: memory for reads, reused when no view of it is left.

- New memory costs more time than any other part of a large read, because the kernel clears each
  memory page, and takes it back afterwards.
- A buffer is free if no view of it exists. This is tested by a resize, which Python refuses for a
  mapping with views.
"""

import threading
from mmap import mmap

from backup.system.huge_pages import large_mapping, large_memory

_MAX_BUFFERS = 16


class Buffers:
    """Buffers of one size; safe to call from several threads."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._buffers: list[mmap] = []

    def take(self, length: int) -> memoryview:
        """Return `length` bytes of memory, with arbitrary content.

        The memory belongs to the caller while a view of it exists. If `length` is larger than a
        buffer, the memory is not from the pool.
        """
        if length > self._size:
            return memoryview(bytearray(length))
        with self._lock:
            for buffer in self._buffers:
                if _is_free(buffer):
                    return memoryview(buffer)[:length]
            buffer = large_mapping(self._size)
            if len(self._buffers) < _MAX_BUFFERS:
                self._buffers.append(buffer)
            return memoryview(buffer)[:length]


class OwnBuffer(threading.local):
    """One page-aligned buffer per thread, reused at each call."""

    def __init__(self, size: int) -> None:
        self._memory = large_memory(size)

    def take(self, length: int) -> memoryview | None:
        """Return `length` bytes, valid until the next call of this thread.

        Return None if the buffer is smaller.
        """
        return self._memory[:length] if length <= len(self._memory) else None


def _is_free(buffer: mmap) -> bool:
    try:
        buffer.resize(len(buffer))
    except BufferError:
        return False
    return True
