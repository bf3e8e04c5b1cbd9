"""Walk of a file source: finds paths, omits mounts, reads files.

- The rules of the walk are in `files_source`.
- Paths are yielded in order. Each step of the walk opens one name in an open folder.
- `scan_with_content` reads a small file as soon as it is found. This saves system calls, which take
  most of the time for a small file.
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
from backup.sources.files.extended_attributes import read_xattrs
from backup.sources.files.file_content import REPLACED_BEFORE, FileContent, describe_change
from backup.sources.files.file_status import found_from_status, vector_of_file
from backup.sources.files.folder_listing import file_ids, list_names, own_name_prefixes
from backup.sources.files.open_prefetch import FILE_FLAGS, FILES_AHEAD, OpenPrefetch
from backup.system.durable_files import resolve_path
from backup.system.folder_stack import FOLDER_FLAGS, FolderStack

if TYPE_CHECKING:
    from backup.sources.files.files_source import FilesSource

_PATH_BYTES = 64 * 1024
_LINKS_LOST = "is stored without its hard links: each name is restored as a separate file"
_REPLACED = "was replaced by something else"
_EXCLUDED, _NOT_EXCLUDED = (True, True), (False, False)


@dataclass(kw_only=True, slots=True)
class _Folder:
    """Position of the walk in one folder."""

    length: int  # length of the folder's path, including a slash at the end
    names: Sequence[bytes]
    to_read: Container[bytes] = frozenset()  # names that are files, according to the listing
    position: int = 0  # index of the next name


class OpenFiles(OpenSource):
    """A file source while it is open; reads the file that it yielded last."""

    def __init__(self, source: "FilesSource", consistent_at: datetime, scratch: Path) -> None:
        super().__init__(source.name, consistent_at)
        self._scratch = scratch
        self._exclusion = source.exclude
        self._one_file_system = source.one_file_system
        self._ignore_inode = source.ignore_inode
        # The root may be a symbolic link on purpose. Below the root, no link is followed.
        root = resolve_path(source.path)
        self._name = b""
        self._open_file: int | None = None  # the file that `scan` yielded last, while it is read
        self._reads_files = False
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

    def _scan(self) -> Iterator[Found | Unread]:
        for item in self._walk(reads_files=False):
            if not isinstance(item, ReadFile):
                yield item

    def _scan_with_content(self) -> Iterator[Found | Unread | ReadFile]:
        return self._walk(reads_files=True)

    def _walk(self, *, reads_files: bool) -> Iterator[Found | Unread | ReadFile]:
        self._reads_files = reads_files
        self._name = b"."
        yield self._make_found(b"", os.fstat(self._folders.current), None)
        if not self._is_folder:
            file = self._examine(self._root_name, self._root_name, (False, False))
            if file is not None:
                yield file
            return
        # Use no recursion, because a tree may be deeper than Python's stack.
        is_excluding = self._exclusion.has_patterns
        folder_path = bytearray()  # path of the current folder, with a slash after it
        walks = [self._list_folder(b"")]
        while walks:
            walk = walks[-1]
            del folder_path[walk.length :]
            prefix = bytes(folder_path)
            inner: _Folder | None = None
            while inner is None and walk.position < len(walk.names):
                if reads_files:
                    yield from self._read_files(walk, prefix)
                    if walk.position == len(walk.names):
                        break
                name = walk.names[walk.position]
                walk.position += 1
                path = prefix + name
                excluded = self._exclusion.match(path, name) if is_excluding else _NOT_EXCLUDED
                item = None if excluded == _EXCLUDED else self._examine(path, name, excluded)
                if item is None:
                    continue
                yield item
                if isinstance(item, Unread) or item.kind != "directory":
                    continue
                if self._should_enter(path):
                    entered = self._enter(path, name)
                    if isinstance(entered, Unread):
                        yield entered
                    else:
                        inner = entered
            if inner is not None:
                folder_path += name + b"/"
                walks.append(inner)
                continue
            walks.pop()
            if walks and (moved_away := self._leave(prefix[: walks[-1].length])):
                walks[-1].names = ()  # the folder was moved away, so no more names can be read
                yield moved_away

    def _list_folder(self, path: bytes) -> _Folder:
        """List the current folder."""
        length = len(path) + 1 if path else 0
        own = self._own_prefixes.get(path, ())
        names, to_read = list_names(
            self._folders.current, own, self._scratch, with_files=self._reads_files
        )
        return _Folder(length=length, names=names, to_read=to_read)

    def _enter(self, path: bytes, name: bytes) -> _Folder | Unread | None:
        """Enter a folder and list it."""
        # If a name was a file and is a folder now, files of the parent folder are still open.
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
    ) -> Found | Unread | None:
        """Return a path as listed, or None if it is omitted."""
        folder = self._folders.current
        try:
            self._name = name
            self._status = status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            is_folder = stat.S_ISDIR(status.st_mode)
            if excluded[0] if is_folder else excluded[1]:
                return None
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
        """Return the reason not to enter a folder, or an empty text."""
        if (status.st_dev, status.st_ino) in self._not_entered:
            return "contains the backups themselves"
        # Only folders are checked. On an overlay file system, files may have the device number of a
        # lower layer.
        if self._one_file_system and status.st_dev != self._device:
            return "has another file system mounted on it"
        return ""

    def _make_found(self, path: bytes, status: os.stat_result, target: bytes | None) -> Found:
        return found_from_status(path, status, target, ignore_inode=self._ignore_inode)

    def _unread(self, path: bytes, reason: str) -> Unread:
        return Unread(path=to_path_text(self.name.encode() + b"/" + path), reason=reason)

    def _read_files(self, walk: _Folder, prefix: bytes) -> Iterator[ReadFile]:
        """Read the next small files of a folder, up to a name of another kind."""
        opened = self._ahead.files
        # Function calls are avoided here, because this loop runs once per small file.
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
                    or status.st_blocks * 512 < size  # the file has holes
                ):
                    return
                data = os.read(descriptor, size + 1)
                xattrs = self._xattrs(path, descriptor)
                if len(data) != size or vector_of_file(os.fstat(descriptor)) != vector:
                    return  # the file is changing
            except OSError:
                return
            finally:
                os.close(descriptor)
            walk.position += 1
            if self._ignore_inode:
                vector = (0, *vector[1:])
            yield ReadFile(path, vector, data, xattrs)

    def _next_files(self, walk: _Folder, prefix: bytes) -> list[bytes]:
        """Return the next names, up to a name that is not a file or is excluded."""
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
            # The file is changing, or has holes.
            if len(data) != size or opened.st_blocks * 512 < size:
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
        # Editors write a new file and rename it to the old name. Then the new file is read, and
        # reported as replaced.
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
            # The read of the content, which follows, reports the error with a better message.
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
