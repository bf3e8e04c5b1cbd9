"""Lanes take turns at writing into large files.

The kernel lets one of them at a time into a file, and has the others spin until it is their turn:
a twentieth of the processor, of which unpacking has none too much.  Who waits here sleeps.

- Of processes; threads of one process do not exclude each other, and spin as ever.
- Whoever dies gives its turn up: the kernel sees to that.
"""

import fcntl
import os
from types import TracebackType

_FROM_MEMORY = getattr(os, "memfd_create", None)  # not everywhere


class Turn:
    """A turn that processes forked later share; `close` when done."""

    def __init__(self) -> None:
        self._lock = -1 if _FROM_MEMORY is None else _FROM_MEMORY("turn")

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
        """Give it back."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
