"""Parent snapshot: pages of earlier runs, reused if all packs remain.

A row is the manifest entry of one path, and a page is a sequence of rows. The upload cache, a local
file, contains the pages of earlier runs.

- A stat vector is the part of a file's status that change detection compares. The outline of a page
  contains the paths and stat vectors of its rows. If the run finds the same paths in the same order
  with the same stat vectors, it can reuse the whole page without decoding it.
- The last page of a run has no outline, because it ended with the last path and not at a regular
  page boundary. Its rows are read one by one. If the page were reused, the rows of new paths after
  it would have to begin another page, and each run would leave one more small page.
- If unfinished runs are newer than the last finished run, the rows of all these runs are merged,
  and no page is reused.
"""

from collections.abc import Iterator

from backup.archiver.archiver_records import Outline, ReusedPage, Row
from backup.archiver.upload_cache.cache import UploadCache
from backup.format.manifest import path_key


class ParentSnapshot:
    """Rows of earlier runs, requested in path order."""

    def __init__(self, cache: UploadCache, set_name: str, run: int) -> None:
        self._cache = cache
        self._pages: Iterator[ReusedPage] = iter(())
        self._rows: Iterator[tuple[Row, int]] = iter(())
        pages = cache.runs.previous_pages(set_name, run)
        if pages is None:
            self._rows = cache.runs.previous_rows(set_name, run)
        else:
            self._pages = pages
        self._page = next(self._pages, None)  # the next page; none of its rows was read yet
        self._row = next(self._rows, None)

    @property
    def is_empty(self) -> bool:
        """Return whether no row or page of earlier runs is left."""
        return self._page is None and self._row is None

    def find(self, path: bytes) -> tuple[Row, int] | None:
        """Return the row of a path, and the start of its run in nanoseconds."""
        key = path_key(path)
        while True:
            self._drop_rows_before(key)
            if self._row is not None or self._page is None:
                break
            self._begin_page(self._page)
        if self._row is not None and self._row[0].path == path:
            return self._row
        return None

    def find_page(self, path: bytes) -> ReusedPage | None:
        """Return the page that starts with a path, if it can be reused."""
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

    def skip_page(self) -> None:
        """Skip the page that `find_page` returned, after it was reused."""
        self._page = next(self._pages, None)

    def _is_stored(self, outline: Outline) -> bool:
        return self._cache.find(outline.leaf) is not None and all(
            self._cache.pack(number) is not None for number in outline.packs
        )

    def _drop_rows_before(self, key: bytes) -> None:
        while self._row is not None and path_key(self._row[0].path) < key:
            self._row = next(self._rows, None)

    def _begin_page(self, page: ReusedPage) -> None:
        started_ns = page.started_ns
        self._rows = ((row, started_ns) for row in self._cache.runs.rows_of(page))
        self._row = next(self._rows, None)
        self._page = next(self._pages, None)
