"""Status of a path: kind, owner, and the stat vector for change detection."""

import grp
import os
import pwd
import stat
from array import array
from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import attrgetter

from backup.format.canonical_json import to_path_text
from backup.format.manifest import Kind
from backup.sources import Found

_KINDS: dict[int, Kind] = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFBLK: "block-device",
    stat.S_IFCHR: "character-device",
}

# Stat vector: the fields of a path's status that change if the path is changed.
Vector = tuple[int, ...]

vector_of_file: Callable[[os.stat_result], Vector] = attrgetter(
    "st_ino", "st_size", "st_mtime_ns", "st_ctime_ns", "st_mode", "st_uid", "st_gid"
)
"""Return the stat vector of a file."""


def vectors_to_bytes(vectors: Sequence[Vector]) -> bytes:
    """Encode vectors of equal length, column by column, in few calls.

    Raise `OverflowError` for a number beyond 63 bits, such as some inode numbers.
    """
    return b"".join([array("q", column).tobytes() for column in zip(*vectors, strict=True)])


def vectors_from_bytes(data: bytes, width: int) -> list[Vector]:
    """Decode the output of `vectors_to_bytes` for vectors of this length."""
    values = array("q", data)
    height = len(values) // width
    columns = [values[number * height : (number + 1) * height] for number in range(width)]
    return list(zip(*columns, strict=True))


def found_from_status(
    path: bytes,
    status: os.stat_result,
    target: bytes | None,
    *,
    always_read: bool = False,
    ignore_inode: bool = False,
    size: int | None = None,
) -> Found:
    """Return a path as listed; `size` replaces the size in the status."""
    mode = status.st_mode
    if stat.S_ISREG(mode) and status.st_nlink == 1 and not ignore_inode and size is None:
        return _found_plain_file(path, vector_of_file(status), always_read)
    kind = _KINDS[stat.S_IFMT(status.st_mode)]
    is_device = kind in ("block-device", "character-device")
    vector = change_vector(status, ignore_inode, size)
    is_linked = kind == "file" and status.st_nlink > 1 and not (always_read or ignore_inode)
    return Found(
        path=path,
        kind=kind,
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        user=user_name(status.st_uid),
        group=group_name(status.st_gid),
        modified_ns=status.st_mtime_ns,
        size=vector[1],
        target=target,
        device=(os.major(status.st_rdev), os.minor(status.st_rdev)) if is_device else None,
        same_file=(status.st_dev, status.st_ino) if is_linked else None,
        vector=None if always_read else vector,
        changed_ns=status.st_ctime_ns,
    )


def _found_plain_file(path: bytes, vector: Vector, always_read: bool) -> Found:
    """Return a plain file as listed, in half the time of `found_from_status`."""
    _, size, modified_ns, changed_ns, mode, uid, gid = vector
    return Found(
        path=path,
        kind="file",
        mode=mode & 0o7777,
        uid=uid,
        gid=gid,
        user=user_name(uid),
        group=group_name(gid),
        modified_ns=modified_ns,
        size=size,
        target=None,
        device=None,
        same_file=None,
        vector=None if always_read else vector,
        changed_ns=changed_ns,
    )


def change_vector(status: os.stat_result, ignore_inode: bool, size: int | None = None) -> Vector:
    """Return the stat vector of a path; `size` replaces the size in it."""
    vector = vector_of_file(status)
    if size is None:
        if stat.S_ISREG(status.st_mode) and not ignore_inode:
            return vector
        # The size of a folder does not show whether it changed.
        size = vector[1] if stat.S_ISREG(status.st_mode) else 0
    return (0 if ignore_inode else vector[0], size, *vector[2:])


@lru_cache(maxsize=4096)
def user_name(uid: int) -> str:
    """Return the name of a user as path text, or "" if it is unknown.

    Path text is the notation of names in the backup: bytes that are not UTF-8 are written as %XX.
    """
    try:
        return to_path_text(os.fsencode(pwd.getpwuid(uid).pw_name))
    except KeyError:
        return ""


@lru_cache(maxsize=4096)
def group_name(gid: int) -> str:
    """Return the name of a group as path text (see `user_name`), or ""."""
    try:
        return to_path_text(os.fsencode(grp.getgrgid(gid).gr_name))
    except KeyError:
        return ""
