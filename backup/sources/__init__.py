"""Sources: what is backed up.  This module is what every source promises.

- `opened(scratch)` makes the source ready; what it creates for that lies in `scratch` and is gone
  when the block ends, however it ends.  `SourceFailed` means that nothing of this source can be
  had.
- `consistent_at` is true of all that the source gives: every change finished before it is included.
- `scan` gives each path once, in path order (component by component, as bytes), its root first as
  b"".  What cannot be read is given as `Unread`, and the scan goes on.
- A `Found` file is read, and its extended attributes, before the next item is asked for.
- Nothing of the source is ever changed.

To add a source: one module with the `_methods`, one test that subclasses the contract suite.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from backup.errors import BackupError, SourceFailed, UsageError
from backup.format.manifest import Kind
from backup.records import Unread

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


class Content(Protocol):
    """A file's content while it is open."""

    size: int  # as it was when opened; less once it turned out to end before
    holes: tuple[tuple[int, int], ...]  # (start, length), left out of what `readinto` gives

    def readinto(self, buffer: memoryview) -> int:
        """Fill the buffer with the next bytes; fewer only at the end, 0 when there are no more."""

    def changed(self) -> str | None:
        """Why what was read may be neither the old nor the new content; None when it is whole."""


@dataclass(frozen=True, kw_only=True, slots=True)
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


class Source(ABC):
    """One named thing to back up; usable for one run at a time."""

    kind: str

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


class OpenSource(ABC):
    """A source that is ready to be read."""

    def __init__(self, name: str, consistent_at: datetime) -> None:
        self.name = name
        self.consistent_at = consistent_at

    def scan(self) -> Iterator[Found | Unread]:
        """Give every path in order; `SourceFailed` when the source ends before its end."""
        iterator = self._scan()
        while True:
            try:
                item = next(iterator, None)
            except BackupError:
                raise
            except OSError as error:
                raise SourceFailed(_why(self.name, error)) from error
            if item is None:
                return
            yield item

    @abstractmethod
    def _scan(self) -> Iterator[Found | Unread]: ...

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
