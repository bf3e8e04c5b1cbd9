"""History in the upload cache: newest snapshot, root, keep records seen.

- This host detects a rollback of the vault (the folder or bucket with the encrypted backups) by
  comparing the vault with this state. If the cache forgets all packs and runs, this state remains.
- A root record is the owner's signed list of hosts and keys. A keep record is a signed list of
  expired recovery points and removed packs. A slot is the object name with one sequence number of
  this host's snapshots.
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
    """State of this host's history, in the file of the upload cache."""

    def __init__(self, database: CacheDatabase) -> None:
        self._database = database

    def head(self) -> CachedHead | None:
        """Return the newest snapshot that this host put or found, or None."""
        value = self._database.value("head")
        return None if value is None else CachedHead(**json.loads(value))

    def pending_commit(self) -> Commit | None:
        """Return the intended commit that was not completed, or None.

        It is unknown whether the store has its snapshot.
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

        After a crash, the next run then recognizes the snapshot as this host's own.
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
        """Return the highest number of a root record seen, or -1."""
        return int(self._database.value("root") or -1)

    def store_root_number(self, number: int) -> None:
        """Record the number of the newest root record durably."""
        if number != self.last_root_number():
            with self._database.synced(), self._database.change() as database:
                database.execute("INSERT OR REPLACE INTO about VALUES ('root', ?)", (str(number),))

    def last_keep_record(self) -> CachedKeepRecord | None:
        """Return the last applied keep record, or None."""
        value = self._database.value("keep")
        if value is None:
            return None
        number, sha256, root = json.loads(value)
        return CachedKeepRecord(link=Link(number=number, sha256=sha256), root_number=root)

    def store_keep_record(self, seen: CachedKeepRecord) -> None:
        """Record a keep record durably, after its decisions were applied."""
        if seen != self.last_keep_record():
            value = json.dumps([seen.link.number, seen.link.sha256, seen.root_number])
            with self._database.synced(), self._database.change() as database:
                database.execute("INSERT OR REPLACE INTO about VALUES ('keep', ?)", (value,))

    def skipped_slots(self, root: int) -> dict[int, SkippedSlot]:
        """Return the slots without a trusted snapshot, as recorded earlier.

        `root` is the number of the root record in force. Return nothing if the slots were recorded
        under another root record, because it may trust other snapshots.
        """
        found = json.loads(self._database.value("passed over") or "[-1, []]")
        if found[0] != root:
            return {}
        return {
            number: SkippedSlot(size_bytes=size, modified=modified, is_distrusted=is_distrusted)
            for number, size, modified, is_distrusted in found[1]
        }

    def store_skipped_slots(self, root: int, slots: Mapping[int, SkippedSlot]) -> None:
        """Replace the recorded slots; later runs do not read these slots again."""
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
