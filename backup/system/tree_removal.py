"""Removing a folder with all that is in it, however deep it is and whatever modes it has.

`shutil.rmtree` recurses, holds a descriptor for each level, and gives up at a folder that may not
be read or written.
"""

import os
from contextlib import suppress
from pathlib import Path

from backup.system.folder_stack import FOLDER_FLAGS, FolderStack


def remove_tree(folder: Path) -> None:
    """Remove a folder that nobody else works in; what cannot be removed stays, and says nothing.

    Links in it are removed, never followed.
    """
    with suppress(OSError):
        _open_up(os.fsencode(folder), None)
        folders = FolderStack(os.open(folder, FOLDER_FLAGS))
        try:
            _empty(folders)
        finally:
            folders.close()
        folder.rmdir()


def _empty(folders: FolderStack) -> None:
    """Remove what is in the innermost folder, deepest first; that one stays."""
    left = [_without_files(folders.current)]  # the names of folders, for each level
    while True:
        if left[-1]:
            name = left[-1][-1]
            with suppress(OSError):
                _open_up(name, folders.current)
                folders.enter(name)
                left.append(_without_files(folders.current))
                continue
            left[-1].pop()  # it stays
        elif len(left) > 1:
            left.pop()
            folders.leave()
            with suppress(OSError):
                os.rmdir(left[-1].pop(), dir_fd=folders.current)
        else:
            return


def _without_files(folder: int) -> list[bytes]:
    """Remove all but the folders in a folder, and give their names; none where nobody may look."""
    names: list[bytes] = []
    try:
        with os.scandir(folder) as found:
            entries = list(found)
    except OSError:
        return names
    for entry in entries:
        name = os.fsencode(entry.name)
        if entry.is_dir(follow_symlinks=False):
            names.append(name)
        else:
            with suppress(OSError):
                os.unlink(name, dir_fd=folder)
    return names


def _open_up(name: bytes, around: int | None) -> None:
    """Let a folder be emptied: one that was backed up read-only comes back so."""
    with suppress(OSError):
        os.chmod(name, 0o700, dir_fd=around)
