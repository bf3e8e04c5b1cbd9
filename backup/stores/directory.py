"""A store in a directory: a mounted disk, a network share, the demonstration.

- An object is written to `.incoming/`, synced, and linked to its name: a link never replaces, so
  two writers of one name cannot both succeed; a file system without links is refused.  The folder
  is synced before `put` returns, and before it says `AlreadyThere`: whoever put that name may have
  died in between.
- So are the folders above it, once a process: another may have made them a moment ago.
- A crash leaves at most a file in `.incoming/`, which the first `put` after a day removes: by names
  that are drafts', and not where that folder is a link, which somebody else's disk may have there.
- What is neither file nor folder is no object, and holds nobody up who opens it.
- Root, or whoever owns the files, can still change and delete: `describe` says so.  It locks
  nothing, so no object has a lock.
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
_O_DIRECT = getattr(os, "O_DIRECT", 0)  # not everywhere
_DIRECT_BYTES = 1024 * 1024
_BLOCK_BYTES = 4096  # what the memory and the size must be multiples of


class DirectoryStore(Store):
    """Objects as read-only files below `path`, which the first `put` makes when it is missing."""

    read_over_bytes: ClassVar[int] = 256 * 1024  # which takes as long as to ask once more

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        self._is_swept = False
        self._lasting: set[Path] = set()  # folders whose own names were synced

    @property
    def where(self) -> str:
        return f"{self.path}"

    def describe(self) -> StoreTraits:
        return StoreTraits(
            is_write_only=False,
            why="a directory is not write-only: whoever owns its files can change and delete them",
        )

    def try_to_put(self) -> None:
        """Do what a put takes, and leave nothing; what lacks is said as `put` says it."""
        self._translated("a first try of", f"putting into {self.path}", self._try)

    def _try(self) -> None:
        self.make_folder(self.path / INCOMING)
        draft = self.path / INCOMING / secrets.token_hex(16)
        linked = draft.with_name(f"{draft.name}.linked")
        try:
            _write_synced(draft, b"a try")
            link_new(draft, linked)
        finally:
            for made in (draft, linked):
                with suppress(FileNotFoundError):
                    made.unlink()

    def _put(self, name: str, data: bytes | bytearray | memoryview) -> None:
        target = self.path / name
        # Looked up first so that the usual collision costs no write; the link below decides.
        if target.exists():
            raise self._taken(name)
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
                raise self._taken(name) from None
        finally:
            with suppress(FileNotFoundError):
                draft.unlink()
        sync_folder(target.parent)

    def make_folder(self, folder: Path) -> None:
        """Make a folder of the store that survives a power cut."""
        if folder in self._lasting and folder.is_dir():
            return
        if folder == self.path:
            _make_directory(folder)
        else:
            self.make_folder(folder.parent)
            with suppress(FileExistsError):
                folder.mkdir(mode=0o750)
            sync_folder(folder.parent)
        self._lasting.add(folder)

    def _taken(self, name: str) -> AlreadyThere:
        sync_folder((self.path / name).parent)
        return AlreadyThere(f"{name} is already there; nothing was changed")

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
        # Past the page cache, as it was written: who restores reads it once, and needs the memory.
        try:
            descriptor = self._open(name)
            try:
                return _read_past_the_cache(descriptor, start, into)
            finally:
                os.close(descriptor)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise NotFound(f"{name} is not in {self.path}") from None

    def _open(self, name: str) -> int:
        # Without waiting: a pipe would, for ever.
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
        return _as_stat(name, found)

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
        # A folder sorts as its name with the slash, or "a-b" and "a/b" would change places.
        rows = sorted(
            (before + entry.name + ("/" if entry.is_dir(follow_symlinks=False) else ""), entry)
            for entry in found
        )
        for name, entry in rows:
            if name.endswith("/"):
                # Nothing below a name that is too long is an object, and it may go down for ever.
                is_wanted = name.startswith(prefix) or prefix.startswith(name)
                if is_wanted and len(name) < LONGEST_NAME:
                    yield from self._walk(folder / entry.name, name, prefix)
            elif name.startswith(prefix) and entry.is_file(follow_symlinks=False):
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue  # the keeper removed it since
                yield _as_stat(name, status)

    def _sweep(self) -> None:
        if self._is_swept:
            return
        try:
            folder = os.open(self.path / INCOMING, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except NotADirectoryError:
            raise UsageError(
                f"{self.path / INCOMING} is no folder, or a link: nothing is written through that."
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


def _as_stat(name: str, found: os.stat_result) -> Stat:
    return Stat(
        name=name,
        size_bytes=found.st_size,
        modified=_moment(found.st_mtime),
    )


def _moment(timestamp: float) -> datetime:
    """A file may be of any year, as whoever holds the disk likes; ours can be reckoned with."""
    return datetime.fromtimestamp(min(max(timestamp, _EARLIEST), _LATEST), UTC)


def _write_synced(draft: Path, data: bytes | bytearray | memoryview) -> None:
    """Write a new file that survives a power cut."""
    # Straight from the memory to the disk where both can: what nobody reads soon would only push
    # what others read out of the page cache, and the copy costs more than sealing the pack.
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
                # The memory is not aligned, or the file system cannot do it.
                is_direct = False
                _set_direct(descriptor, on=False)
                continue
            view = view[written:]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_past_the_cache(descriptor: int, start: int, into: memoryview) -> int:
    """Fill memory from an offset on, as far as the file goes; in the usual way where it must be."""
    filled = 0
    may_direct = True
    is_direct = False
    while filled < len(into):
        # Not from the middle of a block, which is where a file ends.
        wants_direct = may_direct and (start + filled) % _BLOCK_BYTES == 0
        if wants_direct != is_direct:
            _set_direct(descriptor, on=wants_direct)
            is_direct = wants_direct
        try:
            count = os.preadv(descriptor, [into[filled:]], start + filled)
        except OSError as error:
            if error.errno != errno.EINVAL or not is_direct:
                raise
            may_direct = False  # the memory is not aligned, or the file system cannot do it
            continue
        if not count:
            break
        filled += count
    return filled


def _set_direct(descriptor: int, *, on: bool) -> None:
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    with suppress(OSError):  # a file system that cannot says so here, or when it is written to
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | _O_DIRECT if on else flags & ~_O_DIRECT)


def _make_directory(path: Path) -> None:
    if path.is_dir():
        return
    _make_directory(path.parent)
    with suppress(FileExistsError):
        path.mkdir(mode=0o750)
    sync_folder(path.parent)
