"""Safe paths: refused names, and opening without symbolic links."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from backup.errors import UnsafePath

FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# The file that marks a target as unfinished. No restored path has this name, because the first part
# of each path is the name of a source, which never begins with a dot.
JOURNAL = b".standfast-restore"

_NO_NAMES = (b"", b".", b"..")


def check_name(name: bytes) -> None:
    """Raise `UnsafePath` if a component of a path is not a valid file name."""
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
