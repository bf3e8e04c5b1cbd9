"""A source of files: a folder with everything below it, or one file.

- Walks by open folders and never through a symbolic link, so nobody can lead the walk elsewhere
  while it runs.
- A file is opened without blocking and checked to be the listed one: a fifo put in its place
  hangs nobody.
- Sockets are left out (they mean nothing without their process); devices and fifos are kept as
  such.
- Files have no common moment: the point is consistent at the start of the walk, and a file that
  changes while it is read is kept as read and reported.
- `exclude`: a pattern without a slash matches any name, one with a slash the path from the root;
  `*` crosses slashes.  An excluded folder is not entered.
"""

import errno
import fnmatch
import grp
import os
import pwd
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import lru_cache
from pathlib import Path

from backup.chunks import chunk_bytes_for
from backup.errors import SourceFailed
from backup.format.canonical import to_path_text
from backup.format.manifest import Kind
from backup.records import Unread
from backup.sources import Content, Found, OpenSource, Source

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MOST_HOLES = 4096
_XATTR_BYTES = 256 * 1024

_KINDS: dict[int, Kind] = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFBLK: "block-device",
    stat.S_IFCHR: "character-device",
}


class FilesSource(Source):
    """A folder or a file; `path` may be bytes-strange, `exclude` are patterns as above."""

    kind = "files"

    def __init__(self, name: str, path: Path | str, exclude: Sequence[str] = ()) -> None:
        super().__init__(name)
        self.path = Path(path)
        self.exclude = tuple(exclude)

    @contextmanager
    def _open(self, scratch: Path, now: Callable[[], datetime]) -> Iterator[OpenSource]:
        opened = _OpenFiles(self.name, now(), self.path, self.exclude)
        try:
            yield opened
        finally:
            opened.close()


class _OpenFiles(OpenSource):
    def __init__(
        self, name: str, consistent_at: datetime, path: Path, exclude: tuple[str, ...]
    ) -> None:
        super().__init__(name, consistent_at)
        self._is_excluded = _excluder(exclude)
        # The root may be a symbolic link, as a person means it; nothing below it is followed.
        root = path.resolve()
        self._folders: list[int] = []
        self._name = b""
        self._open_file: int | None = None  # of what `scan` gave last, while it is read
        found = root.stat()
        if not (stat.S_ISDIR(found.st_mode) or stat.S_ISREG(found.st_mode)):
            raise SourceFailed(f"source {name} is neither a folder nor a file; name another path")
        self._is_folder = stat.S_ISDIR(found.st_mode)
        self._root_name = os.fsencode(root.name)
        top = root if self._is_folder else root.parent
        self._folders.append(os.open(top, _FOLDER_FLAGS))

    def close(self) -> None:
        while self._folders:
            os.close(self._folders.pop())

    def _scan(self) -> Iterator[Found | Unread]:
        self._name = b"."
        top = found_from_status(b"", os.fstat(self._folders[0]), None)
        yield top
        if self._is_folder:
            yield from self._walk(b"")
        else:
            yield from self._item(self._root_name, self._root_name)

    def _walk(self, before: bytes) -> Iterator[Found | Unread]:
        folder = self._folders[-1]
        try:
            names = sorted(map(os.fsencode, os.listdir(folder)))  # noqa: PTH208 - an open one
        except OSError as error:
            if not before:
                raise
            yield _unread(self.name, before.removesuffix(b"/"), error)
            return
        for name in names:
            path = before + name
            if not self._is_excluded(path, name):
                yield from self._item(path, name)

    def _item(self, path: bytes, name: bytes) -> Iterator[Found | Unread]:
        folder = self._folders[-1]
        try:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISSOCK(status.st_mode):
                return
            target = None
            if stat.S_ISLNK(status.st_mode):
                target = os.readlink(name, dir_fd=folder)
        except OSError as error:
            yield _unread(self.name, path, error)
            return
        self._name = name
        yield found_from_status(path, status, target)
        if stat.S_ISDIR(status.st_mode):
            try:
                self._folders.append(os.open(name, _FOLDER_FLAGS, dir_fd=folder))
            except OSError as error:
                yield _unread(self.name, path, error)
                return
            try:
                yield from self._walk(path + b"/")
            finally:
                os.close(self._folders.pop())

    @contextmanager
    def read(self, found: Found) -> Iterator[Content]:
        descriptor = os.open(self._name, _FILE_FLAGS, dir_fd=self._folders[-1])
        try:
            opened = os.fstat(descriptor)
            if not stat.S_ISREG(opened.st_mode) or (
                found.vector is not None and opened.st_ino != found.vector[0]
            ):
                raise FileNotFoundError(0, "was replaced by something else")
            self._open_file = descriptor
            yield FileContent(descriptor, opened)
        finally:
            self._open_file = None
            os.close(descriptor)

    def xattrs(self, found: Found) -> tuple[tuple[bytes, bytes], ...]:
        if not hasattr(os, "listxattr") or found.kind not in ("file", "directory"):
            return ()
        if self._open_file is not None:
            return _xattrs(self._open_file)
        try:
            descriptor = os.open(self._name, _FILE_FLAGS, dir_fd=self._folders[-1])
        except OSError:
            # Whoever reads the content next says so with a better message.
            return ()
        try:
            return _xattrs(descriptor)
        finally:
            os.close(descriptor)

    def chunk_bytes(self, found: Found) -> int:
        return chunk_bytes_for(found.path)


class FileContent:
    """An open file: its data extents in order, up to the size it had when it was opened."""

    def __init__(self, descriptor: int, opened: os.stat_result) -> None:
        self._descriptor = descriptor
        self._opened = opened
        self.size = opened.st_size
        self.holes = _holes(descriptor, opened)
        self._extents = _extents(self.size, self.holes)
        self._is_short = False

    def readinto(self, buffer: memoryview) -> int:
        if not self._extents:
            return 0
        start, length = self._extents[0]
        count = os.preadv(self._descriptor, [buffer[:length]], start)
        if count == 0:
            # The file ends here now; what was to come is no longer part of it.
            self._is_short = True
            self._extents.clear()
            self.size = start
            self.holes = tuple(hole for hole in self.holes if sum(hole) <= start)
            return 0
        self._extents[0] = (start + count, length - count)
        if length == count:
            del self._extents[0]
        return count

    def changed(self) -> str | None:
        if self._is_short:
            return "became shorter while it was read"
        now = os.fstat(self._descriptor)
        before = self._opened
        if (now.st_size, now.st_mtime_ns, now.st_ctime_ns) != (
            before.st_size,
            before.st_mtime_ns,
            before.st_ctime_ns,
        ):
            return "changed while it was read"
        return None


def found_from_status(
    path: bytes,
    status: os.stat_result,
    target: bytes | None,
    *,
    always_read: bool = False,
    size: int | None = None,
) -> Found:
    """What a listing shows of a path; `size` replaces the status' own, as for a copy."""
    kind = _KINDS[stat.S_IFMT(status.st_mode)]
    is_device = kind in ("block-device", "character-device")
    if size is None:
        size = status.st_size if kind == "file" else 0
    vector = (
        status.st_ino, size, status.st_mtime_ns, status.st_ctime_ns, status.st_mode,
        status.st_uid, status.st_gid,
    )  # fmt: skip
    is_linked = kind == "file" and status.st_nlink > 1 and not always_read
    return Found(
        path=path,
        kind=kind,
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        user=_user(status.st_uid),
        group=_group(status.st_gid),
        modified_ns=status.st_mtime_ns,
        size=size,
        target=target,
        device=(os.major(status.st_rdev), os.minor(status.st_rdev)) if is_device else None,
        same_file=(status.st_dev, status.st_ino) if is_linked else None,
        vector=None if always_read else vector,
        changed_ns=status.st_ctime_ns,
    )


def _unread(source: str, path: bytes, error: OSError) -> Unread:
    if isinstance(error, FileNotFoundError):
        reason = "vanished while it was read"
    else:
        reason = f"cannot be read: {error.strerror or type(error).__name__}"
    return Unread(path=to_path_text(source.encode() + b"/" + path), reason=reason)


def _holes(descriptor: int, status: os.stat_result) -> tuple[tuple[int, int], ...]:
    if status.st_blocks * 512 >= status.st_size:
        return ()
    holes = []
    position = 0
    with suppress(OSError):  # a file system without SEEK_DATA has no holes to tell
        while position < status.st_size:
            try:
                data = os.lseek(descriptor, position, os.SEEK_DATA)
            except OSError as error:
                if error.errno != errno.ENXIO:  # no data from here to the end
                    raise
                data = status.st_size
            data = min(data, status.st_size)
            if data > position:
                holes.append((position, data - position))
            if data >= status.st_size:
                break
            position = os.lseek(descriptor, data, os.SEEK_HOLE)
    # Small holes of a file with very many are stored as the zeros that they read as.
    holes = sorted(holes, key=lambda hole: -hole[1])[:_MOST_HOLES]
    return tuple(sorted(holes))


def _extents(size: int, holes: tuple[tuple[int, int], ...]) -> list[tuple[int, int]]:
    extents = []
    position = 0
    for start, length in (*holes, (size, 0)):
        if start > position:
            extents.append((position, start - position))
        position = start + length
    return extents


def _xattrs(descriptor: int) -> tuple[tuple[bytes, bytes], ...]:
    found = []
    size = 0
    with suppress(OSError):  # a file system without them, or a name that may not be read
        for name in sorted(os.listxattr(descriptor), key=os.fsencode):
            with suppress(OSError):
                content = os.getxattr(descriptor, name)
                size += len(content)
                if size <= _XATTR_BYTES:
                    found.append((os.fsencode(name), content))
    return tuple(found)


def _excluder(patterns: tuple[str, ...]) -> Callable[[bytes, bytes], bool]:
    names = [p for p in patterns if "/" not in p.strip("/")]
    paths = [p for p in patterns if "/" in p.strip("/")]
    if not patterns:
        return lambda path, name: False
    by_name, by_path = _matcher(names), _matcher(paths)
    return lambda path, name: bool(
        by_name.match(os.fsdecode(name)) or by_path.match(os.fsdecode(path))
    )


def _matcher(patterns: list[str]) -> re.Pattern[str]:
    alternatives = [fnmatch.translate(pattern.strip("/")) for pattern in patterns]
    return re.compile("|".join(alternatives) or r"(?!)")


@lru_cache(maxsize=4096)
def _user(uid: int) -> str:
    try:
        return to_path_text(os.fsencode(pwd.getpwuid(uid).pw_name))
    except KeyError:
        return ""


@lru_cache(maxsize=4096)
def _group(gid: int) -> str:
    try:
        return to_path_text(os.fsencode(grp.getgrgid(gid).gr_name))
    except KeyError:
        return ""
