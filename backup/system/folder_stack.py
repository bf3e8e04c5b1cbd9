"""The folders that a walk or a restore stands in, from its root down; few of them are open.

- Every step is one name relative to an open folder and never follows a symbolic link, so no path
  is too long for the kernel and nobody can lead it elsewhere meanwhile.
- However deep it goes, a few dozen descriptors are open.  A folder that was closed is opened
  again by "..", and compared with what it was: device and inode.  When somebody moved things
  meanwhile, it is looked for by its names from the root.
"""

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass

FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_OPEN = 32


@dataclass(kw_only=True, slots=True)
class _Level:
    name: bytes
    device: int
    inode: int
    descriptor: int | None


class FolderStack:
    """A stack of folders; `close` when done."""

    def __init__(self, top: int) -> None:
        self._top = top
        self._levels = [_level(b"", top)]

    @property
    def current(self) -> int:
        """The descriptor of the innermost folder."""
        descriptor = self._levels[-1].descriptor
        if descriptor is None:
            raise OSError(errno.ESTALE, "was moved meanwhile")
        return descriptor

    @property
    def current_device(self) -> int:
        """The file system that the innermost folder lies in."""
        return self._levels[-1].device

    def enter(self, name: bytes, opened: int | None = None) -> None:
        """Open a folder of the innermost one, which is the innermost from now on.

        One that is `opened` already is closed with the others.
        """
        descriptor = opened
        if descriptor is None:
            descriptor = os.open(name, FOLDER_FLAGS, dir_fd=self.current)
        self._levels.append(_level(name, descriptor))
        if len(self._levels) > _MOST_OPEN:
            far = self._levels[-_MOST_OPEN]
            if far is not self._levels[0] and far.descriptor is not None:
                os.close(far.descriptor)
                far.descriptor = None

    def leave(self, last: Callable[[int | None], None] | None = None) -> None:
        """Go back to the folder around the innermost one; an `OSError` when it cannot be found.

        It has been left then all the same, and `current` says so again. `last` is called with the
        one that is left, before it is closed: what that gets may shut the way back off. None for
        one that was not found again.
        """
        left = self._levels.pop()
        above = self._levels[-1]
        try:
            try:
                if above.descriptor is None:
                    if left.descriptor is not None:
                        above.descriptor = _opened_as(above, b"..", left.descriptor)
                    if above.descriptor is None:
                        above.descriptor = self._found_from_the_root()
            finally:
                if last is not None:
                    last(left.descriptor)
        finally:
            if left.descriptor is not None:
                os.close(left.descriptor)

    def close(self) -> None:
        """Close everything."""
        while self._levels:
            descriptor = self._levels.pop().descriptor
            if descriptor is not None:
                os.close(descriptor)

    def _found_from_the_root(self) -> int:
        step = os.dup(self._top)
        for level in self._levels[1:]:
            around = step
            try:
                found = _opened_as(level, level.name, around)
            finally:
                os.close(around)
            if found is None:
                raise OSError(errno.ESTALE, "was moved meanwhile")
            step = found
        return step


def _level(name: bytes, descriptor: int) -> _Level:
    status = os.fstat(descriptor)
    return _Level(name=name, device=status.st_dev, inode=status.st_ino, descriptor=descriptor)


def _opened_as(level: _Level, name: bytes, around: int) -> int | None:
    """Open a folder that must be the one of this level, or give None."""
    try:
        descriptor = os.open(name, FOLDER_FLAGS, dir_fd=around)
    except OSError:
        return None
    status = os.fstat(descriptor)
    if (status.st_dev, status.st_ino) == (level.device, level.inode):
        return descriptor
    os.close(descriptor)
    return None
