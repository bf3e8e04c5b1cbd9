"""A survey of files: another process lists folders and looks at what is in them, ahead of the walk.

In a night without news that is most of the walk's work, and the walk does the rest meanwhile.

- It is a help and nothing else: a folder that it did not come to, or that is not there any more,
  is listed by the walk itself.
- It tells what a path was a moment ago.  What changed since bears a time after the beginning of the
  run, like everything that changes behind the walk, and the next run sees that.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from operator import methodcaller
from stat import S_ISDIR, S_ISREG

from backup.format.manifest import path_key
from backup.sources.files.file_status import (
    Vector,
    vector_of_file,
    vectors_from_bytes,
    vectors_to_bytes,
)
from backup.system.folder_stack import FolderStack

_WIDTH = 7  # of a file's vector
_MOST_BYTES = 1024 * 1024  # of a folder as it is told; a larger one is left to the walk

# A folder's path; its names, sorted, with zeros between them; the columns of their stat vectors;
# a 1 for each name that is a file's only one.
FolderListing = tuple[bytes, bytes, bytes, bytes]

# `os.fsencode` without its checks: as many calls as there are files.
as_bytes = methodcaller("encode", sys.getfilesystemencoding(), sys.getfilesystemencodeerrors())


@dataclass(kw_only=True, slots=True)
class PrefetchedFolder:
    """What was in a folder."""

    names: list[bytes]  # sorted
    vectors: list[Vector]
    are_plain: bytes  # a 1 for each name that is a file's only one


def survey(
    folders: FolderStack, enters: Callable[[os.stat_result], bool]
) -> Iterator[FolderListing]:
    """Tell of each folder in path order, from where `folders` stand; `enters` says into which.

    What cannot be read is left to the walk.  An `OSError`: a folder that this is in was moved away.
    """
    ways = [iter([(b"", b"")])]
    while ways:
        way = next(ways[-1], None)
        if way is None:
            ways.pop()
            if len(ways) > 1:
                folders.leave()
            continue
        path, name = way
        try:
            if name:
                folders.enter(name)
        except OSError:
            continue
        inner: list[tuple[bytes, bytes]] = []
        with suppress(OSError, OverflowError):  # the latter of a number that no column has room for
            told, inner = _look_around(folders.current, path, enters)
            if sum(map(len, told)) <= _MOST_BYTES:
                yield told
        ways.append(iter(inner))


def _look_around(
    folder: int, path: bytes, enters: Callable[[os.stat_result], bool]
) -> tuple[FolderListing, list[tuple[bytes, bytes]]]:
    """What is in an open folder, and the folders in it to go into, each with its path and name."""
    prefix = path + b"/" if path else b""
    names = sorted(set(map(as_bytes, os.listdir(folder))))
    statuses = [os.stat(name, dir_fd=folder, follow_symlinks=False) for name in names]
    numbers = vectors_to_bytes([*map(vector_of_file, statuses)])
    are_plain = bytes([status.st_nlink == 1 and S_ISREG(status.st_mode) for status in statuses])
    inner = [
        (prefix + name, name)
        for name, status in zip(names, statuses, strict=True)
        if S_ISDIR(status.st_mode) and enters(status)
    ]
    return (path, b"\0".join(names), numbers, are_plain), inner


class MetadataPrefetch:
    """What is told of folders, asked for in path order."""

    def __init__(self, told: Iterator[FolderListing]) -> None:
        self._told = told
        self._next: FolderListing | None = None
        self._has_ended = False

    def folder(self, path: bytes) -> PrefetchedFolder | None:
        """What was in a folder; None when that was not told."""
        key = path_key(path)
        while not self._has_ended and (self._next is None or path_key(self._next[0]) < key):
            self._next = next(self._told, None)
            self._has_ended = self._next is None
        if self._next is None or self._next[0] != path:
            return None
        _, names, numbers, are_plain = self._next
        return PrefetchedFolder(
            names=names.split(b"\0") if names else [],
            vectors=vectors_from_bytes(numbers, _WIDTH),
            are_plain=are_plain,
        )

    def close(self) -> None:
        """Let everything pass that was not asked for, so that the next source can be told of."""
        for _ in self._told:
            pass
