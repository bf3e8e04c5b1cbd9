"""Small files that are opened some time before they are read.

What is in no cache has to come from the disk. One file after the other, each is waited for by
itself; of many that are open the system is told, and the disk fetches them side by side.

- It is told only while the disk is read from: of what is in the cache, telling is a call too many.
"""

import os
import resource
from collections.abc import Sequence
from contextlib import suppress

from backup.sources.chunk_sizes import SMALL_FILE_BYTES

FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
FILES_AHEAD = 32
_CAN_SAY = hasattr(resource, "RUSAGE_THREAD")  # whether it reads from a disk


def fetch(descriptor: int, count: int) -> None:
    """Have the disk fetch the first bytes of an open file, where it can; nobody waits for them."""
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError):
            os.posix_fadvise(descriptor, 0, count, os.POSIX_FADV_WILLNEED)


class OpenPrefetch:
    """The next files of one folder; whoever takes one from `files` closes it."""

    def __init__(self) -> None:
        self.files: list[tuple[bytes, int]] = []  # name and descriptor; the next one last
        self._read_from_disk = 0

    def open(self, folder: int, names: Sequence[bytes]) -> None:
        """Open the next files by their names in a folder, up to one that cannot be."""
        tells = _CAN_SAY and self._is_disk_read_from()
        for name in names:
            try:
                descriptor = os.open(name, FILE_FLAGS, dir_fd=folder)
            except OSError:
                break
            self.files.append((name, descriptor))
            if tells:
                fetch(descriptor, SMALL_FILE_BYTES)
        self.files.reverse()

    def _is_disk_read_from(self) -> bool:
        """Whether this thread read from a disk since it last asked."""
        before = self._read_from_disk
        self._read_from_disk = resource.getrusage(resource.RUSAGE_THREAD).ru_inblock
        return self._read_from_disk > before

    def close(self) -> None:
        """Close what was not taken."""
        while self.files:
            os.close(self.files.pop()[1])
