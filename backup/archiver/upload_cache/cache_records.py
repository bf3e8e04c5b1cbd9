"""Records of the upload cache, except blobs and pages."""

from dataclasses import dataclass

from backup.format.record_link import Link


@dataclass(frozen=True, kw_only=True, slots=True)
class CachedHead:
    """A snapshot that this host put, or was about to put."""

    sequence: int
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CachedKeepRecord:
    """The last keep record that this host applied."""

    link: Link  # the last keep record whose decisions were applied
    root_number: int  # of the root record in force then: it decides who is trusted


@dataclass(frozen=True, kw_only=True, slots=True)
class SkippedSlot:
    """A slot (object under a sequence number) without a trusted snapshot."""

    size_bytes: int
    modified: str
    is_distrusted: bool  # a snapshot of old keys, which the owner does not trust


@dataclass(frozen=True, kw_only=True, slots=True)
class PackRow:
    """A pack that the store acknowledged."""

    number: int
    name: bytes
    size: int
    blob_bytes: int  # bytes of its blobs, before compression
    blob_count: int  # number of blobs completed by it
    sequence: int | None  # of the snapshot that names it first; None until then
    ordinal: int | None  # its index in the list of that snapshot


@dataclass(frozen=True, kw_only=True, slots=True)
class Commit:
    """A snapshot, and the changes of the cache when the store has it."""

    run: int
    set_name: str
    sequence: int
    sha256: str
    is_finished: bool  # the walk is complete: content that the set no longer needs may be pruned
    new_packs: tuple[int, ...]  # in the order of the snapshot's list
    live_packs: frozenset[int]  # all packs that the snapshot needs
    has_ended: bool = False  # the walk ended; without `is_finished`, nothing is pruned
    filled: tuple[str, ...] = ()  # sources that had files
