"""Durable small files: atomic and synced writes, reads with a size limit."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from backup.errors import AlreadyThere, NotFound, NotWritable, UsageError

_MAX_BYTES = 16 * 1024 * 1024
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)


def create_file(path: Path, data: bytes) -> None:
    """Create a file durably with mode 0600; raise `AlreadyThere` if it exists.

    The name is created after the data is complete. So a crash never leaves an incomplete file, such
    as half of a key.
    """
    with _draft_file(path, data) as draft:
        link_new(draft, path)
    sync_folder(path.parent)


def replace_file(path: Path, data: bytes) -> None:
    """Create or replace a file atomically and durably, with mode 0600.

    No hard link is needed, so the function can be used on a FAT stick.
    """
    with _draft_file(path, data) as draft:
        draft.replace(path)
        sync_folder(path.parent)


def resolve_path(path: Path) -> Path:
    """Return a path without symbolic links, unless they form a loop."""
    return Path(os.path.realpath(path))  # `Path.resolve` raises RuntimeError for a loop


def check_creatable(path: Path, size_bytes: int) -> None:
    """Raise the errors of `create_file`, without creating the file.

    Missing folders of the path are created.
    """
    probe = path.with_name(f".{path.name}.probe")
    with _draft_file(path, bytes(size_bytes)) as draft:
        if os.path.lexists(path):
            raise FileExistsError
        probe.unlink(missing_ok=True)
        link_new(draft, probe)
        probe.unlink()


@contextmanager
def _draft_file(path: Path, data: bytes) -> Iterator[Path]:
    """Write a synced draft next to a file; remove the draft after the block.

    Errors of the block are translated into errors of `backup.errors` that name the file.
    """
    draft = path.with_name(f".{path.name}.draft")
    try:
        make_private_folder(path.parent)
        # An existing draft is from an interrupted call, and nobody uses it.
        with suppress(FileNotFoundError):
            draft.unlink()
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        yield draft
    except FileExistsError:
        raise AlreadyThere(
            f"{path} already exists; it was not changed. Name another file"
        ) from None
    except OSError as error:
        raise NotWritable(
            f"{path} cannot be written: {error.strerror}. Check its folder's space and mode,"
            " then run again"
        ) from error
    finally:
        with suppress(OSError):
            draft.unlink()


def link_new(draft: Path, path: Path) -> None:
    """Link a draft to its name; raise `FileExistsError` if the name exists.

    Raise `UsageError` if the file system has no hard links, because any other method could replace
    an existing file.
    """
    try:
        os.link(draft, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        raise UsageError(
            f"{path.parent}: its file system has no hard links ({error.strerror}), as FAT, exFAT "
            "and some shares. Use a folder on a file system with hard links, such as ext4, XFS, "
            "Btrfs, ZFS or NFS"
        ) from error


def read_file(path: Path, label: str = "", *, missing: str = "") -> bytes:
    """Read a file of at most 16 MiB; raise `NotFound` or `UsageError`.

    `label` names the file in errors. `missing` is the message if the file does not exist.
    """
    label = label or str(path)
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        raise NotFound(missing or f"{path}: no such file. Name an existing file") from None
    except IsADirectoryError:
        raise UsageError(f"{label} is a folder. Name the file") from None
    except OSError as error:
        raise UsageError(
            f"{label} cannot be read: {error.strerror}. Run as the user that owns it"
        ) from error
    if len(data) > _MAX_BYTES:
        raise UsageError(f"{label} is far too large. Name the right file")
    return data


def make_private_folder(path: Path) -> None:
    """Create a folder and its missing parents, each with mode 0700."""
    if path.is_dir():
        return
    make_private_folder(path.parent)
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Sync a folder, so that its names survive a power failure."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
