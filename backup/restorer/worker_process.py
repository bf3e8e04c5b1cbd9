"""What a process that is nothing but a lane does for itself, and one that is more must not."""

import ctypes
import gc
import os
from contextlib import suppress

_OBJECTS_TO_ONE_COLLECTION = 100_000
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # as glibc's malloc.h has them
_KEPT_BYTES = 64 * 1024 * 1024
_PIECE_BYTES = 16 * 1024 * 1024


def settle_in() -> None:
    """Set the process up for much of the same; before it has threads."""
    os.umask(0)  # spares a call for each file
    # What is there stays, and of what comes nearly nothing is a cycle.
    gc.freeze()
    gc.set_threshold(_OBJECTS_TO_ONE_COLLECTION)
    # Freed memory is kept for the next frame: else the kernel takes it back and clears it again,
    # a fifth of what unpacking a dump takes.
    with suppress(AttributeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _PIECE_BYTES)
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
