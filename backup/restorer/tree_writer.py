"""Tree writer: creates the files, links and devices of a restore.

- Paths of the manifest are not trusted: `TargetFolders` checks each component.
- A file of an interrupted restore is continued only if it is a regular file with one hard link. It
  must belong to the restoring user or, if owners are restored, to its owner in the recovery point.
  Any other existing path that is not a folder is unlinked and created again.
- A problem with one path is recorded, and its file is removed. A full disk ends the restore.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from backup.errors import NotWritable, UnsafePath
from backup.format.canonical_json import to_path_text
from backup.format.manifest import Entry
from backup.reader.blob_reader import Raw
from backup.records import Problem
from backup.restorer.direct_io import WORTHWHILE_BYTES, DirectWriter, write_at
from backup.restorer.extents import Extents
from backup.restorer.file_attributes import Attributes
from backup.restorer.large_files import reserve_space
from backup.restorer.resume_check import CHANGED, OPEN_FLAGS, Proof, open_proven
from backup.restorer.safe_paths import FOLDER_FLAGS, open_folder
from backup.restorer.target_folders import TargetFolders

_NEW_FILE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_PRIVATE = 0o600


@dataclass(kw_only=True, slots=True)
class _File:
    entry: Entry
    folder: int
    name: bytes
    descriptor: int
    extents: Extents
    is_direct: bool


class TreeWriter:
    """Writer of entries in path order below an open folder, for one thread.

    If `direct` is passed, files of 512 KiB or more bypass the page cache. If `find` is passed,
    existing folders keep their attributes; `find` returns the entry of a folder that must be
    created. `umask` is the umask of the process.
    """

    def __init__(
        self,
        root: int,
        *,
        owner: bool,
        umask: int,
        is_resumed: bool = False,
        direct: DirectWriter | None = None,
        find: Callable[[bytes], Entry | None] | None = None,
    ) -> None:
        self._direct = direct
        self._owner = owner
        self._umask = umask
        self._is_resumed = is_resumed
        self._path = self._folders(root, find)
        # Folders of files of other units of work. Their attributes are not set by this writer.
        self._early_path = self._folders(root)
        self._file: _File | None = None
        self.problems: list[Problem] = []
        self._attributes = Attributes(owner=owner, problems=self.problems)
        self.files = 0
        self.directories = 0
        self.bytes = 0

    def __enter__(self) -> "TreeWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._drop_file()
        self._path.close()
        self._early_path.close()

    def add(self, entry: Entry) -> None:
        """Write an entry that is not a file."""
        with self.problems_of(entry):
            folder, name = self._path.enter(entry.path)
            if entry.kind == "directory":
                self._path.step_into(name, entry.path, entry)
                self.directories += 1
                return
            if self._is_resumed:
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=folder)
            match entry.kind:
                case "symlink":
                    os.symlink(entry.target or b"", name, dir_fd=folder)
                case "fifo":
                    os.mkfifo(name, _PRIVATE, dir_fd=folder)
                case _:
                    self._make_device(entry, folder, name)
            self._attributes.set_by_name(entry, folder, name)

    def note(self, entry: Entry) -> None:
        """Note a folder, to create it only if a path in it is written."""
        self._path.note(entry)

    def link(self, path: bytes, first: bytes) -> bool:
        """Make a hard link to a restored file; return False if this fails.

        The earlier times of the link's folder are set again: the folder may be complete already.
        """
        try:
            folder, name = self._path.enter(path)
            before = os.fstat(folder)
            if self._is_resumed:
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=folder)
            with open_folder(self._path.root, first) as (source, source_name):
                found = os.stat(source_name, dir_fd=source, follow_symlinks=False)
                if not stat.S_ISREG(found.st_mode):
                    return False
                os.link(
                    source_name, name, src_dir_fd=source, dst_dir_fd=folder, follow_symlinks=False
                )
        except (OSError, UnsafePath):
            return False
        with suppress(OSError):  # if the times cannot be set, the end of the restore reports it
            os.utime(folder, ns=(before.st_atime_ns, before.st_mtime_ns))
        self.files += 1
        return True

    def write_file(self, entry: Entry, content: Raw) -> None:
        """Write a whole file; a new file without holes needs fewer system calls."""
        if entry.size != len(content) or entry.holes or self._is_resumed:
            self.begin(entry)
            self.write(content)
            self.end()
            return
        descriptor = -1
        try:
            folder, name = self._path.enter(entry.path)
            # Create it with its final owner and mode if possible: this saves two calls per file.
            is_set = self._attributes.match(self._path.new_file_owner(), entry)
            is_plain = is_set and not (entry.xattrs or entry.mode & ~0o777)
            descriptor = os.open(
                name, _NEW_FILE_FLAGS, entry.mode if is_plain else _PRIVATE, dir_fd=folder
            )
            if self._direct is not None and len(content) >= WORTHWHILE_BYTES:
                self.write_parts(descriptor, 0, (content,))
            elif content and os.write(descriptor, content) != len(content):
                write_at(descriptor, memoryview(content), 0)
            if is_plain and not entry.mode & self._umask:
                self._attributes.set_times(descriptor, entry)
            else:
                self._attributes.set_all(descriptor, entry)
        except (OSError, UnsafePath):
            if descriptor >= 0:
                with suppress(OSError):
                    os.unlink(name, dir_fd=folder)
            with self.problems_of(entry):
                raise
        else:
            self.files += 1
            self.bytes += entry.size
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    def write_early(self, entry: Entry, content: Raw) -> None:
        """Write a whole file of another unit; create its folder if it is missing."""
        current, self._path = self._path, self._early_path
        try:
            self.write_file(entry, content)
        finally:
            self._path = current

    def leave_open(self, entry: Entry) -> None:
        """Postpone the attributes of a file's folders; another worker writes it."""
        with self.problems_of(entry):
            self._path.enter(entry.path)
            self._path.postpone()

    def begin(self, entry: Entry, proof: Proof | None = None) -> None:
        """Open a file for `write` and `skip`, then `end` or `give_up`.

        A proof identifies a file of an interrupted restore; this file is then continued. Record a
        problem if the proof does not match the file any more.
        """
        self._drop_file()
        with self.problems_of(entry):
            folder, name = self._path.enter(entry.path)
            self._file = _File(
                entry=entry,
                folder=folder,
                name=name,
                descriptor=self._open_file(entry, folder, name, proof),
                extents=Extents(entry),
                is_direct=proof is None and not entry.holes and entry.size >= WORTHWHILE_BYTES,
            )
            if self._direct is not None and self._file.is_direct:
                self._direct.begin(self._file.descriptor, 0)

    def write(self, content: Raw) -> None:
        """Write the next content of the open file; do nothing if no file is open."""
        file = self._file
        if file is None:
            return
        with self.problems_of(file.entry):
            view = memoryview(content)
            for start, count in file.extents.take(len(view)):
                if self._direct is not None and file.is_direct:
                    self._direct.write(view[:count])
                else:
                    write_at(file.descriptor, view[:count], start)
                view = view[count:]

    def skip(self, length: int) -> None:
        """Skip content that the open file already has."""
        file = self._file
        if file is None:
            return
        with self.problems_of(file.entry):
            for _ in file.extents.take(length):
                pass

    def end(self) -> None:
        """Set the attributes of the open file and close it."""
        file = self._file
        if file is None:
            return
        with self.problems_of(file.entry):
            if not file.extents.is_filled:
                raise OSError(errno.EIO, "has less content than its size says")
            if self._direct is not None and file.is_direct:
                self._direct.end()
            if os.fstat(file.descriptor).st_size != file.entry.size:
                os.ftruncate(file.descriptor, file.entry.size)
            self._attributes.set_all(file.descriptor, file.entry)
            os.close(file.descriptor)
            self._file = None
            self.files += 1
            self.bytes += file.entry.size

    def postpone(self) -> bool:
        """Close a large file before its pieces; return False if no file is open.

        The attributes of its folders are set later by `finish_folder`: they may deny access.
        """
        file, self._file = self._file, None
        if file is None:
            return False
        reserve_space(file.descriptor, file.entry.size)
        os.close(file.descriptor)
        self._path.postpone()
        return True

    def write_parts(self, descriptor: int, start: int, content: Iterable[Raw]) -> None:
        """Write consecutive parts of a file from an offset."""
        if self._direct is None:
            for part in content:
                write_at(descriptor, memoryview(part), start)
                start += len(part)
            return
        self._direct.begin(descriptor, start)
        for part in content:
            self._direct.write(part)
        self._direct.end()

    def finish_file(self, entry: Entry) -> None:
        """Set the attributes of a postponed file after all pieces are written."""
        with (
            self.problems_of(entry),
            open_folder(self._path.root, entry.path) as (folder, name),
        ):
            descriptor = os.open(name, os.O_RDONLY | OPEN_FLAGS, dir_fd=folder)
            try:
                found = os.fstat(descriptor)
                if not self.may_continue(found, entry) or found.st_size != entry.size:
                    raise OSError(errno.EAGAIN, CHANGED)
                self._attributes.set_all(descriptor, entry)
            finally:
                os.close(descriptor)
            self.files += 1
            self.bytes += entry.size

    def remove(self, entry: Entry) -> None:
        """Remove a postponed file."""
        with (
            suppress(OSError, UnsafePath),
            open_folder(self._path.root, entry.path) as (folder, name),
        ):
            os.unlink(name, dir_fd=folder)

    def give_up(self, reason: str) -> None:
        """Remove the open file, if any, and record that its content is damaged."""
        if self._file is not None:
            self.problems.append(
                Problem(path=self._file.entry.text, reason=reason, is_missing=True, is_damage=True)
            )
            self._drop_file()

    def leave_folders(self) -> None:
        """Leave all folders; call it before `finish_folder`."""
        self._path.go_back()

    def finish_folder(self, entry: Entry) -> bool:
        """Set the attributes of a folder; return False if it is missing."""
        try:
            with open_folder(self._path.root, entry.path) as (folder, name):
                descriptor = os.open(name, FOLDER_FLAGS, dir_fd=folder)
                try:
                    with self.problems_of(entry):
                        self._attributes.set_all(descriptor, entry)
                finally:
                    os.close(descriptor)
        except (OSError, UnsafePath):
            return False
        return True

    def hand_over(self, last: bytes) -> tuple[list[Entry], list[Entry]]:
        """Return created and noted folders; see `TargetFolders.hand_over`."""
        return self._path.hand_over(last)

    def may_continue(self, found: os.stat_result, entry: Entry) -> bool:
        """Return whether a file may be from this restore, and has one hard link."""
        owners = (os.geteuid(), entry.uid) if self._owner else (os.geteuid(),)
        return stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and found.st_uid in owners

    def _open_file(self, entry: Entry, folder: int, name: bytes, proof: Proof | None) -> int:
        if proof is None:
            if self._is_resumed:
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=folder)
            return os.open(name, _NEW_FILE_FLAGS, _PRIVATE, dir_fd=folder)
        return open_proven(folder, name, proof, lambda it: self.may_continue(it, entry))

    @contextmanager
    def problems_of(self, entry: Entry) -> Iterator[None]:
        """Record the problem of a path; raise `NotWritable` for a full disk."""
        try:
            yield
        except OSError as error:
            self._drop_file()
            if error.errno in _FULL:
                raise NotWritable(
                    f"target: cannot be written ({error.strerror}). Make room, then run the same"
                    " command again: it continues from here."
                ) from error
            self.problems.append(
                Problem(
                    path=entry.text,
                    reason=f"not restored: {error.strerror or error}",
                    is_missing=True,
                )
            )
        except UnsafePath as error:
            self.problems.append(Problem(path=entry.text, reason=str(error)))

    def _folders(
        self, root: int, find: Callable[[bytes], Entry | None] | None = None
    ) -> TargetFolders:
        return TargetFolders(
            root,
            is_resumed=self._is_resumed,
            set_attributes=self._set_folder_attributes,
            count=self._count_folder,
            report_merged=self._report_merged,
            find=find,
        )

    def _set_folder_attributes(self, descriptor: int, entry: Entry) -> None:
        with self.problems_of(entry):
            self._attributes.set_all(descriptor, entry)

    def _count_folder(self) -> None:
        self.directories += 1

    def _report_merged(self, path: bytes) -> None:
        reason = (
            "was merged with a folder whose name differs only in upper and lower case: the target"
            " does not distinguish them"
        )
        self.problems.append(Problem(path=to_path_text(path), reason=reason))

    def _make_device(self, entry: Entry, folder: int, name: bytes) -> None:
        if not self._owner:
            raise UnsafePath(
                "not restored: a device is restored only by root, together with owners"
            )
        kind = stat.S_IFBLK if entry.kind == "block-device" else stat.S_IFCHR
        os.mknod(name, kind | _PRIVATE, os.makedev(*(entry.device or (0, 0))), dir_fd=folder)

    def _drop_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            os.close(file.descriptor)
            with suppress(OSError):
                os.unlink(file.name, dir_fd=file.folder)
