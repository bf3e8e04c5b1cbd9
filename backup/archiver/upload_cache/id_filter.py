"""Set of very many ids in bounded memory.

Each id sets one bit: "no" is certain, "yes" may be wrong. With a million ids, one in seventy unseen
ids looks seen.
"""

from collections.abc import Collection, Iterable

_BYTES = 1 << 23
_DIGITS = 7  # of an id: 28 bits, of which the upper 26 select a bit


class IdFilter:
    """A filter of ids in hexadecimal; ids are never removed."""

    def __init__(self) -> None:
        self._bits = bytearray(_BYTES)

    def update(self, ids: Iterable[str]) -> None:
        """Add ids."""
        bits = self._bits
        for blob_id in ids:
            number = int(blob_id[:_DIGITS], 16)
            bits[number >> 5] |= 1 << (number >> 2 & 7)

    def may_have(self, ids: Collection[str]) -> Collection[str]:
        """Return those ids that may have been added."""
        return [blob_id for blob_id in ids if blob_id in self]

    def __contains__(self, blob_id: str) -> bool:
        number = int(blob_id[:_DIGITS], 16)
        return bool(self._bits[number >> 5] & 1 << (number >> 2 & 7))
