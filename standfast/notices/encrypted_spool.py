"""A list that may be long: its last page in memory, the others in a file that nobody else can read.

An audience has a million rows, and is gone through more than once: that somebody is held may stand
in its last row.

Rules
- What leaves memory is encrypted under a key that is nowhere else, in a file without a name: it is
  gone with the process, however that ends, and what is left on the disk opens to nobody.
- A list that fits one page never leaves memory.
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

PAGE = 1_000

Item = TypeVar("Item")


class Spool(Sequence[Item]):
    """A sequence that is only appended to; equal to any sequence of the same items.

    `write` gives an item as a list that JSON can hold, `read` makes the item of such a list.
    """

    def __init__(
        self, write: Callable[[Item], Sequence[Any]], read: Callable[[Sequence[Any]], Item]
    ) -> None:
        self._write = write
        self._read = read
        self._last: list[Item] = []
        self._places: list[tuple[int, int]] = []  # where each full page begins, and its size
        self._end = 0

    def append(self, item: Item) -> None:
        """Add one at the end."""
        self._last.append(item)
        if len(self._last) == PAGE:
            self._put_away()

    def pages(self) -> Iterator[list[Item]]:
        """Give the items in order, up to PAGE at a time."""
        for number in range(len(self._places)):
            yield self._page(number)
        if self._last:
            yield list(self._last)

    def __iter__(self) -> Iterator[Item]:
        for page in self.pages():
            yield from page

    def __len__(self) -> int:
        return len(self._places) * PAGE + len(self._last)

    @overload
    def __getitem__(self, at: int) -> Item: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Item]: ...
    def __getitem__(self, at: int | slice) -> Item | Sequence[Item]:
        if isinstance(at, slice):
            return [self[place] for place in range(*at.indices(len(self)))]
        place = range(len(self))[at]
        number, rest = divmod(place, PAGE)
        return self._page(number)[rest] if number < len(self._places) else self._last[rest]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or len(self) != len(other):
            return False
        return all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    def __repr__(self) -> str:
        return f"<Spool of {len(self)}>"  # what is in it may be personal

    @cached_property
    def _file(self) -> IO[bytes]:
        file = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as this list is
        weakref.finalize(self, file.close)
        return file

    @cached_property
    def _cipher(self) -> AESGCM:
        return AESGCM(secrets.token_bytes(32))

    def _put_away(self) -> None:
        plain = json.dumps([self._write(item) for item in self._last]).encode()
        sealed = self._cipher.encrypt(_nonce(len(self._places)), plain, None)
        self._file.write(sealed)
        self._file.flush()
        self._places.append((self._end, len(sealed)))
        self._end += len(sealed)
        self._last = []

    def _page(self, number: int) -> list[Item]:
        start, size = self._places[number]
        sealed = os.pread(self._file.fileno(), size, start)  # threads may read side by side
        plain = self._cipher.decrypt(_nonce(number), sealed, None)
        return [self._read(one) for one in json.loads(plain)]


def _nonce(number: int) -> bytes:
    """Give the nonce of a page: the key is this list's own, and a page is written once."""
    return number.to_bytes(12, "big")
