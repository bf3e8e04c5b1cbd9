"""Pieces of a file; gzip data are unpacked up to a limit of the ratio.

The limit is needed because a small file can unpack to a huge one.
"""

import zlib
from collections.abc import Iterator
from typing import Protocol

PIECE = 1024 * 1024
_GZIP = b"\x1f\x8b"
_MOST_TIMES = 200  # largest ratio of unpacked to packed bytes; 8 more pieces are allowed


class Readable(Protocol):
    """An object that can be read in pieces."""

    def read(self, size: int = -1, /) -> bytes:
        """Return at most `size` bytes."""


class NotUnpacked(Exception):
    """The rest of the file cannot be unpacked."""


class Truncated(NotUnpacked):
    """The file ends within gzip data: it was copied while it was written."""


class TooLarge(NotUnpacked):
    """The file unpacks to more than the limit."""


def unpacked_pieces(source: Readable, piece_bytes: int = PIECE) -> Iterator[bytes]:
    """Yield a file in pieces, unpacked; NotUnpacked for damaged gzip data."""
    first = source.read(piece_bytes)
    if not first.startswith(_GZIP):
        while first:
            yield first
            first = source.read(piece_bytes)
        return
    size_read, unpacked, is_ended = len(first), 0, False
    packed, piece = zlib.decompressobj(wbits=31), first
    while piece:
        try:
            text = packed.decompress(piece, piece_bytes)
        except zlib.error:
            raise NotUnpacked from None
        unpacked += len(text)
        if unpacked > _MOST_TIMES * size_read + 8 * PIECE:
            raise TooLarge
        yield text
        if packed.eof:  # concatenated gzip files are one gzip file
            is_ended, piece = True, packed.unused_data
            packed = zlib.decompressobj(wbits=31)
        else:
            is_ended, piece = False, packed.unconsumed_tail
        if not piece:
            piece = source.read(piece_bytes)
            size_read += len(piece)
    if not is_ended:
        raise Truncated
