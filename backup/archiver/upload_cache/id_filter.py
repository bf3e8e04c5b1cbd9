"""Id filter: tests in 8 MiB of memory whether an id may have been added.

Each id sets one bit. The answer "no" is certain; the answer "yes" may be wrong. After a million ids
were added, it is wrong for one in seventy ids that were not added.
"""

from collections.abc import Collection, Iterable

_BYTES = 1 << 23
_DIGITS = 7  # hexadecimal digits of an id: 28 bits, of which the upper 26 select a bit


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
        """Return the ids that have perhaps been added."""
        return [blob_id for blob_id in ids if blob_id in self]

    def __contains__(self, blob_id: str) -> bool:
        number = int(blob_id[:_DIGITS], 16)
        return bool(self._bits[number >> 5] & 1 << (number >> 2 & 7))
