"""Going to a path below an open folder, step by step and without following a symbolic link."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from backup.errors import UnsafePath

FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
JOURNAL = b".standfast-restore"  # stands beside the sources, whose names begin otherwise

_NO_NAMES = (b"", b".", b"..")


def check_name(name: bytes) -> None:
    """Refuse a component that is no name in its folder: `UnsafePath`."""
    if name in _NO_NAMES or b"\0" in name:
        raise UnsafePath("refused: its path would lead out of the target folder")


def safe_parts(path: bytes) -> list[bytes]:
    """The components of a path; `UnsafePath` when it leads out, or to the restore's journal."""
    parts = path.split(b"/")
    for part in parts:
        check_name(part)
    if parts[0] == JOURNAL:
        raise UnsafePath("refused: it would take the place of the restore's own journal")
    return parts


@contextmanager
def open_folder(root: int, path: bytes) -> Iterator[tuple[int, bytes]]:
    """Open the folder that a path lies in; gives it and the path's last component."""
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


def write_at(descriptor: int, content: memoryview, start: int) -> None:
    """Write all of it at an offset."""
    while content:
        count = os.pwrite(descriptor, content, start)
        content = content[count:]
        start += count
