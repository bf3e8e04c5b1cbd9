"""Safe paths: opened below a folder without following symbolic links."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from backup.errors import UnsafePath

FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
JOURNAL = b".standfast-restore"  # no source has a name that begins with a dot

_KEEP_SIZE = 1  # from linux/falloc.h
_NO_NAMES = (b"", b".", b"..")


def check_name(name: bytes) -> None:
    """Raise `UnsafePath` for a component that is not a name in a folder."""
    if name in _NO_NAMES or b"\0" in name:
        raise UnsafePath("not restored: its path leads out of the target folder")


def safe_parts(path: bytes) -> list[bytes]:
    """Return the components of a path below the target.

    Raise `UnsafePath` if the path leads out of the target, or to the restore's journal.
    """
    parts = path.split(b"/")
    for part in parts:
        check_name(part)
    if parts[0] == JOURNAL:
        raise UnsafePath("not restored: it has the name of the restore's own journal")
    return parts


@contextmanager
def open_folder(root: int, path: bytes) -> Iterator[tuple[int, bytes]]:
    """Open the folder of a path; yield it and the path's last component."""
    parts = safe_parts(path)
    folder = os.dup(root)
    try:
        for part in parts[:-1]:
            below = os.open(part, FOLDER_FLAGS, dir_fd=folder)
            os.close(folder)
            folder = below
        yield folder, parts[-1]
    finally:
        os.close(folder)


def reserve(descriptor: int, size: int) -> None:
    """Reserve blocks for a file where possible; its size does not change.

    Without a reservation, the file system searches for blocks at each write, which takes a quarter
    of the time of writing. A size of more than half of the free space is not reserved. If a
    reservation does not fit, ext4 takes all free blocks before it fails, and other programs find
    the disk full. A hostile host can state any size.
    """
    disk = os.fstatvfs(descriptor)
    if size > disk.f_bavail * disk.f_frsize // 2:
        return
    with suppress(AttributeError):  # a C library without this function
        fallocate = ctypes.CDLL(None).fallocate64
        fallocate(descriptor, _KEEP_SIZE, ctypes.c_int64(0), ctypes.c_int64(size))


def write_at(descriptor: int, content: memoryview, start: int) -> None:
    """Write all content at an offset."""
    while content:
        count = os.pwrite(descriptor, content, start)
        content = content[count:]
        start += count
