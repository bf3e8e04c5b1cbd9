"""Evidence: what every source of it promises.

A source freezes what a file tree, a journal or a provider's log says now, in one pass, into a place
of its own, hashed as it is copied and sealed with a signed manifest.

Promises
- `collect` is idempotent by its order's token: asked again after a crash, it finds its own sealed
  manifest and gives the same result, or starts over; a half-written copy is never sealed.
- The manifest names each item: source, path, size, SHA-256, times, who collected it with which tool
  and version, and why. It is written last, atomically, after every byte is on disk.
- An item that vanished or cannot be read is in the manifest with its reason; the result is FAILED
  only when nothing could be frozen, otherwise it is DONE with `facts["unread"]` counting them.
- `find` says whether a sealed manifest stands for a token; it changes nothing.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from standfast.records import Limits, Order, Result


@dataclass(frozen=True, kw_only=True)
class Custody:
    """Who freezes, for which incident, and why: the head of a chain of custody."""

    incident: str
    collector: str  # person or runner
    reason: str
    folder: Path  # where this incident's evidence lies


class EvidenceSource(ABC):
    """One thing whose present state can be frozen."""

    name: str  # the key in the configuration
    # A copy is made by this very process: once it is dead, nothing more can arrive.
    limits: Limits = Limits(batch=1, workers=4, timeout_seconds=600.0, is_local=True)

    @abstractmethod
    def describe(self) -> str:
        """Say in one line what would be frozen, for the plan; reads only, raises `Unavailable`."""

    @abstractmethod
    def find(self, order: Order, custody: Custody) -> bool:
        """Is there a sealed manifest for this order?"""

    @abstractmethod
    def collect(self, order: Order, custody: Custody) -> Result:
        """Freeze, seal, and give the manifest's digest and counts as facts."""
