"""Sorted names in a folder, without files of the backup itself.

The names in a very large folder are sorted on disk (see `large_folder_listing`).
"""

import os
from collections.abc import Container, Iterator, Sequence, Set
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path

from backup.sources.files.large_folder_listing import LargeFolderListing

_MANY_NAMES = 50_000  # names in one folder
_LARGE_FOLDER_BYTES = 1024 * 1024  # a folder of this size may contain that many names
_NONE: Set[bytes] = frozenset()


def list_names(
    folder: int, own_prefixes: tuple[bytes, ...], scratch: Path, *, with_files: bool
) -> tuple[Sequence[bytes], Container[bytes]]:
    """Return the sorted names in an open folder, without those of own files.

    Names that begin with one of `own_prefixes` are omitted: they are files of the backup itself. If
    `with_files` is true, also return the names that are files according to the folder's listing.
    """
    if not with_files and os.fstat(folder).st_size < _LARGE_FOLDER_BYTES:
        # A name that is replaced during the listing may be listed twice.
        names = sorted(set(map(os.fsencode, os.listdir(folder))))
        return [
            name for name in names if not name.startswith(own_prefixes)
        ] if own_prefixes else names, _NONE
    with os.scandir(folder) as scan:
        named = (
            (name, _is_file(entry))
            for entry in scan
            if not (name := os.fsencode(entry.name)).startswith(own_prefixes)
        )
        first = list(islice(named, _MANY_NAMES))
        if len(first) == _MANY_NAMES:
            listing = LargeFolderListing(chain(first, named), scratch)
            return listing, listing.files if with_files else _NONE
    kinds = dict(first)
    files = {name for name, is_file in kinds.items() if is_file} if with_files else _NONE
    return sorted(kinds), files


def file_ids(folders: Sequence[Path]) -> Iterator[tuple[int, int]]:
    """Yield device and inode of the existing folders."""
    for folder in folders:
        with suppress(OSError):  # the folder does not exist yet, or cannot be reached
            status = folder.stat()
            yield status.st_dev, status.st_ino


def own_name_prefixes(files: Sequence[Path], root: Path) -> dict[bytes, tuple[bytes, ...]]:
    """Return the prefixes of names to omit, by the path of their folder.

    `files` are files that the backup itself writes; `root` is the folder to back up.
    """
    prefixes: dict[bytes, tuple[bytes, ...]] = {}
    for path in map(Path.resolve, files):
        if path != root and path.is_relative_to(root):
            folder, _, name = os.fsencode(path.relative_to(root)).rpartition(b"/")
            prefixes[folder] = (*prefixes.get(folder, ()), name)
    return prefixes


def _is_file(entry: os.DirEntry[str]) -> bool:
    # Use the information in the folder's listing, because other kinds must not be opened.
    try:
        return entry.is_file(follow_symlinks=False)
    except OSError:
        return False
