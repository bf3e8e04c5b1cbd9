"""WAL spool: folder of archived segments; missing segments, and pruning.

- WAL is the write-ahead log of PostgreSQL; a segment is one file of it. A server archives each
  complete segment into the folder.
- `scan` yields complete segments, histories of timelines and of backups, and the segment that
  `pg_receivewal` is writing (`.partial`). Other files, such as an unfinished copy, are ignored.
- A `.partial` file may grow while it is read. A replay of the log stops at the end of the part that
  was stored.
- If a segment is missing between other segments, it is reported, because the log cannot be replayed
  beyond it. Without this report, only a restore would notice the gap.
- `prune` removes a file that precedes a given segment, if the recovery point contains the whole
  file, and the file is unchanged since it was read. It never removes a `.partial` file. No other
  function removes files.
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
_LEAST_SEGMENT_BYTES = 1024 * 1024  # smallest `--wal-segsize` of initdb; the largest is 1 GiB
_MISSING = (
    "is missing, and later segments exist: the log cannot be replayed beyond it. Check the"
    " archiving of the log. The next base backup ends the gap"
)
_Vector = tuple[int, int, int, int]
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class WalSpool:
    """Folder of archived segments during the backup run of one source."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Files that the recovery point (the new backup) contains completely, with their status.
        self._delivered: dict[str, _Vector] = {}
        self._segment_bytes = 0

    def scan(self, source: str, below: bytes) -> Iterator[Found | Unread]:
        """Yield the folder under the path `below`, the files in it, and the gaps.

        `below` is b"" or ends with a slash. `source` is the name of the source, for the paths of
        missing segments.
        """
        self._delivered.clear()
        yield found_from_status(below.removesuffix(b"/"), self.folder.stat(), None)
        names = sorted(file.name for file in self.folder.iterdir())
        yield from self._list_files(names, below)
        for name in _first_missing_segments(names, self._segment_bytes):
            yield Unread(path=f"{source}/{below.decode()}{name}", reason=_MISSING)

    def _list_files(self, names: Sequence[str], below: bytes) -> Iterator[Found]:
        for name in names:
            if not (_WAL.fullmatch(name) or _HISTORY.fullmatch(name)):
                continue
            try:
                status = (self.folder / name).lstat()
            except FileNotFoundError:
                continue  # a .partial file that is complete and was renamed after the listing
            if stat.S_ISREG(status.st_mode):
                # Record the file even if it is not read in this run. The recovery point contains
                # the content of an unchanged file, which an earlier run has read.
                if not name.endswith(".partial"):
                    self._delivered[name] = _vector(status)
                if _SEGMENT.fullmatch(name):
                    # Use the largest size, because the newest segment may be incomplete although it
                    # has its final name.
                    self._segment_bytes = max(self._segment_bytes, status.st_size)
                yield found_from_status(below + name.encode(), status, None)

    @contextmanager
    def read(self, found: Found) -> Iterator[Content]:
        """Open the file that `scan` yielded last."""
        name = found.path.rpartition(b"/")[2].decode()
        vector = self._delivered.pop(name, None)  # added again after the file was read to its end
        descriptor = os.open(self.folder / name, _FLAGS)
        try:
            content = FileContent(descriptor, os.fstat(descriptor))
            if name.endswith(".partial"):
                yield _GrowingContent(content)
            else:
                yield content
                if vector is not None and content.changed() is None:
                    self._delivered[name] = vector
        finally:
            os.close(descriptor)

    def has_segment(self, segment: str) -> bool:
        """Return whether a complete segment exists."""
        return (self.folder / segment).exists()

    def newest_ns(self) -> int | None:
        """Return the latest mtime of a complete segment in nanoseconds, or None.

        The mtime is the time of the changes in the segment only if the archiving keeps the mtime of
        the server's file.
        """
        times = [
            file.stat().st_mtime_ns
            for file in self.folder.iterdir()
            if _SEGMENT.fullmatch(file.name)
        ]
        return max(times, default=None)

    def prune(self, segment: str) -> None:
        """Remove completely stored files that precede a segment, on any timeline."""
        for name, vector in sorted(self._delivered.items()):
            match = _WAL.fullmatch(name)
            if match is None or match.group("segment") >= segment[_TIMELINE_DIGITS:]:
                continue
            path = self.folder / name
            with suppress(FileNotFoundError):
                if _vector(path.lstat()) == vector:
                    path.unlink()
        self._delivered.clear()


def _first_missing_segments(names: Iterable[str], segment_bytes: int) -> Iterator[str]:
    """Yield the first missing segment of each gap between the given names.

    A timeline branches from an earlier timeline. So the segments before its first segment must
    exist on an earlier timeline. Such segments are missing, for example, if a server died with
    unarchived segments and its standby continued.
    """
    per_file = _segments_per_file(segment_bytes)
    earlier: list[tuple[int, str]] = []
    segments = [
        (name[:_TIMELINE_DIGITS], segment_number(name, segment_bytes))
        for name in names
        if is_segment(name)
    ]
    for timeline, group in groupby(segments, key=itemgetter(0)):
        numbers = [number for _, number in group]
        predecessor = max((item for item in earlier if item[0] < numbers[0]), default=None)
        sequence = [] if predecessor is None else [predecessor]
        sequence += [(number, timeline) for number in numbers]
        for (number, found_on), (next_number, _) in pairwise(sequence):
            if next_number != number + 1:
                file, low = divmod(number + 1, per_file)
                yield f"{found_on}{file:08X}{low:08X}"
        earlier += [(number, timeline) for number in numbers]


def is_segment(name: str) -> bool:
    """Return whether a file name is that of a complete segment."""
    return _SEGMENT.fullmatch(name) is not None


def segment_number(segment: str, segment_bytes: int) -> int:
    """Return the number of a segment, which is the same on each timeline."""
    file, low = segment[_TIMELINE_DIGITS:-_FILE_DIGITS], segment[-_FILE_DIGITS:]
    return int(file, 16) * _segments_per_file(segment_bytes) + int(low, 16)


def _segments_per_file(segment_bytes: int) -> int:
    return 0x1_0000_0000 // max(segment_bytes, _LEAST_SEGMENT_BYTES)


def _vector(status: os.stat_result) -> _Vector:
    return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


class _GrowingContent:
    """Content of a file that may grow; it is read up to its size at opening."""

    def __init__(self, content: FileContent) -> None:
        self._content = content
        self.size = content.size
        self.holes = content.holes

    def readinto(self, buffer: memoryview) -> int:
        count = self._content.readinto(buffer)
        self.size, self.holes = self._content.size, self._content.holes
        return count

    def changed(self) -> None:
        """Return None, because the part that was read does not change."""
