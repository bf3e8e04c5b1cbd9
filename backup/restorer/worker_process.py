"""Settings of a worker process; no other process may have them."""

import ctypes
import gc
import os
from contextlib import suppress

_OBJECTS_TO_ONE_COLLECTION = 100_000
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # as glibc's malloc.h has them
_KEPT_BYTES = 64 * 1024 * 1024
_PIECE_BYTES = 16 * 1024 * 1024


def tune_worker_process() -> None:
    """Tune the process for many similar files; call it before threads start."""
    os.umask(0)  # files are created with their mode, which saves a call for each
    # Existing objects stay in use, and nearly none of the new ones are in cycles.
    gc.freeze()
    gc.set_threshold(_OBJECTS_TO_ONE_COLLECTION)
    # Keep freed memory for the next frame. Otherwise the kernel takes it back and clears it again,
    # which is a fifth of the time needed to decode a dump.
    with suppress(AttributeError):  # not glibc
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _PIECE_BYTES)
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
