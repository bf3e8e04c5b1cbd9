"""Small files on this machine: written whole, once, and there after a power cut; read in bounds."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from backup.errors import AlreadyThere, NotFound, NotWritable, UsageError

_LARGEST_BYTES = 16 * 1024 * 1024
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)


def create_file(path: Path, data: bytes) -> None:
    """Create a file with mode 0600, synced; `AlreadyThere` unless it is new.

    The data is complete before the name exists, so a crash never leaves half of a key.
    """
    with _drafted(path, data) as draft:
        link_new(draft, path)
    sync_folder(path.parent)


def replace_file(path: Path, data: bytes) -> None:
    """Write a file with mode 0600 as a whole, synced, in place of an earlier one.

    It needs no hard links, so it works on a stick with FAT.
    """
    with _drafted(path, data) as draft:
        draft.replace(path)
        sync_folder(path.parent)


def resolved(path: Path) -> Path:
    """Where a path leads; links that lead in a circle stay, for whoever opens it to tell."""
    return Path(os.path.realpath(path))  # `Path.resolve` raises a RuntimeError of them


def check_creatable(path: Path, size_bytes: int) -> None:
    """Raise what `create_file` would; nothing is left behind but the folder."""
    probe = path.with_name(f".{path.name}.probe")
    with _drafted(path, bytes(size_bytes)) as draft:
        if os.path.lexists(path):
            raise FileExistsError
        probe.unlink(missing_ok=True)
        link_new(draft, probe)
        probe.unlink()


@contextmanager
def _drafted(path: Path, data: bytes) -> Iterator[Path]:
    """Give a synced draft of a file, beside where it is to be; what fails is told of the file."""
    draft = path.with_name(f".{path.name}.draft")
    try:
        make_private_folder(path.parent)
        # A draft of an interrupted call holds nothing that was promised to anyone.
        with suppress(FileNotFoundError):
            draft.unlink()
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        yield draft
    except FileExistsError:
        raise AlreadyThere(f"{path} is already there; it was not changed") from None
    except OSError as error:
        raise NotWritable(
            f"{path} cannot be written: {error.strerror}; see that there is room and that it may be"
            " written, then run again"
        ) from error
    finally:
        with suppress(OSError):
            draft.unlink()


def link_new(draft: Path, path: Path) -> None:
    """Give a file its name, unless that is taken: `FileExistsError`.

    `UsageError` where the file system has no hard links: nothing else there is sure to replace
    nothing.
    """
    try:
        os.link(draft, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        raise UsageError(
            f"nothing can be kept in {path.parent}: its file system makes no hard links"
            f" ({error.strerror}), as FAT, exFAT and some shares; use a folder on another one"
            " (ext4, XFS, Btrfs, ZFS and NFS do)"
        ) from error


def read_file(path: Path, what: str = "", *, missing: str = "") -> bytes:
    """Read a key or a paper; `NotFound` when there is none, `UsageError` when it cannot be one.

    `what` names it in errors; `missing` is said when it is not there.
    """
    what = what or str(path)
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_BYTES + 1)
    except FileNotFoundError:
        raise NotFound(missing or f"there is no file {path}") from None
    except IsADirectoryError:
        raise UsageError(f"{what} is a folder: name the file") from None
    except OSError as error:
        raise UsageError(
            f"{what} cannot be read: {error.strerror}; run as the user who owns it"
        ) from error
    if len(data) > _LARGEST_BYTES:
        raise UsageError(f"{what} is far too large for what is asked for: name the right file")
    return data


def make_private_folder(path: Path) -> None:
    """Make a folder and what is missing above it, each with mode 0700."""
    if path.is_dir():
        return
    make_private_folder(path.parent)
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make the names in a folder survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
