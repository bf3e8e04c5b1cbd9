"""Spool: list of any length, its earlier pages encrypted on disk.

An audience, the list of people for a notice, may have a million rows. They are read more than once,
because even the last row may show that an earlier person must not be notified.

Rules
- A page that leaves memory is written to a file without a name. It is encrypted with a key that
  exists only in this process. The file disappears when the process ends, even if it is killed, and
  nobody can decrypt its remains.
- A list that fits into one page never leaves memory.
"""

import json
import os
import secrets
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import IO, Any, TypeVar, overload

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PAGE = 1_000  # items

Item = TypeVar("Item")


class Spool(Sequence[Item]):
    """Append-only sequence; equal to any sequence of the same items.

    `write` converts an item to a list that JSON can represent, and `read` converts it back.
    """

    def __init__(
        self, write: Callable[[Item], Sequence[Any]], read: Callable[[Sequence[Any]], Item]
    ) -> None:
        self._write = write
        self._read = read
        self._last: list[Item] = []
        self._page_locations: list[tuple[int, int]] = []  # offset and size of each full page
        self._end = 0

    def append(self, item: Item) -> None:
        """Append an item."""
        self._last.append(item)
        if len(self._last) == PAGE:
            self._write_page()

    def pages(self) -> Iterator[list[Item]]:
        """Yield the items in order, at most PAGE at a time."""
        for number in range(len(self._page_locations)):
            yield self._page(number)
        if self._last:
            yield list(self._last)

    def __iter__(self) -> Iterator[Item]:
        for page in self.pages():
            yield from page

    def __len__(self) -> int:
        return len(self._page_locations) * PAGE + len(self._last)

    @overload
    def __getitem__(self, at: int) -> Item: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Item]: ...
    def __getitem__(self, at: int | slice) -> Item | Sequence[Item]:
        if isinstance(at, slice):
            return [self[place] for place in range(*at.indices(len(self)))]
        place = range(len(self))[at]
        number, rest = divmod(place, PAGE)
        return self._page(number)[rest] if number < len(self._page_locations) else self._last[rest]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or len(self) != len(other):
            return False
        return all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    def __repr__(self) -> str:
        return f"<Spool of {len(self)}>"  # the items may be personal data

    @cached_property
    def _file(self) -> IO[bytes]:
        file = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as this list is
        weakref.finalize(self, file.close)
        return file

    @cached_property
    def _cipher(self) -> AESGCM:
        return AESGCM(secrets.token_bytes(32))

    def _write_page(self) -> None:
        plain = json.dumps([self._write(item) for item in self._last]).encode()
        sealed = self._cipher.encrypt(_nonce(len(self._page_locations)), plain, None)
        self._file.write(sealed)
        self._file.flush()
        self._page_locations.append((self._end, len(sealed)))
        self._end += len(sealed)
        self._last = []

    def _page(self, number: int) -> list[Item]:
        start, size = self._page_locations[number]
        # pread is used because, unlike seek and read, it is safe for several threads.
        sealed = os.pread(self._file.fileno(), size, start)
        plain = self._cipher.decrypt(_nonce(number), sealed, None)
        return [self._read(item) for item in json.loads(plain)]


def _nonce(number: int) -> bytes:
    """Return the nonce of a page; unique, because a page is written once."""
    return number.to_bytes(12, "big")
