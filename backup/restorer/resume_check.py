"""Proving what an interrupted restore left: each piece of a file by its id, each hole by the disk.

- Nothing is trusted for being there: not its size, not its time, not a note of ours.
"""

import os
from dataclasses import dataclass

from backup.format.manifest import BlobRef, Entry
from backup.reader.blob_reader import BlobReader
from backup.restorer.extents import Extents


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


def has_holes(descriptor: int, entry: Entry) -> bool:
    """Whether nothing lies where the entry has holes."""
    for start, length in entry.holes:
        try:
            if os.lseek(descriptor, start, os.SEEK_DATA) < start + length:
                return False
        except OSError:  # no data behind it at all
            return True
    return True
