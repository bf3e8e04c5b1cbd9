"""Content check: decrypts and hashes pages and blobs of recovery points.

- The manifest of a recovery point is a tree of pages that refer to blobs. Every page of every
  manifest is read, so every reference to a missing blob is found. A page that several recovery
  points share is read once. A list page, which contains references of a large file, is also read
  once, even if several files name it.
- The content of files is read completely (each blob once), or as a sample of random pieces. A
  sample draws uniformly from the bytes of all recovery points. So a byte that is in three recovery
  points is three times as likely to be drawn.
- A reference to a blob in a pack that the snapshot does not name is an error too. The keeper, the
  machine that expires backups, could remove that pack as unneeded.
- After a pack is found damaged, it is not read again. `pack_check` reports it.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from backup.checker.pack_check import PackCheck
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
    """Summary of a page and all pages below it, of a list page, or of a file."""

    files: int = 0
    size: int = 0  # bytes of content
    packs: frozenset[bytes] = frozenset()
    is_whole: bool = True  # whether this page and every page below it could be read


@dataclass(frozen=True, kw_only=True, slots=True)
class _Tree:
    """The manifest of a recovery point, and the reader for it."""

    point: RecoveryPoint
    reader: BlobReader
    # Backup host, encryption domain and hash key. They are part of each cache key: for another
    # host, domain or hash key, the same reference may mean other content.
    opened_by: tuple[str, str, bytes]
    root_page: BlobRef
    depth: int


class ContentCheck:
    """Check of every recovery point that has not expired."""

    def __init__(
        self,
        repository: Repository,
        packs: Mapping[str, PackCheck],
        found: Findings,
        on_progress: Callable[[str, int], None],
    ) -> None:
        self._repository = repository
        self._packs = packs
        self._found = found
        self._on_progress = on_progress
        self._pages: dict[tuple[object, ...], _Page] = {}
        self._lists: dict[tuple[object, ...], _Page] = {}
        self._checked: set[int] = set()  # hashes of references, because there may be millions
        self._reads_content = True
        self.opened_all = True  # whether the given private key opens all recovery points

    def check(self) -> None:
        """Check all pages and content that the identity can decrypt."""
        for _ in self._check_points():
            pass

    def sample(self, sample: Sample, random: Callable[[int], bytes]) -> Sampled:
        """Check every page, and the blobs that contain randomly drawn bytes."""
        self._reads_content = False
        sizes = [(point, page.size) for point, page in self._check_points()]
        total = sum(size for _, size in sizes)
        drawn = draw(total, sample.pieces, random) if total else []
        base = 0
        for point, size in sizes:
            local_draws = _select_range(drawn, base, size)
            base += size
            if local_draws:
                tree, _ = self._open(point)
                self._check_drawn(tree, tree.root_page, tree.depth, local_draws)
        return Sampled(
            pieces=len(drawn),
            content_bytes=total,
            damage=sample.damage,
            confidence=sample.confidence if drawn else 0.0,
        )

    def _check_points(self) -> Iterator[tuple[RecoveryPoint, _Page]]:
        """Check the pages of each recovery point; yield its summary.

        Only one reader exists at a time, because a reader keeps content in memory.
        """
        for point in self._repository.points():
            packs = self._packs.get(point.writer)
            if packs is None or point.sequence not in packs.unexpired:
                continue
            domain = self._repository.trust.root.domain(point.domain)
            if domain is not None and domain.erased is not None:
                continue  # reported by the check of the key records
            if not self._repository.can_open(point):
                self.opened_all = False
                self._found.note(
                    point.object_name,
                    f"this key does not open its domain {point.domain}, so it was not read",
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
            root_page=body.root_page,
            depth=body.depth,
        )
        return tree, body.files

    def _check_point(self, tree: _Tree, files: int, packs: PackCheck) -> _Page:
        page = self._check_page(tree, tree.root_page, tree.depth, None)
        try:
            named = packs.history.needed_packs(tree.point.sequence)
        except Damaged:
            named = None  # reported by the check without a key
        unnamed = set() if named is None else {pack.hex() for pack in page.packs} - named
        for pack in sorted(unnamed):
            self._error(tree.point, f"it reaches pack {pack}, but does not name it as needed")
        if page.is_whole and page.files != files:
            self._error(tree.point, f"it counts {files} files but contains {page.files}")
        return page

    def _check_page(self, tree: _Tree, ref: BlobRef, depth: int, child: Child | None) -> _Page:
        """Check a page and the pages below it, once for each description of it."""
        # Two nodes can list one page with different descriptions. A restore through the node with
        # the wrong description refuses the page. So each description is checked.
        listed = None if child is None else (child.first, child.last, child.entries)
        key = (tree.opened_by, ref, depth, listed)
        known = self._pages.get(key)
        if known is not None:
            return known
        items = self._items(tree, ref, depth, child)
        if items is None:
            page = _Page(packs=ref.packs, is_whole=False)
        else:
            children = [
                self._check_page(tree, item.page, depth - 1, item)
                if isinstance(item, Child)
                else self._check_entry(tree, item)
                for item in items
            ]
            page = _Page(
                files=sum(page.files for page in children),
                size=sum(page.size for page in children),
                packs=ref.packs.union(*(page.packs for page in children)),
                is_whole=all(page.is_whole for page in children),
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

    def _check_entry(self, tree: _Tree, entry: Entry) -> _Page:
        if entry.kind != "file":
            return _Page()
        self._on_progress(f"{tree.point.name} {entry.text}", 0)
        packs = set[bytes]().union(*(ref.packs for ref in set(entry.lists)))
        lists = self._check_lists(tree, entry)
        if lists is None:
            return _Page(files=1, packs=frozenset(packs))
        direct = self._check_refs(tree, entry, entry.blobs)
        size = sum(lists[ref].size for ref in entry.lists) + direct.size
        if size != (expected := _content_bytes(entry)):
            self._error(
                tree.point, f"{entry.text} has {size} bytes of content instead of {expected}"
            )
        packs.update(direct.packs, *(page.packs for page in lists.values()))
        return _Page(files=1, size=size, packs=frozenset(packs))

    def _check_lists(self, tree: _Tree, entry: Entry) -> dict[BlobRef, _Page] | None:
        """Check the list pages of a file; return None if any cannot be read."""
        summaries: dict[BlobRef, _Page] = {}
        for ref in dict.fromkeys(entry.lists):
            key = (tree.opened_by, ref)
            known = self._lists.get(key)
            if known is None:
                listed = self._read_list(tree, ref, entry)
                if listed is None:
                    return None
                known = self._lists[key] = self._check_refs(tree, entry, listed)
            summaries[ref] = known
        return summaries

    def _read_list(self, tree: _Tree, ref: BlobRef, entry: Entry) -> list[BlobRef] | None:
        data = self._blob(tree, ref, f"{entry.text} of {tree.point.name}")
        if data is None:
            return None
        try:
            return list(list_from_bytes(data, f"a list of {entry.text}"))
        except BackupError as error:
            self._error(tree.point, f"{entry.text}: {error}")
            return None

    def _check_refs(self, tree: _Tree, entry: Entry, refs: Sequence[BlobRef]) -> _Page:
        packs: set[bytes] = set()
        for ref in refs:
            packs.update(ref.packs)
            if self._reads_content:
                self._check_blob_once(tree, ref, entry)
        return _Page(size=sum(ref.length for ref in refs), packs=frozenset(packs))

    def _check_blob_once(self, tree: _Tree, ref: BlobRef, entry: Entry) -> None:
        key = hash((tree.opened_by, ref))
        if key not in self._checked:
            self._checked.add(key)
            self._blob(tree, ref, f"{entry.text} of {tree.point.name}")

    def _blob(self, tree: _Tree, ref: BlobRef, affected: str) -> bytes | None:
        """Return a blob, or None if its pack is damaged.

        `affected` names the path or page that is lost without the blob.
        """
        packs = self._packs[tree.point.writer]
        if any(packs.is_lost(pack.hex()) for pack in ref.packs):
            return None
        before = tree.reader.bytes_read
        try:
            return tree.reader.blob(ref)
        except Damaged as error:
            # If the blob continues in the next pack, the error names the damaged pack.
            pack = ref.pack
            if ref.next is not None and pack_name(tree.point.writer, ref.next.hex()) in str(error):
                pack = ref.next
            packs.mark_lost(pack.hex(), str(error), "opening", affected=affected)
            return None
        finally:
            self._on_progress(affected, tree.reader.bytes_read - before)

    def _check_drawn(
        self,
        tree: _Tree,
        ref: BlobRef,
        depth: int,
        drawn: Sequence[int],
        child: Child | None = None,
    ) -> None:
        """Check the blobs below a page that contain drawn bytes."""
        base = 0
        for item in self._items(tree, ref, depth, child) or ():
            if isinstance(item, Child):
                size = self._check_page(tree, item.page, depth - 1, item).size
                local_draws = _select_range(drawn, base, size)
                if local_draws:
                    self._check_drawn(tree, item.page, depth - 1, local_draws, item)
                base += size
            elif item.kind == "file" and (lists := self._check_lists(tree, item)) is not None:
                for ref in item.lists:
                    local_draws = _select_range(drawn, base, lists[ref].size)
                    base += lists[ref].size
                    if local_draws:
                        self._check_drawn_refs(
                            tree, item, self._read_list(tree, ref, item) or (), local_draws
                        )
                size = sum(blob.length for blob in item.blobs)
                self._check_drawn_refs(tree, item, item.blobs, _select_range(drawn, base, size))
                base += size

    def _check_drawn_refs(
        self, tree: _Tree, entry: Entry, refs: Sequence[BlobRef], drawn: Sequence[int]
    ) -> None:
        base = 0
        for ref in refs if drawn else ():
            if _select_range(drawn, base, ref.length):
                self._check_blob_once(tree, ref, entry)
            base += ref.length

    def _error(self, point: RecoveryPoint, problem: str) -> None:
        self._found.error(
            point.object_name, problem, BACK_UP_AGAIN, depth="opening", kind="content"
        )


def _content_bytes(entry: Entry) -> int:
    return entry.size - sum(length for _, length in entry.holes)


def _select_range(drawn: Sequence[int], base: int, size: int) -> list[int]:
    """Return the drawn numbers within a range, relative to its start."""
    low, high = bisect_left(drawn, base), bisect_left(drawn, base + size)
    return [number - base for number in drawn[low:high]]
