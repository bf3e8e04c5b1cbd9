"""Memory for what is read: used again as soon as nobody looks at what lies in it.

- Fresh memory costs a large read the most: the kernel clears each page, and takes it back after.
- A buffer is free when no view of it is left.  Python says so: it refuses to change the size of
  what is being viewed.
"""

import threading
from mmap import mmap

from backup.system.huge_pages import large_mapping, large_memory

_MOST_KEPT = 16


class Buffers:
    """Buffers of one size; safe to call from several threads."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._kept: list[mmap] = []

    def take(self, length: int) -> memoryview:
        """Memory for so many bytes, with anything in it; it is ours as long as a view of it lives.

        More than one buffer holds is new memory each time.
        """
        if length > self._size:
            return memoryview(bytearray(length))
        with self._lock:
            for buffer in self._kept:
                if _is_free(buffer):
                    return memoryview(buffer)[:length]
            buffer = large_mapping(self._size)
            if len(self._kept) < _MOST_KEPT:
                self._kept.append(buffer)
            return memoryview(buffer)[:length]


class OwnBuffer(threading.local):
    """A buffer of each thread, at the start of a page, for what is used up at once."""

    def __init__(self, size: int) -> None:
        self._memory = large_memory(size)

    def take(self, length: int) -> memoryview | None:
        """Memory for so many bytes until this thread asks again; None when it is more than that."""
        return self._memory[:length] if length <= len(self._memory) else None


def _is_free(buffer: mmap) -> bool:
    try:
        buffer.resize(len(buffer))
    except BufferError:
        return False
    return True
