"""The names in a folder, sorted, and what is left out there because it is ours.

Of very many names the most lie on the disk meanwhile.
"""

import os
from collections.abc import Container, Iterator, Sequence, Set
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path

from backup.sources.files.large_folder_listing import LargeFolderListing
from backup.sources.files.metadata_prefetch import as_bytes

_MANY_NAMES = 50_000  # in one folder
_LARGE_FOLDER_BYTES = 1024 * 1024  # by its own size; it may hold as many
_NONE: Set[bytes] = frozenset()


def names_in(
    folder: int, own: tuple[bytes, ...], scratch: Path, *, tells_files: bool
) -> tuple[Sequence[bytes], Container[bytes]]:
    """The names in an open folder, without those that begin like our own.

    With `tells_files` also which of them are files, by what the folder itself says.
    """
    if not tells_files and os.fstat(folder).st_size < _LARGE_FOLDER_BYTES:
        # A name that is made anew meanwhile may come twice.
        names = sorted(set(map(as_bytes, os.listdir(folder))))
        return [name for name in names if not name.startswith(own)] if own else names, _NONE
    with os.scandir(folder) as scan:
        found = (
            (name, _is_file(entry))
            for entry in scan
            if not (name := as_bytes(entry.name)).startswith(own)
        )
        first = list(islice(found, _MANY_NAMES))
        if len(first) == _MANY_NAMES:
            many = LargeFolderListing(chain(first, found), scratch)
            return many, many.files if tells_files else _NONE
    kinds = dict(first)
    files = {name for name, is_file in kinds.items() if is_file} if tells_files else _NONE
    return sorted(kinds), files


def numbers_of(folders: Sequence[Path]) -> Iterator[tuple[int, int]]:
    """What tells folders from all others on this machine, of those that are there."""
    for folder in folders:
        with suppress(OSError):  # it is not there yet, or not to be reached from here
            status = folder.stat()
            yield status.st_dev, status.st_ino


def own_names(files: Sequence[Path], root: Path) -> dict[bytes, tuple[bytes, ...]]:
    """How names begin that are left out, by the path of their folder below the root."""
    found: dict[bytes, tuple[bytes, ...]] = {}
    for path in map(Path.resolve, files):
        if path != root and path.is_relative_to(root):
            folder, _, name = os.fsencode(path.relative_to(root)).rpartition(b"/")
            found[folder] = (*found.get(folder, ()), name)
    return found


def _is_file(entry: os.DirEntry[str]) -> bool:
    # The folder itself says so: what is something else must not even be opened.
    try:
        return entry.is_file(follow_symlinks=False)
    except OSError:
        return False
