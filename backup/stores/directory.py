"""Directory store: objects as files, durable creation, leftover drafts.

- `put` writes a draft in `.incoming/`, syncs it, and creates a hard link with the name of the
  object. A hard link never replaces a file, so two writers of one name cannot both succeed. A file
  system without hard links is refused.
- `put` syncs the folder of the object before it returns. It also syncs the folder before it raises
  `AlreadyThere`, because the process that created the object may have crashed before its sync.
- The parents of the object's folder are synced once per process, even if they existed. Another
  process may have created them without a sync.
- A crash may leave a draft in `.incoming/`. The first `put` of a process removes drafts that are
  older than a day. It removes only files with names of drafts. If `.incoming` is a symbolic link,
  `put` removes nothing and raises an error. A disk that a stranger has prepared may have such a
  link, to make this program delete other files.
- Only files are objects. If a pipe or a device has the name of an object, opening it does not
  block.
- The owner of the files can change and delete them. `describe` reports this. The store cannot lock
  objects, so no object has a lock.
"""

import errno
import fcntl
import os
import re
import secrets
import stat as stat_module
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

from backup.errors import AlreadyThere, NotFound, UsageError
from backup.stores import LONGEST_NAME, Stat, Store, StoreTraits
from backup.system.durable_files import link_new, sync_folder

INCOMING = ".incoming"
_LEFTOVER_SECONDS = 24 * 3600
_EARLIEST = datetime(1000, 1, 1, tzinfo=UTC).timestamp()
_LATEST = datetime(9000, 1, 1, tzinfo=UTC).timestamp()
_DRAFT = re.compile(r"[0-9a-f]{32}(?:\.linked)?")
_O_DIRECT = getattr(os, "O_DIRECT", 0)  # not available everywhere
_DIRECT_BYTES = 1024 * 1024
_BLOCK_BYTES = 4096  # in direct I/O, memory address and size are multiples of it


class DirectoryStore(Store):
    """Read-only files below `path`; the first `put` creates this folder."""

    read_over_bytes: ClassVar[int] = 256 * 1024  # reading this much takes as long as one call

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        self._is_swept = False
        self._synced_folders: set[Path] = set()  # folders with a synced name in their parent

    @property
    def where(self) -> str:
        return f"{self.path}"

    def describe(self) -> StoreTraits:
        return StoreTraits(
            is_write_only=False,
            why="it is a folder, and the owner of its files can change and delete them",
        )

    def try_to_put(self) -> None:
        """Check that a put would work; raise the errors of `put`.

        The files that are created for the check are removed.
        """
        self._translate_errors("a first try of", f"putting into {self.path}", self._try)

    def _try(self) -> None:
        self.make_folder(self.path / INCOMING)
        draft = self.path / INCOMING / secrets.token_hex(16)
        linked = draft.with_name(f"{draft.name}.linked")
        try:
            _write_synced(draft, b"a try")
            link_new(draft, linked)
        finally:
            for file in (draft, linked):
                with suppress(FileNotFoundError):
                    file.unlink()

    def _put(self, name: str, data: bytes | bytearray | memoryview) -> None:
        target = self.path / name
        # Check first, so that a put of an existing object usually costs no write. Only the hard
        # link below is safe if two writers use one name at the same time.
        if target.exists():
            raise self._name_taken(name)
        with self._lock:
            self.make_folder(target.parent)
            self.make_folder(self.path / INCOMING)
            self._sweep()
        draft = self.path / INCOMING / secrets.token_hex(16)
        try:
            _write_synced(draft, data)
            try:
                link_new(draft, target)
            except FileExistsError:
                raise self._name_taken(name) from None
        finally:
            with suppress(FileNotFoundError):
                draft.unlink()
        sync_folder(target.parent)

    def make_folder(self, folder: Path) -> None:
        """Create a folder of the store durably."""
        if folder in self._synced_folders and folder.is_dir():
            return
        if folder == self.path:
            _make_directory(folder)
        else:
            self.make_folder(folder.parent)
            with suppress(FileExistsError):
                folder.mkdir(mode=0o750)
            sync_folder(folder.parent)
        self._synced_folders.add(folder)

    def _name_taken(self, name: str) -> AlreadyThere:
        sync_folder((self.path / name).parent)
        return AlreadyThere(f"{name} already exists; nothing was changed")

    def _get_range(self, name: str, start: int, length: int | None) -> bytes:
        try:
            with os.fdopen(self._open(name), "rb", buffering=0) as file:
                if length is None:
                    return file.readall()
                file.seek(start)
                parts = []
                while length and (part := file.read(length)):
                    parts.append(part)
                    length -= len(part)
                return parts[0] if len(parts) == 1 else b"".join(parts)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise NotFound(f"{name} is not in {self.path}") from None

    def _read_into(self, name: str, start: int, into: memoryview) -> int:
        # Bypass the page cache: a restore reads each byte of a pack once, and needs the memory for
        # restored files.
        try:
            descriptor = self._open(name)
            try:
                return _read_direct(descriptor, start, into)
            finally:
                os.close(descriptor)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise NotFound(f"{name} is not in {self.path}") from None

    def _open(self, name: str) -> int:
        # Without O_NONBLOCK, opening a pipe would wait forever.
        descriptor = os.open(self.path / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        if not stat_module.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise NotFound(f"{name} is not an object in {self.path}")
        return descriptor

    def _stat(self, name: str) -> Stat:
        try:
            found = (self.path / name).stat()
        except (FileNotFoundError, NotADirectoryError):
            raise NotFound(f"{name} is not in {self.path}") from None
        if not stat_module.S_ISREG(found.st_mode):
            raise NotFound(f"{name} is not an object in {self.path}")
        return _to_stat(name, found)

    def _list(self, prefix: str) -> Iterator[Stat]:
        folder, _, _ = prefix.rpartition("/")
        return self._walk(self.path / folder, f"{folder}/" if folder else "", prefix)

    def _lock_of(self, name: str) -> None:
        self._stat(name)

    def _walk(self, folder: Path, before: str, prefix: str) -> Iterator[Stat]:
        try:
            with os.scandir(folder) as scan:
                found = [entry for entry in scan if not entry.name.startswith(".")]
        except (FileNotFoundError, NotADirectoryError):
            return
        # Sort folders by their names with a slash, so that "a-b" comes before "a/b".
        rows = sorted(
            (before + entry.name + ("/" if entry.is_dir(follow_symlinks=False) else ""), entry)
            for entry in found
        )
        for name, entry in rows:
            if name.endswith("/"):
                # Do not enter a folder if names in it are too long for objects: somebody may have
                # nested folders without end.
                is_wanted = name.startswith(prefix) or prefix.startswith(name)
                if is_wanted and len(name) < LONGEST_NAME:
                    yield from self._walk(folder / entry.name, name, prefix)
            elif name.startswith(prefix) and entry.is_file(follow_symlinks=False):
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue  # another process removed it during the listing
                yield _to_stat(name, status)

    def _sweep(self) -> None:
        if self._is_swept:
            return
        try:
            folder = os.open(self.path / INCOMING, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except NotADirectoryError:
            raise UsageError(
                f"{self.path / INCOMING}: not a folder, or a link; nothing is written through it."
                " Find out who put it there, and remove it"
            ) from None
        try:
            with os.scandir(folder) as scan:
                for draft in [entry.name for entry in scan if _DRAFT.fullmatch(entry.name)]:
                    _remove_leftover(draft, folder)
        finally:
            os.close(folder)
        self._is_swept = True


def _remove_leftover(name: str, folder: int) -> None:
    with suppress(FileNotFoundError):
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if status.st_mtime < time.time() - _LEFTOVER_SECONDS:
            os.unlink(name, dir_fd=folder)


def _to_stat(name: str, found: os.stat_result) -> Stat:
    return Stat(name=name, size_bytes=found.st_size, modified=_moment(found.st_mtime))


def _moment(timestamp: float) -> datetime:
    """Return a time of a file, limited to the years 1000 to 9000."""
    return datetime.fromtimestamp(min(max(timestamp, _EARLIEST), _LATEST), UTC)


def _write_synced(draft: Path, data: bytes | bytearray | memoryview) -> None:
    """Write a new file durably."""
    # Write directly from memory to disk if possible. Large objects (packs of backup content) are
    # not read soon, so in the page cache they would only displace other content. The copy into the
    # cache takes longer than the encryption of the pack.
    is_direct = len(data) >= _DIRECT_BYTES and len(data) % _BLOCK_BYTES == 0
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o440)
    try:
        if is_direct:
            _set_direct(descriptor, on=True)
        view = memoryview(data)
        while view:
            try:
                written = os.write(descriptor, view)
            except OSError as error:
                if error.errno != errno.EINVAL or not is_direct:
                    raise
                # The memory is not aligned, or the file system does not support it.
                is_direct = False
                _set_direct(descriptor, on=False)
                continue
            view = view[written:]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_direct(descriptor: int, start: int, into: memoryview) -> int:
    """Fill memory from an offset, bypassing the page cache if possible."""
    filled = 0
    may_direct = True
    is_direct = False
    while filled < len(into):
        # Read directly only from the start of a block. Near the end of a file, a read usually stops
        # within a block.
        wants_direct = may_direct and (start + filled) % _BLOCK_BYTES == 0
        if wants_direct != is_direct:
            _set_direct(descriptor, on=wants_direct)
            is_direct = wants_direct
        try:
            count = os.preadv(descriptor, [into[filled:]], start + filled)
        except OSError as error:
            if error.errno != errno.EINVAL or not is_direct:
                raise
            may_direct = False  # the memory is not aligned, or the file system does not support it
            continue
        if not count:
            break
        filled += count
    return filled


def _set_direct(descriptor: int, *, on: bool) -> None:
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    with suppress(OSError):  # if it is refused, the page cache is used
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | _O_DIRECT if on else flags & ~_O_DIRECT)


def _make_directory(path: Path) -> None:
    if path.is_dir():
        return
    _make_directory(path.parent)
    with suppress(FileExistsError):
        path.mkdir(mode=0o750)
    sync_folder(path.parent)
