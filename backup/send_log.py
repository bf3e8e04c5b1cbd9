"""The send-log: what this host has already stored, so that it is neither read nor sent again.

One SQLite file on the host.  It is a cache and nothing else:

- A blob stands in it only after the store acknowledged every pack that the blob lies in.
- Losing it costs resending, never data.  One that cannot be read is put aside, and a new one begun.
- It is bound to one repository and writer; it is readable by this user only, since it tells what
  is stored.
- It keeps what the latest snapshot of each set needs; the rest is pruned when a run is finished.
- One run at a time: `open` takes a lock that ends with the process.
- Every change goes through `_change`, one transaction each.
"""

import heapq
import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zstandard

from backup.errors import NotWritable
from backup.format.canonical import from_path_text
from backup.format.manifest import path_key
from backup.places import KeptPage, Outline, Place, Row
from backup.send_log_file import connect, locked, outline_from_bytes, outline_to_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class LoggedHead:
    """A snapshot that this host put, or was about to put."""

    sequence: int
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PackRow:
    """A pack that the store acknowledged."""

    number: int
    name: bytes
    size: int
    sequence: int | None
    ordinal: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Commit:
    """What a snapshot changes in the log once it is there."""

    run: int
    set_name: str
    sequence: int
    sha256: str
    is_finished: bool  # the walk came to its end: what the set needs no more may be pruned
    new_packs: tuple[int, ...]  # in the order that the snapshot lists them
    live_packs: frozenset[int]  # all that it needs


class SendLog:
    """An open send-log; use `open_send_log`."""

    def __init__(self, database: sqlite3.Connection, warnings: Iterable[str] = ()) -> None:
        self._database = database
        self.warnings = list(warnings)
        self._packs = {
            number: PackRow(number=number, name=name, size=size, sequence=sequence, ordinal=ordinal)
            for number, name, size, sequence, ordinal in self._rows(
                "SELECT number, name, size, sequence, ordinal FROM pack"
            )
        }
        highest = self._rows("SELECT seq FROM sqlite_sequence WHERE name = 'pack'")
        self._next_pack = highest[0][0] + 1 if highest else 1

    # What was sent

    def find(self, blob_id: str) -> Place | None:
        """Where a blob lies in the store, if it is there."""
        for pack, offset, stored, inner, length, following in self._rows(
            'SELECT pack, "offset", stored, inner, length, next FROM blob WHERE id = ?',
            (bytes.fromhex(blob_id),),
        ):
            return Place(pack, offset, stored, inner, length, blob_id, following)
        return None

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
        self, number: int, name: bytes, size: int, set_name: str, blobs: Iterable[Place]
    ) -> None:
        """Record a pack that the store has, and the blobs that are whole with it."""
        with self._change() as database:
            database.execute(
                "INSERT INTO pack (number, name, size, set_name) VALUES (?, ?, ?, ?)",
                (number, name, size, set_name),
            )
            database.executemany(
                'INSERT OR REPLACE INTO blob (id, pack, "offset", stored, inner, length, next)'
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    (bytes.fromhex(b.id), b.pack, b.offset, b.stored, b.inner, b.length, b.next)
                    for b in blobs
                ),
            )
        self._packs[number] = PackRow(
            number=number, name=name, size=size, sequence=None, ordinal=None
        )

    def forget_packs(self, numbers: Iterable[int]) -> None:
        """Send again what lay in these packs."""
        gone = list(numbers)
        with self._change() as database:
            self._drop_packs(database, gone)

    def forget_everything(self) -> None:
        """Begin anew: whatever the store has is sent again."""
        with self._change() as database:
            for table in ("pack", "blob", "run", "page", "outline", "live"):
                database.execute(f"DELETE FROM {table}")  # noqa: S608 - the names stand above
            database.execute("DELETE FROM about WHERE key IN ('head', 'pending')")
        self._packs.clear()

    # What a set looked like

    def begin_run(self, set_name: str, started_ns: int) -> int:
        """Number a run; its pages are kept under that number."""
        with self._change() as database:
            cursor = database.execute(
                "INSERT INTO run (set_name, started_ns, is_finished) VALUES (?, ?, 0)",
                (set_name, started_ns),
            )
        return int(cursor.lastrowid or 0)

    def keep_page(
        self, run: int, ordinal: int, rows: Iterable[Row], outline: Outline | None = None
    ) -> None:
        """Keep a page whose blobs are all acknowledged; a page of the same ordinal is replaced."""
        content = json.dumps(
            [
                [row.fields, row.blobs, row.lists, sorted(row.list_packs), row.vector]
                for row in rows
            ],
            ensure_ascii=False,
            separators=(",", ":"),
        )
        packed = zstandard.ZstdCompressor(level=1).compress(content.encode())
        with self._change() as database:
            database.execute("INSERT OR REPLACE INTO page VALUES (?, ?, ?)", (run, ordinal, packed))
            database.execute("DELETE FROM outline WHERE run = ? AND ordinal = ?", (run, ordinal))
            if outline is not None:
                database.execute(
                    "INSERT INTO outline VALUES (?, ?, ?)",
                    (run, ordinal, outline_to_bytes(outline)),
                )

    def carry_page(self, page: KeptPage, run: int, ordinal: int) -> None:
        """Keep a page of an earlier run as a page of this one, too."""
        with self._change() as database:
            for table in ("page", "outline"):
                database.execute(
                    f"INSERT OR REPLACE INTO {table}"  # noqa: S608 - the names stand above
                    f" SELECT ?, ?, content FROM {table} WHERE run = ? AND ordinal = ?",
                    (run, ordinal, page.run, page.ordinal),
                )

    def previous_pages(self, set_name: str, run: int) -> Iterator[KeptPage] | None:
        """The pages of the run before, in order; None when that one did not finish."""
        for number, started_ns, is_finished in self._earlier_runs(set_name, run):
            return self._kept_pages(number, started_ns) if is_finished else None
        return None

    def rows_of(self, page: KeptPage) -> Iterator[Row]:
        """The rows of a kept page."""
        return self._page_rows(page.run, page.ordinal)

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

    def head(self) -> LoggedHead | None:
        """The newest snapshot that this host knows it put."""
        value = self._about("head")
        return None if value is None else LoggedHead(**json.loads(value))

    def intended(self) -> Commit | None:
        """A commit that was begun; whether its snapshot is in the store must be looked up."""
        value = self._about("pending")
        if value is None:
            return None
        fields = json.loads(value)
        fields["new_packs"] = tuple(fields["new_packs"])
        fields["live_packs"] = frozenset(fields["live_packs"])
        return Commit(**fields)

    def intend(self, commit: Commit) -> None:
        """Record a commit before its snapshot is put, so that a crash in between can be told."""
        value = {name: getattr(commit, name) for name in Commit.__slots__}
        value["live_packs"] = sorted(commit.live_packs)
        with self._change() as database:
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
            head = json.dumps({"sequence": commit.sequence, "sha256": commit.sha256})
            database.execute("INSERT OR REPLACE INTO about VALUES ('head', ?)", (head,))
            database.execute("DELETE FROM about WHERE key = 'pending'")
            if commit.is_finished:
                self._prune(database, commit)
        for at, number in enumerate(commit.new_packs):
            row = self._packs[number]
            self._packs[number] = PackRow(
                number=number, name=row.name, size=row.size, sequence=commit.sequence, ordinal=at
            )

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
            with self._change() as database:
                database.execute("INSERT OR REPLACE INTO about VALUES ('root', ?)", (str(number),))

    # Inside

    def _earlier_runs(self, set_name: str, run: int) -> list[tuple[int, int, int]]:
        return self._rows(
            "SELECT number, started_ns, is_finished FROM run"
            " WHERE set_name = ? AND number < ? ORDER BY number DESC",
            (set_name, run),
        )

    def _ordinals(self, run: int) -> list[tuple[int]]:
        return self._rows("SELECT ordinal FROM page WHERE run = ? ORDER BY ordinal", (run,))

    def _pages(self, run: int) -> Iterator[Row]:
        for (ordinal,) in self._ordinals(run):
            yield from self._page_rows(run, ordinal)

    def _page_rows(self, run: int, ordinal: int) -> Iterator[Row]:
        (content,) = self._rows(
            "SELECT content FROM page WHERE run = ? AND ordinal = ?", (run, ordinal)
        )[0]
        for fields, blobs, lists, list_packs, vector in json.loads(
            zstandard.ZstdDecompressor().decompress(content)
        ):
            yield Row(
                path=from_path_text(fields["path"], "the send-log"),
                fields=fields,
                blobs=[Place(*blob) for blob in blobs],
                lists=[Place(*item) for item in lists],
                list_packs=set(list_packs),
                vector=None if vector is None else tuple(vector),
            )

    def _kept_pages(self, run: int, started_ns: int) -> Iterator[KeptPage]:
        for (ordinal,) in self._ordinals(run):
            outlines = self._rows(
                "SELECT content FROM outline WHERE run = ? AND ordinal = ?", (run, ordinal)
            )
            yield KeptPage(
                run=run,
                ordinal=ordinal,
                started_ns=started_ns,
                outline=outline_from_bytes(outlines[0][0]) if outlines else None,
            )

    def _prune(self, database: sqlite3.Connection, commit: Commit) -> None:
        others = "SELECT number FROM run WHERE set_name = ? AND number <> ?"
        of_set = (commit.set_name, commit.run)
        for table in ("page", "outline"):
            database.execute(f"DELETE FROM {table} WHERE run IN ({others})", of_set)  # noqa: S608 - above
        database.execute("DELETE FROM run WHERE set_name = ? AND number <> ?", of_set)
        # Packs that another set sent and has not named yet are its unfinished work: they stay.
        dead = database.execute(
            "SELECT number FROM pack WHERE number NOT IN (SELECT pack FROM live)"
            " AND (set_name = ? OR sequence IS NOT NULL)",
            (commit.set_name,),
        )
        self._drop_packs(database, [number for (number,) in dead])

    def _drop_packs(self, database: sqlite3.Connection, numbers: list[int]) -> None:
        rows = [(number,) for number in numbers]
        for statement in (
            "DELETE FROM blob WHERE pack = ?",
            "DELETE FROM blob WHERE next = ?",
            "DELETE FROM pack WHERE number = ?",
            "DELETE FROM live WHERE pack = ?",
        ):
            database.executemany(statement, rows)
        for number in numbers:
            self._packs.pop(number, None)

    def _about(self, key: str) -> str | None:
        for (value,) in self._rows("SELECT value FROM about WHERE key = ?", (key,)):
            return str(value)
        return None

    def _rows(self, statement: str, values: tuple[object, ...] = ()) -> list[Any]:
        return self._database.execute(statement, values).fetchall()

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        try:
            self._database.execute("BEGIN IMMEDIATE")
            yield self._database
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            with suppress(sqlite3.Error):
                self._database.execute("ROLLBACK")
            raise NotWritable(
                f"the send-log cannot be written: SQLite says {error}."
                " Make room or look at its disk; removing the send-log costs only sending again"
            ) from error
        except BaseException:
            self._database.execute("ROLLBACK")
            raise


@contextmanager
def open_send_log(path: Path, binding: str) -> Iterator[SendLog]:
    """Open or create the send-log of the writer that `binding` tells from every other.

    `Busy` while another run has it; a send-log that is damaged, or was another writer's, is put
    aside.
    """
    with locked(path):
        database, warnings = connect(path, binding)
        try:
            yield SendLog(database, warnings)
        finally:
            database.close()
