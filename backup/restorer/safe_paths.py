"""Safe paths: opened below a folder without following symbolic links."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from backup.errors import UnsafePath

FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
JOURNAL = b".standfast-restore"  # next to the sources, whose names do not begin with a dot

_KEEP_SIZE = 1  # as Linux's falloc.h has it
_NO_NAMES = (b"", b".", b"..")


def check_name(name: bytes) -> None:
    """Raise `UnsafePath` for a component that is not a name in a folder."""
    if name in _NO_NAMES or b"\0" in name:
        raise UnsafePath("refused: its path would lead out of the target folder")


def safe_parts(path: bytes) -> list[bytes]:
    """Return the components of a path that stays below the target.

    `UnsafePath` if it leads out, or to the restore's journal.
    """
    parts = path.split(b"/")
    for part in parts:
        check_name(part)
    if parts[0] == JOURNAL:
        raise UnsafePath("refused: it would take the place of the restore's own journal")
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

    Otherwise it looks for blocks at each write, which takes a quarter of the time of writing.
    """
    import ctypes  # only files of many pieces need it

    with suppress(AttributeError):  # another C library
        fallocate = ctypes.CDLL(None).fallocate64
        fallocate(descriptor, _KEEP_SIZE, ctypes.c_int64(0), ctypes.c_int64(size))


def write_at(descriptor: int, content: memoryview, start: int) -> None:
    """Write all content at an offset."""
    while content:
        count = os.pwrite(descriptor, content, start)
        content = content[count:]
        start += count
