"""Set of very many ids in bounded memory.

A few ids are stored exactly. Beyond that, each id sets one bit: "no" is certain, "yes" may be
wrong. With a million ids, one in seventy unseen ids looks seen.
"""

from collections.abc import Collection, Iterable
from itertools import islice

_FEW = 100_000  # ids: about 17 MB
_BYTES = 1 << 23
_DIGITS = 7  # of an id: 28 bits, of which the upper 26 select a bit


class IdFilter:
    """A filter of ids in hexadecimal; ids are never removed."""

    def __init__(self) -> None:
        self._few: set[str] = set()
        self._bits: bytearray | None = None

    def update(self, ids: Iterable[str]) -> None:
        """Add ids."""
        ids = iter(ids)
        while self._bits is None:
            batch = list(islice(ids, _FEW + 1 - len(self._few)))
            if not batch:
                return
            self._few.update(batch)  # adds fewer if some are known
            if len(self._few) > _FEW:
                self._bits = bytearray(_BYTES)
                _mark(self._bits, self._few)
                self._few = set()
        _mark(self._bits, ids)

    def may_have(self, ids: Collection[str]) -> Collection[str]:
        """Return those ids that may have been added."""
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
