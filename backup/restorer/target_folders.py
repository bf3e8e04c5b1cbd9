"""Target folders: creation, opening without links, attributes.

- A tree writer, the part of a worker process that writes files, opens the folders of one path at a
  time. Each step opens one name in an open folder and never follows a symbolic link. So neither a
  forged path nor a link that somebody creates during the restore leads out of the target.
- The attributes of a folder are set when the writer leaves it. If other workers perhaps still write
  into the folder, the writer hands it over to the main process, which sets its attributes at the
  end of the restore.
- Few folders are open at a time, however deep the path is.
- A folder that the request does not select is only noted, that is, its attributes are kept in
  memory. It is created when a path in it is written.
- A late link is a hard link that is made after all other paths were restored. A writer of late
  links gets the callback `find`. It treats existing folders as complete: after a change in a
  folder, it sets the folder's mode and times to their previous values.
"""

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from backup.format.manifest import Entry
from backup.restorer.file_attributes import DEFAULT_RIGHTS, Owner, inherited_owner
from backup.restorer.safe_paths import FOLDER_FLAGS, JOURNAL, check_name, safe_parts
from backup.system.folder_stack import FolderStack


@dataclass(kw_only=True, slots=True)
class _Folder:
    path: bytes
    entry: Entry | None  # None: this writer does not set the folder's attributes
    new_file_owner: Owner | None = None  # owner of the folder's new files; None: not examined yet
    found: os.stat_result | None = None  # attributes to set again when the writer leaves the folder


class TargetFolders:
    """Open folders of one writer; paths in order open each folder once."""

    def __init__(
        self,
        root: int,
        *,
        is_resumed: bool,
        set_attributes: Callable[[int, Entry], None],
        count: Callable[[], None],
        report_merged: Callable[[bytes], None],
        find: Callable[[bytes], Entry | None] | None = None,
    ) -> None:
        """Set the callbacks of the writer.

        `set_attributes` sets the attributes of a folder. `count` is called when a noted folder is
        created. `report_merged` is called with the path of a folder if the target ignores upper and
        lower case and has a folder of the same letters. `find` returns the entry of a folder that
        must be created; with `find`, existing folders keep their attributes.
        """
        self._is_resumed = is_resumed
        self._set_attributes = set_attributes
        self._count = count
        self._report_merged = report_merged
        self._find = find
        self._root = os.dup(root)
        self._open = FolderStack(self._root)
        self._folders = [_Folder(path=b"", entry=None)]
        self._here = b""
        self._noted: dict[bytes, Entry] = {}
        self._postponed: list[Entry] = []  # folders to hand over

    @property
    def root(self) -> int:
        return self._root

    def close(self) -> None:
        """Leave all folders."""
        self.go_back()
        self._open.close()

    def go_back(self) -> None:
        """Leave all folders but the root."""
        while len(self._folders) > 1:
            self._leave()

    def enter(self, path: bytes) -> tuple[int, bytes]:
        """Open the folder of a path; return it and the last component.

        Create missing folders.
        """
        above, _, name = path.rpartition(b"/")
        if above == self._here and not path.startswith(b"/"):
            check_name(name)
            if path == JOURNAL:
                safe_parts(path)
            return self._open.current, name
        parts = safe_parts(path)
        while len(self._folders) > len(parts) or not _is_below(path, self._folders[-1].path):
            self._leave()
        for depth in range(len(self._folders), len(parts)):
            at = b"/".join(parts[:depth])
            noted = self._noted.pop(at, None)
            self.step_into(parts[depth - 1], at, noted)
            if noted is not None:
                self._count()
        return self._open.current, parts[-1]

    def step_into(self, name: bytes, path: bytes, entry: Entry | None) -> None:
        """Open a folder in the current folder; create it if it is missing."""
        if self._find is not None:
            self._come_back_to(name, path, self._find)
            return
        folder = self._open.current
        is_there = False
        try:
            os.mkdir(name, 0o700, dir_fd=folder)
        except FileExistsError:
            is_there = True
        try:
            descriptor = os.open(name, FOLDER_FLAGS, dir_fd=folder)
        except PermissionError:
            if not self._is_resumed:
                raise
            descriptor = _reopen_unreadable(folder, name)
        # The folder may exist because another worker created it, for a later path. It is merged
        # with another folder only if its name exists in another case.
        if is_there and not self._is_resumed and _exists_in_other_case(folder, name):
            self._report_merged(path)
        self._go_into(descriptor, _Folder(path=path, entry=entry), name)
        if self._is_resumed:
            with suppress(OSError):
                os.fchmod(descriptor, 0o700)
            # A complete folder may have an access list that would apply to new files.
            with suppress(OSError):
                os.removexattr(descriptor, DEFAULT_RIGHTS)

    def _come_back_to(
        self, name: bytes, path: bytes, find: Callable[[bytes], Entry | None]
    ) -> None:
        folder = self._open.current
        found = entry = None
        try:
            os.mkdir(name, 0o700, dir_fd=folder)
        except FileExistsError:
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        else:
            entry = find(path)
        try:
            descriptor = os.open(name, FOLDER_FLAGS, dir_fd=folder)
        except PermissionError:
            descriptor = _reopen_unreadable(folder, name)
        self._go_into(descriptor, _Folder(path=path, entry=entry, found=found), name)
        with suppress(OSError):
            os.fchmod(descriptor, 0o700)

    def note(self, entry: Entry) -> None:
        """Note a folder, to create it only if a path in it is written."""
        self._noted[entry.path] = entry

    def new_file_owner(self) -> Owner:
        """Return the owner and group that a new file in the open folder gets."""
        folder = self._folders[-1]
        if folder.new_file_owner is None:
            folder.new_file_owner = inherited_owner(self._open.current)
        return folder.new_file_owner

    def postpone(self) -> None:
        """Postpone the attributes of all open folders until they are handed over."""
        self._postponed += self._take_entries()

    def hand_over(self, last: bytes) -> tuple[list[Entry], list[Entry]]:
        """Return two lists of folders: created folders, and noted folders.

        Into these folders, other workers may write paths that follow `last` in path order. This
        writer does not set their attributes any more.
        """
        made = self._take_entries() + self._postponed
        self._postponed = []
        made_paths = {entry.path for entry in made}
        noted = [
            entry
            for path, entry in self._noted.items()
            if path not in made_paths and last.startswith(path + b"/")
        ]
        last_entry = self._noted.get(last)
        if last_entry is not None:
            noted.append(last_entry)
        self._noted.clear()
        return made, noted

    def _take_entries(self) -> list[Entry]:
        taken = [folder.entry for folder in self._folders if folder.entry is not None]
        for folder in self._folders:
            folder.entry = None
        return taken

    def _go_into(self, descriptor: int, folder: _Folder, name: bytes) -> None:
        self._open.enter(name, descriptor)
        self._folders.append(folder)
        self._here = folder.path

    def _leave(self) -> None:
        folder = self._folders.pop()
        self._here = self._folders[-1].path

        def finish(descriptor: int | None) -> None:
            if descriptor is None:
                # Somebody moved the folder. The end of the restore opens it again by its path.
                self._postponed += [] if folder.entry is None else [folder.entry]
                return
            if folder.entry is not None:
                self._set_attributes(descriptor, folder.entry)
            if folder.found is not None:
                _restore_attributes(descriptor, folder.found)

        with suppress(OSError):  # the next write reports that the folder was moved
            self._open.leave(finish)


def _restore_attributes(descriptor: int, found: os.stat_result) -> None:
    with suppress(OSError):
        os.fchmod(descriptor, stat.S_IMODE(found.st_mode))
        os.utime(descriptor, ns=(found.st_atime_ns, found.st_mtime_ns))


def _exists_in_other_case(folder: int, name: bytes) -> bool:
    """Return whether a name exists only in another case, as `A` for `a`."""
    swapped = name.swapcase()
    if swapped == name:  # the name has no ASCII letter
        swapped = os.fsencode(os.fsdecode(name).swapcase())
    try:
        os.stat(swapped, dir_fd=folder, follow_symlinks=False)
    except OSError:
        return False
    return name not in map(os.fsencode, os.listdir(folder))


def _reopen_unreadable(folder: int, name: bytes) -> int:
    """Open a folder that has an unreadable final mode from an earlier attempt.

    The mode is changed by descriptor, not by name, because somebody may have replaced the folder by
    a link.
    """
    place = os.open(name, os.O_PATH | FOLDER_FLAGS, dir_fd=folder)
    try:
        as_file = f"/proc/self/fd/{place}"
        os.chmod(as_file, 0o700)  # noqa: PTH101 - a descriptor
        return os.open(as_file, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    finally:
        os.close(place)


def _is_below(path: bytes, folder: bytes) -> bool:
    return not folder or path.startswith(folder + b"/")
