"""Files of lines that only grow, and lose at most the line that was being written.

- A last line without its end was cut by a crash; it never counted, and the next append replaces it.
- `mend` says in errors what to do, as each such file has its own setting.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from standfast.errors import StandfastError


def whole_lines(file: Path, mend: str) -> list[bytes]:
    """Every line that has its end; none where there is no file yet."""
    try:
        return file.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StandfastError(f"{file} cannot be read: {error.strerror}; {mend}") from error


def append_lines(file: Path, lines: Iterable[bytes], mend: str) -> None:
    """Append, durably; a new file has the mode 0600."""
    whole = sum(len(line) + 1 for line in whole_lines(file, mend))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.ftruncate(descriptor, whole)
            os.pwrite(descriptor, b"".join(line + b"\n" for line in lines), whole)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StandfastError(f"{file} cannot be written: {error.strerror}; {mend}") from error
