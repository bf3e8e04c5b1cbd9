"""Searching points for paths: which of them hold it, in which versions.

- A pattern without a slash is looked for in every folder; a folder that fits is given alone, not
  what lies in it.
- A page that several points share is read once.
"""

from collections.abc import Callable, Iterable, Iterator

from backup.format.manifest import Entry
from backup.format.snapshot import Body
from backup.reading.blob_reader import BlobReader
from backup.reading.looking import Page, entries_of, pages_below, top_page
from backup.reading.selection import Selection
from backup.records import FoundPath, Point


class Search:
    """One search through points that are given newest first."""

    def __init__(self, patterns: Iterable[str]) -> None:
        spread = [pattern if "/" in pattern else f"**/{pattern}" for pattern in patterns]
        self._selection = Selection(spread, takes_below=False)
        self._pages: dict[bytes, list[Entry]] = {}

    def through(
        self, points: Iterable[Point], open_point: Callable[[Point], tuple[Body, BlobReader]]
    ) -> list[FoundPath]:
        """Every version of every path that fits, by path, the newest version first."""
        found: dict[tuple[object, ...], tuple[Entry, list[str]]] = {}
        for point in points:
            body, reader = open_point(point)
            for entry in self._fitting(reader, top_page(body)):
                pieces = tuple(ref.id for ref in (*entry.lists, *entry.blobs))
                version = (entry.path, entry.kind, entry.size, entry.modified_ns, pieces)
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

    def _fitting(self, reader: BlobReader, page: Page) -> Iterator[Entry]:
        if page.listed is not None and not self._selection.may_lie_between(
            page.listed.first, page.listed.last
        ):
            return
        if page.depth:
            for below in pages_below(reader, page):
                yield from self._fitting(reader, below)
            return
        known = self._pages.get(page.ref.id)
        if known is None:
            known = entries_of(reader, page, self._selection.takes)
            self._pages[page.ref.id] = known
        yield from known
