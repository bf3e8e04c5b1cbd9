"""Append-only files of lines, durable against a crash.

Rules
- Only one process at a time may append, which a lock ensures. For example, two verifications of the
  same backups may end at the same moment.
- A last line without a newline was cut off by a crash. It is ignored, and the next append replaces
  it.
- The parameter `action` is the sentence at the end of each error message, such as `Repair the
  disk`.
"""

import fcntl
import os
from collections.abc import Iterable
from pathlib import Path

from standfast.errors import StandfastError
from standfast.evidence.private_files import make_private, sync_folder


def whole_lines(file: Path, action: str) -> list[bytes]:
    """Return all complete lines, oldest first; [] if there is no file."""
    try:
        return file.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StandfastError(f"{file}: cannot be read: {error.strerror}. {action}.") from error


def append_lines(file: Path, lines: Iterable[bytes], action: str) -> None:
    """Append lines, and write them to the disk before the return.

    A new file gets the mode 0600, a new folder 0700.
    """
    try:
        make_private(file.parent)
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "r+b") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            # Remove a last line that a crash cut off.
            whole = stream.read().rfind(b"\n") + 1
            stream.seek(whole)
            stream.truncate()
            stream.write(b"".join(line + b"\n" for line in lines))
            stream.flush()
            os.fsync(descriptor)
        sync_folder(file.parent)
    except OSError as error:
        raise StandfastError(f"{file}: cannot be written: {error.strerror}. {action}.") from error
