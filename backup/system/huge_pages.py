"""Memory in large pages, aligned for direct I/O.

For direct I/O, the kernel clears, finds and pins each page of the memory. A buffer of 16 MiB
consists of 4,096 small pages or 8 large pages.
"""

import mmap
from contextlib import suppress

_LARGE_PAGE_BYTES = 2 * 1024 * 1024


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
