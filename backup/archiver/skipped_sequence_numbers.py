"""Slots behind this writer's newest snapshot that hold none: each is read once, and remembered.

- Whoever has the writer's rights at the store can put as much there as it likes, where it stays: to
  read all of it every night would end the backups.
- What was read is known again by its number, size and time at the store, as long as the same root
  record says whom to believe.
- Slots near the newest snapshot that this host knows, where a clone of it goes on, are all read.
  Of those far behind it, so many in a run and so much: the rest is told, and left to the next runs.
"""

from collections.abc import Mapping

from backup.archiver.upload_cache.cache import UploadCache
from backup.archiver.upload_cache.cache_records import SkippedSlot
from backup.format.canonical_json import to_time
from backup.format.object_names import MAX_SNAPSHOT_BYTES
from backup.stores import Stat
from backup.trust.snapshot_history import Slot

NEAR = 1000
MOST_FAR = 10_000
MOST_FAR_BYTES = 1024**3
_REMEMBERED_AFTER = 100  # a run may be cut off


class SkippedSlots:
    """One look at the slots behind the newest snapshot, from the last one down."""

    def __init__(self, log: UploadCache, root: int, stats: Mapping[int, Stat]) -> None:
        """`stats` has every slot that is listed; `root` is the number of the record in force."""
        self._log = log
        self._root = root
        self._stats = stats
        head = log.head()
        self._known = log.passed_over(root)
        if head is not None:
            self._known.pop(head.sequence, None)  # what was ours is looked at, whatever it was
        # Without a memory nobody knows where it is.
        self._near = max(stats, default=0) if head is None else head.sequence + NEAR
        self._far_left = MOST_FAR
        self._bytes_left = MOST_FAR_BYTES
        self._not_remembered = 0
        self.slots: dict[int, SkippedSlot] = {}
        self.unread: list[int] = []

    def passes(self, number: int) -> bool:
        """Whether a slot is passed over unread: it is known, or one too many for this run."""
        stat = self._stats[number]
        known = self._known.get(number)
        if known is not None and (known.size_bytes, known.modified) == _listed(stat):
            self.slots[number] = known
            return True
        if number <= self._near or stat.size_bytes > MAX_SNAPSHOT_BYTES:  # that is not read anyway
            return False
        if not self._far_left or stat.size_bytes > self._bytes_left:
            self.unread.append(number)
            return True
        self._far_left -= 1
        self._bytes_left -= stat.size_bytes
        return False

    def add(self, number: int, slot: Slot) -> None:
        """Take a slot that was read, and holds no snapshot to go on behind."""
        size_bytes, modified = _listed(self._stats[number])
        self.slots[number] = SkippedSlot(
            size_bytes=size_bytes, modified=modified, is_distrusted=slot.is_distrusted
        )
        self._not_remembered += 1
        # All are written each time, so less often the more there are.
        if self._not_remembered >= max(_REMEMBERED_AFTER, len(self.slots) // 10):
            self._log.cache_skipped_slot(self._root, {**self._known, **self.slots})
            self._not_remembered = 0

    def remember(self) -> None:
        """End the look: the next run begins with what this one saw."""
        if self.slots != self._known:
            self._log.cache_skipped_slot(self._root, self.slots)


def _listed(stat: Stat) -> tuple[int, str]:
    return stat.size_bytes, to_time(stat.modified)
