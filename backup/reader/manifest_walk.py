"""Manifest walk: find a path, list a folder, stream the content of a file.

- The manifest is a tree of pages: nodes list other pages, and leaves list paths (entries). An entry
  refers to the blobs of its file. If these references are many, they are in separate pages, the
  list pages.
- A page is read only if a requested path may be below it.
- A node describes each page that it lists: first path, last path and number of entries. Each page
  is compared with this description.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass

from backup.errors import BackupError, Damaged, StoreUnavailable
from backup.format.canonical_json import to_path_text
from backup.format.manifest import (
    BlobRef,
    Child,
    Entry,
    leaf_from_bytes,
    list_from_bytes,
    node_from_bytes,
    path_key,
)
from backup.format.snapshot import Body
from backup.reader.blob_reader import BlobReader
from backup.reader.frame_prefetch import prefetch_frames, reading_threads
from backup.reader.path_selection import Selection

_ZERO_BYTES = 1024 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """Page of the manifest, `depth` levels above the leaves."""

    ref: BlobRef
    depth: int
    listed: Child | None  # None for the top page

    @property
    def where(self) -> str:
        """Name of the page in errors."""
        return f"page {self.ref.id.hex()[:16]} of the manifest"

    @property
    def extent(self) -> str:
        """Paths below the page, for display."""
        if self.listed is None:
            return "everything"
        first, last = to_path_text(self.listed.first), to_path_text(self.listed.last)
        return f"{first} … {last} ({self.listed.entries:,})"


def top_page(body: Body) -> Page:
    """Return the top page."""
    return Page(ref=body.root_page, depth=body.depth, listed=None)


def pages_below(reader: BlobReader, page: Page) -> list[Page]:
    """Return the pages that a node lists."""
    children = node_from_bytes(reader.blob(page.ref), page.where, page.listed)
    return [Page(ref=child.page, depth=page.depth - 1, listed=child) for child in children]


def entries_of(
    reader: BlobReader,
    page: Page,
    takes: Callable[[bytes], bool] | None = None,
    *,
    content: bytes | None = None,
) -> list[Entry]:
    """Return the entries of a leaf page, or only those that `takes` selects.

    A caller that already has the bytes of the page passes them in `content`; nothing is read then.
    """
    data = reader.blob(page.ref) if content is None else content
    return leaf_from_bytes(data, page.where, page.listed, takes)


def leaves(
    reader: BlobReader,
    page: Page,
    selection: Selection,
    on_lost: Callable[[Page, BackupError], None] | None = None,
) -> Iterator[Page]:
    """Yield, in order, the leaves below a page that may list selected paths.

    `on_lost` is called with each node that cannot be read. Without `on_lost`, or if the top page
    cannot be read, the error is raised.
    """
    if not page.depth:
        yield page
        return
    try:
        children = pages_below(reader, page)
    except StoreUnavailable:
        raise
    except BackupError as error:
        if on_lost is None or page.listed is None:
            raise
        on_lost(page, error)
        return
    for below in children:
        listed = below.listed
        if listed is None or selection.may_match_between(listed.first, listed.last):
            yield from leaves(reader, below, selection, on_lost)


def walk(reader: BlobReader, body: Body, selection: Selection) -> Iterator[Entry]:
    """Yield, in order, all entries of the leaves that may list selected paths."""
    for leaf in leaves(reader, top_page(body), selection):
        yield from entries_of(reader, leaf)


def blobs_of(reader: BlobReader, entry: Entry) -> Iterator[BlobRef]:
    """Yield the references of a file to its blobs, in order.

    Each list page is read when its references are needed. Raise `Damaged` if a blob is empty, or if
    all blobs together are larger than the file. Without this check, a forged entry could name one
    list page any number of times.
    """
    left = entry.size
    for ref in _all_refs(reader, entry):
        left -= ref.length
        if left < 0 or not ref.length:
            raise Damaged(
                f"{entry.text}: its parts are longer than its size of {entry.size:,} bytes, or one "
                "is empty"
            )
        yield ref


def _all_refs(reader: BlobReader, entry: Entry) -> Iterator[BlobRef]:
    for ref in entry.lists:
        yield from list_from_bytes(reader.blob(ref), f"a list of {entry.text}")
    yield from entry.blobs


def find_entry(reader: BlobReader, body: Body, path: bytes) -> Entry | None:
    """Return the entry of a path or None; read only pages that lead to it."""
    key = path_key(path)
    page: Page | None = top_page(body)
    while page is not None and page.depth:
        page = next(
            (
                below
                for below in pages_below(reader, page)
                if below.listed is not None
                and path_key(below.listed.first) <= key <= path_key(below.listed.last)
            ),
            None,
        )
    if page is None:
        return None
    return next((entry for entry in entries_of(reader, page) if entry.path == path), None)


def list_folder(reader: BlobReader, body: Body, folder: bytes) -> Iterator[Entry]:
    """Yield the entries directly in a folder, or the entry of a single file.

    If `folder` is b"", yield the top-level folders, which are the sources of the backup. Pages with
    only deeper paths are not read.
    """
    begin = path_key(folder) + b"\0" if folder else b""
    itself = find_entry(reader, body, folder) if folder else None
    if itself is not None and itself.kind != "directory":
        yield itself
        return
    end = path_key(folder) + b"\1" if folder else None
    wanted = begin  # sort keys before this key are skipped

    def below(page: Page) -> Iterator[Entry]:
        nonlocal wanted
        if page.listed is not None:
            first, last = path_key(page.listed.first), path_key(page.listed.last)
            if last < wanted or (end is not None and first >= end):
                return
        if page.depth:
            for child in pages_below(reader, page):
                yield from below(child)
            return
        for entry in entries_of(reader, page):
            key = path_key(entry.path)
            if key < wanted or (end is not None and key >= end):
                continue
            name, deeper, _ = key[len(begin) :].partition(b"\0")
            wanted = begin + name + b"\1"
            yield _folder_of(entry, len(begin) + len(name)) if deeper else entry

    yield from below(top_page(body))


def _folder_of(entry: Entry, length: int) -> Entry:
    """Return an entry for a folder that the manifest does not list itself."""
    return Entry(
        path=entry.path[:length],
        kind="directory",
        mode=0o700,
        uid=entry.uid,
        gid=entry.gid,
        user=entry.user,
        group=entry.group,
        modified_ns=entry.modified_ns,
        size=0,
        blobs=(),
        lists=(),
        holes=(),
        xattrs=(),
        target=None,
        hard_link=None,
        device=None,
    )


def content_of(reader: BlobReader, entry: Entry) -> Iterator[bytes]:
    """Yield a file's content in order, with zeros for holes.

    Threads read content in advance. `Damaged` may be raised after a part of the content was
    yielded.
    """
    holes = deque(entry.holes)
    position = 0
    with reading_threads() as pool:
        try:
            steps = ((None, ref) for ref in blobs_of(reader, entry))
            for _, piece in prefetch_frames(reader, steps, pool):
                if isinstance(piece, BackupError):
                    raise piece
                rest = memoryview(piece or b"")
                while rest:
                    while holes and holes[0][0] == position:
                        position = yield from _zeros(*holes.popleft())
                    count = min(len(rest), holes[0][0] - position) if holes else len(rest)
                    yield bytes(rest[:count])
                    rest, position = rest[count:], position + count
            while holes and holes[0][0] == position:
                position = yield from _zeros(*holes.popleft())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    if position != entry.size:
        raise Damaged(f"{entry.text} has {position} bytes of content instead of {entry.size}")


def _zeros(start: int, length: int) -> Generator[bytes, None, int]:
    for at in range(0, length, _ZERO_BYTES):
        yield bytes(min(_ZERO_BYTES, length - at))
    return start + length
