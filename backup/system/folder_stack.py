"""Folder stack: the path of open folders of a walk or a restore.

- Every step is one name relative to an open folder and never follows a symbolic link, so no path is
  too long for the kernel and nobody can redirect it.
- At any depth, only a few dozen descriptors are open. A folder that was closed is opened again
  through "..", and compared by device and inode. If somebody moved folders meanwhile, the closed
  folder is searched by name from the root.
"""

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass

FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_OPEN = 32


@dataclass(kw_only=True, slots=True)
class _Level:
    name: bytes
    device: int
    inode: int
    descriptor: int | None


class FolderStack:
    """A stack of folders; call `close` at the end."""

    def __init__(self, top: int) -> None:
        self._top = top
        self._levels = [_level(b"", top)]

    @property
    def current(self) -> int:
        """Return the descriptor of the innermost folder."""
        descriptor = self._levels[-1].descriptor
        if descriptor is None:
            raise OSError(errno.ESTALE, "was moved in the meantime")
        return descriptor

    @property
    def current_device(self) -> int:
        """Return the device of the innermost folder."""
        return self._levels[-1].device

    def enter(self, name: bytes, opened: int | None = None) -> None:
        """Open a subfolder of the innermost folder and make it the innermost.

        A descriptor passed in `opened` is closed with the others.
        """
        descriptor = opened
        if descriptor is None:
            descriptor = os.open(name, FOLDER_FLAGS, dir_fd=self.current)
        self._levels.append(_level(name, descriptor))
        if len(self._levels) > _MAX_OPEN:
            outer = self._levels[-_MAX_OPEN]
            if outer is not self._levels[0] and outer.descriptor is not None:
                os.close(outer.descriptor)
                outer.descriptor = None

    def leave(self, last: Callable[[int | None], None] | None = None) -> None:
        """Return to the parent of the innermost folder.

        Raise `OSError` if the parent cannot be found; the stack is at the parent nevertheless, and
        `current` raises the error again.

        `last` is called with the descriptor of the left folder, or with None if that folder was not
        found again. The parent is opened first, because a change of mode by `last` may prevent it.
        """
        child = self._levels.pop()
        parent = self._levels[-1]
        try:
            try:
                if parent.descriptor is None:
                    if child.descriptor is not None:
                        parent.descriptor = _open_same(parent, b"..", child.descriptor)
                    if parent.descriptor is None:
                        parent.descriptor = self._find_from_root()
            finally:
                if last is not None:
                    last(child.descriptor)
        finally:
            if child.descriptor is not None:
                os.close(child.descriptor)

    def close(self) -> None:
        """Close all folders."""
        while self._levels:
            descriptor = self._levels.pop().descriptor
            if descriptor is not None:
                os.close(descriptor)

    def _find_from_root(self) -> int:
        step = os.dup(self._top)
        for level in self._levels[1:]:
            parent_descriptor = step
            try:
                found = _open_same(level, level.name, parent_descriptor)
            finally:
                os.close(parent_descriptor)
            if found is None:
                raise OSError(errno.ESTALE, "was moved in the meantime")
            step = found
        return step


def _level(name: bytes, descriptor: int) -> _Level:
    status = os.fstat(descriptor)
    return _Level(name=name, device=status.st_dev, inode=status.st_ino, descriptor=descriptor)


def _open_same(level: _Level, name: bytes, parent_descriptor: int) -> int | None:
    """Open a folder if it is the one of this level, otherwise return None."""
    try:
        descriptor = os.open(name, FOLDER_FLAGS, dir_fd=parent_descriptor)
    except OSError:
        return None
    status = os.fstat(descriptor)
    if (status.st_dev, status.st_ino) == (level.device, level.inode):
        return descriptor
    os.close(descriptor)
    return None
