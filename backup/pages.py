"""Pages: from rows to the tree of the manifest, while the source is still being read.

- A page ends after a path whose CRC-32 says so (1 in 1,024), or at 4,096 entries, or at about 2
  MiB; so a change in one folder leaves the pages of the others as they were, and an unchanged
  page is not stored again.
- A page is encoded once the store has everything that it names, because it names packs by their
  hash. Until then it waits; pages that name nothing new do not.
- A file with more than 4,096 blobs keeps its references in lists, stored before the page.
- `finish` gives the root and may be called again after more rows: the open page stays open.
"""

import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from backup.blobs import BlobSink
from backup.errors import NotWritable
from backup.format.canonical import to_path_text
from backup.format.manifest import BlobRef, page_to_bytes
from backup.places import MOST_REFS, NO_PACK, KeptPage, Outline, PendingBlob, Place, Ref, Row
from backup.send_log import SendLog

MOST_ENTRIES = 4096
_CUT_MASK = 1024 - 1
_NODE_CUT_SHIFT = 10
_NODE_CUT_MASK = 256 - 1
_PAGE_BYTES = 2 * 1024 * 1024
_REF_BYTES = 120
_ENTRY_BYTES = 300


@dataclass(kw_only=True, slots=True, eq=False)
class _Page:
    """A page in the making; `ref` is set when it was handed to its sink."""

    ordinal: int
    first: bytes
    last: bytes
    entries: int
    rows: list[Row]
    ref: Ref | None = None
    is_open: bool = False  # the walk ended in it, so a later run may go on with it


@dataclass(frozen=True, kw_only=True, slots=True)
class Tree:
    """A finished manifest; everything it names is in the store."""

    root: BlobRef
    depth: int  # levels of nodes above the leaves
    packs: frozenset[int]  # by the send-log's numbers


class ManifestBuilder:
    """Takes rows in path order; call from one thread only."""

    def __init__(
        self,
        *,
        log: SendLog,
        run: int,
        data: BlobSink,
        new_sink: Callable[[], BlobSink],
    ) -> None:
        self._log = log
        self._run = run
        self._data = data
        self._new_sink = new_sink
        self._lists = new_sink()
        self._levels = [new_sink()]  # leaves, then each level of nodes
        self._leaves: list[_Page] = []
        self._waiting: list[_Page] = []
        self._rows: list[Row] = []
        self._bytes = 0
        self._used: set[int] = set()  # packs that the encoded leaves name

    def add(self, row: Row) -> None:
        """Take the next row; its references may still be pending."""
        self._rows.append(row)
        self._bytes += _ENTRY_BYTES + 4 * len(row.path) + _weight(row)
        if (
            zlib.crc32(row.path) & _CUT_MASK == 0
            or len(self._rows) >= MOST_ENTRIES
            or self._bytes >= _PAGE_BYTES
        ):
            page = self._page(self._rows)
            self._rows, self._bytes = [], 0
            self._leaves.append(page)
            self._waiting.append(page)
            self.settle()

    @property
    def is_between_pages(self) -> bool:
        """Whether the next row begins a page."""
        return not self._rows

    def reuse(self, kept: KeptPage, outline: Outline) -> None:
        """Take a whole page of an earlier run as it is; only between pages."""
        page = _Page(
            ordinal=len(self._leaves),
            first=outline.paths[0],
            last=outline.paths[-1],
            entries=len(outline.paths),
            rows=[],
            ref=self._log.find(outline.leaf),
        )
        self._leaves.append(page)
        self._used |= outline.packs
        self._log.carry_page(kept, self._run, page.ordinal)

    def spill(self, row: Row) -> None:
        """Move settled references of a growing row into lists, so that no file fills the memory."""
        while len(row.blobs) > MOST_REFS and all(map(self._data.has, row.blobs[:MOST_REFS])):
            self._move_to_list(row)

    def settle(self) -> None:
        """Encode the waiting pages whose every blob is in the store."""
        still: list[_Page] = []
        for page in self._waiting:
            if not self._is_settled(page):
                still.append(page)
            elif any(row.lists or len(row.blobs) > MOST_REFS for row in page.rows):
                # Its lists must be in the store too: `finish` does that, or the next call.
                for row in page.rows:
                    self._move_all_to_lists(row)
                if all(self._lists.has(ref) for row in page.rows for ref in row.lists):
                    self._encode_leaf(page)
                else:
                    still.append(page)
            else:
                self._encode_leaf(page)
        self._waiting = still

    def finish(self) -> Tree:
        """Store everything so far; raises nothing of its own when called again after more rows."""
        leaves = list(self._leaves)
        if self._rows:
            page = self._page(self._rows)
            page.is_open = True
            leaves.append(page)
            self._waiting.append(page)
        self._data.flush()
        self.settle()
        self._lists.flush()
        self.settle()
        self._levels[0].flush()
        used = set(self._used)
        children = leaves
        depth = 0
        while len(children) > 1:
            depth += 1
            if depth == len(self._levels):
                self._levels.append(self._new_sink())
            used.update(*(_packs_of(_placed(child)) for child in children))
            children = [self._node(depth, group) for group in _groups(children)]
            self._levels[depth].flush()
        root = _placed(children[0])
        used.update(_packs_of(root))
        return Tree(root=self._outside(root), depth=depth, packs=frozenset(used))

    def _page(self, rows: list[Row]) -> _Page:
        return _Page(
            ordinal=len(self._leaves),
            first=rows[0].path,
            last=rows[-1].path,
            entries=len(rows),
            rows=list(rows),
        )

    def _is_settled(self, page: _Page) -> bool:
        return all(self._data.has(ref) for row in page.rows for ref in row.blobs)

    def _encode_leaf(self, page: _Page) -> None:
        for row in page.rows:
            row.blobs = [_settled(ref) for ref in row.blobs]
            row.lists = [_settled(ref) for ref in row.lists]
        table = _PackTable(self._log)
        items = [
            row.fields | {"blobs": table.refs(row.blobs), "lists": table.refs(row.lists)}
            for row in page.rows
        ]
        packs: set[int] = set().union(*(row.packs() for row in page.rows))
        self._used |= packs
        page.ref = self._levels[0].add(page_to_bytes("leaf", table.names, items))
        outline = None if page.is_open else _outline(page, page.ref, packs)
        self._log.keep_page(self._run, page.ordinal, page.rows, outline)
        page.rows = []

    def _node(self, level: int, pages: Sequence[_Page]) -> _Page:
        table = _PackTable(self._log)
        items = [
            {
                "first": to_path_text(page.first),
                "last": to_path_text(page.last),
                "entries": page.entries,
                "page": table.refs([_placed(page)])[0],
            }
            for page in pages
        ]
        return _Page(
            ordinal=0,
            first=pages[0].first,
            last=pages[-1].last,
            entries=sum(page.entries for page in pages),
            rows=[],
            ref=self._levels[level].add(page_to_bytes("node", table.names, items)),
        )

    def _move_to_list(self, row: Row) -> None:
        refs = [_settled(ref) for ref in row.blobs[:MOST_REFS]]
        table = _PackTable(self._log)
        items = table.refs(refs)
        row.lists.append(self._lists.add(page_to_bytes("list", table.names, items)))
        del row.blobs[:MOST_REFS]
        row.list_packs.update(*map(_packs_of, refs))

    def _move_all_to_lists(self, row: Row) -> None:
        while row.blobs and (row.lists or len(row.blobs) > MOST_REFS):
            self._move_to_list(row)

    def _outside(self, place: Place) -> BlobRef:
        return BlobRef(
            pack=_name(self._log, place.pack),
            offset=place.offset,
            stored=place.stored,
            inner=place.inner,
            length=place.length,
            id=bytes.fromhex(place.id),
            next=None if place.next == NO_PACK else _name(self._log, place.next),
        )


class _PackTable:
    """A page's table of packs, in the order in which its references name them."""

    def __init__(self, log: SendLog) -> None:
        self._log = log
        self._indices: dict[int, int] = {}
        self.names: list[str] = []

    def refs(self, refs: Iterable[Ref]) -> list[list[object]]:
        """References as a page writes them."""
        return [
            [
                self._index(place.pack), place.offset, place.stored, place.inner, place.length,
                place.id, NO_PACK if place.next == NO_PACK else self._index(place.next),
            ]
            for place in map(_settled, refs)
        ]  # fmt: skip

    def _index(self, number: int) -> int:
        index = self._indices.get(number)
        if index is None:
            index = self._indices[number] = len(self.names)
            self.names.append(_name(self._log, number).hex())
        return index


def _groups(pages: list[_Page]) -> Iterable[list[_Page]]:
    group: list[_Page] = []
    for page in pages:
        group.append(page)
        is_cut = zlib.crc32(page.first) >> _NODE_CUT_SHIFT & _NODE_CUT_MASK == 0
        if len(group) >= MOST_ENTRIES or (is_cut and len(group) > 1):
            yield group
            group = []
    if group:
        yield group


def _outline(page: _Page, ref: Ref, packs: set[int]) -> Outline | None:
    """None when a row of the page is always read."""
    vectors = [list(row.vector) for row in page.rows if row.vector is not None]
    if len(vectors) < len(page.rows):
        return None
    return Outline(
        leaf=ref.id,
        packs=frozenset(packs),
        paths=[row.path for row in page.rows],
        vectors=vectors,
        marks=[row.content_mark() for row in page.rows],
    )


def _packs_of(place: Place) -> tuple[int, ...]:
    return (place.pack,) if place.next == NO_PACK else (place.pack, place.next)


def _weight(row: Row) -> int:
    text = sum(len(str(row.fields[name])) for name in ("xattrs", "holes") if name in row.fields)
    return text + _REF_BYTES * (len(row.blobs) + len(row.lists))


def _settled(ref: Ref) -> Place:
    return ref.place() if isinstance(ref, PendingBlob) else ref


def _placed(page: _Page) -> Place:
    if page.ref is None:
        raise RuntimeError("a page was asked for its place before it was stored")
    return _settled(page.ref)


def _name(log: SendLog, number: int) -> bytes:
    pack = log.pack(number)
    if pack is None:
        raise NotWritable(
            "the send-log lost a pack while it was in use; remove the send-log and run again"
        )
    return pack.name
