"""A store in a directory: a mounted disk, a network share, the demonstration.

- An object is written to `.incoming/`, synced, and linked to its name: a link never replaces, so
  two writers of one name cannot both succeed.  The directory is synced before `put` returns.
- A crash leaves at most a file in `.incoming/`, which the first `put` after a day removes.
- Root, or whoever owns the files, can still change and delete: `describe` says so.
"""

import os
import secrets
import stat as stat_module
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from backup.errors import AlreadyThere, NotFound
from backup.local_files import sync_folder
from backup.stores import Stat, Store, StoreTraits

_INCOMING = ".incoming"
_LEFTOVER_SECONDS = 24 * 3600


class DirectoryStore(Store):
    """Objects as read-only files below `path`, which the first `put` makes when it is missing."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        self._is_swept = False

    def describe(self) -> StoreTraits:
        return StoreTraits(
            is_write_only=False,
            locks=False,
            trusted_clock=False,
            why="a directory is not write-only: whoever owns its files can change and delete them",
        )

    def _put(self, name: str, data: bytes | bytearray) -> None:
        target = self.path / name
        # Looked up first so that the usual collision costs no write; the link below decides.
        if target.exists():
            raise AlreadyThere(f"{name} is already there; nothing was changed")
        with self._lock:
            _make_directory(target.parent)
            _make_directory(self.path / _INCOMING)
            self._sweep()
        draft = self.path / _INCOMING / secrets.token_hex(16)
        try:
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o440)
            with os.fdopen(descriptor, "wb", buffering=0) as file:
                view = memoryview(data)
                while view:
                    view = view[file.write(view) :]
                os.fsync(file.fileno())
            try:
                os.link(draft, target)
            except FileExistsError:
                raise AlreadyThere(f"{name} is already there; nothing was changed") from None
        finally:
            with suppress(FileNotFoundError):
                draft.unlink()
        sync_folder(target.parent)

    def _get_range(self, name: str, start: int, length: int | None) -> bytes:
        try:
            with (self.path / name).open("rb", buffering=0) as file:
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
                if name.startswith(prefix) or prefix.startswith(name):
                    yield from self._walk(folder / entry.name, name, prefix)
            elif name.startswith(prefix) and entry.is_file(follow_symlinks=False):
                yield _as_stat(name, entry.stat(follow_symlinks=False))

    def _sweep(self) -> None:
        if self._is_swept:
            return
        self._is_swept = True
        for draft in (self.path / _INCOMING).iterdir():
            with suppress(FileNotFoundError):
                if draft.stat().st_mtime < time.time() - _LEFTOVER_SECONDS:
                    draft.unlink()


def _as_stat(name: str, found: os.stat_result) -> Stat:
    return Stat(
        name=name,
        size_bytes=found.st_size,
        modified=datetime.fromtimestamp(found.st_mtime, UTC),
    )


def _make_directory(path: Path) -> None:
    if path.is_dir():
        return
    _make_directory(path.parent)
    with suppress(FileExistsError):
        path.mkdir(mode=0o750)
    sync_folder(path.parent)
