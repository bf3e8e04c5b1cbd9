"""Names in a very large folder, sorted in a file.

A folder may have millions of names.
"""

import errno
import heapq
import os
import weakref
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import IO, overload

_RUN = 50_000  # names that are sorted in memory
_BLOCK = 512  # names that are read at once
_END = b"\0"  # no name contains it, and it sorts before every byte of a name
_FILE, _OTHER = b"f", b"o"


class LoadedFiles:
    """Names that are files, among those in memory."""

    def __init__(self) -> None:
        self.names: frozenset[bytes] = frozenset()

    def __contains__(self, name: object) -> bool:
        return name in self.names


class LargeFolderListing(Sequence[bytes]):
    """Sorted names in an unnamed file; some of them in memory."""

    def __init__(self, names: Iterable[tuple[bytes, bool]], scratch: Path) -> None:
        """Sort names, each with whether it is a file.

        A name that is replaced while its folder is listed may occur twice, and is listed once.
        """
        self.files = LoadedFiles()
        self._offsets = array("Q")
        self._count = 0
        self._first = 0  # index of the first name in memory
        self._loaded: list[bytes] = []
        try:
            self._file = self._sort(names, scratch)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            # The full disk is that of `scratch`; the folder's disk is only read.
            reason = f"{error.strerror} for its names, which are sorted next to the upload cache"
            raise OSError(error.errno, reason) from error
        weakref.finalize(self, os.close, self._file)

    def _sort(self, names: Iterable[tuple[bytes, bool]], scratch: Path) -> int:
        with _unnamed_file(scratch) as file, ExitStack() as runs:
            lines = heapq.merge(*_sorted_runs(iter(names), scratch, runs))
            for block in _blocks(_unique(lines)):
                self._offsets.append(file.tell())
                file.write(_join(block))
                self._count += len(block)
            self._offsets.append(file.tell())
            file.flush()
            return os.dup(file.fileno())

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        """Return a name, or consecutive names, by index."""
        if isinstance(index, slice):
            begin, end, _ = index.indices(self._count)
            if begin >= end:
                return []
            self._load(begin, end)
            return self._loaded[begin - self._first : end - self._first]
        if not 0 <= index < self._count:
            raise IndexError(index)
        self._load(index, index + 1)
        return self._loaded[index - self._first]

    def _load(self, begin: int, end: int) -> None:
        if self._first <= begin and end <= self._first + len(self._loaded):
            return
        block, end_block = begin // _BLOCK, -(-end // _BLOCK)
        start, stop = self._offsets[block], self._offsets[end_block]
        lines = os.pread(self._file, stop - start, start).split(_BETWEEN)[:-1]
        self._first = block * _BLOCK
        self._loaded = [line[:-2] for line in lines]
        self.files.names = frozenset(line[:-2] for line in lines if line.endswith(_FILE))


def _sorted_runs(
    names: Iterator[tuple[bytes, bool]], scratch: Path, runs: ExitStack
) -> list[Iterator[bytes]]:
    sorted_runs = []
    while run := list(islice(names, _RUN)):
        file = runs.enter_context(_unnamed_file(scratch))
        lines = sorted(name + _END + (_FILE if is_file else _OTHER) for name, is_file in run)
        file.write(_join(lines))
        file.seek(0)
        sorted_runs.append(_lines(file))
    return sorted_runs


def _unique(lines: Iterable[bytes]) -> Iterator[bytes]:
    latest = b""
    for line in lines:
        name = line[:-2]
        if name != latest:
            latest = name
            yield line


def _blocks(lines: Iterator[bytes]) -> Iterator[list[bytes]]:
    while block := list(islice(lines, _BLOCK)):
        yield block


# A name cannot contain a zero byte but may contain a newline: a line is a name, a zero byte, a
# letter and two zero bytes.
_BETWEEN = b"\0\0"


def _join(lines: Iterable[bytes]) -> bytes:
    return b"".join(line + _BETWEEN for line in lines)


def _lines(run: IO[bytes]) -> Iterator[bytes]:
    rest = b""
    while data := run.read(64 * 1024):
        *lines, rest = (rest + data).split(_BETWEEN)
        yield from lines


def _unnamed_file(folder: Path) -> IO[bytes]:
    from tempfile import TemporaryFile  # hardly any set has a folder this large

    return TemporaryFile(dir=folder)
