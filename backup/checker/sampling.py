"""Random sampling: number of pieces for a given confidence; random draws.

- Each draw selects one byte of the content, and every byte is equally likely. The piece (blob) that
  contains the byte is checked. If a share p of the content is damaged, the probability that n draws
  all miss the damage is (1 − p)^n. It depends neither on the size of the content nor on the place
  of the damage.
- A byte can be drawn twice, because the formula assumes independent draws.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from backup.errors import UsageError

DAMAGE = 0.01  # default share of the content that is assumed to be damaged
_MAX_PIECES = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """Number of pieces, and the share of damage that they must detect."""

    pieces: int
    damage: float = DAMAGE

    def __post_init__(self) -> None:
        if not 1 <= self.pieces <= _MAX_PIECES:
            raise UsageError(
                f"sample of {self.pieces:,} pieces: out of range. Use 1 to {_MAX_PIECES:,} pieces."
            )
        if not 0 < self.damage < 1:
            raise UsageError(
                "share of damage: out of range. Use a number between 0 and 1, such as 0.01."
            )

    @property
    def confidence(self) -> float:
        """Return the probability that the sample contains a damaged piece."""
        return -math.expm1(self.pieces * math.log1p(-self.damage))


def smallest_sample(confidence: float, damage: float = DAMAGE) -> Sample:
    """Return the smallest sample that finds a share of damage.

    Raise `UsageError` if a number is not between 0 and 1, or if the sample needs more than a
    million pieces, because a full check is then less work.
    """
    if not 0 < confidence < 1 or not 0 < damage < 1:
        raise UsageError(
            "confidence and damage: out of range. Use numbers between 0 and 1, such as 0.99 and"
            " 0.01."
        )
    pieces = math.log1p(-confidence) / math.log1p(-damage)
    # If the quotient is a whole number, a rounding error must not add a piece.
    return Sample(pieces=max(1, math.ceil(pieces - 1e-9)), damage=damage)


def draw(total: int, count: int, random: Callable[[int], bytes]) -> list[int]:
    """Return `count` random numbers below `total`, in increasing order.

    All numbers are equally likely. `random` returns the given number of random bytes, like
    `os.urandom`.
    """
    bits = (total - 1).bit_length()
    size = (bits + 7) // 8
    drawn: list[int] = []
    while len(drawn) < count:
        number = int.from_bytes(random(size), "big") >> (8 * size - bits)
        if number < total:  # draw again: a remainder (modulo) would favour low numbers
            drawn.append(number)
    return sorted(drawn)
