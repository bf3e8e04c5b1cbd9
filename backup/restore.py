"""Writing a restored tree: into an empty folder, and never outside of it.

- The manifest is not trusted with paths: each component is checked, and every step goes through
  an open folder without following symbolic links, so a forged manifest cannot lead out of the
  target.
- A file appears only whole: one whose blobs are damaged or missing is removed again and named.
- Mode, time (ns), extended attributes, hard links, holes and symlinks come back; the owner only
  when asked, by root.  Set-user-id bits come back with the owner only: they would give away the
  restoring user's rights.
- A problem with one path is recorded and the rest goes on; a full disk ends the restore.
- Every change to a file's content goes through `_write`.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from backup.errors import NotWritable, UnsafePath, UsageError
from backup.format.canonical import to_path_text
from backup.format.manifest import Entry
from backup.records import Problem

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_SET_ID_BITS = stat.S_ISUID | stat.S_ISGID


@dataclass(kw_only=True, slots=True)
class _Folder:
    path: bytes
    descriptor: int
    entry: Entry | None  # None: it was made only to hold something


@dataclass(kw_only=True, slots=True)
class _File:
    entry: Entry
    folder: int
    name: bytes
    descriptor: int
    extents: list[tuple[int, int]] = field(default_factory=list)  # (start, length) yet to fill


class TreeWriter:
    """Writes entries in path order below `target`; its context ends with the folders' times."""

    def __init__(self, target: Path, *, owner: bool) -> None:
        if owner and os.geteuid() != 0:
            raise UsageError("only root can restore owners; leave that out, or run as root")
        self._target = target
        self._owner = owner
        self._folders: list[_Folder] = []
        self._file: _File | None = None
        self.problems: list[Problem] = []
        self.files = 0
        self.directories = 0
        self.bytes = 0

    def __enter__(self) -> "TreeWriter":
        try:
            self._target.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._target, _FOLDER_FLAGS)
        except FileExistsError:
            raise UnsafePath(
                f"{self._target} is no folder; name one that is empty or new"
            ) from None
        except OSError as error:
            raise NotWritable(f"{self._target} cannot be made: {error.strerror}") from error
        self._folders.append(_Folder(path=b"", descriptor=descriptor, entry=None))
        with os.scandir(descriptor) as scan:
            if next(scan, None) is not None:
                os.close(descriptor)
                self._folders.clear()
                raise UnsafePath(
                    f"{self._target} is not empty; restore into an empty or new folder, so that"
                    " nothing is overwritten"
                )
        return self

    def __exit__(self, *_: object) -> None:
        self._drop_file()
        while self._folders:
            self._leave()

    def add(self, entry: Entry) -> None:
        """Write anything but a file's content."""
        with self._problems_of(entry):
            folder, name = self._enter(entry.path)
            match entry.kind:
                case "directory":
                    self._folders.append(_make_folder(folder, name, entry))
                    self.directories += 1
                    return
                case "symlink":
                    os.symlink(entry.target or b"", name, dir_fd=folder)
                case "fifo":
                    os.mkfifo(name, 0o600, dir_fd=folder)
                case _:
                    self._make_device(entry, folder, name)
            self._finish_special(entry, folder, name)

    def link(self, entry: Entry) -> bool:
        """Make a file another name of one that was restored; False when that one is not there."""
        try:
            folder, name = self._enter(entry.path)
            self._link(entry.hard_link or b"", folder, name)
        except (OSError, UnsafePath):
            return False
        self.files += 1
        return True

    def begin(self, entry: Entry) -> None:
        """Open a file; its content follows by `write`, then `end` or `give_up`."""
        self._drop_file()
        with self._problems_of(entry):
            folder, name = self._enter(entry.path)
            descriptor = os.open(name, _NEW_FILE_FLAGS, 0o600, dir_fd=folder)
            self._file = _File(
                entry=entry,
                folder=folder,
                name=name,
                descriptor=descriptor,
                extents=_extents(entry),
            )

    def write(self, content: bytes) -> None:
        """Write the next of the content that holes do not cover; nothing after a problem."""
        file = self._file
        if file is None:
            return
        with self._problems_of(file.entry):
            view = memoryview(content)
            while view:
                if not file.extents:
                    raise OSError(errno.EFBIG, "has more content than its size says")
                start, length = file.extents[0]
                self._write(file.descriptor, view[:length], start)
                count = min(length, len(view))
                view = view[count:]
                if count == length:
                    del file.extents[0]
                else:
                    file.extents[0] = (start + count, length - count)

    def end(self) -> None:
        """Close a file and give it its attributes."""
        file = self._file
        if file is None:
            return
        with self._problems_of(file.entry):
            if file.extents:
                raise OSError(errno.EIO, "has less content than its size says")
            os.ftruncate(file.descriptor, file.entry.size)
            self._attributes(file.descriptor, file.entry)
            os.close(file.descriptor)
            self._file = None
            self.files += 1
            self.bytes += file.entry.size

    def give_up(self, reason: str) -> None:
        """Leave the open file out, naming why; nothing when there is none open any more."""
        if self._file is not None:
            self.problems.append(Problem(path=self._file.entry.text, reason=reason))
            self._drop_file()

    def _write(self, descriptor: int, content: memoryview, start: int) -> None:
        while content:
            count = os.pwrite(descriptor, content, start)
            content = content[count:]
            start += count

    @contextmanager
    def _problems_of(self, entry: Entry) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._drop_file()
            if error.errno in _FULL:
                raise NotWritable(
                    f"{self._target} cannot be written: {error.strerror}."
                    " Make room and restore into an empty folder again"
                ) from error
            self.problems.append(
                Problem(path=entry.text, reason=f"not restored: {error.strerror or error}")
            )
        except UnsafePath as error:
            self.problems.append(Problem(path=entry.text, reason=str(error)))

    def _enter(self, path: bytes) -> tuple[int, bytes]:
        """Open the folder of a path, making what is missing; gives it and the last component."""
        parts = _safe_parts(path)
        while len(self._folders) > len(parts) or not _is_below(path, self._folders[-1].path):
            self._leave()
        for depth in range(len(self._folders), len(parts)):
            at = b"/".join(parts[:depth])
            folder = self._folders[-1].descriptor
            with suppress(FileExistsError):
                os.mkdir(parts[depth - 1], 0o700, dir_fd=folder)
            descriptor = os.open(parts[depth - 1], _FOLDER_FLAGS, dir_fd=folder)
            self._folders.append(_Folder(path=at, descriptor=descriptor, entry=None))
        return self._folders[-1].descriptor, parts[-1]

    def _leave(self) -> None:
        folder = self._folders.pop()
        try:
            if folder.entry is not None:
                with self._problems_of(folder.entry):
                    self._attributes(folder.descriptor, folder.entry)
        finally:
            os.close(folder.descriptor)

    def _link(self, first: bytes, folder: int, name: bytes) -> None:
        parts = _safe_parts(first)
        opened = [os.dup(self._folders[0].descriptor)]
        try:
            for part in parts[:-1]:
                opened.append(os.open(part, _FOLDER_FLAGS, dir_fd=opened[-1]))
            os.link(
                parts[-1], name, src_dir_fd=opened[-1], dst_dir_fd=folder, follow_symlinks=False
            )
        finally:
            for descriptor in opened:
                os.close(descriptor)

    def _make_device(self, entry: Entry, folder: int, name: bytes) -> None:
        if not self._owner:
            raise UnsafePath("a device is restored only together with owners, by root")
        kind = stat.S_IFBLK if entry.kind == "block-device" else stat.S_IFCHR
        os.mknod(name, kind | 0o600, os.makedev(*(entry.device or (0, 0))), dir_fd=folder)

    def _finish_special(self, entry: Entry, folder: int, name: bytes) -> None:
        if self._owner:
            os.chown(name, entry.uid, entry.gid, dir_fd=folder, follow_symlinks=False)
        if entry.kind != "symlink":
            os.chmod(name, entry.mode, dir_fd=folder)
        times = (entry.modified_ns, entry.modified_ns)
        os.utime(name, ns=times, dir_fd=folder, follow_symlinks=False)

    def _attributes(self, descriptor: int, entry: Entry) -> None:
        if self._owner:
            os.fchown(descriptor, entry.uid, entry.gid)
        for name, content in entry.xattrs:
            try:
                os.setxattr(descriptor, name, content)
            except OSError as error:
                self.problems.append(
                    Problem(
                        path=entry.text,
                        reason=f"without attribute {to_path_text(name)}: {error.strerror}",
                    )
                )
        mode = entry.mode
        if mode & _SET_ID_BITS and not self._owner and entry.kind == "file":
            mode &= ~_SET_ID_BITS
            self.problems.append(
                Problem(path=entry.text, reason="without its set-id bits; they need the owner")
            )
        os.fchmod(descriptor, mode)
        os.utime(descriptor, ns=(entry.modified_ns, entry.modified_ns))

    def _drop_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            os.close(file.descriptor)
            with suppress(OSError):
                os.unlink(file.name, dir_fd=file.folder)


def _make_folder(folder: int, name: bytes, entry: Entry) -> _Folder:
    os.mkdir(name, 0o700, dir_fd=folder)
    descriptor = os.open(name, _FOLDER_FLAGS, dir_fd=folder)
    return _Folder(path=entry.path, descriptor=descriptor, entry=entry)


def _safe_parts(path: bytes) -> list[bytes]:
    parts = path.split(b"/")
    if b"\0" in path or any(part in (b"", b".", b"..") for part in parts):
        raise UnsafePath("refused: its path would lead out of the target folder")
    return parts


def _is_below(path: bytes, folder: bytes) -> bool:
    return not folder or path.startswith(folder + b"/")


def _extents(entry: Entry) -> list[tuple[int, int]]:
    extents = []
    position = 0
    for start, length in (*entry.holes, (entry.size, 0)):
        if start > position:
            extents.append((position, start - position))
        position = start + length
    return extents
