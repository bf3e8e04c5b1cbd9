"""Upload cache: packs and blobs in the vault; forgetting, recall, pruning.

- The upload cache is one SQLite file on the host. It lists the content that is already in the
  vault, the folder or bucket with the encrypted backups. If the file is lost, content is sent
  again, and no backup is lost. If the file cannot be read, it is renamed, and a new file is
  created.
- A blob is recorded only after the store acknowledged every pack that contains the blob.
- The file is bound to one repository and writer (backup host). Only the user that runs the backup
  can read it, because it shows which content is stored.
- If a pack is lost, damaged or will be removed, the cache forgets it. The content of the pack is
  then sent again.
- The cache keeps the packs that the latest snapshot of each set needs. When a run is finished,
  other packs are removed from the cache (pruned). While no run can finish because a source fails,
  the cache keeps the packs of the last finished run and of the three newest unfinished runs.
- Only one backup run at a time can open the cache. Its lock ends with the process.
- Every change is one transaction of the database. A power failure can undo the newest changes, but
  no change before the last synced change. Two kinds of change are synced: the numbers of the newest
  signed records that the host has seen, and the intended commit. The intended commit is recorded
  before its snapshot is put.
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from backup.archiver.archiver_records import BlobLocation
from backup.archiver.upload_cache import blob_index
from backup.archiver.upload_cache.cache_records import CachedHead, Commit, PackRow
from backup.archiver.upload_cache.database import (
    PUT_ASIDE,
    CacheDatabase,
    UploadCacheDamaged,
    connect,
    is_damage,
    lock_cache,
    set_aside,
)
from backup.archiver.upload_cache.history_state import HistoryState, write_head
from backup.archiver.upload_cache.id_filter import IdFilter
from backup.archiver.upload_cache.page_encoding import bytes_by_pack
from backup.archiver.upload_cache.stored_runs import StoredRuns, drop_runs, drop_unfinished_runs

_MOST_IDS = 4_000_000  # most ids that are loaded into memory; loading them takes some seconds


class UploadCache:
    """An open upload cache; use `open_upload_cache`."""

    def __init__(self, connection: sqlite3.Connection, warnings: Iterable[str] = ()) -> None:
        self._connection = connection
        self._database = CacheDatabase(connection)
        self.runs = StoredRuns(self._database)
        self.history = HistoryState(self._database)
        self.warnings = list(warnings)
        rows = self._database.rows(
            "SELECT number, name, size, held, blobs, sequence, ordinal FROM pack"
        )
        self._packs = {
            number: PackRow(
                number=number,
                name=name,
                size=size,
                blob_bytes=blob_bytes,
                blob_count=blob_count,
                sequence=sequence,
                ordinal=ordinal,
            )
            for number, name, size, blob_bytes, blob_count, sequence, ordinal in rows
        }
        # Packs that are mostly unused. This run forgot them, and `recall_packs` can restore them.
        self._recallable: dict[int, PackRow] = {}
        # Packs that `recall_packs` restored; `find` ignores their blobs.
        self._recalled: set[int] = set()
        self._forgotten: set[int] = set()  # packs that this run forgot
        # The ids of all recorded blobs, also of blobs in forgotten packs.
        self._ids: IdFilter | None = None
        highest = self._database.rows("SELECT seq FROM sqlite_sequence WHERE name = 'pack'")
        self._next_pack = highest[0][0] + 1 if highest else 1

    # Stored packs and blobs

    def find(self, blob_id: str) -> BlobLocation | None:
        """Return the location of a blob in the store, or None."""
        if self._ids is not None and blob_id not in self._ids:
            return None
        return blob_index.find(self._connection, blob_id, self._is_usable)

    def may_have(self, ids: Collection[str]) -> Collection[str]:
        """Return the ids that are perhaps stored; the others are not stored."""
        return ids if self._ids is None else self._ids.may_have(ids)

    def find_forgotten(self, ids: Collection[str]) -> Collection[str]:
        """Return the ids of blobs in packs that this run has forgotten.

        The content of such a blob is sent again, but does not count as new.
        """
        if not self._forgotten:
            return ()
        return [id_ for id_ in self.may_have(ids) if blob_index.has(self._connection, id_)]

    def load_id_filter(self) -> None:
        """Load the ids of all blobs into memory, unless they are too many."""
        if self._ids is None and blob_index.count(self._connection) <= _MOST_IDS:
            self._ids = IdFilter()
            self._ids.update(blob_index.ids(self._connection))

    def number_pack(self) -> int:
        """Return a number for a new pack, higher than every earlier one."""
        number = self._next_pack
        self._next_pack += 1
        return number

    def pack(self, number: int) -> PackRow | None:
        """Return an acknowledged pack, or None if it is unknown or forgotten."""
        return self._packs.get(number)

    def packs(self) -> Iterable[PackRow]:
        """Return every acknowledged pack."""
        return self._packs.values()

    def acknowledge(
        self, number: int, name: bytes, size: int, set_name: str, blobs: Iterable[BlobLocation]
    ) -> None:
        """Record a stored pack, and the blobs with their last byte in it."""
        blobs = list(blobs)
        bytes_added = bytes_by_pack(blobs)
        with self._database.change() as database:
            database.execute(
                "INSERT INTO pack (number, name, size, blobs, set_name) VALUES (?, ?, ?, ?, ?)",
                (number, name, size, len(blobs), set_name),
            )
            blob_index.add(
                database,
                blobs,
                lambda pack: pack == number or self._is_usable(pack),
                self._was_known if self._forgotten else None,
            )
            database.executemany(
                "UPDATE pack SET held = held + ? WHERE number = ?",
                ((length, pack) for pack, length in bytes_added.items()),
            )
        if self._ids is not None:
            self._ids.update([blob.id for blob in blobs])
        self._packs[number] = PackRow(
            number=number,
            name=name,
            size=size,
            blob_bytes=0,
            blob_count=len(blobs),
            sequence=None,
            ordinal=None,
        )
        for pack, length in bytes_added.items():
            row = self._packs.get(pack)
            if row is not None:
                self._packs[pack] = replace(row, blob_bytes=row.blob_bytes + length)

    def forget_packs(self, numbers: Iterable[int], *, can_recall: bool = False) -> None:
        """Forget packs, so that the run sends their content again.

        With `can_recall`, `recall_packs` can restore them until the cache is closed.
        """
        gone = {number: self._packs.get(number) for number in numbers}
        with self._database.change() as database:
            self._drop_packs(database, list(gone))
        self._forgotten.update(number for number, row in gone.items() if row is not None)
        for number, row in gone.items():
            self._recallable.pop(number, None)
            if can_recall and row is not None:
                self._recallable[number] = row

    def never_recall(self, names: Collection[bytes]) -> None:
        """Prevent `recall_packs` from restoring packs with these names."""
        for number in [number for number, row in self._recallable.items() if row.name in names]:
            del self._recallable[number]

    def recall_packs(self, numbers: Iterable[int]) -> bool:
        """Restore packs that were forgotten with `can_recall`; return success.

        Afterwards `pack` returns them, but `find` does not return their blobs. If any pack is
        unknown and cannot be restored, restore none and return False.
        """
        rows = {
            number: self._recallable.get(number) for number in numbers if number not in self._packs
        }
        found = {number: row for number, row in rows.items() if row is not None}
        if len(found) < len(rows):
            return False
        if found:
            with self._database.change() as database:
                database.executemany(
                    "INSERT INTO pack (number, name, size, held, blobs, set_name, sequence,"
                    " ordinal) VALUES (?, ?, ?, ?, ?, '', ?, ?)",
                    (
                        (
                            row.number,
                            row.name,
                            row.size,
                            row.blob_bytes,
                            row.blob_count,
                            row.sequence,
                            row.ordinal,
                        )
                        for row in found.values()
                    ),
                )
            self._packs.update(found)
            self._recalled.update(found)
        return True

    def forget_everything(self, head: CachedHead | None, reason: str = "") -> None:
        """Forget all packs and runs, so that all content is sent again.

        `head` is the newest snapshot of this host; it is not forgotten. A second call with the same
        `reason` before the next commit does nothing. So if the run is interrupted and repeated, the
        packs that it sent after the first call remain known.
        """
        if reason and self._database.value("forgot") == reason:
            return
        with self._database.change() as database:
            for table in ("pack", *blob_index.TABLES, "run", "page", "kept", "outline", "live"):
                database.execute(f"DELETE FROM {table}")  # noqa: S608 - the names are listed above
            database.execute("DELETE FROM about WHERE key IN ('head', 'pending', 'forgot')")
            if head is not None:
                write_head(database, head)
            if reason:
                database.execute("INSERT INTO about VALUES ('forgot', ?)", (reason,))
        self._packs.clear()
        self._recallable.clear()

    # Commits

    def record_commit(self, commit: Commit) -> None:
        """Record that the store has a snapshot; prune packs after a finished run."""
        live = [(commit.set_name, number) for number in commit.live_packs]
        with self._database.change() as database:
            database.executemany(
                "UPDATE pack SET sequence = ?, ordinal = ? WHERE number = ?",
                (
                    (commit.sequence, ordinal, number)
                    for ordinal, number in enumerate(commit.new_packs)
                ),
            )
            database.execute(
                "UPDATE run SET sequence = ?, is_finished = ? WHERE number = ?",
                (commit.sequence, commit.is_finished, commit.run),
            )
            if commit.is_finished:
                database.execute("DELETE FROM live WHERE set_name = ?", (commit.set_name,))
            database.executemany("INSERT OR IGNORE INTO live VALUES (?, ?)", live)
            write_head(database, CachedHead(sequence=commit.sequence, sha256=commit.sha256))
            database.execute("DELETE FROM about WHERE key IN ('pending', 'forgot')")
            if commit.is_finished:
                self._prune(database, commit)
            elif commit.has_ended:
                drop_unfinished_runs(database, commit)
        for ordinal, number in enumerate(commit.new_packs):
            row = self._packs[number]
            self._packs[number] = replace(row, sequence=commit.sequence, ordinal=ordinal)

    def live_bytes(self, set_name: str) -> dict[int, int]:
        """Return the bytes in use in each pack that a set needs.

        The bytes are counted before compression, as in `PackRow.blob_bytes`. A number can be too
        high, because content that two manifest pages share counts twice. A pack is omitted if
        neither content nor a leaf page in it is in use.
        """
        live: Counter[int] = Counter()
        for uses, leaf in self._database.rows(
            "SELECT uses, leaf FROM kept WHERE number IN (SELECT kept FROM page)"
        ):
            for pack, length in json.loads(uses):
                live[pack] += length
            if (location := self.find(leaf)) is not None:
                live.update(bytes_by_pack([location]))
        rows = self._database.rows("SELECT pack FROM live WHERE set_name = ?", (set_name,))
        return {pack: live[pack] for (pack,) in rows if live[pack]}

    def _is_usable(self, pack: int) -> bool:
        return pack in self._packs and pack not in self._recalled

    def _was_known(self, pack: int) -> bool:
        return pack in self._packs or pack in self._forgotten

    def _prune(self, database: sqlite3.Connection, commit: Commit) -> None:
        condition_values = (commit.set_name, commit.run)
        drop_runs(database, "set_name = ? AND number <> ?", condition_values)
        row = (f"filled {commit.set_name}", json.dumps(commit.filled))
        database.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", row)
        # Keep packs that an unfinished run of another set has sent, although no snapshot names them
        # yet.
        dead = database.execute(
            "SELECT number FROM pack WHERE number NOT IN (SELECT pack FROM live)"
            " AND (set_name = ? OR sequence IS NOT NULL)",
            (commit.set_name,),
        )
        self._drop_packs(database, [number for (number,) in dead])
        (blobs,) = database.execute("SELECT COALESCE(SUM(blobs), 0) FROM pack").fetchone()
        blob_index.tidy(database, blobs, self._is_usable)

    def _drop_packs(self, database: sqlite3.Connection, numbers: list[int]) -> None:
        rows = [(number,) for number in numbers]
        database.executemany("DELETE FROM pack WHERE number = ?", rows)
        database.executemany("DELETE FROM live WHERE pack = ?", rows)
        for number in numbers:
            self._packs.pop(number, None)


@contextmanager
def open_upload_cache(path: Path, binding: str) -> Iterator[UploadCache]:
    """Open or create the upload cache of the writer named by `binding`.

    Raise `Busy` while another run uses it. A file that is damaged, or belongs to another writer, is
    set aside, and a new file is created. If damage is found later, in the block, raise
    `UploadCacheDamaged`: the run must begin again with a new cache.
    """
    with lock_cache(path):
        database, warnings = connect(path, binding)
        try:
            yield UploadCache(database, warnings)
        except Exception as error:
            if not is_damage(error):
                raise
            database.close()
            set_aside(path)
            raise UploadCacheDamaged(f"upload cache: the file is damaged. {PUT_ASIDE}") from error
        finally:
            database.close()
