"""A frozen file as others may read it: its text, masked, and a first line that says so.

Owns making one such copy from one sealed file. Leaves which files there are to operations, and what
is masked to `masking`.

Rules
- The sealed file is only read, and hashed as it is read: who holds a masked copy can ask for the
  original by that hash.
- Text is anything without control characters but those of text and terminals, in UTF-16 where the
  file begins as such. What gzip packed is unpacked. In all else nobody could see what is to be
  masked: there is no masked copy of it.
- A piece at a time, whatever the size, cut where nothing that is masked can go on.
"""

import codecs
import hashlib
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import BinaryIO

from standfast.evidence.text_masking import Masked, mask_text

NOT_TEXT = "is no text, so nobody can see in it what is to be masked"
TOO_LARGE = "unpacks to more than is unpacked here"
_PIECE = 1024 * 1024
_GZIP = b"\x1f\x8b"
_MOST_TIMES = 200  # so much larger what gzip packed may be, beyond a few pieces
_FORMS = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_NO_TEXT = re.compile(r"[\x01-\x07\x0e-\x1a\x1c-\x1f]")
_ENDS = ",<>{}()[]|"  # for who writes no lines


@dataclass(frozen=True, kw_only=True)
class MaskedCopy:
    """What making one came to."""

    sha256: str  # of the original, as it was read
    found: Masked
    left_out: str = ""  # why there is none


class _Hashed:
    """Reads a file, and hashes what was read."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self.hash, self.size = stream, hashlib.sha256(), 0

    def read(self, size: int = -1) -> bytes:
        piece = self._stream.read(size)
        self.hash.update(piece)
        self.size += len(piece)
        return piece


class _LeftOut(Exception):
    """There is no masked copy of it; the message says why."""


def copy_masked(source: BinaryIO, target: BinaryIO, title: str) -> MaskedCopy:
    """Write what `source` says into `target`, masked, below `title` as its first line.

    Where it cannot be masked, what was written so far is to be thrown away. OSError as it comes.
    """
    read, found, left_out = _Hashed(source), Masked(), ""
    try:
        for piece in _masked(_pieces(read), title, found):
            target.write(piece)
    except _LeftOut as why:
        left_out = str(why)
    while read.read(_PIECE):
        pass  # the rest counts for the hash
    return MaskedCopy(sha256=read.hash.hexdigest(), found=found, left_out=left_out)


def _masked(pieces: Iterator[bytes], title: str, found: Masked) -> Iterator[bytes]:
    first = next(pieces, b"")
    mark = first[:2]
    form = _FORMS.get(mark, "latin-1")
    if form == "latin-1":
        yield f"{title}\n".encode()
    else:
        first = first[len(mark) :]
        yield mark + f"{title}\n".encode(form)
    for text in _cut(_decoded(chain((first,), pieces), form)):
        if _NO_TEXT.search(text):
            raise _LeftOut(NOT_TEXT)
        yield mask_text(text, found).encode(form)


def _decoded(pieces: Iterator[bytes], form: str) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(form)()
    try:
        for piece in pieces:
            yield decoder.decode(piece)
        yield decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        raise _LeftOut(NOT_TEXT) from None


def _cut(texts: Iterator[str]) -> Iterator[str]:
    """Give all of it in pieces that end where nothing that is masked goes on.

    A megabyte without any such sign is no text that anybody wrote; it is cut where it ends.
    """
    kept = ""
    for text in texts:
        kept += text
        end = kept.rfind("\n") + 1 or max(map(kept.rfind, _ENDS)) + 1
        if end or len(kept) >= _PIECE:
            yield kept[: end or len(kept)]
            kept = kept[end:] if end else ""
    yield kept


def _pieces(read: _Hashed) -> Iterator[bytes]:
    """Read a file in pieces; what gzip packed, unpacked."""
    first = read.read(_PIECE)
    if not first.startswith(_GZIP):
        while first:
            yield first
            first = read.read(_PIECE)
        return
    unpacked = 0
    packed, piece = zlib.decompressobj(wbits=31), first
    while piece:
        try:
            text = packed.decompress(piece, _PIECE)
        except zlib.error:
            raise _LeftOut(NOT_TEXT) from None
        unpacked += len(text)
        if unpacked > _MOST_TIMES * read.size + 8 * _PIECE:
            raise _LeftOut(TOO_LARGE)
        yield text
        if packed.eof:  # several packed files one behind the other are one, too
            piece = packed.unused_data or read.read(_PIECE)
            packed = zlib.decompressobj(wbits=31)
        else:
            piece = packed.unconsumed_tail or read.read(_PIECE)
