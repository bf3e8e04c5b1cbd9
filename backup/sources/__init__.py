"""Sources: what is backed up.  This module is what every source promises.

- `opened(scratch)` makes the source ready; what it creates for that lies in `scratch` and is gone
  when the block ends, however it ends.  `SourceFailed` means that nothing of this source can be
  had.
- `consistent_at` is true of all that the source gives: every change finished before it is included.
- `scan` gives each path once, in path order (component by component, as bytes), its root first as
  b"".  What cannot be read is given as `Unread`, and the scan goes on.
- A `Found` file is read, and its extended attributes, before the next item is asked for.
- What is left out by the source's nature or settings is noted in `left_out`, and makes no point
  partial; so does what vanished between being listed and being read, which is only counted.
- Nothing of the source is ever changed, but what was kept for the backup alone: see `committed`.

To add a source: one module with the `_methods`, one test that subclasses the contract suite.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from backup.errors import BackupError, SourceFailed, UsageError
from backup.format.manifest import Kind
from backup.records import Unread

if TYPE_CHECKING:
    from backup.sources.files.metadata_prefetch import FolderListing, MetadataPrefetch

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_MOST_NOTED = 100


class Content(Protocol):
    """A file's content while it is open."""

    # As it was when opened; less once it turned out to end before.  A stream that does not know
    # gives a number too large for any, and its own once it came to its end.
    size: int
    holes: tuple[tuple[int, int], ...]  # (start, length), left out of what `readinto` gives

    def readinto(self, buffer: memoryview) -> int:
        """Fill the buffer with the next bytes; fewer only at the end, 0 when there are no more."""

    def changed(self) -> str | None:
        """Why what was read may be neither the old nor the new content; None when it is whole."""


@dataclass(kw_only=True, slots=True)  # one a file: not frozen, which takes three times as long
class Found:
    """One path of a source, as a listing shows it."""

    path: bytes  # in the source; b"" is its root
    kind: Kind
    mode: int
    uid: int
    gid: int
    user: str
    group: str
    modified_ns: int
    size: int  # of a file as listed; 0 for everything else
    target: bytes | None
    device: tuple[int, int] | None
    same_file: tuple[int, int] | None  # (device, inode) where a file has more than one name
    vector: tuple[int, ...] | None  # unchanged when equal to the last run's; None: always read
    changed_ns: int  # ctime: when anything about the file last changed


@dataclass(kw_only=True, slots=True)
class LeftOut:
    """What a source does not give, and nothing is wrong with it; whole once `scan` has ended."""

    named: list[Unread] = field(default_factory=list)  # the first hundred
    total: int = 0
    vanished: int = 0  # listed, and gone before they were read

    def note(self, item: Unread) -> None:
        """Count one, and name it while there is room."""
        self.total += 1
        if len(self.named) < _MOST_NOTED:
            self.named.append(item)

    def add(self, other: "LeftOut") -> None:
        """Count what was noted elsewhere, too."""
        self.named += other.named[: _MOST_NOTED - len(self.named)]
        self.total += other.total
        self.vanished += other.vanished


@dataclass(frozen=True, kw_only=True, slots=True)
class Obstacle:
    """Something in the way of a whole backup; `prevents` says whether it would be less than whole.

    What does not prevent it is a risk that one may take.
    """

    problem: str  # what, and what to do
    prevents: bool = True


class Source(ABC):
    """One named thing to back up; usable for one run at a time."""

    kind: str
    # Whether a process that was forked from this one can read it: it needs nothing that is open.
    supports_worker_reader = False
    # Whether most of its files go as soon as something else has them: a log, with each base.
    sheds = False

    def __init__(self, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"{name!r} cannot name a source: use letters, digits, dot, dash and underscore,"
                " at most 63, beginning with a letter or digit"
            )
        self.name = name

    @contextmanager
    def opened(self, scratch: Path, now: Callable[[], datetime]) -> Iterator["OpenSource"]:
        """Make the source ready; `scratch` is an empty private folder that exists."""
        with self._translated(self._open(scratch, now)) as opened:
            yield opened

    def obstacles(self, scratch: Path) -> list[Obstacle]:
        """Say what would keep a run from being whole, as far as asking can tell; nothing is read.

        `scratch` is an empty private folder that exists, and is empty again afterwards.
        """
        del scratch
        return []

    def committed(self) -> None:  # most sources have nothing to let go of
        """Take note that a point was committed with all that this source gave when last opened.

        Called at most once a run, and not when this source failed.  What keeps something only
        until it is in a point may let go of it now; an `OSError` says why it could not.
        """

    @contextmanager
    def _translated(self, manager: AbstractContextManager["OpenSource"]) -> Iterator["OpenSource"]:
        # Only what the source itself raises is its failure; what its user raises passes through.
        try:
            opened = manager.__enter__()
        except OSError as error:
            raise SourceFailed(_why(self.name, error)) from error
        try:
            yield opened
        except BaseException as error:
            manager.__exit__(type(error), error, error.__traceback__)
            raise
        manager.__exit__(None, None, None)

    @abstractmethod
    def _open(
        self, scratch: Path, now: Callable[[], datetime]
    ) -> AbstractContextManager["OpenSource"]: ...


@dataclass(kw_only=True, slots=True)
class Whole:
    """What a small file holds, read in one go."""

    data: bytes
    xattrs: tuple[tuple[bytes, bytes], ...]
    changed: str | None  # why it may be neither the old nor the new content


class ReadFile(NamedTuple):
    """A small file with one name that was found and read in one go, and stayed as it was."""

    path: bytes
    vector: tuple[int, ...]  # inode, size, mtime (ns), ctime (ns), mode, uid, gid
    data: bytes
    xattrs: tuple[tuple[bytes, bytes], ...]


class OpenSource(ABC):
    """A source that is ready to be read."""

    def __init__(self, name: str, consistent_at: datetime) -> None:
        self.name = name
        self.consistent_at = consistent_at
        self.left_out = LeftOut()

    def expect(  # may be ignored
        self, paths: Sequence[bytes], vectors: Sequence[tuple[int, ...] | None]
    ) -> None:
        """Hear what is likely to come, from the path that was given last on, in order.

        What has no vector shall be given as `Found` in any case; see `scan_expecting`.
        """

    def read_along(self) -> None:  # may be ignored
        """Hear that every file will be read: what is small may be given as `ReadFile` at once."""

    def survey(self) -> "Iterator[FolderListing]":
        """Tell what is in each folder, for the same source as it is opened in another process."""
        return iter(())

    def rely_on(self, survey: "MetadataPrefetch") -> None:  # may be ignored
        """Hear that another process looks at everything, ahead of `scan`."""

    def read_small(self, found: Found) -> Whole | None:
        """Read a file that `scan` gave last in one go; None when it must be read as any other."""
        del found
        return None

    def scan(self) -> Iterator[Found | Unread]:
        """Give every path in order; `SourceFailed` when the source ends before its end."""
        for item in self.scan_expecting():
            if isinstance(item, Found | Unread):  # nothing is expected or read along here
                yield item

    def scan_expecting(self) -> Iterator[Found | Unread | ReadFile | range]:
        """As `scan`, but files and folders that are as expected may be given by their numbers.

        They count in what `expect` was told last, and a range of them is one item: to make a
        `Found` of each and hand it on takes longer than to look at it. After `read_along`, small
        files may be given as they were read. A file with several names is always given as `Found`.
        """
        try:
            yield from self._scan()
        except BackupError:
            raise
        except OSError as error:
            raise SourceFailed(_why(self.name, error)) from error

    @abstractmethod
    def _scan(self) -> Iterator[Found | Unread | ReadFile | range]: ...

    @abstractmethod
    def read(self, found: Found) -> AbstractContextManager[Content]:
        """Open a file that `scan` gave last; an `OSError` says why it cannot be read."""

    @abstractmethod
    def xattrs(self, found: Found) -> tuple[tuple[bytes, bytes], ...]:
        """The extended attributes of what `scan` gave last, sorted by name."""

    @abstractmethod
    def chunk_bytes(self, found: Found) -> int:
        """The average size of chunk that suits the content: small where edits are scattered."""


def _why(name: str, error: OSError) -> str:
    return (
        f"source {name} cannot be read: {error.strerror or type(error).__name__}."
        " Check that it is there and may be read, then run again"
    )
