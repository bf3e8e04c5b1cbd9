"""Safe paths: opened below a folder without following symbolic links."""

import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

from backup.errors import UnsafePath
from backup.reader.blob_reader import Raw

FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
JOURNAL = b".standfast-restore"  # next to the sources, whose names do not begin with a dot

_GATHERED_BYTES = 1024 * 1024
_MOST_GATHERED = 256  # a call takes 1,024
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


def write_all_at(
    descriptor: int,
    parts: Iterable[Raw],
    start: int,
    write_lock: AbstractContextManager[None],
) -> None:
    """Write parts from an offset, many with one call, under the write lock.

    Parts of a dump end anywhere in a page of the kernel's: written alone, each would go through
    its two pages once more, and lock the file for itself.  A call ends where a large page does.
    """
    gathered: list[Raw] = []
    size = 0
    for part in parts:
        rest = part
        while rest:
            room = _GATHERED_BYTES - (start + size) % _GATHERED_BYTES
            if len(rest) < room and len(gathered) < _MOST_GATHERED - 1:
                gathered.append(rest)
                size += len(rest)
                break
            view = memoryview(rest)
            gathered.append(view[:room])
            rest = view[room:]
            with write_lock:
                start += _write_gathered(descriptor, gathered, start)
            gathered, size = [], 0
    with write_lock:
        _write_gathered(descriptor, gathered, start)


def _write_gathered(descriptor: int, parts: list[Raw], start: int) -> int:
    """Write all parts; return their total length."""
    count = os.pwritev(descriptor, parts, start) if parts else 0
    size = sum(map(len, parts))
    if count < size:  # a disk that is nearly full takes less than all of it
        for part in parts:
            write_at(descriptor, memoryview(part)[count:], start + count)
            start += len(part)
            count = max(0, count - len(part))
    return size
