"""Skipped sequence numbers: slots with junk, and limits of reading slots.

- The name of each snapshot of a host contains a sequence number. A slot is the object name with one
  sequence number. Anybody with the host's rights at the store can put junk (invalid objects) into
  free slots, and nobody can delete the junk. A run would take too long if it read all junk again.
  So the upload cache, a local file, records each slot that was read.
- A slot counts as the recorded slot if its number, its size and its time at the store are the same.
  A root record is the owner's signed list of the keys to trust. If a new root record is in force,
  the slot is read again, because its snapshot may be trusted now.
- If this machine was cloned, the clone uses the numbers that follow this host's newest known
  snapshot. To find snapshots of a clone, a run reads all slots up to 1,000 numbers above this
  snapshot. Of the slots above, a run reads a limited number and a limited total size. It warns
  about the slots that it did not read. Later runs read them.
"""

from collections.abc import Mapping

from backup.archiver.upload_cache.cache import UploadCache
from backup.archiver.upload_cache.cache_records import SkippedSlot
from backup.format.canonical_json import to_time
from backup.format.object_names import MAX_SNAPSHOT_BYTES
from backup.stores import Stat
from backup.trust.snapshot_slots import Slot

NEAR = 1000  # numbers after the newest known snapshot; their slots are always read
MAX_FAR = 10_000  # slots above these numbers that one run reads; MAX_FAR_BYTES: their total size
MAX_FAR_BYTES = 1024**3
STORED_AFTER_SLOTS = 100  # newly read slots after which the results are stored for later runs


class SkippedSlots:
    """One search of the slots, from the highest number to the newest snapshot."""

    def __init__(self, cache: UploadCache, root: int, stats: Mapping[int, Stat]) -> None:
        """Load the slots that earlier runs have recorded.

        `stats` has the size and time of every listed slot. `root` is the number of the root record
        in force.
        """
        self._cache = cache
        self._root = root
        self._stats = stats
        head = cache.history.head()
        self._known = cache.history.skipped_slots(root)  # from earlier runs
        if head is not None:
            self._known.pop(head.sequence, None)  # always read this host's own snapshot
        # Without a known snapshot, every slot may contain this host's newest snapshot.
        self._near = max(stats, default=0) if head is None else head.sequence + NEAR
        self._far_left = MAX_FAR
        self._bytes_left = MAX_FAR_BYTES
        self._not_stored = 0  # slots that were read since the last write to the cache
        self.slots: dict[int, SkippedSlot] = {}
        self.unread: list[int] = []

    def should_skip(self, number: int) -> bool:
        """Return whether to skip a slot without reading it.

        A slot is skipped if it is recorded already, or if it exceeds the limits of the run.
        """
        stat = self._stats[number]
        known = self._known.get(number)
        if known is not None and (known.size_bytes, known.modified) == _size_and_time(stat):
            self.slots[number] = known
            return True
        # Objects that are larger than any snapshot cost nothing: the caller recognizes them as junk
        # by their size, without reading them. So they do not count towards the limits.
        if number <= self._near or stat.size_bytes > MAX_SNAPSHOT_BYTES:
            return False
        if not self._far_left or stat.size_bytes > self._bytes_left:
            self.unread.append(number)
            return True
        self._far_left -= 1
        self._bytes_left -= stat.size_bytes
        return False

    def add(self, number: int, slot: Slot) -> None:
        """Record a slot that was read and has no trusted snapshot."""
        size_bytes, modified = _size_and_time(self._stats[number])
        self.slots[number] = SkippedSlot(
            size_bytes=size_bytes, modified=modified, is_distrusted=slot.is_distrusted
        )
        self._not_stored += 1
        # Each write contains all slots, so the interval grows with their number.
        if self._not_stored >= max(STORED_AFTER_SLOTS, len(self.slots) // 10):
            self._cache.history.store_skipped_slots(self._root, {**self._known, **self.slots})
            self._not_stored = 0

    def remember(self) -> None:
        """Store the slots of this search for the next run."""
        if self.slots != self._known:
            self._cache.history.store_skipped_slots(self._root, self.slots)


def _size_and_time(stat: Stat) -> tuple[int, str]:
    return stat.size_bytes, to_time(stat.modified)
