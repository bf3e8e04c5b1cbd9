"""Buffers for packs: memory of 16 MiB each, reused for later packs.

- A buffer has room for a whole pack, encrypted or not. It starts at a page boundary, so a store can
  pass it to the disk directly.
- The pool grows to the largest number of buffers in use at once, which the callers limit.
- A new user of a buffer finds the bytes of the previous use in it.
- If the system has no memory, the run ends with `BackupError`. An `OSError` would be taken for an
  unreadable file, and the run would continue without the pack.
"""

from backup.errors import BackupError
from backup.format.pack import MAX_PACK_BYTES
from backup.system.huge_pages import large_memory


class PackBuffers:
    """Pool of buffers; safe to call from several threads."""

    def __init__(self) -> None:
        self._free: list[memoryview] = []

    def take(self) -> memoryview:
        """Return a buffer of MAX_PACK_BYTES bytes for the caller alone.

        Raise `BackupError` if the system has no memory.
        """
        try:
            return self._free.pop()
        except IndexError:
            pass
        try:
            return large_memory(MAX_PACK_BYTES)
        except OSError as error:
            raise BackupError(
                f"memory for a pack: {error.strerror}. Free memory on this host, then run again."
            ) from error

    def release(self, buffer: memoryview) -> None:
        """Put a buffer back into the pool; no view of it may be used any more."""
        self._free.append(buffer)

    def close(self) -> None:
        """Free the unused buffers now, not at the next garbage collection."""
        self._free.clear()
