"""Folder stack: the open folders on the current path of a walk or restore.

- Each step opens one name in an open folder and never follows a symbolic link. So no path is too
  long for the kernel, and nobody can redirect the path.
- At most 33 descriptors are open, at any depth: those of the root and of the 32 innermost folders.
  A folder that was closed is opened again through ".." of its subfolder. Its device and inode must
  be the same as before. If they differ, because somebody has moved folders, the closed folder is
  opened by its names, from the root.
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
    """The open folders from the root to the innermost folder."""

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

        If the caller has opened the subfolder, it passes the descriptor in `opened`. The stack
        closes this descriptor later.
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

        Raise `OSError` if the parent cannot be opened again. Even then, the parent becomes the
        innermost folder, and `current` raises `OSError` too.

        `last` is called with the descriptor of the folder that is left, or with None if that folder
        could not be opened again. The parent is opened before this call, because `last` may change
        the mode of the left folder, so that ".." cannot be opened any more.
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
    """Open a folder; return None if it is not the folder of this level."""
    try:
        descriptor = os.open(name, FOLDER_FLAGS, dir_fd=parent_descriptor)
    except OSError:
        return None
    status = os.fstat(descriptor)
    if (status.st_dev, status.st_ino) == (level.device, level.inode):
        return descriptor
    os.close(descriptor)
    return None
