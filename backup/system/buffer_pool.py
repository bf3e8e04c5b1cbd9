"""Buffer pool: memory for reads, in large pages aligned for direct I/O.

For direct I/O, the kernel finds and pins each page of the memory. A buffer of 16 MiB consists of
4,096 small pages or 8 large pages, so large pages save time.

- Buffers are reused. New memory would take more time than any other part of a large read, because
  the kernel clears each new memory page, and frees it afterwards.
- A buffer is free if no view of it exists. The pool tests this by a resize to the same size, which
  Python refuses for a mapping with views.
"""

import mmap
import threading
from contextlib import suppress

_LARGE_PAGE_BYTES = 2 * 1024 * 1024
_MAX_BUFFERS = 16


def large_memory(size: int) -> memoryview:
    """Return new memory of `size` bytes, in large pages if possible."""
    return memoryview(large_mapping(size))[:size]


def large_mapping(size: int) -> mmap.mmap:
    """Return a new mapping of at least `size` bytes."""
    # The kernel aligns a mapping to large pages only if its length is a multiple of their size.
    # Otherwise about half of the mapping has small pages. The additional bytes are not used, so
    # they need no memory beyond the last page.
    whole = -(-size // _LARGE_PAGE_BYTES) * _LARGE_PAGE_BYTES
    memory = mmap.mmap(-1, whole, flags=mmap.MAP_PRIVATE)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a kernel without large pages
            memory.madvise(mmap.MADV_HUGEPAGE)
    return memory


class Buffers:
    """Buffers of one size; safe to call from several threads."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._buffers: list[mmap.mmap] = []

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


def _is_free(buffer: mmap.mmap) -> bool:
    try:
        buffer.resize(len(buffer))
    except BufferError:
        return False
    return True
