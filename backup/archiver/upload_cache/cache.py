"""Upload cache: a record of stored content, so it is not sent again.

It is one SQLite file on the host, and only a cache:

- A blob is recorded only after the store acknowledged every pack that contains the blob.
- Losing the file costs uploads, never data. A file that cannot be read is renamed, and a new one is
  created.
- It is bound to one repository and writer. Only this user can read it, because it tells what is
  stored.
- It keeps what the latest snapshot of each set needs; the rest is pruned when a run is finished.
  While no run can finish, because a source fails, it keeps the last finished run and the newest
  few.
- One run at a time: `open_upload_cache` takes a lock that ends with the process.
- Every change goes through `_change`, one transaction each. A power failure may undo the newest
  changes, but none made before a recorded intention or root record.
"""

import heapq
import json
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from backup.archiver.blob_location import BlobLocation, Outline, PageText, ReusedPage, Row
from backup.archiver.upload_cache import blob_index
from backup.archiver.upload_cache.cache_records import (
    CachedHead,
    CachedKeepRecord,
    Commit,
    PackRow,
    SkippedSlot,
)
from backup.archiver.upload_cache.database import (
    PUT_ASIDE,
    LogDatabase,
    UploadCacheDamaged,
    connect,
    is_damage,
    lock_cache,
    set_aside,
)
from backup.archiver.upload_cache.id_filter import IdFilter
from backup.archiver.upload_cache.page_encoding import (
    bytes_by_pack,
    outline_from_bytes,
    rows_from_bytes,
)
from backup.format.manifest import path_key
from backup.format.record_link import Link

_MOST_UNFINISHED = 3  # different sources may have failed in each of them
_MOST_IDS = 4_000_000  # reading them from disk takes some seconds


class UploadCache(LogDatabase):
    """An open upload cache; use `open_upload_cache`."""

    def __init__(self, database: sqlite3.Connection, warnings: Iterable[str] = ()) -> None:
        super().__init__(database)
        self.warnings = list(warnings)
        self._packs = {
            number: PackRow(
                number=number,
                name=name,
                size=size,
                held=held,
                blobs=blobs,
                sequence=sequence,
                ordinal=ordinal,
            )
            for number, name, size, held, blobs, sequence, ordinal in self._rows(
                "SELECT number, name, size, held, blobs, sequence, ordinal FROM pack"
            )
        }
        self._sound: dict[int, PackRow] = {}  # forgotten only so that the keeper can free them
        # Recalled packs, in which `find` finds nothing all the same.
        self._recalled: set[int] = set()
        self._forgotten: set[int] = set()  # by this run
        # Contains every blob, and a few that are gone, which does no harm.
        self._ids: IdFilter | None = None
        highest = self._rows("SELECT seq FROM sqlite_sequence WHERE name = 'pack'")
        self._next_pack = highest[0][0] + 1 if highest else 1

    # Sent packs and blobs

    def find(self, blob_id: str) -> BlobLocation | None:
        """Return the location of a blob in the store, or None."""
        if self._ids is not None and blob_id not in self._ids:
            return None
        return blob_index.find(self._database, blob_id, self._is_usable)

    def may_have(self, ids: Collection[str]) -> Collection[str]:
        """Return those of some ids that may be found by `find`."""
        return ids if self._ids is None else self._ids.may_have(ids)

    def find_forgotten(self, ids: Collection[str]) -> Collection[str]:
        """Return those of some new blobs that are in packs forgotten by this run.

        Their content is unchanged: it is sent again but does not count as new.
        """
        if not self._forgotten:
            return ()
        return [id_ for id_ in self.may_have(ids) if blob_index.has(self._database, id_)]

    def load_id_filter(self) -> None:
        """Load the ids of all blobs into memory, unless they are too many."""
        if self._ids is None and blob_index.count(self._database) <= _MOST_IDS:
            self._ids = IdFilter()
            self._ids.update(blob_index.ids(self._database))

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
        """Record a pack that the store has, and the blobs completed by it."""
        blobs = list(blobs)
        held = bytes_by_pack(blobs)
        with self._change() as database:
            database.execute(
                "INSERT INTO pack (number, name, size, blobs, set_name) VALUES (?, ?, ?, ?, ?)",
                (number, name, size, len(blobs), set_name),
            )
            blob_index.add(
                database,
                blobs,
                lambda pack: pack == number or self._is_usable(pack),
                self._is_recognized if self._forgotten else None,
            )
            database.executemany(
                "UPDATE pack SET held = held + ? WHERE number = ?",
                ((length, pack) for pack, length in held.items()),
            )
        if self._ids is not None:
            self._ids.update([blob.id for blob in blobs])
        self._packs[number] = PackRow(
            number=number,
            name=name,
            size=size,
            held=0,
            blobs=len(blobs),
            sequence=None,
            ordinal=None,
        )
        for pack, length in held.items():
            row = self._packs.get(pack)
            if row is not None:
                self._packs[pack] = replace(row, held=row.held + length)

    def forget_packs(self, numbers: Iterable[int], *, are_sound: bool = False) -> None:
        """Forget packs, so their content is sent again.

        Packs with `are_sound` can be recalled until the cache is closed.
        """
        gone = {number: self._packs.get(number) for number in numbers}
        with self._change() as database:
            self._drop_packs(database, list(gone))
        self._forgotten.update(number for number, row in gone.items() if row is not None)
        for number, row in gone.items():
            self._sound.pop(number, None)
            if are_sound and row is not None:
                self._sound[number] = row

    def never_recall(self, names: Collection[bytes]) -> None:
        """Prevent these packs from being recalled: they are no longer sound."""
        for number in [number for number, row in self._sound.items() if row.name in names]:
            del self._sound[number]

    def recall_packs(self, numbers: Iterable[int]) -> bool:
        """Recall sound packs, without their blobs; return False if one is missing."""
        rows = {number: self._sound.get(number) for number in numbers if number not in self._packs}
        found = {number: row for number, row in rows.items() if row is not None}
        if len(found) < len(rows):
            return False
        if found:
            with self._change() as database:
                database.executemany(
                    "INSERT INTO pack"
                    " (number, name, size, held, blobs, set_name, sequence, ordinal)"
                    " VALUES (?, ?, ?, ?, ?, '', ?, ?)",
                    (
                        (
                            row.number,
                            row.name,
                            row.size,
                            row.held,
                            row.blobs,
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
        """Forget all packs and runs, so that everything is sent again.

        `head` is the newest snapshot of this host, which stays known. `because_of` is a reason that
        holds until the next commit: nothing is forgotten twice for the same reason, so that an
        interrupted run resumes.
        """
        if reason and self._get_value("forgot") == reason:
            return
        with self._change() as database:
            for table in ("pack", *blob_index.TABLES, "run", "page", "kept", "outline", "live"):
                database.execute(f"DELETE FROM {table}")  # noqa: S608 - the names are listed above
            database.execute("DELETE FROM about WHERE key IN ('head', 'pending', 'forgot')")
            if head is not None:
                _write_head(database, head)
            if reason:
                database.execute("INSERT INTO about VALUES ('forgot', ?)", (reason,))
        self._packs.clear()
        self._sound.clear()

    # Earlier runs of a set

    def begin_run(self, set_name: str, started_ns: int) -> int:
        """Create a run and return its number, under which its pages are stored."""
        with self._change() as database:
            cursor = database.execute(
                "INSERT INTO run (set_name, started_ns, is_finished) VALUES (?, ?, 0)",
                (set_name, started_ns),
            )
        return int(cursor.lastrowid or 0)

    def set_run_start(self, run: int, started_ns: int) -> None:
        """Correct the start of a run, after the clock was set back."""
        with self._change() as database:
            database.execute("UPDATE run SET started_ns = ? WHERE number = ?", (started_ns, run))

    def store_page(self, run: int, ordinal: int, page: PageText, leaf: str) -> None:
        """Store a page with acknowledged blobs only; replace its ordinal.

        `leaf` is the id of the blob that contains the page.
        """
        with self._change() as database:
            number = database.execute(
                "INSERT INTO kept (content, uses, leaf) VALUES (?, ?, ?)",
                (page.content, json.dumps(page.uses), leaf),
            ).lastrowid
            database.execute("INSERT OR REPLACE INTO page VALUES (?, ?, ?)", (run, ordinal, number))
            if page.outline is not None:
                database.execute("INSERT INTO outline VALUES (?, ?)", (number, page.outline))

    def reuse_page(self, page: ReusedPage, run: int, ordinal: int) -> None:
        """Record a page of an earlier run as a page of this run."""
        with self._change() as database:
            database.execute(
                "INSERT OR REPLACE INTO page VALUES (?, ?, ?)", (run, ordinal, page.number)
            )

    def has_earlier_run(self, set_name: str, run: int) -> bool:
        """Return whether the set has an earlier run."""
        return bool(self._earlier_runs(set_name, run))

    def previous_pages(self, set_name: str, run: int) -> Iterator[ReusedPage] | None:
        """Yield the pages of the previous run in order; None if unfinished."""
        for number, started_ns, is_finished in self._earlier_runs(set_name, run):
            return self._reused_pages(number, started_ns) if is_finished else None
        return None

    def sources_with_files(self, set_name: str, run: int, since_ns: int) -> frozenset[str]:
        """Return the sources with files in the last finished run since a time."""
        for _, started_ns, is_finished in self._earlier_runs(set_name, run):
            if is_finished and started_ns >= since_ns:
                return frozenset(json.loads(self._get_value(f"filled {set_name}") or "[]"))
        return frozenset()

    def rows_of(self, page: ReusedPage) -> Iterator[Row]:
        """Yield the rows of a stored page."""
        return self._rows_of(page.number, page.outline)

    def previous_rows(self, set_name: str, run: int) -> Iterator[tuple[Row, int]]:
        """Yield the rows of earlier runs in path order, with their start (ns).

        Runs since the last finished one are merged with it, the newest first: so neither an
        interrupted run nor one with a failed source causes the rest to be read again.
        """
        streams = []
        earlier = self._earlier_runs(set_name, run)
        for age, (number, started_ns, is_finished) in enumerate(earlier):
            streams.append(self._aged_rows(number, age, started_ns))
            if is_finished:
                break
        latest: bytes | None = None
        for key, _, row, started_ns in heapq.merge(*streams, key=lambda item: item[:2]):
            if key != latest:
                latest = key
                yield row, started_ns

    def _aged_rows(
        self, run: int, age: int, started_ns: int
    ) -> Iterator[tuple[bytes, int, Row, int]]:
        for row in self._pages(run):
            yield path_key(row.path), age, row, started_ns

    # Commits

    def head(self) -> CachedHead | None:
        """Return the newest snapshot that this host knows it put."""
        value = self._get_value("head")
        return None if value is None else CachedHead(**json.loads(value))

    def pending_commit(self) -> Commit | None:
        """Return a commit that was started; look up its snapshot in the store."""
        value = self._get_value("pending")
        if value is None:
            return None
        fields = json.loads(value)
        fields["new_packs"] = tuple(fields["new_packs"])
        fields["live_packs"] = frozenset(fields["live_packs"])
        fields["filled"] = tuple(fields.get("filled", ()))
        return Commit(**fields)

    def record_intention(self, commit: Commit) -> None:
        """Record a commit durably before its snapshot is put.

        After a crash in between, the record distinguishes this host from a clone.
        """
        value = {name: getattr(commit, name) for name in Commit.__slots__}
        value["live_packs"] = sorted(commit.live_packs)
        with self._synced(), self._change() as database:
            database.execute(
                "INSERT OR REPLACE INTO about VALUES ('pending', ?)", (json.dumps(value),)
            )

    def settle(self, commit: Commit) -> None:
        """Record that the snapshot exists; prune after a finished run."""
        live = [(commit.set_name, number) for number in commit.live_packs]
        with self._change() as database:
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
            _write_head(database, CachedHead(sequence=commit.sequence, sha256=commit.sha256))
            database.execute("DELETE FROM about WHERE key IN ('pending', 'forgot')")
            if commit.is_finished:
                self._prune(database, commit)
            elif commit.has_ended:
                _drop_unfinished_runs(database, commit)
        for ordinal, number in enumerate(commit.new_packs):
            row = self._packs[number]
            self._packs[number] = replace(row, sequence=commit.sequence, ordinal=ordinal)

    def abandon_intention(self) -> None:
        """Forget the intended snapshot, which is not in the store."""
        with self._change() as database:
            database.execute("DELETE FROM about WHERE key = 'pending'")

    def last_root_number(self) -> int:
        """Return the highest root record seen by this host; -1 before the first."""
        return int(self._get_value("root") or -1)

    def store_root_number(self, number: int) -> None:
        """Record the root record's number, so that an older one is noticed."""
        if number != self.last_root_number():
            with self._synced(), self._change() as database:
                database.execute("INSERT OR REPLACE INTO about VALUES ('root', ?)", (str(number),))

    def last_keep_record(self) -> CachedKeepRecord | None:
        """Return the last applied keep record; None before the first."""
        value = self._get_value("keep")
        if value is None:
            return None
        number, sha256, root = json.loads(value)
        return CachedKeepRecord(link=Link(number=number, sha256=sha256), root=root)

    def store_keep_record(self, seen: CachedKeepRecord) -> None:
        """Record a keep record, after its decisions were applied."""
        if seen != self.last_keep_record():
            value = json.dumps([seen.link.number, seen.link.sha256, seen.root])
            with self._synced(), self._change() as database:
                database.execute("INSERT OR REPLACE INTO about VALUES ('keep', ?)", (value,))

    def skipped_slots(self, root: int) -> dict[int, SkippedSlot]:
        """Return the slots skipped under this root record."""
        found = json.loads(self._get_value("passed over") or "[-1, []]")
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
        with self._change() as database:
            database.execute(
                "INSERT OR REPLACE INTO about VALUES ('passed over', ?)",
                (json.dumps([root, rows]),),
            )

    def live_bytes(self, set_name: str) -> dict[int, int]:
        """Return the used bytes per pack of a set's latest manifest, as `held`.

        The numbers may be too high: content that two pages share counts twice. Packs that contain
        only tree nodes are omitted.
        """
        live: Counter[int] = Counter()
        for uses, leaf in self._rows(
            "SELECT uses, leaf FROM kept WHERE number IN (SELECT kept FROM page)"
        ):
            for pack, length in json.loads(uses):
                live[pack] += length
            if (location := self.find(leaf)) is not None:
                live.update(bytes_by_pack([location]))
        rows = self._rows("SELECT pack FROM live WHERE set_name = ?", (set_name,))
        return {pack: live[pack] for (pack,) in rows if live[pack]}

    # Helpers

    def _is_usable(self, pack: int) -> bool:
        return pack in self._packs and pack not in self._recalled

    def _is_recognized(self, pack: int) -> bool:
        return pack in self._packs or pack in self._forgotten

    def _earlier_runs(self, set_name: str, run: int) -> list[tuple[int, int, int]]:
        return self._rows(
            "SELECT number, started_ns, is_finished FROM run"
            " WHERE set_name = ? AND number < ? ORDER BY number DESC",
            (set_name, run),
        )

    def _page_numbers(self, run: int) -> list[tuple[int, int]]:
        return self._rows("SELECT kept, ordinal FROM page WHERE run = ? ORDER BY ordinal", (run,))

    def _pages(self, run: int) -> Iterator[Row]:
        for number, _ in self._page_numbers(run):
            yield from self._rows_of(number, self._outline_of(number))

    def _rows_of(self, number: int, outline: Outline | None) -> Iterator[Row]:
        (content,) = self._rows("SELECT content FROM kept WHERE number = ?", (number,))[0]
        return rows_from_bytes(content, outline)

    def _outline_of(self, number: int) -> Outline | None:
        for content, leaf in self._rows(
            "SELECT outline.content, leaf FROM outline JOIN kept ON number = kept WHERE kept = ?",
            (number,),
        ):
            return outline_from_bytes(content, leaf)
        return None

    def _reused_pages(self, run: int, started_ns: int) -> Iterator[ReusedPage]:
        for number, ordinal in self._page_numbers(run):
            yield ReusedPage(
                number=number,
                ordinal=ordinal,
                started_ns=started_ns,
                outline=self._outline_of(number),
            )

    def _prune(self, database: sqlite3.Connection, commit: Commit) -> None:
        condition_values = (commit.set_name, commit.run)
        _drop_runs(database, "set_name = ? AND number <> ?", condition_values)
        row = (f"filled {commit.set_name}", json.dumps(commit.filled))
        database.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", row)
        # Packs that another set sent and has not named yet belong to its unfinished run: keep them.
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


def _drop_unfinished_runs(database: sqlite3.Connection, commit: Commit) -> None:
    """Drop unfinished runs except the newest, so that the file stays small.

    Content that only a dropped run had seen is read again, but not sent.
    """
    finished = "SELECT COALESCE(MAX(number), 0) FROM run WHERE set_name = ? AND is_finished"
    newest = "SELECT number FROM run WHERE set_name = ? ORDER BY number DESC LIMIT ?"
    _drop_runs(
        database,
        f"set_name = ? AND number > ({finished}) AND number NOT IN ({newest})",
        (commit.set_name, commit.set_name, commit.set_name, _MOST_UNFINISHED),
    )


def _drop_runs(database: sqlite3.Connection, condition: str, values: tuple[object, ...]) -> None:
    """Drop runs and the pages that only they use.

    `which` is an SQL condition written in this module.
    """
    runs = f"SELECT number FROM run WHERE {condition}"  # noqa: S608 - contains no value
    database.execute(f"DELETE FROM page WHERE run IN ({runs})", values)  # noqa: S608 - as above
    database.execute("DELETE FROM kept WHERE number NOT IN (SELECT kept FROM page)")
    database.execute("DELETE FROM outline WHERE kept NOT IN (SELECT kept FROM page)")
    database.execute(f"DELETE FROM run WHERE {condition}", values)  # noqa: S608 - as above


def _write_head(database: sqlite3.Connection, head: CachedHead) -> None:
    value = json.dumps({"sequence": head.sequence, "sha256": head.sha256})
    database.execute("INSERT OR REPLACE INTO about VALUES ('head', ?)", (value,))


@contextmanager
def open_upload_cache(path: Path, binding: str) -> Iterator[UploadCache]:
    """Open or create the upload cache of the writer named by `binding`.

    Raise `Busy` while another run uses it. A damaged file, or one of another writer, is set aside.
    Raise `UploadCacheDamaged` if damage is found later: open the cache again and restart the run.
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
