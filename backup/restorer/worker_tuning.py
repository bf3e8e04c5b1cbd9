"""Tuning of a restore worker: umask, kept memory, garbage collection."""

import ctypes
import gc
import os
from contextlib import suppress

_OBJECTS_TO_ONE_COLLECTION = 100_000
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # constants of glibc's malloc.h
_KEPT_BYTES = 64 * 1024 * 1024
_PIECE_BYTES = 16 * 1024 * 1024


def tune_worker_process() -> None:
    """Tune the process for many similar files.

    Call it only in a forked worker, before it starts threads.
    """
    os.umask(0)  # so that files are created with their final mode, which saves a call per file
    # Collect garbage rarely: existing objects remain in use, and nearly no new object is part of a
    # reference cycle.
    gc.freeze()
    gc.set_threshold(_OBJECTS_TO_ONE_COLLECTION)
    # Keep freed memory for the next decompressed frame. Otherwise the kernel takes the memory back
    # and clears it again, which takes a fifth of the time to decode a database dump.
    with suppress(AttributeError):  # not glibc
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _PIECE_BYTES)
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
