"""Private files and folders: mode, owner, durable writes, folder locks.

A file is written in this order: bytes, fsync, rename, fsync of the folder. Files have the mode
0600, and folders the mode 0700. If root collects evidence in the installation of another user, this
user becomes the owner of the files, because this user's processes read the evidence later.
"""

import fcntl
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

_SYNC_THREADS, _SYNC_BATCH = 16, 1_000
_EXISTING = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file of mode 0600 atomically; replace an existing one."""
    draft = path.with_name(f".{path.name}.draft")
    # An existing draft may be from an interrupted call, or a link of an intruder: delete it.
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, _NEW, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(path)
    sync_folder(path.parent)


def make_private(folder: Path, *, is_durable: bool = True) -> None:
    """Create a folder of mode 0700 and its missing parents.

    `Path.mkdir` would create the parents with a mode that lets others read them. With `is_durable`
    False, the caller must write them to the disk with `sync_tree`.
    """
    if not folder.is_dir():
        make_private(folder.parent, is_durable=is_durable)
        folder.mkdir(mode=0o700, exist_ok=True)
        inherit_owner(folder)
        if is_durable:
            sync_folder(folder.parent)


def inherit_owner(path: Path) -> None:
    """Change the owner of a path that root made to the owner of its parent."""
    if os.geteuid() == 0:
        with suppress(OSError):  # a network share may map root to nobody
            above = path.parent.stat()
            os.chown(path, above.st_uid, above.st_gid, follow_symlinks=False)


def sync_folder(folder: Path) -> None:
    """Write the list of names of one folder to the disk (fsync)."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def inherit_owner_of_tree(folder: Path) -> None:
    """Call `inherit_owner` for a folder and its whole content."""
    if os.geteuid() == 0:
        inherit_owner(folder)
        for place, folders, files in os.walk(folder):
            for name in (*folders, *files):
                inherit_owner(Path(place, name))


def sync_tree(folder: Path) -> None:
    """Write the files and folders below a folder to the disk (fsync).

    Several threads do this, because a disk writes many files faster at once than one after another.
    """
    files = (Path(place, name) for place, _, names in _walk(folder) for name in names)
    folders = (Path(place) for place, _, _ in _walk(folder))
    with ThreadPoolExecutor(_SYNC_THREADS) as pool:
        for sync, paths in ((_sync_file, files), (sync_folder, folders)):
            while batch := list(islice(paths, _SYNC_BATCH)):
                for _ in pool.map(sync, batch):
                    pass  # the result raises the error of a thread


def _walk(folder: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """Walk a folder; raise the error of a folder that cannot be listed."""

    def fail(error: OSError) -> None:
        raise error

    return os.walk(folder, onerror=fail)


def _sync_file(path: Path) -> None:
    if path.is_symlink():
        return
    descriptor = os.open(path, _EXISTING)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def folder_lock(folder: Path) -> Iterator[bool]:
    """Lock a folder without waiting; yield whether the lock was acquired."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)
