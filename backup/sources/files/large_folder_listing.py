"""The names in a very large folder, in order: sorted in a file, since they may be of millions."""

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
_END = b"\0"  # what no name has in it, and what sorts before every byte that one has
_FILE, _OTHER = b"f", b"o"


class NearFiles:
    """Which names are files', by what their folder says; of those around the last one asked for."""

    def __init__(self) -> None:
        self.names: frozenset[bytes] = frozenset()

    def __contains__(self, name: object) -> bool:
        return name in self.names


class LargeFolderListing(Sequence[bytes]):
    """Names in a file without a name; those around the one that is asked for are in memory."""

    def __init__(self, names: Iterable[tuple[bytes, bool]], scratch: Path) -> None:
        """Take names in any order, each with whether it is a file's.

        A name that was made anew while its folder was listed may come twice, and is one.
        """
        self.files = NearFiles()
        self._offsets = array("Q")
        self._count = 0
        self._first = 0  # of those in memory
        self._near: list[bytes] = []
        try:
            self._file = self._sorted(names, scratch)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            # Not the folder's disk, which is only read.
            why = f"{error.strerror} for its names, which are sorted beside the send-log"
            raise OSError(error.errno, why) from error
        weakref.finalize(self, os.close, self._file)

    def _sorted(self, names: Iterable[tuple[bytes, bool]], scratch: Path) -> int:
        with _file_without_name(scratch) as file, ExitStack() as runs:
            lines = heapq.merge(*_sorted_runs(iter(names), scratch, runs))
            for block in _blocks(_once(lines)):
                self._offsets.append(file.tell())
                file.write(_joined(block))
                self._count += len(block)
            self._offsets.append(file.tell())
            file.flush()
            return os.dup(file.fileno())

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, at: int) -> bytes: ...
    @overload
    def __getitem__(self, at: slice) -> list[bytes]: ...
    def __getitem__(self, at: int | slice) -> bytes | list[bytes]:
        """A name, or some that follow each other, counted from the beginning."""
        if isinstance(at, slice):
            begin, end, _ = at.indices(self._count)
            if begin >= end:
                return []
            self._have(begin, end)
            return self._near[begin - self._first : end - self._first]
        if not 0 <= at < self._count:
            raise IndexError(at)
        self._have(at, at + 1)
        return self._near[at - self._first]

    def _have(self, begin: int, end: int) -> None:
        if self._first <= begin and end <= self._first + len(self._near):
            return
        block, behind = begin // _BLOCK, -(-end // _BLOCK)
        start, stop = self._offsets[block], self._offsets[behind]
        lines = os.pread(self._file, stop - start, start).split(_BETWEEN)[:-1]
        self._first = block * _BLOCK
        self._near = [line[:-2] for line in lines]
        self.files.names = frozenset(line[:-2] for line in lines if line.endswith(_FILE))


def _sorted_runs(
    names: Iterator[tuple[bytes, bool]], scratch: Path, runs: ExitStack
) -> list[Iterator[bytes]]:
    found = []
    while run := list(islice(names, _RUN)):
        file = runs.enter_context(_file_without_name(scratch))
        lines = sorted(name + _END + (_FILE if is_file else _OTHER) for name, is_file in run)
        file.write(_joined(lines))
        file.seek(0)
        found.append(_lines(file))
    return found


def _once(lines: Iterable[bytes]) -> Iterator[bytes]:
    latest = b""
    for line in lines:
        name = line[:-2]
        if name != latest:
            latest = name
            yield line


def _blocks(lines: Iterator[bytes]) -> Iterator[list[bytes]]:
    while block := list(islice(lines, _BLOCK)):
        yield block


# A name cannot have a zero in it, but may have a newline: a line is a name, a zero, a letter, and
# two zeros.
_BETWEEN = b"\0\0"


def _joined(lines: Iterable[bytes]) -> bytes:
    return b"".join(line + _BETWEEN for line in lines)


def _lines(run: IO[bytes]) -> Iterator[bytes]:
    rest = b""
    while data := run.read(64 * 1024):
        *lines, rest = (rest + data).split(_BETWEEN)
        yield from lines


def _file_without_name(folder: Path) -> IO[bytes]:
    from tempfile import TemporaryFile  # hardly a set has a folder that large

    return TemporaryFile(dir=folder)
