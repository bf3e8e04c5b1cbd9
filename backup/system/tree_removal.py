"""Removal of a folder tree of any depth, also without write permission.

`shutil.rmtree` is not used: it recurses, keeps one descriptor open per level, and fails at a folder
without read or write permission.
"""

import os
from contextlib import suppress
from pathlib import Path

from backup.system.folder_stack import FOLDER_FLAGS, FolderStack


def remove_tree(folder: Path) -> None:
    """Remove a folder and its content as far as possible; raise no error.

    No other process may use the folder. Symbolic links in it are removed, never followed.
    """
    with suppress(OSError):
        _make_writable(os.fsencode(folder), None)
        folders = FolderStack(os.open(folder, FOLDER_FLAGS))
        try:
            _empty(folders)
        finally:
            folders.close()
        folder.rmdir()


def _empty(folders: FolderStack) -> None:
    """Remove the content of the innermost folder, deepest first."""
    pending = [_remove_files(folders.current)]  # names of the remaining folders, per level
    while True:
        if pending[-1]:
            name = pending[-1][-1]
            with suppress(OSError):
                _make_writable(name, folders.current)
                folders.enter(name)
                pending.append(_remove_files(folders.current))
                continue
            pending[-1].pop()  # the folder cannot be removed
        elif len(pending) > 1:
            pending.pop()
            folders.leave()
            with suppress(OSError):
                os.rmdir(pending[-1].pop(), dir_fd=folders.current)
        else:
            return


def _remove_files(folder: int) -> list[bytes]:
    """Remove all files in a folder; return the names of its folders.

    The list is empty if the folder cannot be read.
    """
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


def _make_writable(name: bytes, parent: int | None) -> None:
    """Make a folder writable, because restored folders may be read-only."""
    with suppress(OSError):
        os.chmod(name, 0o700, dir_fd=parent)
