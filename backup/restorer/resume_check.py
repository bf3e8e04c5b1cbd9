"""Proving what an interrupted restore left: each piece of a file by its id, each hole by the disk.

- Nothing is trusted for being there: not its size, not its time, not a note of ours.
"""

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from backup.format.manifest import BlobRef, Entry
from backup.reader.blob_reader import BlobReader
from backup.restorer.extents import Extents

OPEN_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
CHANGED = "was changed by somebody; run the same command again"
_PRIVATE = 0o600


@dataclass(frozen=True, kw_only=True, slots=True)
class Proof:
    """A file that was there, as it was when its content was compared."""

    device: int
    inode: int
    changed_ns: int

    @staticmethod
    def of(found: os.stat_result) -> "Proof":
        """Take down what shows later that nobody touched the file since."""
        return Proof(device=found.st_dev, inode=found.st_ino, changed_ns=found.st_ctime_ns)


def is_there(descriptor: int, ref: BlobRef, extents: Extents, reader: BlobReader) -> bool:
    """Whether the next piece of a file is there; `extents` goes on behind it either way."""
    try:
        places = list(extents.take(ref.length))
        content = b"".join(os.pread(descriptor, length, start) for start, length in places)
    except OSError:
        return False
    return reader.is_content(ref, content)


def open_proven(
    folder: int, name: bytes, proof: Proof, is_ours: Callable[[os.stat_result], bool]
) -> int:
    """Open a file to read and write; `OSError` if it is not the one that was compared."""
    found = os.open(name, os.O_RDONLY | OPEN_FLAGS, dir_fd=folder)
    try:
        status = os.fstat(found)
        if Proof.of(status) != proof or not is_ours(status):
            raise OSError(errno.EAGAIN, CHANGED)
        # It may have its final mode, and that be read-only; where none are kept it is not.
        with suppress(OSError):
            os.fchmod(found, _PRIVATE)
        descriptor = os.open(name, os.O_RDWR | OPEN_FLAGS, dir_fd=folder)
        if not os.path.sameopenfile(found, descriptor):
            os.close(descriptor)
            raise OSError(errno.EAGAIN, CHANGED)
        return descriptor
    finally:
        os.close(found)


def has_holes(descriptor: int, entry: Entry) -> bool:
    """Whether nothing lies where the entry has holes."""
    for start, length in entry.holes:
        try:
            if os.lseek(descriptor, start, os.SEEK_DATA) < start + length:
                return False
        except OSError:  # no data behind it at all
            return True
    return True
