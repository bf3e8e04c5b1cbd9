"""Memory for much at once: it begins at a page, and its pages are large where the system has them.

A disk that is read or written past the page cache takes memory as it lies, page by page: of small
ones a pack has 4,096, each to be cleared, found and held.
"""

import mmap
from contextlib import suppress


def large_memory(size: int) -> memoryview:
    """Fresh memory of this process alone."""
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a kernel that has no large pages
            memory.madvise(mmap.MADV_HUGEPAGE)
    return memoryview(memory)
