"""Metadata prefetch: a worker process lists folders ahead of the walk.

Without changes, this is most of the walk's work; the walk does the rest at the same time.

- It is only an aid: the walk itself lists a folder that the worker has not reached, or that no
  longer exists.
- It reports what a path was a moment ago. A later change has a time after the start of the run,
  like every change behind the walk, and the next run notices it.
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

_WIDTH = 7  # fields of a file's vector
_MOST_BYTES = 1024 * 1024  # of an encoded folder; the walk itself lists a larger one

# Path of the folder; sorted names, separated by zero bytes; columns of their stat vectors; 1 for
# each name that is the only one of a file.
FolderListing = tuple[bytes, bytes, bytes, bytes]

# `os.fsencode` without its checks: it is called for each file.
encode_name = methodcaller("encode", sys.getfilesystemencoding(), sys.getfilesystemencodeerrors())


@dataclass(kw_only=True, slots=True)
class PrefetchedFolder:
    """Content of a folder."""

    names: list[bytes]  # sorted
    vectors: list[Vector]
    are_plain: bytes  # 1 for each name that is the only one of a file


def list_folders(
    folders: FolderStack, enters: Callable[[os.stat_result], bool]
) -> Iterator[FolderListing]:
    """Yield each folder in path order, from the current one of `folders`.

    `enters` says which folders to enter. Folders that cannot be read are left to the walk. Raise
    `OSError` if a parent folder was moved away.
    """
    pending = [iter([(b"", b"")])]
    while pending:
        entry = next(pending[-1], None)
        if entry is None:
            pending.pop()
            if len(pending) > 1:
                folders.leave()
            continue
        path, name = entry
        try:
            if name:
                folders.enter(name)
        except OSError:
            continue
        inner: list[tuple[bytes, bytes]] = []
        # OverflowError: a number that no column has room for.
        with suppress(OSError, OverflowError):
            listing, inner = _list_folder(folders.current, path, enters)
            if sum(map(len, listing)) <= _MOST_BYTES:
                yield listing
        pending.append(iter(inner))


def _list_folder(
    folder: int, path: bytes, enters: Callable[[os.stat_result], bool]
) -> tuple[FolderListing, list[tuple[bytes, bytes]]]:
    """List an open folder; return also the folders to enter in it."""
    prefix = path + b"/" if path else b""
    names = sorted(set(map(encode_name, os.listdir(folder))))
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
    """Folder listings of the worker, read in path order."""

    def __init__(self, listings: Iterator[FolderListing]) -> None:
        self._listings = listings
        self._next: FolderListing | None = None
        self._has_ended = False

    def folder(self, path: bytes) -> PrefetchedFolder | None:
        """Return the content of a folder; None if the worker did not list it."""
        key = path_key(path)
        while not self._has_ended and (self._next is None or path_key(self._next[0]) < key):
            self._next = next(self._listings, None)
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
        """Skip the remaining listings, so that the next source can start."""
        for _ in self._listings:
            pass
