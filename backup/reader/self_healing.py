"""Self-healing: reads blobs of lost or damaged packs from other packs.

- A writer (backup host) sends the content of a lost pack again, in a new pack. So another recovery
  point can name a blob with the same id in another pack. The caller passes the recovery points of
  the same writer with the same encryption key and hash key. This module searches them, the newest
  first.
- The manifest of a recovery point is a tree of pages. A page that two of these recovery points
  share is read once.
- The found content is compared with the id of the blob. If this content is damaged too, older
  recovery points are searched.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress

from backup.errors import BackupError
from backup.format.manifest import BlobRef, list_from_bytes
from backup.format.object_names import pack_name
from backup.format.snapshot import Body
from backup.reader.blob_reader import BlobReader
from backup.reader.manifest_walk import Page, entries_of, pages_below, top_page

_MAX_LOCATIONS = 4


class BlobHealer:
    """Finder of blobs in other recovery points; for one thread at a time."""

    def __init__(
        self,
        *,
        writer: str,
        body: Body,
        reader: BlobReader,
        others: Callable[[], Iterator[tuple[str, Body]]],
    ) -> None:
        """Set the recovery point `body` to be read, and the others to search.

        `reader` must not have a `heal` callback, because a search would then start other searches.
        `others` yields the name and the body of each recovery point, newest first.
        """
        self._writer = writer
        self._body = body
        self._reader = reader
        self._others = others
        self._other_points: list[tuple[str, Body]] | None = None
        self._bad: set[bytes] = set()  # packs of blobs that the caller could not read
        self._doubted: set[bytes] = set()  # packs of other locations that could not be read
        # Other locations by blob id, each with the name of its recovery point.
        self._locations: dict[bytes, dict[BlobRef, str]] = {}
        self._healed: dict[str, bool] = {}  # sentences, and whether `take_healed` returned them
        self._damaged: set[bytes] = set()  # packs that `take_damaged` returned

    def find(self, ref: BlobRef) -> bytes | None:
        """Return the blob's content from another pack, or None."""
        if ref.pack not in self._bad or ref.id not in self._locations:
            self._bad |= ref.packs
            self._search(ref)
        while True:
            doubted = len(self._doubted)
            for location, point in self._locations[ref.id].items():
                try:
                    content = bytes(
                        self._reader.verified_blob(location, self._reader.frame(location))
                    )
                except BackupError:
                    self._doubted |= location.packs
                    continue
                lost = pack_name(self._writer, ref.pack.hex())
                self._healed.setdefault(
                    f"{lost} is missing or damaged; its content was read from {point}", False
                )
                return content
            if len(self._doubted) == doubted:
                return None
            # Search older recovery points too. This happens at most once for each unreadable pack.
            self._search(ref)

    def take_healed(self) -> list[str]:
        """Return a sentence for each pack that was healed since the last call."""
        new = [sentence for sentence, is_given in self._healed.items() if not is_given]
        self._healed.update(dict.fromkeys(new, True))
        return new

    def take_damaged(self) -> list[str]:
        """Return the names of packs with unreadable content, each once.

        If a frame (compressed content) is in two packs, both are named, because either may be
        damaged.
        """
        new = (self._bad | self._doubted) - self._damaged
        self._damaged |= new
        return sorted(pack_name(self._writer, pack.hex()) for pack in new)

    def _search(self, ref: BlobRef) -> None:
        if self._other_points is None:
            self._other_points = list(self._others())
        wanted = {ref.id}
        if not self._other_points:
            self._locations[ref.id] = {}
            return
        seen: set[bytes | BlobRef] = set()  # ids of pages that were read, and locations tried
        for found in self._refs(top_page(self._body), seen):
            if not self._bad.isdisjoint(found.packs):
                wanted.add(found.id)
        self._locations.update({id_: {} for id_ in wanted})
        for point, body in self._other_points:
            for found in self._refs(top_page(body), seen):
                if (
                    found.id in wanted
                    and self._bad.isdisjoint(found.packs)
                    and self._has_room(self._locations[found.id], found)
                ):
                    self._locations[found.id].setdefault(found, point)
            if all(any(map(self._is_sure, self._locations[id_])) for id_ in wanted):
                return

    def _has_room(self, locations: dict[BlobRef, str], ref: BlobRef) -> bool:
        """Return whether to store another location of a blob."""
        return len(locations) < _MAX_LOCATIONS or (
            self._is_sure(ref) and not any(map(self._is_sure, locations))
        )

    def _is_sure(self, ref: BlobRef) -> bool:
        return self._doubted.isdisjoint(ref.packs)

    def _refs(self, page: Page, seen: set[bytes | BlobRef]) -> Iterator[BlobRef]:
        """Yield the reference of a page; if the page is new, also those in it."""
        yield page.ref
        if page.ref.id in seen or page.ref in seen:
            return
        seen.add(page.ref)  # an unreadable page may also be in another pack
        try:
            pages = pages_below(self._reader, page) if page.depth else ()
            entries = () if page.depth else entries_of(self._reader, page)
        except BackupError:
            return
        seen.add(page.ref.id)
        for below in pages:
            yield from self._refs(below, seen)
        for entry in entries:
            yield from entry.lists
            yield from entry.blobs
            for ref in dict.fromkeys(entry.lists):
                # A file with an unreadable list page cannot be restored, so its blobs are not
                # needed.
                with suppress(BackupError):
                    yield from list_from_bytes(self._reader.blob(ref), "a list")
