"""Sources of a backup, and the promises of every source.

    with source.opened(scratch, now) as opened:
        for item in opened.scan():            # paths in order
            if isinstance(item, Found) and item.kind == "file":
                with opened.read(item) as content:
                    content.readinto(buffer)

- `opened(scratch)` prepares the source. All files that it creates are in `scratch`, and are removed
  when the block ends, even after an error. If `opened` raises `SourceFailed`, no path of the source
  can be read.
- The content of the source contains all changes that were complete before the moment
  `consistent_at`.
- `scan` yields each path once, in path order: component by component, compared as bytes. The root
  of the source is yielded first, as b"". A path that cannot be read is yielded as `Unread`, and the
  scan continues.
- The content and extended attributes of a `Found` file are read before the next item is requested.
- Paths that the source omits by its nature or settings are recorded in `left_out`. They do not make
  a recovery point (a restorable backup) partial, that is incomplete. Paths that were deleted after
  they were listed and before they were read do not make it partial either; they are only counted.
- A source changes no data, except data that exists only for the backup: see `on_committed`.

To add a source, write one module with the `_methods`, and a test that ends in a restore.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from backup.errors import BackupError, SourceFailed, UsageError
from backup.format.manifest import Kind
from backup.records import Unread

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_MOST_NOTED = 100

T = TypeVar("T")


class Content(Protocol):
    """Content of an open file."""

    # Size of the file when it was opened. If the file ends earlier, the size is then reduced. The
    # size of a stream of unknown length is larger than any file until the stream has ended.
    size: int
    holes: tuple[tuple[int, int], ...]  # (start, length) pairs that `readinto` omits

    def readinto(self, buffer: memoryview) -> int:
        """Fill the buffer with the next bytes; return their number.

        The number is less than the size of the buffer only at the end of the content. After the
        end, it is 0.
        """

    def changed(self) -> str | None:
        """Return how the file changed while it was read, or None.

        The content that was read may then be a mixture of old and new content.
        """


# Not frozen: each file has an instance, and the creation of a frozen one takes three times as long.
@dataclass(kw_only=True, slots=True)
class Found:
    """One path of a source, as listed."""

    path: bytes  # below the source; b"" is the root of the source
    kind: Kind
    mode: int
    uid: int
    gid: int
    user: str
    group: str
    modified_ns: int
    size: int  # size of a file as listed; 0 for any other kind
    target: bytes | None
    device: tuple[int, int] | None
    same_file: tuple[int, int] | None  # (device, inode) of a file with more than one name
    vector: tuple[int, ...] | None  # size, times, …: equal if unchanged; None: always read
    changed_ns: int  # ctime: the last change of the content or the metadata


@dataclass(kw_only=True, slots=True)
class LeftOut:
    """Paths that a source omits without a problem; complete after `scan`."""

    named: list[Unread] = field(default_factory=list)  # the first hundred omitted paths
    total: int = 0  # number of omitted paths
    vanished: int = 0  # number of paths that were deleted after the listing and before the read

    def note(self, item: Unread) -> None:
        """Count an omitted path, and name it if it is one of the first hundred."""
        self.total += 1
        if len(self.named) < _MOST_NOTED:
            self.named.append(item)

    def add(self, other: "LeftOut") -> None:
        """Add the counts of another instance."""
        self.named += other.named[: _MOST_NOTED - len(self.named)]
        self.total += other.total
        self.vanished += other.vanished


@dataclass(frozen=True, kw_only=True, slots=True)
class Obstacle:
    """A problem that may prevent a complete backup.

    If `prevents` is true, a backup would be incomplete. If not, the problem is a risk that an
    operator may accept.
    """

    problem: str  # the problem, and what to do
    prevents: bool = True


class Source(ABC):
    """One named source; usable for one run at a time."""

    kind: str
    # Whether a forked process (a worker reader) can read the source. It can if it needs no file or
    # connection that the parent process has opened.
    supports_worker_reader = False
    # Whether most files of the source are removed after they were backed up. Archived database
    # logs, for example, are removed after each base backup.
    is_self_pruning = False

    def __init__(self, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"source {name!r}: not a valid name. Use at most 63 letters, digits, dots, dashes"
                " and underscores, starting with a letter or digit."
            )
        self.name = name

    @contextmanager
    def opened(self, scratch: Path, now: Callable[[], datetime]) -> Iterator["OpenSource"]:
        """Prepare the source; `scratch` is an existing, empty private folder."""
        with self._translate_errors(self._open(scratch, now)) as opened:
            yield opened

    def obstacles(self, scratch: Path) -> list[Obstacle]:
        """Return problems that a backup run would have, without reading content.

        `scratch` is an existing, empty private folder; afterwards it is empty again.
        """
        del scratch
        return []

    def on_committed(self) -> None:  # most sources have no data to release
        """Remove data that exists only for the backup and is now in the vault.

        This method is called at most once per run, after the recovery point was committed, and not
        if this source failed. Raise `OSError` if data cannot be removed.
        """

    @contextmanager
    def _translate_errors(
        self, manager: AbstractContextManager["OpenSource"]
    ) -> Iterator["OpenSource"]:
        # Translate only errors of the source itself; errors of the caller's block pass through.
        try:
            opened = manager.__enter__()
        except OSError as error:
            raise SourceFailed(_problem(self.name, error)) from error
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
    """The whole content of a small file."""

    data: bytes
    xattrs: tuple[tuple[bytes, bytes], ...]
    changed: str | None  # how the file changed while it was read


class ReadFile(NamedTuple):
    """A small file with one name that was read as soon as it was found."""

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

    def read_small(self, found: Found) -> Whole | None:
        """Read the file that `scan` yielded last; return None if it is not small.

        Also return None if the source supports only `read`.
        """
        del found
        return None

    def scan(self) -> Iterator[Found | Unread]:
        """Yield every path in order; raise `SourceFailed` if it cannot continue."""
        return self._translated(self._scan())

    def scan_with_content(self) -> Iterator[Found | Unread | ReadFile]:
        """Yield the paths of `scan`, some small files with their content.

        A file with several names is always yielded as `Found`, without content.
        """
        return self._translated(self._scan_with_content())

    def _translated(self, items: Iterator[T]) -> Iterator[T]:
        try:
            yield from items
        except BackupError:
            raise
        except OSError as error:
            raise SourceFailed(_problem(self.name, error)) from error

    @abstractmethod
    def _scan(self) -> Iterator[Found | Unread]: ...

    def _scan_with_content(self) -> Iterator[Found | Unread | ReadFile]:
        return self._scan()

    @abstractmethod
    def read(self, found: Found) -> AbstractContextManager[Content]:
        """Open the file that `scan` yielded last; raise `OSError` on failure."""

    @abstractmethod
    def xattrs(self, found: Found) -> tuple[tuple[bytes, bytes], ...]:
        """Return the extended attributes of the last path, sorted by name."""

    @abstractmethod
    def chunk_bytes(self, found: Found) -> int:
        """Return the average chunk size for the content, in bytes.

        A chunk is a piece of a file that is stored once, however often it occurs. The size is small
        if many small parts of the content change.
        """


def _problem(name: str, error: OSError) -> str:
    return (
        f"source {name}: cannot be read ({error.strerror or type(error).__name__})."
        " Check that it exists and is readable, then run again."
    )
