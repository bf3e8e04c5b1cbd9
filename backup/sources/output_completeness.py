"""End markers of a complete output, checked while it streams.

- A complete text contains a known line in its last KiB.
- A complete tar file ends with two empty records in place of a member header (POSIX pax, "ustar
  Interchange Format"). Empty records within a member are content; database files have many.
"""

from typing import Protocol

_TEXT_BYTES = 1024
_RECORD = 512
_SIZE = slice(124, 136)
_EMPTY = bytes(_RECORD)


class EndMarker(Protocol):
    """Check of an output, piece by piece."""

    def feed(self, piece: memoryview) -> None:
        """Examine the next piece."""

    @property
    def is_complete(self) -> bool:
        """Return whether the output so far is complete."""
        ...


class TextEndMarker:
    """Check of a text: it must contain `marker` in its last KiB."""

    def __init__(self, marker: bytes) -> None:
        self._marker = marker
        self._tail = b""

    def feed(self, piece: memoryview) -> None:
        self._tail = (self._tail + bytes(piece[-_TEXT_BYTES:]))[-_TEXT_BYTES:]

    @property
    def is_complete(self) -> bool:
        return self._marker in self._tail


class TarEndMarker:
    """Check of a tar file: reads header by header, and skips the content."""

    def __init__(self) -> None:
        self._content_left = 0  # of the current member, with the padding of its last record
        self._header = b""  # the part of the next header that was examined
        self._empty = 0  # consecutive empty records

    def feed(self, piece: memoryview) -> None:
        position = 0
        while position < len(piece) and not self.is_complete:
            step = min(self._content_left, len(piece) - position)
            self._content_left -= step
            position += step
            part = bytes(piece[position : position + _RECORD - len(self._header)])
            self._header += part
            position += len(part)
            if len(self._header) == _RECORD:
                self._read_header(self._header)
                self._header = b""

    @property
    def is_complete(self) -> bool:
        return self._empty >= 2

    def _read_header(self, header: bytes) -> None:
        if header == _EMPTY:
            self._empty += 1
            return
        self._empty = 0
        self._content_left = -(-_size(header[_SIZE]) // _RECORD) * _RECORD


def _size(field: bytes) -> int:
    """Return a member's size from octal or, for 8 GiB and more, binary form.

    GNU tar and PostgreSQL write the binary form. Return 0 for an invalid field. Content is then
    read as a header, and the end is not found.
    """
    if field[0] & 0x80:
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    try:
        return int(field.strip(b" \0") or b"0", 8)
    except ValueError:
        return 0
