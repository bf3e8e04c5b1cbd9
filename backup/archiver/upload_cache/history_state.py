"""History state: this host's snapshots, and the records that it has seen.

The seen records stay known when the cache forgets all packs and runs.
"""

import json
import sqlite3
from collections.abc import Mapping

from backup.archiver.upload_cache.cache_records import (
    CachedHead,
    CachedKeepRecord,
    Commit,
    SkippedSlot,
)
from backup.archiver.upload_cache.database import CacheDatabase
from backup.format.record_link import Link


class HistoryState:
    """Newest snapshot, pending commit, and the newest records that were seen."""

    def __init__(self, database: CacheDatabase) -> None:
        self._database = database

    def head(self) -> CachedHead | None:
        """Return the newest snapshot that this host put, if it is known."""
        value = self._database.value("head")
        return None if value is None else CachedHead(**json.loads(value))

    def pending_commit(self) -> Commit | None:
        """Return a commit that was intended and not settled, or None.

        Its snapshot may or may not be in the store.
        """
        value = self._database.value("pending")
        if value is None:
            return None
        fields = json.loads(value)
        fields["new_packs"] = tuple(fields["new_packs"])
        fields["live_packs"] = frozenset(fields["live_packs"])
        fields["filled"] = tuple(fields.get("filled", ()))
        return Commit(**fields)

    def record_intention(self, commit: Commit) -> None:
        """Record a commit durably before its snapshot is put.

        After a crash, the next run can recognize the snapshot as its own and not as a clone's.
        """
        value = {name: getattr(commit, name) for name in Commit.__slots__}
        value["live_packs"] = sorted(commit.live_packs)
        with self._database.synced(), self._database.change() as database:
            database.execute(
                "INSERT OR REPLACE INTO about VALUES ('pending', ?)", (json.dumps(value),)
            )

    def abandon_intention(self) -> None:
        """Forget the intended snapshot, which is not in the store."""
        with self._database.change() as database:
            database.execute("DELETE FROM about WHERE key = 'pending'")

    def last_root_number(self) -> int:
        """Return the highest root record seen by this host; -1 before the first."""
        return int(self._database.value("root") or -1)

    def store_root_number(self, number: int) -> None:
        """Record the root record's number, so that an older one is noticed."""
        if number != self.last_root_number():
            with self._database.synced(), self._database.change() as database:
                database.execute("INSERT OR REPLACE INTO about VALUES ('root', ?)", (str(number),))

    def last_keep_record(self) -> CachedKeepRecord | None:
        """Return the last applied keep record; None before the first."""
        value = self._database.value("keep")
        if value is None:
            return None
        number, sha256, root = json.loads(value)
        return CachedKeepRecord(link=Link(number=number, sha256=sha256), root_number=root)

    def store_keep_record(self, seen: CachedKeepRecord) -> None:
        """Record a keep record, after its decisions were applied."""
        if seen != self.last_keep_record():
            value = json.dumps([seen.link.number, seen.link.sha256, seen.root_number])
            with self._database.synced(), self._database.change() as database:
                database.execute("INSERT OR REPLACE INTO about VALUES ('keep', ?)", (value,))

    def skipped_slots(self, root: int) -> dict[int, SkippedSlot]:
        """Return the slots skipped under this root record."""
        found = json.loads(self._database.value("passed over") or "[-1, []]")
        if found[0] != root:
            return {}
        return {
            number: SkippedSlot(size_bytes=size, modified=modified, is_distrusted=is_distrusted)
            for number, size, modified, is_distrusted in found[1]
        }

    def store_skipped_slots(self, root: int, slots: Mapping[int, SkippedSlot]) -> None:
        """Replace the recorded skipped slots, so each is read only once."""
        rows = [
            [number, slot.size_bytes, slot.modified, slot.is_distrusted]
            for number, slot in slots.items()
        ]
        with self._database.change() as database:
            database.execute(
                "INSERT OR REPLACE INTO about VALUES ('passed over', ?)",
                (json.dumps([root, rows]),),
            )


def write_head(database: sqlite3.Connection, head: CachedHead) -> None:
    value = json.dumps({"sequence": head.sequence, "sha256": head.sha256})
    database.execute("INSERT OR REPLACE INTO about VALUES ('head', ?)", (value,))
