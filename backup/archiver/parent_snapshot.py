"""What earlier runs knew, asked for in path order: row by row, or a whole page at a time.

- A page of the last run is passed over whole, not even decoded, when each of its paths is there
  again with the stat vector of then; its outline is enough to see that.
- Only a page that its own rows closed has an outline that is used.  The last page of a run was
  closed by the end of the walk, and is taken row by row, or each night would leave a small page.
- Where unfinished runs are newer than the last finished one, everything is taken row by row.
"""

from collections.abc import Iterator

from backup.archiver.blob_location import Outline, ReusedPage, Row
from backup.archiver.upload_cache.cache import UploadCache
from backup.format.manifest import path_key

LARGE_PAGES = 8  # of a thousand paths


class ParentSnapshot:
    """The rows of earlier runs; each path asked for must follow the one before."""

    def __init__(self, log: UploadCache, set_name: str, run: int) -> None:
        self._log = log
        # So much is known that it is worth a process to look whether it is as it was.
        self.is_large = log.count_pages(set_name, run) >= LARGE_PAGES
        self._pages: Iterator[ReusedPage] = iter(())
        self._rows: Iterator[tuple[Row, int]] = iter(())
        pages = log.previous_pages(set_name, run)
        if pages is None:
            self._rows = log.previous_rows(set_name, run)
        else:
            self._pages = pages
        self._page = next(self._pages, None)  # the next one, not begun
        self._row = next(self._rows, None)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known, or nothing of what is still to come."""
        return self._page is None and self._row is None

    def find(self, path: bytes) -> tuple[Row, int] | None:
        """The row of a path and the start of its run (ns)."""
        key = path_key(path)
        while True:
            self._drop_rows_before(key)
            if self._row is not None or self._page is None:
                break
            self._begin_page(self._page)
        if self._row is not None and self._row[0].path == path:
            return self._row
        return None

    def page_from(self, path: bytes) -> ReusedPage | None:
        """The page that begins with this path, if it is one to be compared whole."""
        if self._page is None:
            return None
        key = path_key(path)
        self._drop_rows_before(key)
        if self._row is not None:
            return None
        outline = self._page.outline
        while outline is not None and path_key(outline.paths[-1]) < key:
            self._page = next(self._pages, None)
            outline = None if self._page is None else self._page.outline
        if outline is None or outline.paths[0] != path or not self._is_stored(outline):
            return None
        return self._page

    def pass_over(self) -> None:
        """Leave the page that `page_from` gave: every row of it was there again."""
        self._page = next(self._pages, None)

    def _is_stored(self, outline: Outline) -> bool:
        return self._log.find(outline.leaf) is not None and all(
            self._log.pack(number) is not None for number in outline.packs
        )

    def _drop_rows_before(self, key: bytes) -> None:
        while self._row is not None and path_key(self._row[0].path) < key:
            self._row = next(self._rows, None)

    def _begin_page(self, page: ReusedPage) -> None:
        started_ns = page.started_ns
        self._rows = ((row, started_ns) for row in self._log.rows_of(page))
        self._row = next(self._rows, None)
        self._page = next(self._pages, None)
