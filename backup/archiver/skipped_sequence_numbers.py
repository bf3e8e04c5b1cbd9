"""Used sequence numbers without a snapshot, after the newest snapshot.

- Anybody with the writer's rights at the store can put junk under these sequence numbers (slots),
  and nobody can delete the junk. Reading all slots in every run would take too long, so each slot
  is read once and remembered.
- A slot that was read is recognized by its number, size and time at the store, as long as the same
  root record is in force: the record decides who is trusted.
- Slots near the newest known snapshot, where a clone of this host would continue, are all read. Of
  slots far after that snapshot, a run reads a limited number and a limited total size. It reports
  the other slots, and the next runs read them.
"""

from collections.abc import Mapping

from backup.archiver.upload_cache.cache import UploadCache
from backup.archiver.upload_cache.cache_records import SkippedSlot
from backup.format.canonical_json import to_time
from backup.format.object_names import MAX_SNAPSHOT_BYTES
from backup.stores import Stat
from backup.trust.snapshot_slots import Slot

NEAR = 1000  # slots after the newest known snapshot that are always read
MAX_FAR = 10_000
MAX_FAR_BYTES = 1024**3
_REMEMBERED_AFTER = 100  # slots; at most so many are read again after an interrupted run


class SkippedSlots:
    """One scan of the slots after the newest snapshot, from the last down."""

    def __init__(self, log: UploadCache, root: int, stats: Mapping[int, Stat]) -> None:
        """Load the slots that are already known.

        `stats` has every listed slot; `root` is the number of the root record in force.
        """
        self._log = log
        self._root = root
        self._stats = stats
        head = log.history.head()
        self._known = log.history.skipped_slots(root)
        if head is not None:
            self._known.pop(head.sequence, None)  # always read this host's own snapshot
        # Without a known snapshot, every slot may contain this host's newest one.
        self._near = max(stats, default=0) if head is None else head.sequence + NEAR
        self._far_left = MAX_FAR
        self._bytes_left = MAX_FAR_BYTES
        self._not_remembered = 0
        self.slots: dict[int, SkippedSlot] = {}
        self.unread: list[int] = []

    def should_skip(self, number: int) -> bool:
        """Return whether to skip a slot: known already, or over the run's limits."""
        stat = self._stats[number]
        known = self._known.get(number)
        if known is not None and (known.size_bytes, known.modified) == _size_and_time(stat):
            self.slots[number] = known
            return True
        # An object larger than a snapshot costs nothing: its caller does not read its content.
        if number <= self._near or stat.size_bytes > MAX_SNAPSHOT_BYTES:
            return False
        if not self._far_left or stat.size_bytes > self._bytes_left:
            self.unread.append(number)
            return True
        self._far_left -= 1
        self._bytes_left -= stat.size_bytes
        return False

    def add(self, number: int, slot: Slot) -> None:
        """Record a slot that was read and contains no snapshot to follow."""
        size_bytes, modified = _size_and_time(self._stats[number])
        self.slots[number] = SkippedSlot(
            size_bytes=size_bytes, modified=modified, is_distrusted=slot.is_distrusted
        )
        self._not_remembered += 1
        # Each write contains all slots, so write less often the more there are.
        if self._not_remembered >= max(_REMEMBERED_AFTER, len(self.slots) // 10):
            self._log.history.store_skipped_slots(self._root, {**self._known, **self.slots})
            self._not_remembered = 0

    def remember(self) -> None:
        """Store the slots of this scan for the next run."""
        if self.slots != self._known:
            self._log.history.store_skipped_slots(self._root, self.slots)


def _size_and_time(stat: Stat) -> tuple[int, str]:
    return stat.size_bytes, to_time(stat.modified)
