"""The walk through a source of files, and the reading of what it comes to; `files` says the rules.

- Paths come in order, from one open folder to the next: `scan` gives each that is to be looked at,
  and by number, in stretches, what is as the run before left it.
- With `read_along` small files are read as they are found, since calls are what they cost.
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
from backup.sources.chunk_sizes import SMALL_FILE_BYTES, chunk_bytes_for
from backup.sources.files.expected_paths import Expected
from backup.sources.files.extended_attributes import xattrs_of
from backup.sources.files.file_content import REPLACED_BEFORE, FileContent, changed_since
from backup.sources.files.file_status import found_from_status, vector_of, vector_of_file
from backup.sources.files.folder_listing import names_in, numbers_of, own_names
from backup.sources.files.metadata_prefetch import (
    FolderListing,
    MetadataPrefetch,
    PrefetchedFolder,
    survey,
)
from backup.sources.files.open_prefetch import FILE_FLAGS, FILES_AHEAD, OpenPrefetch
from backup.system.durable_files import resolved
from backup.system.folder_stack import FOLDER_FLAGS, FolderStack

if TYPE_CHECKING:
    from backup.sources.files.files_source import FilesSource

_PATH_BYTES = 64 * 1024
_LINKS_LOST = "is kept without its hard links: each name comes back as one of its own"
_REPLACED = "was replaced by something else"
_COVERED, _NOT_COVERED = (True, True), (False, False)


@dataclass(kw_only=True, slots=True)
class _Walk:
    """A folder that the walk is in, and how far it came there."""

    length: int  # of its path, with a slash behind it
    names: Sequence[bytes]
    to_read: Container[bytes] = frozenset()  # files, by what the folder says
    at: int = 0  # of the names
    # Names that were looked at in one go: from which on, whether each is as expected, and the
    # number of the first in what is expected.
    looked_at: int = 0
    are_same: bytes = b""
    first: int = 0
    expected: Expected | None = None
    surveyed: PrefetchedFolder | None = None


class OpenFiles(OpenSource):
    """What `FilesSource` opens: gives its paths in order, and reads the file that came last."""

    def __init__(self, source: "FilesSource", consistent_at: datetime, scratch: Path) -> None:
        super().__init__(source.name, consistent_at)
        self._scratch = scratch
        self._exclusion = source.exclude
        self._one_file_system = source.one_file_system
        self._ignore_inode = source.ignore_inode
        # The root may be a symbolic link, as a person means it; nothing below it is followed.
        root = resolved(source.path)
        self._name = b""
        self._open_file: int | None = None  # of what `scan` gave last, while it is read
        self._expected = Expected((), ())
        self._reads_along = False
        self._ahead = OpenPrefetch()
        self._survey: MetadataPrefetch | None = None
        self._not_entered = set(numbers_of(source.not_entered))
        self._own_names = own_names(source.own_files, root)
        found = root.stat()
        if (found.st_dev, found.st_ino) in self._not_entered:
            raise SourceFailed(
                f"source {self.name} is where the backups themselves lie; name another path"
            )
        if not (stat.S_ISDIR(found.st_mode) or stat.S_ISREG(found.st_mode)):
            raise SourceFailed(
                f"source {self.name} is neither a folder nor a file; name another path"
            )
        self._is_folder = stat.S_ISDIR(found.st_mode)
        self._root_name = os.fsencode(root.name)
        top = root if self._is_folder else root.parent
        self._folders = FolderStack(os.open(top, FOLDER_FLAGS))
        self._device = self._folders.current_device

    def close(self) -> None:
        self._ahead.close()
        self._folders.close()

    def expect(self, paths: Sequence[bytes], vectors: Sequence[tuple[int, ...] | None]) -> None:
        self._expected = Expected(paths, vectors)

    def read_along(self) -> None:
        self._reads_along = True

    def survey(self) -> Iterator[FolderListing]:
        # Where each path has to be asked about, the walk looks at each of them itself.
        if self._is_folder and not (self._exclusion.is_any or self._ignore_inode):
            yield from survey(self._folders, lambda status: not self._why_not_into(status))

    def rely_on(self, survey: MetadataPrefetch) -> None:
        self._survey = survey

    def _scan(self) -> Iterator[Found | Unread | ReadFile | range]:
        self._name = b"."
        yield self._found(b"", os.fstat(self._folders.current), None)
        if not self._is_folder:
            file = self._look(self._root_name, self._root_name, (False, False))
            if file is not None:
                yield file
            return
        # Not by recursion: a tree may be deeper than Python's stack.
        is_excluding = self._exclusion.is_any
        before = bytearray()  # the path of the folder that the walk is in, with a slash behind it
        walks = [self._names(b"")]
        start = stop = 0  # what is as expected, and was not told yet
        while walks:
            walk = walks[-1]
            del before[walk.length :]
            prefix = bytes(before)
            inner: _Walk | None = None
            while walk.at < len(walk.names):
                path = b""
                item: Found | Unread | range | None = None
                if self._reads_along:
                    yield from self._read_on(walk, prefix)
                    if walk.at == len(walk.names):
                        break
                else:
                    item = self._as_expected(walk, prefix)
                if item is None:
                    name = walk.names[walk.at]
                    walk.at += 1
                    path = prefix + name
                    covered = self._exclusion.covers(path, name) if is_excluding else _NOT_COVERED
                    if covered == _COVERED:
                        continue
                    item = self._look(path, name, covered)
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
                if is_seen and stat.S_ISDIR(self._status.st_mode) and self._goes_into(path):
                    entered = self._enter(path, name)
                    if isinstance(entered, Unread):
                        yield entered
                    elif entered is not None:
                        inner, walk.are_same = entered, b""
                        break
            if inner is not None:
                before += name + b"/"
                walks.append(inner)
                continue
            walks.pop()
            if walks and (lost := self._leave(prefix[: walks[-1].length])):
                walks[-1].names = ()  # nothing more can be read in a folder that was moved away
                yield lost
        if start < stop:
            yield range(start, stop)

    def _as_expected(self, walk: _Walk, prefix: bytes) -> range | None:
        """The next names of a folder that are as expected; None when the next one is to be seen."""
        done = walk.at - walk.looked_at
        if done >= len(walk.are_same) or walk.expected is not self._expected:
            if self._exclusion.is_any or self._ignore_inode:  # each has to be asked about
                return None
            walk.expected, walk.looked_at, done = self._expected, walk.at, 0
            walk.first = self._expected.next
            walk.are_same = self._expected.are_next(
                self._folders.current, prefix, walk.names, walk.at, walk.surveyed
            )
        end = walk.are_same.find(b"\0", done)
        end = len(walk.are_same) if end < 0 else end
        if end == done:
            return None
        walk.at = walk.looked_at + end
        self._expected.next = walk.first + end
        return range(walk.first + done, walk.first + end)

    def _names(self, path: bytes) -> _Walk:
        """The names in the innermost folder, and which of them are files to be read at once."""
        length = len(path) + 1 if path else 0
        own = self._own_names.get(path, ())
        surveyed = self._survey and self._survey.folder(path)
        if surveyed and not own:
            return _Walk(length=length, names=surveyed.names, surveyed=surveyed)
        names, to_read = names_in(
            self._folders.current, own, self._scratch, tells_files=self._reads_along
        )
        return _Walk(length=length, names=names, to_read=to_read)

    def _enter(self, path: bytes, name: bytes) -> _Walk | Unread | None:
        """The names in a folder, which the walk is in from now on."""
        self._ahead.close()  # of a file that became a folder, more of the one around it are open
        if len(path) > _PATH_BYTES:
            return self._unread(path, "lies too deep: its path is longer than 65,536 bytes")
        try:
            self._folders.enter(name)
        except FileNotFoundError:
            self.left_out.vanished += 1
            return None
        except OSError as error:
            return self._unread(path, _why(error))
        try:
            return self._names(path)
        except OSError as error:
            self._folders.leave()
            return self._unread(path, _why(error))

    def _leave(self, folder: bytes) -> Unread | None:
        try:
            self._folders.leave()
        except OSError as error:
            return self._unread(folder.removesuffix(b"/"), _why(error))
        return None

    def _look(
        self, path: bytes, name: bytes, covered: tuple[bool, bool]
    ) -> Found | Unread | range | None:
        """What stands there, unless it is gone or left out; its number if it is as expected."""
        folder = self._folders.current
        try:
            self._name = name
            self._status = status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            is_folder = stat.S_ISDIR(status.st_mode)
            if covered[0] if is_folder else covered[1]:
                return None
            number = self._expected.number_of(path)
            if (
                number is not None
                and (is_folder or status.st_nlink == 1)
                and self._expected.vectors[number] == vector_of(status, self._ignore_inode)
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
            return self._unread(path, _why(error))
        return self._found(path, status, target)

    def _goes_into(self, path: bytes) -> bool:
        why = self._why_not_into(self._status)
        if why:
            self.left_out.note(self._unread(path, why))
        return not why

    def _why_not_into(self, status: os.stat_result) -> str:
        """Why a folder is not gone into; nothing when it is."""
        if (status.st_dev, status.st_ino) in self._not_entered:
            return "is where the backups themselves lie"
        # Folders only: on an overlay files may show the device of a layer below.
        if self._one_file_system and status.st_dev != self._device:
            return "has another file system mounted on it"
        return ""

    def _found(self, path: bytes, status: os.stat_result, target: bytes | None) -> Found:
        return found_from_status(path, status, target, ignore_inode=self._ignore_inode)

    def _unread(self, path: bytes, reason: str) -> Unread:
        return Unread(path=to_path_text(self.name.encode() + b"/" + path), reason=reason)

    def _read_on(self, walk: _Walk, prefix: bytes) -> Iterator[ReadFile]:
        """Read the next names of a folder, up to one that must be looked at first."""
        opened = self._ahead.files
        # Calls are what a small file costs: whatever can be is done here, and not in another one.
        while walk.at < len(walk.names):
            if not opened:
                self._ahead.open(self._folders.current, self._to_read_next(walk, prefix))
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
                    or status.st_blocks * 512 < size  # with holes
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
            walk.at += 1
            if self._ignore_inode:
                vector = (0, *vector[1:])
            yield ReadFile(path, vector, data, xattrs)

    def _to_read_next(self, walk: _Walk, prefix: bytes) -> list[bytes]:
        """The next names of a folder, up to one that is not a file to be read at once."""
        names = walk.names[walk.at : walk.at + FILES_AHEAD]
        is_excluding = self._exclusion.is_any
        for count, name in enumerate(names):
            if name not in walk.to_read or (
                is_excluding and self._exclusion.covers(prefix + name, name)[1]
            ):
                return list(names[:count])
        return list(names)

    def read_small(self, found: Found) -> Whole | None:
        if found.size >= SMALL_FILE_BYTES:
            return None
        descriptor = self._opened()
        try:
            opened = os.fstat(descriptor)
            size = opened.st_size
            if not stat.S_ISREG(opened.st_mode) or size != found.size:
                return None
            data = os.read(descriptor, size + 1)
            if len(data) != size or opened.st_blocks * 512 < size:  # changing, or with holes
                return None
            xattrs = self._xattrs(found.path, descriptor)
            changed = changed_since(descriptor, opened)
        finally:
            os.close(descriptor)
        if self._is_replaced(found, opened):
            changed = REPLACED_BEFORE
        return Whole(data=data, xattrs=xattrs, changed=changed)

    def _opened(self) -> int:
        try:
            return os.open(self._name, FILE_FLAGS, dir_fd=self._folders.current)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):  # a symbolic link, a socket
                raise OSError(errno.ESTALE, _REPLACED) from None
            raise

    def _is_replaced(self, found: Found, opened: os.stat_result) -> bool:
        # Editors write anew and rename: then it is the new file that is read, and said so.
        return (
            found.vector is not None and not self._ignore_inode and opened.st_ino != found.vector[0]
        )

    @contextmanager
    def read(self, found: Found) -> Iterator[Content]:
        descriptor = self._opened()
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
            # Whoever reads the content next says so with a better message.
            return ()
        try:
            return self._xattrs(found.path, descriptor)
        finally:
            os.close(descriptor)

    def _xattrs(self, path: bytes, descriptor: int) -> tuple[tuple[bytes, bytes], ...]:
        kept, is_whole = xattrs_of(descriptor)
        if not is_whole:
            reason = "has extended attributes that cannot be read, or over 256 KiB of them"
            self.left_out.note(self._unread(path, reason))
        return kept

    def chunk_bytes(self, found: Found) -> int:
        return chunk_bytes_for(found.path)


def _why(error: OSError) -> str:
    return f"cannot be read: {error.strerror or type(error).__name__}"
