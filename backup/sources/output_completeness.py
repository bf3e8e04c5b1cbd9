"""How a whole output ends, looked for as it streams by; nothing of it is kept.

- A text ends with a known line, somewhere in its last KiB.
- A tar ends with two empty records where a member would begin (POSIX pax, "ustar Interchange
  Format").  Empty records within a member say nothing: a database's files are full of them.
"""

from typing import Protocol

_TEXT_BYTES = 1024
_RECORD = 512
_SIZE = slice(124, 136)
_EMPTY = bytes(_RECORD)


class EndMarker(Protocol):
    """Sees all that comes, piece by piece and in order."""

    def see(self, piece: memoryview) -> None:
        """Look at the next piece."""

    @property
    def is_complete(self) -> bool:
        """Is what was seen so far a whole output?"""
        ...


class TextEndMarker:
    """A text that ends with `marker`, or shortly before its end."""

    def __init__(self, marker: bytes) -> None:
        self._marker = marker
        self._tail = b""

    def see(self, piece: memoryview) -> None:
        self._tail = (self._tail + bytes(piece[-_TEXT_BYTES:]))[-_TEXT_BYTES:]

    @property
    def is_complete(self) -> bool:
        return self._marker in self._tail


class TarEndMarker:
    """A tar, followed from header to header."""

    def __init__(self) -> None:
        self._content_left = 0  # of the member under way, with what fills its last record
        self._header = b""  # what came of the next one
        self._empty = 0  # records in a row

    def see(self, piece: memoryview) -> None:
        at = 0
        while at < len(piece) and not self.is_complete:
            step = min(self._content_left, len(piece) - at)
            self._content_left -= step
            at += step
            more = bytes(piece[at : at + _RECORD - len(self._header)])
            self._header += more
            at += len(more)
            if len(self._header) == _RECORD:
                self._take(self._header)
                self._header = b""

    @property
    def is_complete(self) -> bool:
        return self._empty >= 2

    def _take(self, header: bytes) -> None:
        if header == _EMPTY:
            self._empty += 1
            return
        self._empty = 0
        self._content_left = -(-_size(header[_SIZE]) // _RECORD) * _RECORD


def _size(field: bytes) -> int:
    """Read a member's size: octal, or for 8 GiB and more binary, as GNU and PostgreSQL write it.

    Of what is neither, 0: then no header follows where one is looked for, and the end never comes.
    """
    if field[0] & 0x80:
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    try:
        return int(field.strip(b" \0") or b"0", 8)
    except ValueError:
        return 0
