"""Values that are left for later: in memory while they are few, beyond that in a file without name.

`tempfile.SpooledTemporaryFile` does the same, and takes 3 ms to import, of a start of 100.
"""

import pickle
from collections.abc import Iterator
from io import BytesIO
from typing import IO, Generic, TypeVar

_IN_MEMORY_BYTES = 4 * 1024 * 1024

T = TypeVar("T")


class LeftOver(Generic[T]):
    """Values that pickle, given back in their order as often as asked; to be closed."""

    def __init__(self) -> None:
        self._file: IO[bytes] = BytesIO()
        self.is_empty = True

    def add(self, value: T) -> None:
        """Keep one more; not while they are given back."""
        pickle.dump(value, self._file)
        self.is_empty = False
        if isinstance(self._file, BytesIO) and self._file.tell() > _IN_MEMORY_BYTES:
            from tempfile import TemporaryFile

            memory, self._file = self._file, TemporaryFile()  # noqa: SIM115 - `close` closes it
            self._file.write(memory.getbuffer())

    def __iter__(self) -> Iterator[T]:
        self._file.seek(0)
        while True:
            try:
                yield pickle.load(self._file)  # noqa: S301 - our own
            except EOFError:
                return

    def close(self) -> None:
        """Let go of all of them."""
        self._file.close()
