"""Masked copy of a frozen text file, with a first line that explains it.

A frozen file was collected as evidence. In the masked copy, card numbers, social-security numbers
and mail addresses are replaced, as `text_masking` defines.

Rules
- The evidence is only read, and is hashed while it is read. A person with a masked copy can ask for
  the original by this hash.
- A file is text if it has no control characters except those of line breaks, tabs and terminals. A
  file that begins with the byte order mark of UTF-16 is read as UTF-16. gzip data are unpacked.
  Other files have no masked copy, because numbers and addresses in them cannot be found.
- A file is processed in pieces. Each piece ends with a character that cannot be a part of a number
  or an address. Therefore no number or address is divided.
"""

import codecs
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import BinaryIO

from standfast.evidence.text_masking import Masked, mask_text
from standfast.evidence.unpacked_pieces import NotUnpacked, TooLarge, Truncated, unpacked_pieces

NOT_TEXT = "is not text, so its sensitive items cannot be found"
TOO_LARGE = "unpacks to more than the limit"
PIECE_BYTES = 1024 * 1024
_FORMS = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_NO_TEXT = re.compile(r"[\x01-\x07\x0e-\x1a\x1c-\x1f]")
_ENDS = ",<>{}()[]|"  # possible ends of a piece in files without line breaks


@dataclass(frozen=True, kw_only=True)
class MaskedCopy:
    """The result of making one masked copy."""

    sha256: str  # SHA-256 of the original, as it was read
    found: Masked
    left_out: str = ""  # the reason if there is no copy, otherwise ""


class _Hashed:
    """Reader of a stream, with the hash of the bytes that were read."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self.hash = stream, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        piece = self._stream.read(size)
        self.hash.update(piece)
        return piece


class _LeftOut(Exception):
    """The file has no masked copy; the message is the reason."""


def copy_masked(source: BinaryIO, target: BinaryIO, title: str) -> MaskedCopy:
    """Write the masked text of `source` to `target`, after the line `title`.

    If the result has `left_out`, discard what was written so far. OSError is not translated.
    """
    read, found, left_out = _Hashed(source), Masked(), ""
    try:
        for piece in _mask_pieces(_pieces(read), title, found):
            target.write(piece)
    except _LeftOut as why:
        left_out = str(why)
    while read.read(PIECE_BYTES):
        pass  # the rest is read, because the hash covers the whole file
    return MaskedCopy(sha256=read.hash.hexdigest(), found=found, left_out=left_out)


def _mask_pieces(pieces: Iterator[bytes], title: str, found: Masked) -> Iterator[bytes]:
    first = next(pieces, b"")
    mark = first[:2]
    form = _FORMS.get(mark, "latin-1")
    if form == "latin-1":
        yield f"{title}\n".encode()
    else:
        first = first[len(mark) :]
        yield mark + f"{title}\n".encode(form)
    for text in _split(_decode(chain((first,), pieces), form)):
        if _NO_TEXT.search(text):
            raise _LeftOut(NOT_TEXT)
        yield mask_text(text, found).encode(form)


def _decode(pieces: Iterator[bytes], form: str) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(form)()
    try:
        for piece in pieces:
            yield decoder.decode(piece)
        yield decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        raise _LeftOut(NOT_TEXT) from None


def _split(texts: Iterator[str]) -> Iterator[str]:
    """Yield the text in pieces that divide no number and no address.

    Exception: if a megabyte has no line end or separator, it is cut at its end. Such text was not
    written by a person.
    """
    kept = ""
    for text in texts:
        kept += text
        end = kept.rfind("\n") + 1 or max(map(kept.rfind, _ENDS)) + 1
        if end or len(kept) >= PIECE_BYTES:
            yield kept[: end or len(kept)]
            kept = kept[end:] if end else ""
    yield kept


def _pieces(read: _Hashed) -> Iterator[bytes]:
    """Yield a file in pieces; gzip data are unpacked."""
    try:
        yield from unpacked_pieces(read, PIECE_BYTES)
    except Truncated:
        return
    except TooLarge:
        raise _LeftOut(TOO_LARGE) from None
    except NotUnpacked:
        raise _LeftOut(NOT_TEXT) from None
