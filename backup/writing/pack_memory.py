"""Memory for packs that is used again and again, instead of 32 MiB of new pages for each pack.

- A buffer holds a whole pack, sealed or not. It begins at a page, so that a store can hand it to
  the disk as it is.
- As many are made as are in use at once; who takes them bounds that.
- What an earlier user left in a buffer is still there.
"""

from backup.format.pack import LARGEST_PACK
from backup.large_memory import large_memory


class PackMemory:
    """Gives buffers out; safe to call from several threads."""

    def __init__(self) -> None:
        self._free: list[memoryview] = []

    def take(self) -> memoryview:
        """A buffer of LARGEST_PACK bytes, which is nobody else's until it is given back."""
        try:
            return self._free.pop()
        except IndexError:
            return large_memory(LARGEST_PACK)

    def give_back(self, buffer: memoryview) -> None:
        """End the use of a buffer and of every view of it."""
        self._free.append(buffer)

    def close(self) -> None:
        """Free what is free, without waiting for Python to find out that nobody needs it."""
        self._free.clear()
