"""Memory for much at once: it begins at a page, and its pages are large where the system has them.

A disk that is read or written past the page cache takes memory as it lies, page by page: of small
ones a pack has 4,096, each to be cleared, found and held.
"""

import mmap
from contextlib import suppress

_LARGE_PAGE_BYTES = 2 * 1024 * 1024


def large_memory(size: int) -> memoryview:
    """Fresh memory of this process alone."""
    return memoryview(large_mapping(size))[:size]


def large_mapping(size: int) -> mmap.mmap:
    """The same as what holds it, so long or a little longer."""
    # The system puts it at a large page's beginning only where it is so many whole ones: else half
    # of it has small ones.  What is beyond the size is never touched, or lies in its last page.
    whole = -(-size // _LARGE_PAGE_BYTES) * _LARGE_PAGE_BYTES
    memory = mmap.mmap(-1, whole, flags=mmap.MAP_PRIVATE)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a kernel that has no large pages
            memory.madvise(mmap.MADV_HUGEPAGE)
    return memory
