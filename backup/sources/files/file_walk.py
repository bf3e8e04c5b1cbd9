"""Walk through a file source, and reading of its files.

`files_source` states the rules.

- Paths come in order, from one open folder to the next. `scan` yields each path to examine, and
  unchanged paths as ranges of numbers.
- With `read_during_walk`, small files are read as they are found, because system calls dominate
  their cost.
"""

import errno
import os
import stat
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from backup.errors import SourceFailed
from backup.format.canonical_json import to_path_text
from backup.records import Unread
from backup.sources import Content, Found, OpenSource, ReadFile, Whole
from backup.sources.chunk_sizes import SMALL_FILE_BYTES, choose_chunk_bytes
from backup.sources.files.expected_paths import Expected
from backup.sources.files.extended_attributes import read_xattrs
from backup.sources.files.file_content import REPLACED_BEFORE, FileContent, describe_change
from backup.sources.files.file_status import change_vector, found_from_status, vector_of_file
from backup.sources.files.folder_listing import file_ids, list_names, own_name_prefixes
from backup.sources.files.open_prefetch import FILE_FLAGS, FILES_AHEAD, OpenPrefetch
from backup.system.durable_files import resolve_path
from backup.system.folder_stack import FOLDER_FLAGS, FolderStack

if TYPE_CHECKING:
    from backup.sources.files.files_source import FilesSource

_PATH_BYTES = 64 * 1024
_LINKS_LOST = "is kept without its hard links: each name comes back as one of its own"
_REPLACED = "was replaced by something else"
_EXCLUDED, _NOT_EXCLUDED = (True, True), (False, False)


@dataclass(kw_only=True, slots=True)
class _Walk:
    """Position of the walk in one folder."""

    length: int  # of its path, with a slash after it
    names: Sequence[bytes]
    to_read: Container[bytes] = frozenset()  # files, as the folder itself reports
    position: int = 0  # index of the next name
    # Names that were compared at once: the first index, whether each is as expected, and the number
    # of the first in the expected paths.
    compared_from: int = 0
    are_same: bytes = b""
    first: int = 0
    expected: Expected | None = None


class OpenFiles(OpenSource):
    """The open file source: yields its paths and reads the last file."""

    def __init__(self, source: "FilesSource", consistent_at: datetime, scratch: Path) -> None:
        super().__init__(source.name, consistent_at)
        self._scratch = scratch
        self._exclusion = source.exclude
        self._one_file_system = source.one_file_system
        self._ignore_inode = source.ignore_inode
        # The root may be a symbolic link on purpose; below it, none is followed.
        root = resolve_path(source.path)
        self._name = b""
        self._open_file: int | None = None  # the file that `scan` yielded last, while it is read
        self._expected = Expected((), ())
        self._reads_during_walk = False
        self._ahead = OpenPrefetch()
        self._not_entered = set(file_ids(source.not_entered))
        self._own_prefixes = own_name_prefixes(source.own_files, root)
        root_status = root.stat()
        if (root_status.st_dev, root_status.st_ino) in self._not_entered:
            raise SourceFailed(
                f"source {self.name}: the backups themselves are there. Choose another path."
            )
        if not (stat.S_ISDIR(root_status.st_mode) or stat.S_ISREG(root_status.st_mode)):
            raise SourceFailed(
                f"source {self.name}: neither a folder nor a file. Choose another path."
            )
        self._is_folder = stat.S_ISDIR(root_status.st_mode)
        self._root_name = os.fsencode(root.name)
        top = root if self._is_folder else root.parent
        self._folders = FolderStack(os.open(top, FOLDER_FLAGS))
        self._device = self._folders.current_device

    def close(self) -> None:
        self._ahead.close()
        self._folders.close()

    def expect(self, paths: Sequence[bytes], vectors: Sequence[tuple[int, ...] | None]) -> None:
        self._expected = Expected(paths, vectors)

    def read_during_walk(self) -> None:
        self._reads_during_walk = True

    def _scan(self) -> Iterator[Found | Unread | ReadFile | range]:
        self._name = b"."
        yield self._make_found(b"", os.fstat(self._folders.current), None)
        if not self._is_folder:
            file = self._examine(self._root_name, self._root_name, (False, False))
            if file is not None:
                yield file
            return
        # Avoid recursion: a tree may be deeper than Python's stack.
        is_excluding = self._exclusion.has_patterns
        folder_path = bytearray()  # path of the current folder, with a slash after it
        walks = [self._list_folder(b"")]
        start = stop = 0  # numbers of expected paths that were not yielded yet
        while walks:
            walk = walks[-1]
            del folder_path[walk.length :]
            prefix = bytes(folder_path)
            inner: _Walk | None = None
            while walk.position < len(walk.names):
                path = b""
                item: Found | Unread | range | None = None
                if self._reads_during_walk:
                    yield from self._read_files(walk, prefix)
                    if walk.position == len(walk.names):
                        break
                else:
                    item = self._next_expected(walk, prefix)
                if item is None:
                    name = walk.names[walk.position]
                    walk.position += 1
                    path = prefix + name
                    excluded = self._exclusion.match(path, name) if is_excluding else _NOT_EXCLUDED
                    if excluded == _EXCLUDED:
                        continue
                    item = self._examine(path, name, excluded)
                    if item is None:
                        continue
                if isinstance(item, range):
                    if item.start != stop:
                        if start < stop:
                            yield range(start, stop)
                        start = item.start
                    stop = item.stop
                    if stop == len(self._expected):
                        yield range(start, stop)
                        start = stop
                else:
                    if start < stop:
                        yield range(start, stop)
                        start = stop
                    yield item
                is_seen = path and not isinstance(item, Unread)
                if is_seen and stat.S_ISDIR(self._status.st_mode) and self._should_enter(path):
                    entered = self._enter(path, name)
                    if isinstance(entered, Unread):
                        yield entered
                    elif entered is not None:
                        inner, walk.are_same = entered, b""
                        break
            if inner is not None:
                folder_path += name + b"/"
                walks.append(inner)
                continue
            walks.pop()
            if walks and (moved_away := self._leave(prefix[: walks[-1].length])):
                walks[-1].names = ()  # nothing more can be read in a folder that was moved away
                yield moved_away
        if start < stop:
            yield range(start, stop)

    def _next_expected(self, walk: _Walk, prefix: bytes) -> range | None:
        """Return the next names that are as expected; None to examine the next."""
        checked = walk.position - walk.compared_from
        if checked >= len(walk.are_same) or walk.expected is not self._expected:
            if self._exclusion.has_patterns or self._ignore_inode:  # each must be checked
                return None
            walk.expected, walk.compared_from, checked = self._expected, walk.position, 0
            walk.first = self._expected.next
            walk.are_same = self._expected.compare_next(
                self._folders.current, prefix, walk.names, walk.position
            )
        end = walk.are_same.find(b"\0", checked)
        end = len(walk.are_same) if end < 0 else end
        if end == checked:
            return None
        walk.position = walk.compared_from + end
        self._expected.next = walk.first + end
        return range(walk.first + checked, walk.first + end)

    def _list_folder(self, path: bytes) -> _Walk:
        """List the innermost folder, and the files in it to read at once."""
        length = len(path) + 1 if path else 0
        own = self._own_prefixes.get(path, ())
        names, to_read = list_names(
            self._folders.current, own, self._scratch, with_files=self._reads_during_walk
        )
        return _Walk(length=length, names=names, to_read=to_read)

    def _enter(self, path: bytes, name: bytes) -> _Walk | Unread | None:
        """Enter a folder and list it."""
        # After a file became a folder, files of the parent folder are still open.
        self._ahead.close()
        if len(path) > _PATH_BYTES:
            return self._unread(path, "is too deep: its path is longer than 65,536 bytes")
        try:
            self._folders.enter(name)
        except FileNotFoundError:
            self.left_out.vanished += 1
            return None
        except OSError as error:
            return self._unread(path, _problem(error))
        try:
            return self._list_folder(path)
        except OSError as error:
            self._folders.leave()
            return self._unread(path, _problem(error))

    def _leave(self, folder: bytes) -> Unread | None:
        try:
            self._folders.leave()
        except OSError as error:
            return self._unread(folder.removesuffix(b"/"), _problem(error))
        return None

    def _examine(
        self, path: bytes, name: bytes, excluded: tuple[bool, bool]
    ) -> Found | Unread | range | None:
        """Return a path as found, as its expected number, or None if omitted."""
        folder = self._folders.current
        try:
            self._name = name
            self._status = status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            is_folder = stat.S_ISDIR(status.st_mode)
            if excluded[0] if is_folder else excluded[1]:
                return None
            number = self._expected.find(path)
            if (
                number is not None
                and (is_folder or status.st_nlink == 1)
                and self._expected.vectors[number] == change_vector(status, self._ignore_inode)
            ):
                return range(number, number + 1)
            if stat.S_ISSOCK(status.st_mode):
                self.left_out.note(
                    self._unread(path, "is a socket, which only its program can use")
                )
                return None
            if status.st_nlink > 1 and not (is_folder or stat.S_ISREG(status.st_mode)):
                self.left_out.note(self._unread(path, _LINKS_LOST))
            target = None
            if stat.S_ISLNK(status.st_mode):
                target = os.readlink(name, dir_fd=folder)
        except FileNotFoundError:
            self.left_out.vanished += 1
            return None
        except OSError as error:
            return self._unread(path, _problem(error))
        return self._make_found(path, status, target)

    def _should_enter(self, path: bytes) -> bool:
        reason = self._reason_not_to_enter(self._status)
        if reason:
            self.left_out.note(self._unread(path, reason))
        return not reason

    def _reason_not_to_enter(self, status: os.stat_result) -> str:
        """Return why a folder is not entered; empty if it is."""
        if (status.st_dev, status.st_ino) in self._not_entered:
            return "contains the backups themselves"
        # Check folders only: on an overlay, files may show the device of a lower layer.
        if self._one_file_system and status.st_dev != self._device:
            return "has another file system mounted on it"
        return ""

    def _make_found(self, path: bytes, status: os.stat_result, target: bytes | None) -> Found:
        return found_from_status(path, status, target, ignore_inode=self._ignore_inode)

    def _unread(self, path: bytes, reason: str) -> Unread:
        return Unread(path=to_path_text(self.name.encode() + b"/" + path), reason=reason)

    def _read_files(self, walk: _Walk, prefix: bytes) -> Iterator[ReadFile]:
        """Read the next files of a folder, up to one that must be examined."""
        opened = self._ahead.files
        # System calls dominate the cost of a small file: avoid calls of functions here.
        while walk.position < len(walk.names):
            if not opened:
                self._ahead.open(self._folders.current, self._next_files(walk, prefix))
                if not opened:
                    return
            name, descriptor = opened.pop()
            path = prefix + name
            try:
                status = os.fstat(descriptor)
                size = status.st_size
                vector = vector_of_file(status)
                if (
                    size >= SMALL_FILE_BYTES
                    or status.st_nlink > 1
                    or not stat.S_ISREG(status.st_mode)
                    or status.st_blocks * 512 < size  # it has holes
                ):
                    return
                data = os.read(descriptor, size + 1)
                xattrs = self._xattrs(path, descriptor)
                if len(data) != size or vector_of_file(os.fstat(descriptor)) != vector:
                    return  # it is changing
            except OSError:
                return
            finally:
                os.close(descriptor)
            walk.position += 1
            if self._ignore_inode:
                vector = (0, *vector[1:])
            yield ReadFile(path, vector, data, xattrs)

    def _next_files(self, walk: _Walk, prefix: bytes) -> list[bytes]:
        """Return the next names, up to one that is not a file to read at once."""
        names = walk.names[walk.position : walk.position + FILES_AHEAD]
        is_excluding = self._exclusion.has_patterns
        for count, name in enumerate(names):
            if name not in walk.to_read or (
                is_excluding and self._exclusion.match(prefix + name, name)[1]
            ):
                return list(names[:count])
        return list(names)

    def read_small(self, found: Found) -> Whole | None:
        if found.size >= SMALL_FILE_BYTES:
            return None
        descriptor = self._open_current()
        try:
            opened = os.fstat(descriptor)
            size = opened.st_size
            if not stat.S_ISREG(opened.st_mode) or size != found.size:
                return None
            data = os.read(descriptor, size + 1)
            if len(data) != size or opened.st_blocks * 512 < size:  # it is changing, or has holes
                return None
            xattrs = self._xattrs(found.path, descriptor)
            changed = describe_change(descriptor, opened)
        finally:
            os.close(descriptor)
        if self._is_replaced(found, opened):
            changed = REPLACED_BEFORE
        return Whole(data=data, xattrs=xattrs, changed=changed)

    def _open_current(self) -> int:
        try:
            return os.open(self._name, FILE_FLAGS, dir_fd=self._folders.current)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):  # a symbolic link or a socket
                raise OSError(errno.ESTALE, _REPLACED) from None
            raise

    def _is_replaced(self, found: Found, opened: os.stat_result) -> bool:
        # Editors write a new file and rename it: then the new file is read, and reported as
        # replaced.
        return (
            found.vector is not None and not self._ignore_inode and opened.st_ino != found.vector[0]
        )

    @contextmanager
    def read(self, found: Found) -> Iterator[Content]:
        descriptor = self._open_current()
        try:
            opened = os.fstat(descriptor)
            if not stat.S_ISREG(opened.st_mode):
                raise OSError(errno.ESTALE, _REPLACED)
            is_replaced = self._is_replaced(found, opened)
            self._open_file = descriptor
            yield FileContent(descriptor, opened, is_replaced=is_replaced)
        finally:
            self._open_file = None
            os.close(descriptor)

    def xattrs(self, found: Found) -> tuple[tuple[bytes, bytes], ...]:
        if not hasattr(os, "listxattr") or found.kind not in ("file", "directory"):
            return ()
        descriptor = self._open_file
        if descriptor is not None:
            return self._xattrs(found.path, descriptor)
        try:
            descriptor = os.open(self._name, FILE_FLAGS, dir_fd=self._folders.current)
        except OSError:
            # The next read of the content reports the error with a better message.
            return ()
        try:
            return self._xattrs(found.path, descriptor)
        finally:
            os.close(descriptor)

    def _xattrs(self, path: bytes, descriptor: int) -> tuple[tuple[bytes, bytes], ...]:
        found, is_whole = read_xattrs(descriptor)
        if not is_whole:
            reason = "has extended attributes that cannot be read, or over 256 KiB of them"
            self.left_out.note(self._unread(path, reason))
        return found

    def chunk_bytes(self, found: Found) -> int:
        return choose_chunk_bytes(found.path)


def _problem(error: OSError) -> str:
    return f"cannot be read: {error.strerror or type(error).__name__}"
