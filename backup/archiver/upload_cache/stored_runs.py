"""Stored runs: manifest pages of earlier runs, and which runs are kept.

A page contains rows, the manifest entries of paths. Only the latest finished run of each backup set
is kept. While no run can finish because a source fails, the last finished run and the three newest
unfinished runs are kept.
"""

import heapq
import json
import sqlite3
from collections.abc import Iterator

from backup.archiver.archiver_records import Outline, PageText, ReusedPage, Row
from backup.archiver.upload_cache.cache_records import Commit
from backup.archiver.upload_cache.database import CacheDatabase
from backup.archiver.upload_cache.page_encoding import outline_from_bytes, rows_from_bytes
from backup.format.manifest import path_key

_MOST_UNFINISHED = 3  # more than one, because a different source may have failed in each run


class StoredRuns:
    """Runs of all sets, with their pages."""

    def __init__(self, database: CacheDatabase) -> None:
        self._database = database

    def begin(self, set_name: str, started_ns: int) -> int:
        """Create a run and return its number, under which its pages are stored."""
        with self._database.change() as database:
            cursor = database.execute(
                "INSERT INTO run (set_name, started_ns, is_finished) VALUES (?, ?, 0)",
                (set_name, started_ns),
            )
        return int(cursor.lastrowid or 0)

    def set_start(self, run: int, started_ns: int) -> None:
        """Correct the start of a run, after the clock was set back."""
        with self._database.change() as database:
            database.execute("UPDATE run SET started_ns = ? WHERE number = ?", (started_ns, run))

    def store_page(self, run: int, ordinal: int, page: PageText, leaf: str) -> None:
        """Store a page, and replace the page of the run with the same ordinal.

        The store must have all blobs of the page. `leaf` is the id of the blob that contains the
        page itself.
        """
        with self._database.change() as database:
            number = database.execute(
                "INSERT INTO kept (content, uses, leaf) VALUES (?, ?, ?)",
                (page.content, json.dumps(page.uses), leaf),
            ).lastrowid
            database.execute("INSERT OR REPLACE INTO page VALUES (?, ?, ?)", (run, ordinal, number))
            if page.outline is not None:
                database.execute("INSERT INTO outline VALUES (?, ?)", (number, page.outline))

    def reuse_page(self, page: ReusedPage, run: int, ordinal: int) -> None:
        """Record a page of an earlier run as a page of this run."""
        with self._database.change() as database:
            database.execute(
                "INSERT OR REPLACE INTO page VALUES (?, ?, ?)", (run, ordinal, page.number)
            )

    def has_earlier(self, set_name: str, run: int) -> bool:
        """Return whether the set has an earlier run."""
        return bool(self._earlier_runs(set_name, run))

    def previous_pages(self, set_name: str, run: int) -> Iterator[ReusedPage] | None:
        """Return the pages of the previous run, or None if it is not finished."""
        for number, started_ns, is_finished in self._earlier_runs(set_name, run):
            return self._reused_pages(number, started_ns) if is_finished else None
        return None

    def sources_with_files(self, set_name: str, run: int, since_ns: int) -> frozenset[str]:
        """Return the sources that had files in the last finished run.

        Return nothing if that run started before `since_ns`.
        """
        for _, started_ns, is_finished in self._earlier_runs(set_name, run):
            if is_finished and started_ns >= since_ns:
                return frozenset(json.loads(self._database.value(f"filled {set_name}") or "[]"))
        return frozenset()

    def rows_of(self, page: ReusedPage) -> Iterator[Row]:
        """Yield the rows of a stored page."""
        return self._rows_of(page.number, page.outline)

    def previous_rows(self, set_name: str, run: int) -> Iterator[tuple[Row, int]]:
        """Yield the rows of earlier runs in path order.

        Each row is yielded with the start of its run in nanoseconds. The rows of the last finished
        run and all later runs are merged. If a path is in several runs, its newest row is yielded.
        So after an interrupted run, or a run with a failed source, unchanged files are not read
        again.
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

    def _earlier_runs(self, set_name: str, run: int) -> list[tuple[int, int, int]]:
        return self._database.rows(
            "SELECT number, started_ns, is_finished FROM run"
            " WHERE set_name = ? AND number < ? ORDER BY number DESC",
            (set_name, run),
        )

    def _page_numbers(self, run: int) -> list[tuple[int, int]]:
        return self._database.rows(
            "SELECT kept, ordinal FROM page WHERE run = ? ORDER BY ordinal", (run,)
        )

    def _pages(self, run: int) -> Iterator[Row]:
        for number, _ in self._page_numbers(run):
            yield from self._rows_of(number, self._outline_of(number))

    def _rows_of(self, number: int, outline: Outline | None) -> Iterator[Row]:
        (content,) = self._database.rows("SELECT content FROM kept WHERE number = ?", (number,))[0]
        return rows_from_bytes(content, outline)

    def _outline_of(self, number: int) -> Outline | None:
        for content, leaf in self._database.rows(
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


def drop_unfinished_runs(database: sqlite3.Connection, commit: Commit) -> None:
    """Drop unfinished runs except the three newest, to keep the file small.

    Files that only a dropped run has read are read again, but their content is not sent again.
    """
    finished = "SELECT COALESCE(MAX(number), 0) FROM run WHERE set_name = ? AND is_finished"
    newest = "SELECT number FROM run WHERE set_name = ? ORDER BY number DESC LIMIT ?"
    drop_runs(
        database,
        f"set_name = ? AND number > ({finished}) AND number NOT IN ({newest})",
        (commit.set_name, commit.set_name, commit.set_name, _MOST_UNFINISHED),
    )


def drop_runs(database: sqlite3.Connection, condition: str, values: tuple[object, ...]) -> None:
    """Drop runs, and the pages that no other run uses.

    `condition` is an SQL condition written in this package.
    """
    runs = f"SELECT number FROM run WHERE {condition}"  # noqa: S608 - contains no value
    database.execute(f"DELETE FROM page WHERE run IN ({runs})", values)  # noqa: S608 - as above
    database.execute("DELETE FROM kept WHERE number NOT IN (SELECT kept FROM page)")
    database.execute("DELETE FROM outline WHERE kept NOT IN (SELECT kept FROM page)")
    database.execute(f"DELETE FROM run WHERE {condition}", values)  # noqa: S608 - as above
