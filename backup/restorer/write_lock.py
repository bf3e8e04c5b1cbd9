"""Write lock of large files: one worker at a time writes into them.

The kernel admits one writer to a file and lets the others spin, which takes a twentieth of the
processor from unpacking. A process that waits for this lock sleeps.

- The lock is between processes. Threads of one process do not exclude each other, and spin.
- The lock is released when its process dies.
"""

import fcntl
import os
from types import TracebackType

_FROM_MEMORY = getattr(os, "memfd_create", None)  # not everywhere


class WriteLock:
    """Lock that is shared with processes forked later; close it at the end."""

    def __init__(self) -> None:
        self._lock = -1 if _FROM_MEMORY is None else _FROM_MEMORY("write-lock")

    def __enter__(self) -> None:
        if self._lock >= 0:
            fcntl.lockf(self._lock, fcntl.LOCK_EX)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._lock >= 0:
            fcntl.lockf(self._lock, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the lock's file."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
