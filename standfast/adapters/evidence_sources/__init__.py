"""Evidence sources: freezing of file trees, journals and provider logs.

    result = source.collect(order, custody)
    result.facts["manifest"]   # SHA-256 of the signed manifest

To freeze is to copy and seal as evidence. A source copies its present content in one pass, into a
folder of its own, and hashes it. Then it seals the folder: it signs a manifest with the hashes.

Promises
- `collect` is idempotent by the token of its order (the request). A repeated call after a crash
  finds the sealed manifest and returns the same result. If it finds none, it starts again. An
  incomplete copy is never sealed.
- The manifest has each item with source, path, size, SHA-256 and times, the collector, the tool
  with its version, and the reason. It is written last, atomically, after every byte is on disk.
- An item that vanished or cannot be read is in the manifest with its reason, and so is an item
  that was collected only in part. The result is FAILED only if nothing could be frozen. Otherwise
  the result is DONE: `facts["unread"]` counts the items that were not read, and
  `facts["incomplete"]` the items that were collected only in part.
- The content is kept as the source sent it; nothing is parsed.
- Content that is written after the start of the collection is left out: a growing log is copied up
  to the size that it had at that time.
- `find` returns whether a sealed manifest exists for a token; it changes nothing.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from standfast.records import Limits, Order, Result


@dataclass(frozen=True, kw_only=True)
class Custody:
    """Collector, incident, reason and folder: the start of a chain of custody."""

    incident: str
    collector: str  # the person or the process that collects
    reason: str
    folder: Path  # contains this incident's evidence


class EvidenceSource(ABC):
    """A source that can freeze its present state."""

    name: str  # the key in the configuration
    # `is_local`: this process itself copies the data, so that after its end nothing more is copied.
    limits: Limits = Limits(batch=1, workers=4, timeout_seconds=600.0, is_local=True)

    @abstractmethod
    def describe(self) -> str:
        """Return a description for approvers; `Unavailable` if the source fails.

        Changes nothing.
        """

    @abstractmethod
    def find(self, order: Order, custody: Custody) -> bool:
        """Return whether a sealed manifest for this order exists."""

    @abstractmethod
    def collect(self, order: Order, custody: Custody) -> Result:
        """Freeze and seal; return the manifest's digest and counts as facts."""
