"""How many random pieces show how much damage, and drawing them.

- Each draw picks one byte of the content, every byte being as likely, and the piece around it is
  checked.  Where a share p of the content is damaged, n draws all miss it with (1 − p)^n, however
  large the content is and wherever the damage lies.
- A byte may be drawn twice; the formula counts on it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from backup.errors import UsageError

DAMAGE = 0.01
_MOST_PIECES = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """What is asked for: how many pieces, and which share of damage the answer is about."""

    pieces: int
    damage: float = DAMAGE

    def __post_init__(self) -> None:
        if not 1 <= self.pieces <= _MOST_PIECES:
            raise UsageError(f"a sample has 1 to {_MOST_PIECES:,} pieces, not {self.pieces:,}")
        if not 0 < self.damage < 1:
            raise UsageError("the share of damage lies between 0 and 1, such as 0.01 for 1 %")

    @property
    def confidence(self) -> float:
        """The chance that this sample finds so much damage."""
        return -math.expm1(self.pieces * math.log1p(-self.damage))


def sample_for(confidence: float, damage: float = DAMAGE) -> Sample:
    """The smallest sample that finds a share of damage with that confidence.

    `UsageError` unless both lie between 0 and 1, or when it takes more than a million pieces: then
    a full check is less work.
    """
    if not 0 < confidence < 1 or not 0 < damage < 1:
        raise UsageError("confidence and damage lie between 0 and 1, such as 0.99 and 0.01")
    pieces = math.log1p(-confidence) / math.log1p(-damage)
    # Rounding must not ask for one more where the quotient is whole.
    return Sample(pieces=max(1, math.ceil(pieces - 1e-9)), damage=damage)


def draw(total: int, count: int, random: Callable[[int], bytes]) -> list[int]:
    """Draw `count` numbers below `total`, each as likely as any other; sorted.

    `random` gives so many random bytes, as `os.urandom` does.
    """
    bits = (total - 1).bit_length()
    size = (bits + 7) // 8
    drawn: list[int] = []
    while len(drawn) < count:
        number = int.from_bytes(random(size), "big") >> (8 * size - bits)
        if number < total:  # a remainder instead would favour the low ones
            drawn.append(number)
    return sorted(drawn)
