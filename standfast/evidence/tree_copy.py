"""Copy of a file tree that an intruder may still change: walk, omissions.

The copies are evidence of an incident; their manifest has one item for each path. Only this module
reads the original files. `adapters.evidence_sources.files` writes the manifest and the seal
(signature) of the copy.

Rules
- Folders are opened relative to their parent, and nothing below the root of the tree is reached
  through a link. An intruder who replaces a path between two calls cannot lead the program out of
  the tree.
- A file is read once, up to its size at opening, and is hashed while it is copied. If its size or
  times differ afterwards, its item in the manifest is marked as changed.
- The caller writes all copies and folders to the disk together, with `sync_tree`.
- The access times of the original are preserved if the system allows it, because they are evidence
  too.
- Names are in byte order, so that two walks of one tree return the same order.
- A failure to read the original results in an item with the reason. A failure to write the copy
  raises `StorageError`, because it would affect all further items, and must not look like a file
  that could not be read.
"""

import errno
import fnmatch
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from standfast.evidence.item_file import BLOCK, Digests, ItemFolder, ItemWriter
from standfast.evidence.manifest import Item, Kind, written_path
from standfast.evidence.private_files import make_private
from standfast.records import timestamp

DEEPEST = 100  # levels of folders; each open level needs one file descriptor
LARGEST_OF_UNKNOWN_SIZE = 64 * BLOCK  # limit for files of /proc, for which the size is 0

_ZEROS = bytes(BLOCK)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# NONBLOCK: if a pipe has replaced the file in the meantime, opening it must not block.
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NOATIME = getattr(os, "O_NOATIME", 0)


def is_left_out(path: str, patterns: Sequence[str]) -> bool:
    """Return whether a shell pattern matches the whole path or its last name."""
    either = (path, path.rpartition("/")[2])
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns for name in either)


class StorageError(Exception):
    """The copy cannot be written; the message is the system's reason."""


@dataclass(kw_only=True)
class Walk:
    """One pass over one tree; `excluded` counts the excluded paths."""

    destination: ItemFolder
    is_excluded: Callable[[str], bool]
    own_folder: tuple[int, int]  # device and inode of the evidence folder, which is not copied
    excluded: int = 0

    def freeze(self, root: str) -> Iterator[Item]:
        """Copy the absolute path `root` and its content; yield the items.

        A folder comes before its content.
        """
        parent, name = os.path.split(root)
        try:
            descriptor = os.open(parent, _OPEN_FOLDER)
        except OSError as error:
            yield _unread(root, _reason_of(error))
            return
        try:
            if not name:  # the whole file system
                yield from self._folder(descriptor, ".", root, depth=0)
            elif stat.S_ISLNK(os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode):
                yield _unread(root, "is a symbolic link; name what it points to in `paths`")
            else:
                yield from self._item(descriptor, name, root, depth=0)
        except OSError as error:
            yield _unread(root, _reason_of(error))
        finally:
            os.close(descriptor)

    def _item(self, parent: int, name: str, path: str, depth: int) -> Iterator[Item]:
        if self.is_excluded(path):
            self.excluded += 1
            return
        try:
            found = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                yield from self._folder(parent, name, path, depth)
            elif stat.S_ISREG(found.st_mode):
                yield self._file(parent, name, path)
            elif stat.S_ISLNK(found.st_mode):
                yield self._link(os.readlink(name, dir_fd=parent), found, path)
            else:
                yield _item(path, Kind.SPECIAL, found)
        except OSError as error:
            yield _unread(path, _reason_of(error))

    def _folder(self, parent: int, name: str, path: str, depth: int) -> Iterator[Item]:
        if depth >= DEEPEST:
            yield _unread(path, f"lies more than {DEEPEST} folders deep")
            return
        descriptor = _open(name, _OPEN_FOLDER | os.O_NOFOLLOW, parent)
        try:
            found = os.fstat(descriptor)
            if (found.st_dev, found.st_ino) == self.own_folder:
                self.excluded += 1
                return
            names = sorted(os.listdir(descriptor), key=os.fsencode)  # noqa: PTH208 - a descriptor
            with storing():
                make_private(self.destination.place(path), is_durable=False)
            yield _item(path, Kind.FOLDER, found)
            for inner in names:
                yield from self._item(descriptor, inner, os.path.join(path, inner), depth + 1)  # noqa: PTH118 - names may be no UTF-8, and "/" has no parts
        finally:
            os.close(descriptor)

    def _file(self, parent: int, name: str, path: str) -> Item:
        source = _open(name, _OPEN_FILE, parent)
        try:
            before = os.fstat(source)
            if not stat.S_ISREG(before.st_mode):
                return _item(path, Kind.SPECIAL, before)
            digests = self._copy(source, before, self.destination.place(path))
            after = os.fstat(source)
        finally:
            os.close(source)
        is_changed = (
            digests["size_bytes"] != before.st_size
            or after.st_size != before.st_size
            or after.st_mtime_ns != before.st_mtime_ns
            or after.st_ctime_ns != before.st_ctime_ns
        )
        return _item(path, Kind.FILE, before, digests, is_changed=is_changed)

    def _copy(self, source: int, before: os.stat_result, place: Path) -> Digests:
        left = before.st_size or LARGEST_OF_UNKNOWN_SIZE
        with storing():
            make_private(place.parent, is_durable=False)
            copy = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with storing():
                writer = ItemWriter(partial(_write, copy), self.destination.key)
            while left and (block := os.read(source, min(BLOCK, left))):
                left -= len(block)
                with storing():
                    writer.write(block)
            with storing():
                digests = writer.finish()
                # A hole at the end only moved the file position: set the size of the file.
                os.ftruncate(copy, os.lseek(copy, 0, os.SEEK_CUR))
                os.utime(copy, ns=(before.st_atime_ns, before.st_mtime_ns))
        except OSError:
            # The file cannot be read to its end. Delete the partial copy, because the item will be
            # UNREAD.
            place.unlink()
            raise
        finally:
            os.close(copy)
        return digests

    def _link(self, target: str, found: os.stat_result, path: str) -> Item:
        with storing():
            make_private(self.destination.place(path).parent, is_durable=False)
            self.destination.place(path).symlink_to(target)
        return _item(path, Kind.LINK, found, link_target=written_path(target)[0])


def _open(name: str, flags: int, parent: int) -> int:
    try:
        return os.open(name, flags | _NOATIME, dir_fd=parent)
    except PermissionError:  # only the owner of a file may use NOATIME
        return os.open(name, flags, dir_fd=parent)


def _write(copy: int, block: bytes) -> None:
    """Write a block; if it has only zeros, leave a hole to save space.

    The files of login records are mostly holes.
    """
    if block == _ZEROS[: len(block)]:
        os.lseek(copy, len(block), os.SEEK_CUR)
        return
    rest = memoryview(block)
    while rest:
        rest = rest[os.write(copy, rest) :]


def _item(
    path: str,
    kind: Kind,
    found: os.stat_result,
    digests: Digests | None = None,
    *,
    link_target: str = "",
    is_changed: bool = False,
) -> Item:
    text, raw = written_path(path)
    return Item(
        path=text,
        path_bytes=raw,
        kind=kind,
        link_target=link_target,
        modified=_moment(found.st_mtime_ns),
        accessed=_moment(found.st_atime_ns),
        status_changed=_moment(found.st_ctime_ns),
        mode=f"{stat.S_IMODE(found.st_mode):04o}",
        uid=found.st_uid,
        gid=found.st_gid,
        is_changed=is_changed,
        **(digests or {}),
    )


def _moment(nanoseconds: int) -> str:
    try:
        return timestamp(_EPOCH + timedelta(microseconds=nanoseconds // 1000))
    except (OverflowError, ValueError):  # a file's time can be forged to any year
        return f"@{nanoseconds // 10**9}"


def _unread(path: str, reason: str) -> Item:
    text, raw = written_path(path)
    return Item(path=text, path_bytes=raw, kind=Kind.UNREAD, reason=reason)


def _reason_of(error: OSError) -> str:
    match error.errno:
        case errno.ENOENT:
            return "does not exist, or vanished while it was collected"
        case errno.ELOOP:
            return "became a link while it was collected"
    return error.strerror or type(error).__name__


@contextmanager
def storing() -> Iterator[None]:
    """Raise `StorageError` for a failure to write."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # affects only this path
            raise
        raise StorageError(error.strerror or type(error).__name__) from error
