"""Memory for packs that is used again and again, instead of 32 MiB of new pages for each pack.

- A buffer holds a whole pack, sealed or not. It begins at a page, so that a store can hand it to
  the disk as it is.
- As many are made as are in use at once; who takes them bounds that.
- What an earlier user left in a buffer is still there.
- Where the system gives no memory the run ends: its `OSError` would be taken for what ails the file
  that is read just then, and the run would go on without the pack.
"""

from backup.errors import BackupError
from backup.format.pack import MAX_PACK_BYTES
from backup.system.huge_pages import large_memory


class PackBuffers:
    """Gives buffers out; safe to call from several threads."""

    def __init__(self) -> None:
        self._free: list[memoryview] = []

    def take(self) -> memoryview:
        """A buffer of MAX_PACK_BYTES bytes, which is nobody else's until it is given back.

        `BackupError` when the system has none.
        """
        try:
            return self._free.pop()
        except IndexError:
            pass
        try:
            return large_memory(MAX_PACK_BYTES)
        except OSError as error:
            raise BackupError(
                f"the system gave no memory for a pack ({error.strerror}). See what takes it, then"
                " run again"
            ) from error

    def give_back(self, buffer: memoryview) -> None:
        """End the use of a buffer and of every view of it."""
        self._free.append(buffer)

    def close(self) -> None:
        """Free what is free, without waiting for Python to find out that nobody needs it."""
        self._free.clear()
