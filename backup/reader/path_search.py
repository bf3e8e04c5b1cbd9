"""Search for paths and their versions in several recovery points.

- A pattern without a slash matches names in every folder. If a folder matches, the paths in it are
  not returned, unless they match too.
- The manifest of a recovery point is a tree of pages; leaf pages list the paths. A leaf page that
  several recovery points share is read once.
- `at_once` is the number of recovery points that are searched at the same time. Across a network, a
  number above 1 is faster.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future

from backup.format.manifest import Entry
from backup.format.snapshot import Body
from backup.reader.blob_reader import BlobReader
from backup.reader.manifest_walk import Page, entries_of, pages_below, top_page
from backup.reader.path_selection import Selection
from backup.records import FoundPath, RecoveryPoint
from backup.stores.parallel_reads import run_concurrently
from backup.system.interruptible_wait import result_of


class Search:
    """Search for paths that match any of the patterns."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._patterns = [pattern if "/" in pattern else f"**/{pattern}" for pattern in patterns]
        self._pages: dict[bytes, Future[list[Entry]]] = {}
        self._guard = threading.Lock()

    def find_versions(
        self,
        points: Iterable[RecoveryPoint],
        open_point: Callable[[RecoveryPoint], tuple[Body, BlobReader]],
        at_once: int = 1,
    ) -> list[FoundPath]:
        """Return each version of each matching path, sorted by path.

        The versions of a path, and the names of each version's points, are in the order of
        `points`.
        """

        def look(point: RecoveryPoint) -> tuple[RecoveryPoint, list[Entry]]:
            body, reader = open_point(point)
            # Each thread needs its own selection, because a selection records its matches.
            selection = Selection(self._patterns, includes_below=False)
            return point, [*self._matches(reader, selection, top_page(body))]

        found: dict[tuple[object, ...], tuple[Entry, list[str]]] = {}
        for point, entries in run_concurrently(look, points, at_once):
            for entry in entries:
                blob_ids = tuple(ref.id for ref in (*entry.lists, *entry.blobs))
                version = (entry.path, entry.kind, entry.size, entry.modified_ns, blob_ids)
                found.setdefault(version, (entry, []))[1].append(point.name)
        rows = [
            FoundPath(
                path=entry.text,
                kind=entry.kind,
                size=entry.size,
                modified_ns=entry.modified_ns,
                points=tuple(points),
            )
            for entry, points in found.values()
        ]
        return sorted(rows, key=lambda row: row.path)

    def _matches(self, reader: BlobReader, selection: Selection, page: Page) -> Iterator[Entry]:
        listed = page.listed
        if listed is not None and not selection.may_match_between(listed.first, listed.last):
            return
        if page.depth:
            for below in pages_below(reader, page):
                yield from self._matches(reader, selection, below)
            return
        with self._guard:
            is_new = page.ref.id not in self._pages
            known = self._pages.setdefault(page.ref.id, Future())
        if is_new:
            try:
                known.set_result(entries_of(reader, page, selection.includes))
            except BaseException as error:
                known.set_exception(error)
        yield from result_of(known)
