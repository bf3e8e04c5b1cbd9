"""Read-ahead of small files: opened in advance, so that disks prefetch.

If files that are not in the page cache are read one after the other, each read waits for the disk.
If many files are opened first, and the system is advised to read them, the disk reads them in
parallel. For content in the page cache, the advice only costs time. So the files are opened with
this advice only if this thread has read from a disk since the last call.
"""

import os
import resource
from collections.abc import Sequence
from contextlib import suppress

from backup.sources.chunk_sizes import SMALL_FILE_BYTES

FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
FILES_AHEAD = 32
# Whether the system reports disk reads of a thread.
_HAS_THREAD_USAGE = hasattr(resource, "RUSAGE_THREAD")


def advise_read(descriptor: int, count: int) -> None:
    """Advise the system to read the start of an open file; do not wait."""
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError):
            os.posix_fadvise(descriptor, 0, count, os.POSIX_FADV_WILLNEED)


class OpenPrefetch:
    """Open files of one folder; the caller closes those that it removes."""

    def __init__(self) -> None:
        self.files: list[tuple[bytes, int]] = []  # (name, descriptor), in reverse order
        self._read_from_disk = 0

    def open(self, folder: int, names: Sequence[bytes]) -> None:
        """Open the next files by name, up to a file that cannot be opened."""
        advises = _HAS_THREAD_USAGE and self._has_read_from_disk()
        for name in names:
            try:
                descriptor = os.open(name, FILE_FLAGS, dir_fd=folder)
            except OSError:
                break
            self.files.append((name, descriptor))
            if advises:
                advise_read(descriptor, SMALL_FILE_BYTES)
        self.files.reverse()

    def _has_read_from_disk(self) -> bool:
        """Return whether this thread read from a disk since the last call."""
        before = self._read_from_disk
        self._read_from_disk = resource.getrusage(resource.RUSAGE_THREAD).ru_inblock
        return self._read_from_disk > before

    def close(self) -> None:
        """Close the files that the caller did not remove from `files`."""
        while self.files:
            os.close(self.files.pop()[1])
