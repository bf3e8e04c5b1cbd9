"""The keyed check: what the recovery points reach is opened and compared with its hash.

- Every page of every point is read, each once however many points share it, so a reference into
  nothing is found wherever it stands.  So is each list, which a file may name any number of times.
- Content is read whole, each blob once, or by a sample: pieces drawn at random, each byte of what
  the points would restore being as likely, point by point.
- A reference into a pack that the snapshot does not name is an error too: a keeper would free
  that pack.
- A pack with a problem is noted where packs are judged, and not tried again.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from backup.checker.pack_check import Packs
from backup.checker.sampling import Sample, draw
from backup.errors import BackupError, Damaged, StoreUnavailable
from backup.findings import BACK_UP_AGAIN, Findings
from backup.format.manifest import (
    BlobRef,
    Child,
    Entry,
    leaf_from_bytes,
    list_from_bytes,
    node_from_bytes,
)
from backup.format.object_names import pack_name
from backup.reader.blob_reader import BlobReader
from backup.records import RecoveryPoint, Sampled
from backup.repository import Repository


@dataclass(frozen=True, kw_only=True, slots=True)
class _Page:
    """What lies below a page, or in a list."""

    files: int = 0
    size: int = 0  # of the content that can be reached
    packs: frozenset[bytes] = frozenset()
    is_whole: bool = True  # every page below could be read


@dataclass(frozen=True, kw_only=True, slots=True)
class _Tree:
    """A point's tree, once its pages were checked."""

    point: RecoveryPoint
    reader: BlobReader
    # What a reference is opened by: another point may mean something else by the same one.
    opened_by: tuple[str, str, bytes]  # writer, domain, id key
    root: BlobRef
    depth: int


class Contents:
    """One keyed check of every point that has not expired."""

    def __init__(
        self,
        repository: Repository,
        packs: Mapping[str, Packs],
        found: Findings,
        tell: Callable[[str, int], None],
    ) -> None:
        self._repository = repository
        self._packs = packs
        self._found = found
        self._tell = tell
        self._pages: dict[tuple[object, ...], _Page] = {}
        self._lists: dict[tuple[object, ...], _Page] = {}
        self._checked: set[int] = set()  # a hash of each reference: of millions, too
        self._reads_content = True
        self.opened_all = True  # whether the identity opens every point

    def check(self) -> None:
        """Read every point of every domain that the identity opens."""
        for _ in self._points():
            pass

    def sample(self, sample: Sample, random: Callable[[int], bytes]) -> Sampled:
        """Read every page, and content only where a draw falls."""
        self._reads_content = False
        sizes = [(point, page.size) for point, page in self._points()]
        total = sum(size for _, size in sizes)
        drawn = draw(total, sample.pieces, random) if total else []
        base = 0
        for point, size in sizes:
            mine = _between(drawn, base, size)
            base += size
            if mine:
                tree, _ = self._open(point)
                self._draw(tree, tree.root, tree.depth, mine)
        return Sampled(
            pieces=len(drawn),
            content_bytes=total,
            damage=sample.damage,
            confidence=sample.confidence if drawn else 0.0,
        )

    def _points(self) -> Iterator[tuple[RecoveryPoint, _Page]]:
        """Check the pages of each point; one reader at a time, since each keeps what it read."""
        for point in self._repository.points():
            packs = self._packs.get(point.writer)
            if packs is None or point.sequence not in packs.unexpired:
                continue
            domain = self._repository.trust.root.domain(point.domain)
            if domain is not None and domain.erased is not None:
                continue  # said of the key store
            if not self._repository.opens(point):
                self.opened_all = False
                self._found.note(
                    point.object_name,
                    f"its domain {point.domain} is not opened by this key: it was not read",
                    "run the check with a custodian's key of that domain",
                )
                continue
            try:
                tree, files = self._open(point)
            except StoreUnavailable:
                raise
            except BackupError as error:
                self._error(point, str(error))
                continue
            yield point, self._check_point(tree, files, packs)

    def _open(self, point: RecoveryPoint) -> tuple[_Tree, int]:
        _, body, reader = self._repository.open_point(point)
        tree = _Tree(
            point=point,
            reader=reader,
            opened_by=(point.writer, point.domain, body.id_key),
            root=body.root,
            depth=body.depth,
        )
        return tree, body.files

    def _check_point(self, tree: _Tree, files: int, packs: Packs) -> _Page:
        page = self._page(tree, tree.root, tree.depth, None)
        try:
            named = packs.history.packs_of(tree.point.sequence)
        except Damaged:
            named = None  # said by the keyless check
        unnamed = set() if named is None else {pack.hex() for pack in page.packs} - named
        for pack in sorted(unnamed):
            self._error(tree.point, f"it reaches pack {pack}, which it does not name as needed")
        if page.is_whole and page.files != files:
            self._error(tree.point, f"it counts {files} files and holds {page.files}")
        return page

    def _page(self, tree: _Tree, ref: BlobRef, depth: int, child: Child | None) -> _Page:
        """Check a page and everything below it, once for all points that mean the same by it."""
        # A page that one parent lists as it is may be listed wrongly by another, and a restore
        # from there refuses it; so it is with a reference to the same content.
        listed = None if child is None else (child.first, child.last, child.entries)
        key = (tree.opened_by, ref, depth, listed)
        known = self._pages.get(key)
        if known is not None:
            return known
        items = self._items(tree, ref, depth, child)
        if items is None:
            page = _Page(packs=ref.packs, is_whole=False)
        else:
            below = [
                self._page(tree, item.page, depth - 1, item)
                if isinstance(item, Child)
                else self._entry(tree, item)
                for item in items
            ]
            page = _Page(
                files=sum(one.files for one in below),
                size=sum(one.size for one in below),
                packs=ref.packs.union(*(one.packs for one in below)),
                is_whole=all(one.is_whole for one in below),
            )
        self._pages[key] = page
        return page

    def _items(
        self, tree: _Tree, ref: BlobRef, depth: int, child: Child | None
    ) -> Sequence[Child | Entry] | None:
        data = self._blob(tree, ref, f"a page of {tree.point.name}")
        if data is None:
            return None
        where = f"page {ref.id.hex()[:16]} of the manifest"
        try:
            if depth:
                return node_from_bytes(data, where, child)
            return leaf_from_bytes(data, where, child)
        except BackupError as error:
            self._error(tree.point, str(error))
            return None

    def _entry(self, tree: _Tree, entry: Entry) -> _Page:
        if entry.kind != "file":
            return _Page()
        self._tell(f"{tree.point.name} {entry.text}", 0)
        packs = set[bytes]().union(*(ref.packs for ref in set(entry.lists)))
        lists = self._lists_of(tree, entry)
        if lists is None:
            return _Page(files=1, packs=frozenset(packs))
        own = self._refs(tree, entry, entry.blobs)
        size = sum(lists[ref].size for ref in entry.lists) + own.size
        if size != (wanted := _content_bytes(entry)):
            self._error(
                tree.point, f"{entry.text} has {size} bytes of content where {wanted} belong"
            )
        packs.update(own.packs, *(one.packs for one in lists.values()))
        return _Page(files=1, size=size, packs=frozenset(packs))

    def _lists_of(self, tree: _Tree, entry: Entry) -> dict[BlobRef, _Page] | None:
        """What the lists of a file come to; None when one of them cannot be read."""
        found: dict[BlobRef, _Page] = {}
        for ref in dict.fromkeys(entry.lists):
            key = (tree.opened_by, ref)
            known = self._lists.get(key)
            if known is None:
                listed = self._listed(tree, ref, entry)
                if listed is None:
                    return None
                known = self._lists[key] = self._refs(tree, entry, listed)
            found[ref] = known
        return found

    def _listed(self, tree: _Tree, ref: BlobRef, entry: Entry) -> list[BlobRef] | None:
        data = self._blob(tree, ref, f"{entry.text} of {tree.point.name}")
        if data is None:
            return None
        try:
            return list(list_from_bytes(data, f"a list of {entry.text}"))
        except BackupError as error:
            self._error(tree.point, f"{entry.text}: {error}")
            return None

    def _refs(self, tree: _Tree, entry: Entry, refs: Sequence[BlobRef]) -> _Page:
        packs: set[bytes] = set()
        for ref in refs:
            packs.update(ref.packs)
            if self._reads_content:
                self._check_once(tree, ref, entry)
        return _Page(size=sum(ref.length for ref in refs), packs=frozenset(packs))

    def _check_once(self, tree: _Tree, ref: BlobRef, entry: Entry) -> None:
        key = hash((tree.opened_by, ref))
        if key not in self._checked:
            self._checked.add(key)
            self._blob(tree, ref, f"{entry.text} of {tree.point.name}")

    def _blob(self, tree: _Tree, ref: BlobRef, cost: str) -> bytes | None:
        """A blob that is what its reference says; None, once the pack's problem is noted."""
        packs = self._packs[tree.point.writer]
        if any(packs.is_lost(pack.hex()) for pack in ref.packs):
            return None
        before = tree.reader.bytes_read
        try:
            return tree.reader.blob(ref)
        except Damaged as error:
            # Where a frame crosses into the next pack, the one that is to blame names itself.
            pack = ref.pack
            if ref.next is not None and pack_name(tree.point.writer, ref.next.hex()) in str(error):
                pack = ref.next
            packs.lose(pack.hex(), str(error), "opening", cost=cost)
            return None
        finally:
            self._tell(cost, tree.reader.bytes_read - before)

    def _draw(
        self,
        tree: _Tree,
        ref: BlobRef,
        depth: int,
        drawn: Sequence[int],
        child: Child | None = None,
    ) -> None:
        """Check the pieces that the drawn bytes below a page lie in."""
        base = 0
        for item in self._items(tree, ref, depth, child) or ():
            if isinstance(item, Child):
                size = self._page(tree, item.page, depth - 1, item).size
                mine = _between(drawn, base, size)
                if mine:
                    self._draw(tree, item.page, depth - 1, mine, item)
                base += size
            elif item.kind == "file" and (lists := self._lists_of(tree, item)) is not None:
                for ref in item.lists:
                    mine = _between(drawn, base, lists[ref].size)
                    base += lists[ref].size
                    if mine:
                        self._draw_refs(tree, item, self._listed(tree, ref, item) or (), mine)
                size = sum(blob.length for blob in item.blobs)
                self._draw_refs(tree, item, item.blobs, _between(drawn, base, size))
                base += size

    def _draw_refs(
        self, tree: _Tree, entry: Entry, refs: Sequence[BlobRef], drawn: Sequence[int]
    ) -> None:
        base = 0
        for ref in refs if drawn else ():
            if _between(drawn, base, ref.length):
                self._check_once(tree, ref, entry)
            base += ref.length

    def _error(self, point: RecoveryPoint, problem: str) -> None:
        self._found.error(
            point.object_name, problem, BACK_UP_AGAIN, depth="opening", kind="content"
        )


def _content_bytes(entry: Entry) -> int:
    return entry.size - sum(length for _, length in entry.holes)


def _between(drawn: Sequence[int], base: int, size: int) -> list[int]:
    """Those of the sorted numbers that fall into a stretch, counted from its start."""
    low, high = bisect_left(drawn, base), bisect_left(drawn, base + size)
    return [at - base for at in drawn[low:high]]
