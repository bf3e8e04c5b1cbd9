"""Where blobs lie, as the writer knows it: by the send-log's numbers of packs.

- A `BlobLocation` is final. It is a tuple because there are millions of them, stored as JSON lists.
- A `PendingBlob` has its place once its frame has been laid on the tape, and counts once the
  store has acknowledged the packs of that frame.
- A `Row` is an entry on its way into a page of the manifest.  Its metadata is the text that stands
  in the page: made once, and kept, stored and written as it is, however often the page changes.
- What is made for each of a million files is not frozen: that would take three times as long.
- An `Outline` is what a finished page had of each row, but for what only its reader needs.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from blake3 import blake3

from backup.sources.files.file_status import Vector

UNLOCATED = -1
NO_PACK = -1
MAX_REFS = 4096  # that a row keeps itself; more lie in lists of as many
FIRST_REFS = 512  # of the first list
MARK_LENGTH = 16


class BlobLocation(NamedTuple):
    """A blob in acknowledged or numbered packs."""

    pack: int
    offset: int
    stored: int
    inner: int
    length: int
    id: str  # hexadecimal
    next: int  # NO_PACK when the frame ends in `pack`

    @property
    def location(self) -> "BlobLocation":
        """Itself: what a pending blob has once its frame was laid."""
        return self


NOWHERE = BlobLocation(UNLOCATED, 0, 0, 0, 0, "", NO_PACK)


@dataclass(kw_only=True, slots=True, eq=False)
class Frame:
    """A frame's place on a tape, filled in when it is laid there."""

    pack: int = UNLOCATED
    offset: int = 0
    stored: int = 0
    next: int = NO_PACK

    @property
    def last_pack(self) -> int:
        """The pack in which the frame ends; UNLOCATED before it is laid."""
        return self.pack if self.next == NO_PACK else self.next


@dataclass(slots=True, eq=False)
class PendingBlob:
    """A blob whose frame may not be laid yet."""

    frame: Frame
    inner: int
    length: int
    id: str
    location: BlobLocation = NOWHERE  # until the frame was laid


def set_locations(frame: Frame, blobs: Iterable[PendingBlob]) -> None:
    """Give the blobs of a frame their places, when it was laid."""
    pack, offset, stored, following = frame.pack, frame.offset, frame.stored, frame.next
    for blob in blobs:
        # As `BlobLocation(...)` does, in half the time.
        blob.location = _new_place(
            BlobLocation, (pack, offset, stored, blob.inner, blob.length, blob.id, following)
        )


_new_place = tuple.__new__

Ref = BlobLocation | PendingBlob


@dataclass(slots=True, eq=False)
class Row:
    """An entry and where its content lies."""

    path: bytes
    text: str  # as `manifest.metadata_to_text` gives it
    size: int
    vector: Vector | None
    blobs: list[Ref] = field(default_factory=list)
    lists: Sequence[Ref] = ()  # which few have
    list_packs: Sequence[tuple[int, int]] = ()  # each pack that they name, and how much of it

    def packs(self) -> set[int]:
        """Every pack that a settled row needs."""
        places = [ref for ref in (*self.blobs, *self.lists) if isinstance(ref, BlobLocation)]
        return {pack for pack, _ in self.list_packs}.union(
            (location.pack for location in places),
            (location.next for location in places if location.next != NO_PACK),
        )

    def content_mark(self) -> str:
        """What tells content from other content; of a file with lists only its size.

        Its references may still be on their way into the lists.
        """
        if self.lists or len(self.blobs) > MAX_REFS:
            return str(self.size)
        if len(self.blobs) == 1:
            return self.blobs[0].id[:MARK_LENGTH]
        ids = "".join(ref.id for ref in self.blobs)
        return blake3(ids.encode()).hexdigest()[:MARK_LENGTH]


@dataclass(frozen=True, kw_only=True, slots=True)
class Outline:
    """A page in short: enough to see that everything in it is as it was."""

    leaf: str  # the id of the page itself
    packs: frozenset[int]  # that its rows need
    paths: list[bytes]
    vectors: list[Vector]
    marks: list[str]  # of the rows' content


@dataclass(frozen=True, kw_only=True, slots=True)
class PageText:
    """A page as the send-log keeps it: what `kept_pages` encoded of its rows."""

    content: bytes
    outline: bytes | None
    uses: list[tuple[int, int]]


@dataclass(frozen=True, kw_only=True, slots=True)
class ReusedPage:
    """A page that the send-log keeps of an earlier run."""

    number: int
    ordinal: int  # among the pages of the run
    started_ns: int  # of that run
    outline: Outline | None  # None: its rows must be looked at
