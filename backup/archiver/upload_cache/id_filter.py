"""Which of very many ids were seen, in memory that does not grow with them.

- A few are kept as they are.  Of more, each has one bit: "no" is certain, "yes" may be another's.
  Of a million, one in seventy that was not seen looks as if it had been.
"""

from collections.abc import Collection, Iterable
from itertools import islice

_FEW = 100_000  # 17 MB
_BYTES = 1 << 23
_DIGITS = 7  # of an id: 28 bits, of which the upper 26 are a place among the bits


class IdFilter:
    """Ids in hexadecimal, none of which is ever taken out."""

    def __init__(self) -> None:
        self._few: set[str] = set()
        self._bits: bytearray | None = None

    def update(self, ids: Iterable[str]) -> None:
        """Note ids."""
        ids = iter(ids)
        while self._bits is None:
            some = list(islice(ids, _FEW + 1 - len(self._few)))
            if not some:
                return
            self._few.update(some)  # by less than so many, if some were seen before
            if len(self._few) > _FEW:
                self._bits = bytearray(_BYTES)
                _mark(self._bits, self._few)
                self._few = set()
        _mark(self._bits, ids)

    def may_have(self, ids: Collection[str]) -> Collection[str]:
        """Those that may have been seen."""
        if self._bits is None:
            return self._few.intersection(ids)
        return [blob_id for blob_id in ids if blob_id in self]

    def __contains__(self, blob_id: str) -> bool:
        if self._bits is None:
            return blob_id in self._few
        number = int(blob_id[:_DIGITS], 16)
        return bool(self._bits[number >> 5] & 1 << (number >> 2 & 7))


def _mark(bits: bytearray, ids: Iterable[str]) -> None:
    for blob_id in ids:
        number = int(blob_id[:_DIGITS], 16)
        bits[number >> 5] |= 1 << (number >> 2 & 7)
