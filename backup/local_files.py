"""Files on this machine that must be written whole, once, and be there after a power cut."""

import os
from contextlib import suppress
from pathlib import Path

from backup.errors import AlreadyThere, NotWritable


def create_file(path: Path, data: bytes) -> None:
    """Create a file with mode 0600, synced; `AlreadyThere` unless it is new.

    The data is complete before the name exists, so a crash never leaves half of a key.
    """
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
        os.link(draft, path)
    except FileExistsError:
        raise AlreadyThere(f"{path} is already there; it was not changed") from None
    except OSError as error:
        raise NotWritable(f"{path} cannot be written: {error.strerror}") from error
    finally:
        with suppress(OSError):
            draft.unlink()
    sync_folder(path.parent)


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
