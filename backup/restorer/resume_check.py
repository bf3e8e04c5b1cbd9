"""Comparison of files of an interrupted restore with the recovery point.

For each blob, the content at its place in the file is hashed and compared with the id of the blob.
For each hole of a sparse file, the file system reports whether it contains data. The size and the
time of a file are not compared, because an unfinished file can have the right size and time.
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
CHANGED = "changed by somebody during the restore; run the same command again"
_PRIVATE = 0o600


@dataclass(frozen=True, kw_only=True, slots=True)
class Proof:
    """Identity and change time that a file had when it was compared."""

    device: int
    inode: int
    changed_ns: int

    @staticmethod
    def of(found: os.stat_result) -> "Proof":
        """Return the proof of a file, from its status."""
        return Proof(device=found.st_dev, inode=found.st_ino, changed_ns=found.st_ctime_ns)


def has_blob(descriptor: int, ref: BlobRef, extents: Extents, reader: BlobReader) -> bool:
    """Return whether a file has the content of its next blob in place.

    Advance `extents` to the place of the following blob.
    """
    try:
        places = list(extents.take(ref.length))
        content = b"".join(os.pread(descriptor, length, start) for start, length in places)
    except OSError:
        return False
    return reader.is_content(ref, content)


def open_proven(
    folder: int, name: bytes, proof: Proof, is_ours: Callable[[os.stat_result], bool]
) -> int:
    """Open a compared file to read and write; set its mode to 0600.

    Raise `OSError` if the file was replaced or changed since the comparison.
    """
    found = os.open(name, os.O_RDONLY | OPEN_FLAGS, dir_fd=folder)
    try:
        status = os.fstat(found)
        if Proof.of(status) != proof or not is_ours(status):
            raise OSError(errno.EAGAIN, CHANGED)
        # The file may have its final mode already, which may be read-only. On a file system without
        # modes, the change fails.
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
    """Return whether a file has no data where the entry has holes."""
    for start, length in entry.holes:
        try:
            if os.lseek(descriptor, start, os.SEEK_DATA) < start + length:
                return False
        except OSError:  # the file has no data after the offset
            return True
    return True
