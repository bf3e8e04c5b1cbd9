"""A folder that PostgreSQL's write-ahead log is archived into, until it is in a recovery point.

- Whole segments, histories of time lines and of backups are given, and what `pg_receivewal` is
  still writing (`.partial`); everything else, such as a copy under way, is not looked at.
- A `.partial` grows while it is read, and that is well: the log's reader stops where it ends.
- A segment that lacks between others is told: the log cannot be replayed beyond it, and whoever
  restores would be the first to notice.
- `prune` removes what was given whole, lies before a segment and is still as it was given: not what
  could not be read, and neither a `.partial` nor a file that was added to since, of which the point
  has the beginning only.  Nothing else removes anything.
"""

import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import groupby, pairwise
from operator import itemgetter
from pathlib import Path

from backup.records import Unread
from backup.sources import Content, Found
from backup.sources.files.file_content import FileContent
from backup.sources.files.file_status import found_from_status

_WAL = re.compile(r"[0-9A-F]{8}(?P<segment>[0-9A-F]{16})(\.partial|\.[0-9A-F]{8}\.backup)?")
_SEGMENT = re.compile(r"[0-9A-F]{24}")
_HISTORY = re.compile(r"[0-9A-F]{8}\.history")
_TIMELINE_DIGITS = 8
_FILE_DIGITS = 8
_LEAST_SEGMENT_BYTES = 1024 * 1024  # `--wal-segsize` of initdb: a power of two, to 1 GiB
_LACKS = (
    "is not there, and later segments are: beyond it the log cannot be replayed. See what archives"
    " the log; the next base backup makes up for it"
)
_Vector = tuple[int, int, int, int]
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class WalSpool:
    """The folder, from when a source that gives it is opened until its point is committed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._given: dict[str, _Vector] = {}  # what is in the point whole, and how it looked
        self._segment_bytes = 0

    def scan(self, source: str, below: bytes) -> Iterator[Found | Unread]:
        """Give the folder as `below`, which is b"" or ends with a slash, and what is in it.

        What lacks of it is told in the name of the source.
        """
        self._given.clear()
        yield found_from_status(below.removesuffix(b"/"), self.folder.stat(), None)
        names = sorted(file.name for file in self.folder.iterdir())
        yield from self._given_of(names, below)
        for name in _lacking(names, self._segment_bytes):
            yield Unread(path=f"{source}/{below.decode()}{name}", reason=_LACKS)

    def _given_of(self, names: Sequence[str], below: bytes) -> Iterator[Found]:
        for name in names:
            if not (_WAL.fullmatch(name) or _HISTORY.fullmatch(name)):
                continue
            try:
                status = (self.folder / name).lstat()
            except FileNotFoundError:
                continue  # a .partial that became whole just now
            if stat.S_ISREG(status.st_mode):
                # Also when it is not read now: unchanged, it is in the point as it was read before.
                if not name.endswith(".partial"):
                    self._given[name] = _vector(status)
                if _SEGMENT.fullmatch(name):
                    # The largest: the newest may still be on its way here, under its own name.
                    self._segment_bytes = max(self._segment_bytes, status.st_size)
                yield found_from_status(below + name.encode(), status, None)

    @contextmanager
    def read(self, found: Found) -> Iterator[Content]:
        """Open a file that `scan` gave last."""
        name = found.path.rpartition(b"/")[2].decode()
        vector = self._given.pop(name, None)  # until it was read to its end
        descriptor = os.open(self.folder / name, _FLAGS)
        try:
            content = FileContent(descriptor, os.fstat(descriptor))
            if name.endswith(".partial"):
                yield _Growing(content)
            else:
                yield content
                if vector is not None and content.changed() is None:
                    self._given[name] = vector
        finally:
            os.close(descriptor)

    def holds(self, segment: str) -> bool:
        """Whether a whole segment is there."""
        return (self.folder / segment).exists()

    def newest_ns(self) -> int | None:
        """When the newest whole segment was written to last; None when there is none.

        True of the changes in it only where archiving keeps a segment's time.
        """
        times = [
            file.stat().st_mtime_ns
            for file in self.folder.iterdir()
            if _SEGMENT.fullmatch(file.name)
        ]
        return max(times, default=None)

    def prune(self, before: str) -> None:
        """Remove what was given and lies before a segment, on whatever time line."""
        for name, vector in sorted(self._given.items()):
            found = _WAL.fullmatch(name)
            if found is None or found.group("segment") >= before[_TIMELINE_DIGITS:]:
                continue
            path = self.folder / name
            with suppress(FileNotFoundError):
                if _vector(path.lstat()) == vector:
                    path.unlink()
        self._given.clear()


def _lacking(names: Iterable[str], segment_bytes: int) -> Iterator[str]:
    """The first segment that lacks of each gap, by the names alone: what is pruned now is none.

    A time line begins where an earlier one was left: what lies before its first segment has to be
    there on one of those.  Else a server that died with log of its own, and was followed by its
    standby, leaves a gap that looks like none.
    """
    per_file = 0x1_0000_0000 // max(segment_bytes, _LEAST_SEGMENT_BYTES)
    earlier: list[tuple[int, str]] = []
    segments = [
        (name[:_TIMELINE_DIGITS], _number(name, per_file))
        for name in names
        if _SEGMENT.fullmatch(name)
    ]
    for timeline, of_it in groupby(segments, key=itemgetter(0)):
        numbers = [number for _, number in of_it]
        before = max((one for one in earlier if one[0] < numbers[0]), default=None)
        reached = [] if before is None else [before]
        reached += [(number, timeline) for number in numbers]
        for (number, line), (next_number, _) in pairwise(reached):
            if next_number != number + 1:
                file, low = divmod(number + 1, per_file)
                yield f"{line}{file:08X}{low:08X}"
        earlier += [(number, timeline) for number in numbers]


def _number(segment: str, per_file: int) -> int:
    file, low = segment[_TIMELINE_DIGITS:-_FILE_DIGITS], segment[-_FILE_DIGITS:]
    return int(file, 16) * per_file + int(low, 16)


def _vector(status: os.stat_result) -> _Vector:
    return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


class _Growing:
    """A file that may grow while it is read, up to the size that it had."""

    def __init__(self, content: FileContent) -> None:
        self._content = content
        self.size = content.size
        self.holes = content.holes

    def readinto(self, buffer: memoryview) -> int:
        count = self._content.readinto(buffer)
        self.size, self.holes = self._content.size, self._content.holes
        return count

    def changed(self) -> None:
        """Nothing: its beginning is what it was."""
