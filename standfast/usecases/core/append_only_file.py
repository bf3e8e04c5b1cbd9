"""Files of lines that only grow, and lose at most the line that was being written.

- One process appends at a time: two verifications may end at once.
- A last line without its end was cut by a crash; it never counted, and the next append replaces it.
- `mend` says in errors what to do, as each such file has its own setting.
"""

import fcntl
import os
from collections.abc import Iterable
from pathlib import Path

from standfast.errors import StandfastError
from standfast.evidence.durable_files import make_private, sync_folder


def whole_lines(file: Path, mend: str) -> list[bytes]:
    """Every line that has its end; none where there is no file yet."""
    try:
        return file.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StandfastError(f"{file} cannot be read: {error.strerror}; {mend}") from error


def append_lines(file: Path, lines: Iterable[bytes], mend: str) -> None:
    """Append, durably and one at a time; what is new has the mode 0600, and its folders 0700."""
    try:
        make_private(file.parent)
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "r+b") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            whole = stream.read().rfind(b"\n") + 1
            stream.seek(whole)
            stream.truncate()
            stream.write(b"".join(line + b"\n" for line in lines))
            stream.flush()
            os.fsync(descriptor)
        sync_folder(file.parent)
    except OSError as error:
        raise StandfastError(f"{file} cannot be written: {error.strerror}; {mend}") from error
