"""Difference of two recovery points: added, removed and changed paths.

- The manifest of a recovery point is a tree of pages. Both manifests are walked together. A page
  with the same id in both is skipped, with all pages below it. So if one file in a million has
  changed, few pages are read.
- The content of files is compared by the ids of its blobs and is never read.
- The id of a blob is a keyed hash. So only recovery points with the same hash key can be compared.
"""

from collections.abc import Iterator
from itertools import zip_longest
from typing import Literal

from backup.format.manifest import Entry, path_key
from backup.format.snapshot import Body
from backup.reader.blob_reader import BlobReader
from backup.reader.manifest_walk import Page, blobs_of, entries_of, pages_below, top_page
from backup.records import Aspect, Difference


class _Cursor:
    """Position in a manifest: before an unopened page or before an entry."""

    def __init__(self, reader: BlobReader, body: Body) -> None:
        self._reader = reader
        self._ahead: list[Page | Entry] = [top_page(body)]  # in reverse order

    @property
    def next(self) -> Page | Entry | None:
        return self._ahead[-1] if self._ahead else None

    def skip(self) -> None:
        """Skip the next page, with all pages below it, or the next entry."""
        self._ahead.pop()

    def open(self, page: Page) -> None:
        """Replace the next page by the pages or entries that it lists."""
        self._ahead.pop()
        below = pages_below if page.depth else entries_of
        self._ahead += reversed(below(self._reader, page))


def pair_entries(
    reader: BlobReader, before: Body, after: Body
) -> Iterator[tuple[Entry | None, Entry | None]]:
    """Yield the old and new entry of each path in pages that differ, in order.

    The old entry is None if the path was added; the new entry is None if the path was removed. If
    only other entries of the page changed, old and new entry are equal.
    """
    old, new = _Cursor(reader, before), _Cursor(reader, after)
    while True:
        a, b = old.next, new.next
        if a is None and b is None:
            return
        if isinstance(a, Page) and isinstance(b, Page) and a.ref.id == b.ref.id:
            old.skip()
            new.skip()
            continue
        if isinstance(a, Page) and (b is None or _opens_first(a, b)):
            old.open(a)
        elif isinstance(b, Page) and (a is None or isinstance(a, Page) or _opens_first(b, a)):
            new.open(b)
        else:
            # If one side is a page, the page begins after the entry of the other side.
            key_a = None if a is None or isinstance(a, Page) else path_key(a.path)
            key_b = None if b is None or isinstance(b, Page) else path_key(b.path)
            takes_a = key_a is not None and (key_b is None or key_a <= key_b)
            takes_b = key_b is not None and (key_a is None or key_b <= key_a)
            yield (
                a if takes_a and isinstance(a, Entry) else None,
                b if takes_b and isinstance(b, Entry) else None,
            )
            if takes_a:
                old.skip()
            if takes_b:
                new.skip()


def compare_entries(reader: BlobReader, a: Entry | None, b: Entry | None) -> Difference | None:
    """Return the difference of two entries of one path, or None if equal."""
    change: Literal["added", "removed", "changed"]
    aspects: tuple[Aspect, ...] = ()
    newest = b or a
    if newest is None:
        return None
    if a is None or b is None:
        change = "removed" if b is None else "added"
    else:
        aspects = tuple(_aspects(reader, a, b))
        if not aspects:
            return None
        change = "changed"
    return Difference(
        path=newest.text,
        change=change,
        aspects=aspects,
        kind=newest.kind,
        size_before=None if a is None else a.size,
        size_after=None if b is None else b.size,
    )


def _aspects(reader: BlobReader, a: Entry, b: Entry) -> Iterator[Aspect]:
    if a.kind != b.kind:
        yield "kind"
    if a.size != b.size or a.holes != b.holes or not _has_same_blobs(reader, a, b):
        yield "content"
    if a.target != b.target:
        yield "target"
    if a.device != b.device:
        yield "device"
    if a.mode != b.mode:
        yield "mode"
    if (a.uid, a.gid, a.user, a.group) != (b.uid, b.gid, b.user, b.group):
        yield "owner"
    if a.modified_ns != b.modified_ns:
        yield "time"
    if a.xattrs != b.xattrs:
        yield "xattrs"
    if a.hard_link != b.hard_link:
        yield "hard link"


def _has_same_blobs(reader: BlobReader, a: Entry, b: Entry) -> bool:
    if a.lists == b.lists:
        return [ref.id for ref in a.blobs] == [ref.id for ref in b.blobs]
    both = zip_longest(blobs_of(reader, a), blobs_of(reader, b))
    return all(
        first is not None and second is not None and first.id == second.id for first, second in both
    )


def _opens_first(page: Page, other: Page | Entry) -> bool:
    """Return whether to open a page before `other`, in the other manifest.

    If both are pages, the page with the lower first path is opened first. If both have the same
    first path, the page that is higher above the leaves is opened first.
    """
    if page.listed is None:
        return True
    first = path_key(page.listed.first)
    if isinstance(other, Entry):
        return first <= path_key(other.path)
    if other.listed is None:
        return False
    of_other = path_key(other.listed.first)
    return first < of_other or (first == of_other and page.depth >= other.depth)
