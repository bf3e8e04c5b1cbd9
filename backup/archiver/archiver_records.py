"""Records of the archiver: blob locations, manifest rows, page outlines.

- A blob location names a pack by its number in the upload cache (the local list of stored content),
  not by its hash.
- A `BlobLocation` never changes. It is a tuple because there are millions of locations, and they
  are stored as JSON lists.
- A frame is a compressed unit of a pack; it contains one or more blobs. A `PendingBlob` gets its
  location when its frame is appended to a pack. The blob is stored when the store has acknowledged
  the packs that contain the frame.
- A `Row` is the entry of one path in a manifest page that is not finished. Its metadata is encoded
  once, in the form of the finished page. While the path is unchanged, later runs copy this text
  into their pages.
- An `Outline` is the part of a finished page that change detection compares with the source: the
  paths and their stat vectors (size, times and inode of a file).
- Classes with an instance per file are not frozen, because the creation of a frozen instance takes
  three times as long.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from blake3 import blake3

from backup.sources.files.file_status import Vector

UNLOCATED = -1
NO_PACK = -1
# Most blob references in a row. A file with more blobs has its references in separate pages (list
# pages), each with at most this number.
MAX_REFS = 4096
FIRST_REFS = 512  # references in the first list page
MARK_LENGTH = 16  # hexadecimal digits of a content mark; see `Row.content_mark`


class BlobLocation(NamedTuple):
    """Location of a blob, with the numbers of its packs.

    The fields are those of `manifest.BlobRef`, with the numbers of the packs instead of names.
    """

    pack: int
    offset: int  # of the frame in the pack
    stored: int  # size of the compressed frame in bytes
    inner: int  # offset of the blob in the decompressed frame
    length: int  # size of the blob in bytes
    id: str  # hexadecimal
    next: int  # NO_PACK when the frame ends in `pack`

    @property
    def location(self) -> "BlobLocation":
        """Return this location; `PendingBlob` has the same property."""
        return self


NOWHERE = BlobLocation(UNLOCATED, 0, 0, 0, 0, "", NO_PACK)


@dataclass(kw_only=True, slots=True, eq=False)
class Frame:
    """A frame's location, which is set when the frame is appended to a pack."""

    pack: int = UNLOCATED
    offset: int = 0
    stored: int = 0
    next: int = NO_PACK

    @property
    def last_pack(self) -> int:
        """Return the pack in which the frame ends, or UNLOCATED."""
        return self.pack if self.next == NO_PACK else self.next


@dataclass(slots=True, eq=False)
class PendingBlob:
    """A blob with a frame that is perhaps not in a pack yet."""

    frame: Frame
    inner: int
    length: int
    id: str
    location: BlobLocation = NOWHERE  # set when the frame has a location


def set_locations(frame: Frame, blobs: Iterable[PendingBlob]) -> None:
    """Set the locations of the blobs of a frame that has a location."""
    pack, offset, stored, next_pack = frame.pack, frame.offset, frame.stored, frame.next
    for blob in blobs:
        # Like `BlobLocation(...)`, in half the time.
        blob.location = _new_location(
            BlobLocation, (pack, offset, stored, blob.inner, blob.length, blob.id, next_pack)
        )


_new_location = tuple.__new__

Ref = BlobLocation | PendingBlob


@dataclass(slots=True, eq=False)
class Row:
    """An entry of the manifest and the locations of its content."""

    path: bytes
    text: str  # metadata, from `manifest_encoding.metadata_to_text`
    size: int
    vector: Vector | None
    blobs: list[Ref] = field(default_factory=list)
    lists: Sequence[Ref] = ()  # locations of list pages, if the file has many blobs
    list_packs: Sequence[tuple[int, int]] = ()  # (pack, bytes in it) of blobs that list pages name

    def packs(self) -> set[int]:
        """Return every pack that the row needs; all its blobs must be stored."""
        locations = [ref for ref in (*self.blobs, *self.lists) if isinstance(ref, BlobLocation)]
        return {pack for pack, _ in self.list_packs}.union(
            (location.pack for location in locations),
            (location.next for location in locations if location.next != NO_PACK),
        )

    def content_mark(self) -> str:
        """Return a mark that differs for different content.

        For a file with list pages, the mark is only the size, because most of its references are
        not in the row any more.
        """
        if self.lists or len(self.blobs) > MAX_REFS:
            return str(self.size)
        if len(self.blobs) == 1:
            return self.blobs[0].id[:MARK_LENGTH]
        ids = "".join(ref.id for ref in self.blobs)
        return blake3(ids.encode()).hexdigest()[:MARK_LENGTH]


@dataclass(frozen=True, kw_only=True, slots=True)
class Outline:
    """The part of a page that shows whether its paths are unchanged."""

    leaf: str  # id of the blob that contains the page
    packs: frozenset[int]  # packs that its rows need
    paths: list[bytes]
    vectors: list[Vector]
    marks: list[str]  # content marks of its rows


@dataclass(frozen=True, kw_only=True, slots=True)
class PageText:
    """A manifest page in the encoding of the upload cache."""

    content: bytes
    outline: bytes | None
    uses: list[tuple[int, int]]  # (pack, bytes that the page uses in it)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReusedPage:
    """A page of an earlier run in the upload cache."""

    number: int
    ordinal: int  # position among the pages of the earlier run
    started_ns: int  # start of the earlier run
    outline: Outline | None  # None: compare its rows one by one
