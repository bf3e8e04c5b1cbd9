"""The send-log: what this host has already stored, so that it is neither read nor sent again.

One SQLite file on the host.  It is a cache and nothing else:

- A blob stands in it only after the store acknowledged every pack that the blob lies in.
- Losing it costs resending, never data.  One that cannot be read is put aside, and a new one begun.
- It is bound to one repository and writer; it is readable by this user only, since it tells what
  is stored.
- It keeps what the latest snapshot of each set needs; the rest is pruned when a run is finished.
  While none can be, for want of a source, it keeps the last finished one and the newest few.
- One run at a time: `open` takes a lock that ends with the process.
- Every change goes through `_change`, one transaction each.  A power cut may take back the newest
  ones, but none before an intention or a root record that was noted.
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
    locked,
    put_aside,
)
from backup.archiver.upload_cache.id_filter import IdFilter
from backup.archiver.upload_cache.page_encoding import (
    bytes_by_pack,
    outline_from_bytes,
    rows_from_bytes,
)
from backup.format.manifest import path_key
from backup.format.record_link import Link

_MOST_UNFINISHED = 3  # in which different sources may have failed
_MOST_IDS = 4_000_000  # to be read from the disk, in some seconds


class UploadCache(LogDatabase):
    """An open send-log; use `open_upload_cache`."""

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
        self._sound: dict[int, PackRow] = {}  # forgotten only so that they come free
        self._recalled: set[int] = set()  # which nothing more is to be found in, all the same
        self._forgotten: set[int] = set()  # by this run
        # Of every blob, and a few that are gone, which does no harm.
        self._ids: IdFilter | None = None
        highest = self._rows("SELECT seq FROM sqlite_sequence WHERE name = 'pack'")
        self._next_pack = highest[0][0] + 1 if highest else 1

    # What was sent

    def find(self, blob_id: str) -> BlobLocation | None:
        """Where a blob lies in the store, if it is there."""
        if self._ids is not None and blob_id not in self._ids:
            return None
        return blob_index.find(self._database, blob_id, self._is_built_on)

    def may_have(self, ids: Collection[str]) -> Collection[str]:
        """Those of some blobs that `find` has to be asked about."""
        return ids if self._ids is None else self._ids.may_have(ids)

    def sent_before(self, ids: Collection[str]) -> Collection[str]:
        """Return which of some new blobs lay in packs that this run forgot.

        Their content is as it was: it is sent again, and did not change.
        """
        if not self._forgotten:
            return ()
        return [id_ for id_ in self.may_have(ids) if blob_index.has(self._database, id_)]

    def look_up_in_memory(self) -> None:
        """Have in memory which blobs there are, if they are not too many: for who asks often."""
        if self._ids is None and blob_index.count(self._database) <= _MOST_IDS:
            self._ids = IdFilter()
            self._ids.update(blob_index.ids(self._database))

    def number_pack(self) -> int:
        """A number for a new pack, higher than every one before."""
        number = self._next_pack
        self._next_pack += 1
        return number

    def pack(self, number: int) -> PackRow | None:
        """An acknowledged pack; None when it is not, or no longer, known."""
        return self._packs.get(number)

    def packs(self) -> Iterable[PackRow]:
        """Every acknowledged pack."""
        return self._packs.values()

    def acknowledge(
        self, number: int, name: bytes, size: int, set_name: str, blobs: Iterable[BlobLocation]
    ) -> None:
        """Record a pack that the store has, and the blobs that are whole with it."""
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
                lambda pack: pack == number or self._is_built_on(pack),
                self._is_recognized if self._forgotten else None,
            )
            database.executemany(
                "UPDATE pack SET held = held + ? WHERE number = ?",
                ((length, pack) for pack, length in held.items()),
            )
        if self._ids is not None:
            self._ids.update([b.id for b in blobs])
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
        """Send again what lay in these packs; sound ones can be recalled until this is closed."""
        gone = {number: self._packs.get(number) for number in numbers}
        with self._change() as database:
            self._drop_packs(database, list(gone))
        self._forgotten.update(number for number, row in gone.items() if row is not None)
        for number, row in gone.items():
            self._sound.pop(number, None)
            if are_sound and row is not None:
                self._sound[number] = row

    def never_recall(self, names: Collection[bytes]) -> None:
        """Have no sound pack of these names again: it is sound no more."""
        for number in [number for number, row in self._sound.items() if row.name in names]:
            del self._sound[number]

    def recall_packs(self, numbers: Iterable[int]) -> bool:
        """Have sound packs again, but find no blob in them; False when one is not to be had."""
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
                        (r.number, r.name, r.size, r.held, r.blobs, r.sequence, r.ordinal)
                        for r in found.values()
                    ),
                )
            self._packs.update(found)
            self._recalled.update(found)
        return True

    def forget_everything(self, head: CachedHead | None, because_of: str = "") -> None:
        """Begin anew: whatever the store has is sent again.

        `head` is what this host put last all the same; `because_of` a reason that holds until the
        next commit, and for which nothing is forgotten twice, so that a run that is cut off
        resumes.
        """
        if because_of and self._about("forgot") == because_of:
            return
        with self._change() as database:
            for table in ("pack", *blob_index.TABLES, "run", "page", "kept", "outline", "live"):
                database.execute(f"DELETE FROM {table}")  # noqa: S608 - the names stand above
            database.execute("DELETE FROM about WHERE key IN ('head', 'pending', 'forgot')")
            if head is not None:
                _write_head(database, head)
            if because_of:
                database.execute("INSERT INTO about VALUES ('forgot', ?)", (because_of,))
        self._packs.clear()
        self._sound.clear()

    # What a set looked like

    def begin_run(self, set_name: str, started_ns: int) -> int:
        """Number a run; its pages are kept under that number."""
        with self._change() as database:
            cursor = database.execute(
                "INSERT INTO run (set_name, started_ns, is_finished) VALUES (?, ?, 0)",
                (set_name, started_ns),
            )
        return int(cursor.lastrowid or 0)

    def run_began(self, run: int, started_ns: int) -> None:
        """Correct when a run began: its clock was set back since."""
        with self._change() as database:
            database.execute("UPDATE run SET started_ns = ? WHERE number = ?", (started_ns, run))

    def store_page(self, run: int, ordinal: int, page: PageText, leaf: str) -> None:
        """Keep a page whose blobs are all acknowledged; a page of the same ordinal is replaced.

        `leaf` is the blob that the page itself became.
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
        """Keep a page of an earlier run as a page of this one, too."""
        with self._change() as database:
            database.execute(
                "INSERT OR REPLACE INTO page VALUES (?, ?, ?)", (run, ordinal, page.number)
            )

    def knows(self, set_name: str, run: int) -> bool:
        """Whether anything is known of the set from a run before."""
        return bool(self._earlier_runs(set_name, run))

    def previous_pages(self, set_name: str, run: int) -> Iterator[ReusedPage] | None:
        """The pages of the run before, in order; None when that one did not finish."""
        for number, started_ns, is_finished in self._earlier_runs(set_name, run):
            return self._kept_pages(number, started_ns) if is_finished else None
        return None

    def filled(self, set_name: str, run: int, since_ns: int) -> frozenset[str]:
        """The sources that held files in the last finished run, if that began since a moment."""
        for _, started_ns, is_finished in self._earlier_runs(set_name, run):
            if is_finished and started_ns >= since_ns:
                return frozenset(json.loads(self._about(f"filled {set_name}") or "[]"))
        return frozenset()

    def count_pages(self, set_name: str, run: int) -> int:
        """How many pages the run before has."""
        for number, _, _ in self._earlier_runs(set_name, run):
            return len(self._numbers(number))
        return 0

    def rows_of(self, page: ReusedPage) -> Iterator[Row]:
        """The rows of a kept page."""
        return self._rows_of(page.number, page.outline)

    def previous_rows(self, set_name: str, run: int) -> Iterator[tuple[Row, int]]:
        """What earlier runs of the set saw, in path order, each with the start of its run (ns).

        Runs since the last finished one are merged with it, the newest first: so neither an
        interrupted run nor one in which a source failed makes the rest be read again.
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

    # What was committed

    def head(self) -> CachedHead | None:
        """The newest snapshot that this host knows it put."""
        value = self._about("head")
        return None if value is None else CachedHead(**json.loads(value))

    def intended(self) -> Commit | None:
        """A commit that was begun; whether its snapshot is in the store must be looked up."""
        value = self._about("pending")
        if value is None:
            return None
        fields = json.loads(value)
        fields["new_packs"] = tuple(fields["new_packs"])
        fields["live_packs"] = frozenset(fields["live_packs"])
        fields["filled"] = tuple(fields.get("filled", ()))
        return Commit(**fields)

    def intend(self, commit: Commit) -> None:
        """Record a commit, durably, before its snapshot is put: a crash in between can be told."""
        value = {name: getattr(commit, name) for name in Commit.__slots__}
        value["live_packs"] = sorted(commit.live_packs)
        with self._synced(), self._change() as database:
            database.execute(
                "INSERT OR REPLACE INTO about VALUES ('pending', ?)", (json.dumps(value),)
            )

    def settle(self, commit: Commit) -> None:
        """Record that the snapshot is there; a finished run prunes what its set needs no more."""
        live = [(commit.set_name, number) for number in commit.live_packs]
        with self._change() as database:
            database.executemany(
                "UPDATE pack SET sequence = ?, ordinal = ? WHERE number = ?",
                ((commit.sequence, at, number) for at, number in enumerate(commit.new_packs)),
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
                _drop_between(database, commit)
        for at, number in enumerate(commit.new_packs):
            row = self._packs[number]
            self._packs[number] = replace(row, sequence=commit.sequence, ordinal=at)

    def abandon_intention(self) -> None:
        """The intended snapshot is not in the store: what it would have named stays unnamed."""
        with self._change() as database:
            database.execute("DELETE FROM about WHERE key = 'pending'")

    def newest_root(self) -> int:
        """The highest root record that this host has seen; -1 before the first."""
        return int(self._about("root") or -1)

    def remember_root(self, number: int) -> None:
        """Remember the root record, so that an older one is noticed."""
        if number != self.newest_root():
            with self._synced(), self._change() as database:
                database.execute("INSERT OR REPLACE INTO about VALUES ('root', ?)", (str(number),))

    def seen_keep(self) -> CachedKeepRecord | None:
        """How far the keeper was heeded; None before its first record."""
        value = self._about("keep")
        if value is None:
            return None
        number, sha256, root = json.loads(value)
        return CachedKeepRecord(link=Link(number=number, sha256=sha256), root=root)

    def remember_keep(self, seen: CachedKeepRecord) -> None:
        """Remember it; only after what the keeper said was acted upon."""
        if seen != self.seen_keep():
            value = json.dumps([seen.link.number, seen.link.sha256, seen.root])
            with self._synced(), self._change() as database:
                database.execute("INSERT OR REPLACE INTO about VALUES ('keep', ?)", (value,))

    def passed_over(self, root: int) -> dict[int, SkippedSlot]:
        """The slots that were passed over, by what this root record says of whom to believe."""
        found = json.loads(self._about("passed over") or "[-1, []]")
        if found[0] != root:
            return {}
        return {
            number: SkippedSlot(size_bytes=size, modified=modified, is_distrusted=is_distrusted)
            for number, size, modified, is_distrusted in found[1]
        }

    def cache_skipped_slot(self, root: int, slots: Mapping[int, SkippedSlot]) -> None:
        """Remember them, in place of those before: each is to be read once, and not every night."""
        rows = [[n, one.size_bytes, one.modified, one.is_distrusted] for n, one in slots.items()]
        with self._change() as database:
            database.execute(
                "INSERT OR REPLACE INTO about VALUES ('passed over', ?)",
                (json.dumps([root, rows]),),
            )

    def live_bytes(self, set_name: str) -> dict[int, int]:
        """How much of each pack of a set's latest manifest is in use, counted as `held` is.

        Rather too much: content that two pages share counts twice.  A pack with nothing but nodes
        of the tree is left out.
        """
        live: Counter[int] = Counter()
        for uses, leaf in self._rows(
            "SELECT uses, leaf FROM kept WHERE number IN (SELECT kept FROM page)"
        ):
            for pack, length in json.loads(uses):
                live[pack] += length
            if (location := self.find(leaf)) is not None:
                live.update(bytes_by_pack([location]))
        of_set = self._rows("SELECT pack FROM live WHERE set_name = ?", (set_name,))
        return {pack: live[pack] for (pack,) in of_set if live[pack]}

    # Inside

    def _is_built_on(self, pack: int) -> bool:
        return pack in self._packs and pack not in self._recalled

    def _is_recognized(self, pack: int) -> bool:
        return pack in self._packs or pack in self._forgotten

    def _earlier_runs(self, set_name: str, run: int) -> list[tuple[int, int, int]]:
        return self._rows(
            "SELECT number, started_ns, is_finished FROM run"
            " WHERE set_name = ? AND number < ? ORDER BY number DESC",
            (set_name, run),
        )

    def _numbers(self, run: int) -> list[tuple[int, int]]:
        return self._rows("SELECT kept, ordinal FROM page WHERE run = ? ORDER BY ordinal", (run,))

    def _pages(self, run: int) -> Iterator[Row]:
        for number, _ in self._numbers(run):
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

    def _kept_pages(self, run: int, started_ns: int) -> Iterator[ReusedPage]:
        for number, ordinal in self._numbers(run):
            yield ReusedPage(
                number=number,
                ordinal=ordinal,
                started_ns=started_ns,
                outline=self._outline_of(number),
            )

    def _prune(self, database: sqlite3.Connection, commit: Commit) -> None:
        of_set = (commit.set_name, commit.run)
        _drop_runs(database, "set_name = ? AND number <> ?", of_set)
        about = (f"filled {commit.set_name}", json.dumps(commit.filled))
        database.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", about)
        # Packs that another set sent and has not named yet are its unfinished work: they stay.
        dead = database.execute(
            "SELECT number FROM pack WHERE number NOT IN (SELECT pack FROM live)"
            " AND (set_name = ? OR sequence IS NOT NULL)",
            (commit.set_name,),
        )
        self._drop_packs(database, [number for (number,) in dead])
        (blobs,) = database.execute("SELECT COALESCE(SUM(blobs), 0) FROM pack").fetchone()
        blob_index.tidy(database, blobs, self._is_built_on)

    def _drop_packs(self, database: sqlite3.Connection, numbers: list[int]) -> None:
        rows = [(number,) for number in numbers]
        database.executemany("DELETE FROM pack WHERE number = ?", rows)
        database.executemany("DELETE FROM live WHERE pack = ?", rows)
        for number in numbers:
            self._packs.pop(number, None)


def _drop_between(database: sqlite3.Connection, commit: Commit) -> None:
    """Drop runs that did not finish but the newest, so that the log does not grow by each night.

    What only a dropped one had seen is read again, and not sent.
    """
    finished = "SELECT COALESCE(MAX(number), 0) FROM run WHERE set_name = ? AND is_finished"
    newest = "SELECT number FROM run WHERE set_name = ? ORDER BY number DESC LIMIT ?"
    _drop_runs(
        database,
        f"set_name = ? AND number > ({finished}) AND number NOT IN ({newest})",
        (commit.set_name, commit.set_name, commit.set_name, _MOST_UNFINISHED),
    )


def _drop_runs(database: sqlite3.Connection, which: str, values: tuple[object, ...]) -> None:
    """Drop runs, and what they alone kept; `which` is a condition of ours."""
    runs = f"SELECT number FROM run WHERE {which}"  # noqa: S608 - no value is in it
    database.execute(f"DELETE FROM page WHERE run IN ({runs})", values)  # noqa: S608 - above
    database.execute("DELETE FROM kept WHERE number NOT IN (SELECT kept FROM page)")
    database.execute("DELETE FROM outline WHERE kept NOT IN (SELECT kept FROM page)")
    database.execute(f"DELETE FROM run WHERE {which}", values)  # noqa: S608 - above


def _write_head(database: sqlite3.Connection, head: CachedHead) -> None:
    value = json.dumps({"sequence": head.sequence, "sha256": head.sha256})
    database.execute("INSERT OR REPLACE INTO about VALUES ('head', ?)", (value,))


@contextmanager
def open_upload_cache(path: Path, binding: str) -> Iterator[UploadCache]:
    """Open or create the send-log of the writer that `binding` tells from every other.

    `Busy` while another run has it; a send-log that is damaged, or was another writer's, is put
    aside.  `UploadCacheDamaged` when that shows only later: open it again, and begin anew.
    """
    with locked(path):
        database, warnings = connect(path, binding)
        try:
            yield UploadCache(database, warnings)
        except Exception as error:
            if not is_damage(error):
                raise
            database.close()
            put_aside(path)
            raise UploadCacheDamaged(f"the send-log was damaged: {PUT_ASIDE}") from error
        finally:
            database.close()
