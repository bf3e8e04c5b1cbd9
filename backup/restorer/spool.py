"""Spool of values for later: 4 MiB in memory, more in an unnamed file."""

import pickle
from collections.abc import Iterator
from io import BytesIO
from tempfile import TemporaryFile
from typing import IO, Generic, TypeVar

IN_MEMORY_BYTES = 4 * 1024 * 1024

T = TypeVar("T")


class Spool(Generic[T]):
    """Pickled values in the order in which they were added; call `close`."""

    def __init__(self) -> None:
        self._file: IO[bytes] = BytesIO()
        self._end = 0

    @property
    def is_empty(self) -> bool:
        """Return whether nothing was added."""
        return self._end == 0

    def add(self, value: T) -> int:
        """Append a value and return its position; must not follow a read."""
        position = self._end
        pickle.dump(value, self._file)
        self._end = self._file.tell()
        if isinstance(self._file, BytesIO) and self._end > IN_MEMORY_BYTES:
            memory, self._file = self._file, TemporaryFile()  # noqa: SIM115 - `close` closes it
            self._file.write(memory.getbuffer())
        return position

    def at(self, position: int) -> T:
        """Return the value that was added at a position."""
        self._file.seek(position)
        value: T = pickle.load(self._file)  # noqa: S301 - written by this program
        return value

    def __iter__(self) -> Iterator[T]:
        self._file.seek(0)
        while True:
            try:
                yield pickle.load(self._file)  # noqa: S301 - written by this program
            except EOFError:
                return

    def close(self) -> None:
        """Remove all values."""
        self._file.close()
