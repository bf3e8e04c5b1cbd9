"""Manifest builder: where a page ends, lists of references, the tree.

A row is the manifest entry of one path. Leaf pages contain rows; node pages refer to other pages.
Each page is a blob.

- A page ends after a path that is selected by its CRC-32 (1 path in 1,024), after 4,096 entries, or
  at about 2 MiB. So a change in one folder leaves the pages of other folders unchanged, and
  unchanged pages are not stored again.
- A page is encoded when all its blobs have a location in a pack; then its rows are released. An
  encoded page names packs by hash, so these packs must be stored first.
- The entry of a file contains references to its blobs. If a file has more than 4,096 blobs, the
  references are in list pages, which are stored before the leaf page of the file.
- `finish` returns a finished tree. Rows that are added later continue the last page of the tree.
"""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import ge

from backup.archiver.archiver_records import (
    FIRST_REFS,
    MAX_REFS,
    NO_PACK,
    NOWHERE,
    UNLOCATED,
    BlobLocation,
    Outline,
    PageText,
    Ref,
    ReusedPage,
    Row,
)
from backup.archiver.blob_writer import BlobWriter
from backup.archiver.upload_cache.cache import UploadCache
from backup.archiver.upload_cache.page_encoding import outline_to_bytes, pack_uses, rows_to_bytes
from backup.errors import BackupError
from backup.format.canonical_json import to_path_text
from backup.format.manifest import BlobRef, path_key
from backup.format.manifest_encoding import (
    entry_to_text,
    leaf_to_bytes,
    page_to_bytes,
    refs_to_texts,
)

MAX_PAGE_ENTRIES = 4096
CUT_MASK = 1024 - 1  # of the CRC-32 of the last path of a leaf page
_NODE_CUT_SHIFT = 10
_NODE_CUT_MASK = 256 - 1
PAGE_BYTES = 2 * 1024 * 1024
_REF_BYTES = 120  # estimated size of a reference in a page


class PacksFreed(Exception):
    """Packs that the manifest needs are marked for removal or damaged."""


@dataclass(kw_only=True, slots=True, eq=False)
class _EncodedPage:
    """An encoded leaf page, which is not stored yet."""

    entries: list[str]
    table: "_PackTable"
    text: PageText
    packs: set[int]  # packs that it names
    last_pack: int  # the store must have the packs up to this number


@dataclass(kw_only=True, slots=True, eq=False)
class _Page:
    """A page of the manifest; `ref` is set after its blob was added."""

    ordinal: int
    first: bytes
    last: bytes
    entries: int
    rows: list[Row]
    large: Sequence[Row] = ()  # rows that have list pages or need them
    encoded: _EncodedPage | None = None  # set after encoding; `rows` is empty then
    ref: Ref | None = None
    is_open: bool = False  # ended by a commit; further rows may follow in the same page


@dataclass(frozen=True, kw_only=True, slots=True)
class Tree:
    """A finished manifest; everything that it names is in the store."""

    root_page: BlobRef
    depth: int  # levels of nodes above the leaves
    packs: frozenset[int]  # numbers of the packs that it needs


class ManifestBuilder:
    """Receives rows in path order; call from one thread only."""

    def __init__(self, *, cache: UploadCache, run: int, data: BlobWriter) -> None:
        self._cache = cache
        self._run = run
        self._data = data
        self._lists = data.open_page_writer()
        self._levels = [data.open_page_writer()]  # leaves, then each level of nodes
        self._leaves: list[_Page] = []
        self._waiting: list[_Page] = []
        self._rows: list[Row] = []  # rows of the unfinished page
        self._bytes = 0
        self._used: set[int] = set()  # packs that the encoded leaves name

    def add(self, *rows: Row) -> None:
        """Add the next rows; their blobs may still be pending."""
        crc, open_page, size = zlib.crc32, self._rows, self._bytes
        for row in rows:
            open_page.append(row)
            size += len(row.text) + _REF_BYTES * (1 + len(row.blobs) + len(row.lists))
            if (
                crc(row.path) & CUT_MASK == 0
                or size >= PAGE_BYTES
                or len(open_page) >= MAX_PAGE_ENTRIES
            ):
                self._end_page()
                open_page, size = self._rows, 0
        self._bytes = size

    def _end_page(self) -> None:
        page = self._new_page(self._rows)
        self._rows, self._bytes = [], 0
        self._leaves.append(page)
        self._waiting.append(page)
        self.store_ready_pages()

    @property
    def is_between_pages(self) -> bool:
        """Return whether the next row starts a page."""
        return not self._rows

    @property
    def is_empty(self) -> bool:
        """Return whether no row and no page was added yet."""
        return not self._rows and not self._leaves

    def reuse(self, kept: ReusedPage, outline: Outline) -> None:
        """Add a whole page of an earlier run unchanged.

        Call it only if `is_between_pages`.
        """
        self._check_order(outline.paths[:1])
        page = _Page(
            ordinal=len(self._leaves),
            first=outline.paths[0],
            last=outline.paths[-1],
            entries=len(outline.paths),
            rows=[],
            ref=self._cache.find(outline.leaf),
        )
        self._leaves.append(page)
        self._used |= outline.packs
        self._cache.runs.reuse_page(kept, self._run, page.ordinal)

    def spill(self, row: Row) -> None:
        """Move references of a growing row to list pages, to bound memory.

        Only references to blobs that the store has are moved.
        """
        while len(row.blobs) > MAX_REFS and all(map(self._data.has, row.blobs[:MAX_REFS])):
            self._move_to_list(row)

    def store_ready_pages(self) -> None:
        """Encode and store the waiting pages that are ready.

        A page can be encoded when its blobs have locations. It can be stored when the store has all
        packs that it names.
        """
        waiting: list[_Page] = []
        for page in self._waiting:
            if page.encoded is None and self._can_be_encoded(page):
                page.encoded = self._encode_leaf(page)
                page.rows, page.large = [], ()
            encoded = page.encoded
            if encoded is not None and self._data.has_packs_up_to(encoded.last_pack):
                self._store_leaf(page, encoded)
                page.encoded = None
            else:
                waiting.append(page)
        self._waiting = waiting

    def finish(self) -> Tree:
        """Store the pages of all rows so far and return the tree."""
        leaves = list(self._leaves)
        if self._rows:
            page = self._new_page(self._rows)
            page.is_open = True
            leaves.append(page)
            self._waiting.append(page)
        self._data.locate_all()
        self.store_ready_pages()  # encodes pages while the last packs are stored
        self._data.flush()
        self.store_ready_pages()
        self._lists.flush()
        self.store_ready_pages()
        self._levels[0].flush()
        used = set(self._used)
        children = leaves
        depth = 0
        while len(children) > 1:
            depth += 1
            if depth == len(self._levels):
                self._levels.append(self._data.open_page_writer())
            used.update(*(_location_packs(_require_location(child)) for child in children))
            children = [self._write_node(depth, group) for group in _group_into_nodes(children)]
            self._levels[depth].flush()
        root = _require_location(children[0])
        used.update(_location_packs(root))
        return Tree(root_page=self._to_blob_ref(root), depth=depth, packs=frozenset(used))

    def _new_page(self, rows: list[Row]) -> _Page:
        self._check_order([row.path for row in rows])
        return _Page(
            ordinal=len(self._leaves),
            first=rows[0].path,
            last=rows[-1].path,
            entries=len(rows),
            rows=list(rows),
            large=[row for row in rows if row.lists or len(row.blobs) > MAX_REFS],
        )

    def _check_order(self, paths: Sequence[bytes]) -> None:
        """Raise `BackupError` if a path is a duplicate or out of order."""
        paths = [*(page.last for page in self._leaves[-1:]), *paths]
        keys = [path_key(path) for path in paths]
        is_wrong = [False, *map(ge, keys, keys[1:])]
        if any(is_wrong):
            source = paths[is_wrong.index(True)].partition(b"/")[0].decode()
            raise BackupError(
                f"source {source}: it returned a path twice or out of order, which no restore"
                " accepts; no recovery point was made. Report this: it is a bug."
            )

    def _can_be_encoded(self, page: _Page) -> bool:
        # Search from the end: the blobs that were read last get their locations last, so a missing
        # location is mostly found at once.
        if any(ref.location is NOWHERE for row in reversed(page.rows) for ref in row.blobs):
            return False
        if not all(self._data.has(ref) for row in page.large for ref in row.blobs):
            return False
        # The store must have the list pages too. If their upload is not finished, a later call of
        # `store_ready_pages` encodes the page.
        for row in page.large:
            self._move_all_to_lists(row)
        return all(self._lists.has(ref) for row in page.large for ref in row.lists)

    def _encode_leaf(self, page: _Page) -> _EncodedPage:
        rows = page.rows
        for row in page.large:
            row.lists = [ref.location for ref in row.lists]
        locations = [ref.location for row in rows for ref in (*row.blobs, *row.lists)]
        table = _PackTable()
        texts = iter(refs_to_texts(locations, table))
        entries = [
            entry_to_text(row.text, next(texts))
            if len(row.blobs) == 1 and not row.lists
            else entry_to_text(
                row.text, _join_next(texts, len(row.blobs)), _join_next(texts, len(row.lists))
            )
            for row in rows
        ]
        # `LinkedFiles` may have moved a row to a database before the pack of its blobs was stored.
        # So look up each pack in the upload cache, which has only stored packs.
        unstored = (number for number in table.numbers if self._cache.pack(number) is None)
        last_pack = max(unstored, default=UNLOCATED)
        packs = set(table.numbers)
        packs.update(pack for row in page.large for pack, _ in row.list_packs)
        outline = None if page.is_open else outline_to_bytes(rows, packs)
        content = rows_to_bytes(rows, entries, table.numbers, has_outline=outline is not None)
        text = PageText(content=content, outline=outline, uses=pack_uses(locations, page.large))
        return _EncodedPage(
            entries=entries, table=table, text=text, packs=packs, last_pack=last_pack
        )

    def _store_leaf(self, page: _Page, encoded: _EncodedPage) -> None:
        self._used |= encoded.packs
        names = encoded.table.names(self._cache)
        page.ref = self._levels[0].add(leaf_to_bytes(names, encoded.entries))
        self._cache.runs.store_page(self._run, page.ordinal, encoded.text, page.ref.id)

    def _write_node(self, level: int, pages: Sequence[_Page]) -> _Page:
        table = _PackTable()
        items = [
            {
                "first": to_path_text(page.first),
                "last": to_path_text(page.last),
                "entries": page.entries,
                "page": table.refs([_require_location(page)])[0],
            }
            for page in pages
        ]
        return _Page(
            ordinal=0,
            first=pages[0].first,
            last=pages[-1].last,
            entries=sum(page.entries for page in pages),
            rows=[],
            ref=self._levels[level].add(page_to_bytes("node", table.names(self._cache), items)),
        )

    def _move_to_list(self, row: Row) -> None:
        # The first list is short, because all workers of a restore wait for it.
        count = MAX_REFS if row.lists else min(FIRST_REFS, MAX_REFS)
        refs = [ref.location for ref in row.blobs[:count]]
        table = _PackTable()
        items = table.refs(refs)
        page = page_to_bytes("list", table.names(self._cache), items)
        row.lists = [*row.lists, self._lists.add(page)]
        del row.blobs[:count]
        packs = dict(row.list_packs)
        for ref in refs:
            for pack in _location_packs(ref):
                packs[pack] = packs.get(pack, 0) + ref.length
        row.list_packs = list(packs.items())

    def _move_all_to_lists(self, row: Row) -> None:
        while row.blobs and (row.lists or len(row.blobs) > MAX_REFS):
            self._move_to_list(row)

    def _to_blob_ref(self, location: BlobLocation) -> BlobRef:
        return BlobRef(
            pack=_pack_sha256(self._cache, location.pack),
            offset=location.offset,
            stored=location.stored,
            inner=location.inner,
            length=location.length,
            id=bytes.fromhex(location.id),
            next=None if location.next == NO_PACK else _pack_sha256(self._cache, location.next),
        )


class _PackTable(dict[int, int]):
    """Table of the packs that a page names: pack numbers and their indexes.

    A lookup adds a missing pack. So packs are in the order in which references first name them.
    """

    def __init__(self) -> None:
        super().__init__({NO_PACK: NO_PACK})

    def __missing__(self, number: int) -> int:
        index = self[number] = len(self) - 1
        return index

    @property
    def numbers(self) -> list[int]:
        """Return the packs, by their numbers in the upload cache."""
        return [number for number in self if number != NO_PACK]

    def names(self, cache: UploadCache) -> list[str]:
        """Return the names of the packs; the store must have all of them."""
        return [_pack_sha256(cache, number).hex() for number in self.numbers]

    def refs(
        self, locations: Iterable[BlobLocation]
    ) -> list[tuple[int, int, int, int, int, str, int]]:
        """Return references as a page writes them."""
        return [
            (self[pack], offset, stored, inner, length, id_, self[next_pack])
            for pack, offset, stored, inner, length, id_, next_pack in locations
        ]


def _join_next(texts: Iterator[str], count: int) -> str:
    """Return the next `count` texts, joined with commas."""
    return ",".join(islice(texts, count))


def _group_into_nodes(pages: list[_Page]) -> Iterable[list[_Page]]:
    group: list[_Page] = []
    for page in pages:
        group.append(page)
        is_cut = zlib.crc32(page.first) >> _NODE_CUT_SHIFT & _NODE_CUT_MASK == 0
        if len(group) >= MAX_PAGE_ENTRIES or (is_cut and len(group) > 1):
            yield group
            group = []
    if group:
        yield group


def _location_packs(location: BlobLocation) -> tuple[int, ...]:
    return (location.pack,) if location.next == NO_PACK else (location.pack, location.next)


def _require_location(page: _Page) -> BlobLocation:
    if page.ref is None or page.ref.location is NOWHERE:
        raise RuntimeError("page has no location: it was not stored yet")
    return page.ref.location


def _pack_sha256(cache: UploadCache, number: int) -> bytes:
    pack = cache.pack(number)
    if pack is None:  # a commit during the run removed it from the cache, after a row had named it
        raise PacksFreed
    return pack.name
