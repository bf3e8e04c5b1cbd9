"""What the send-log holds besides blobs and pages, as records."""

from dataclasses import dataclass

from backup.format.record_link import Link


@dataclass(frozen=True, kw_only=True, slots=True)
class CachedHead:
    """A snapshot that this host put, or was about to put."""

    sequence: int
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CachedKeepRecord:
    """How far this host has heeded the keeper."""

    link: Link  # the last keep record whose word was acted upon
    root: int  # the root record that said whom to believe


@dataclass(frozen=True, kw_only=True, slots=True)
class SkippedSlot:
    """A slot that was read and holds no snapshot to go on behind, as the store listed it then."""

    size_bytes: int
    modified: str
    is_distrusted: bool  # a snapshot of old keys, which the owner does not believe


@dataclass(frozen=True, kw_only=True, slots=True)
class PackRow:
    """A pack that the store acknowledged."""

    number: int
    name: bytes
    size: int
    held: int  # bytes of the blobs in it, before compression
    blobs: int  # that were whole with it
    sequence: int | None
    ordinal: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Commit:
    """What a snapshot changes in the log once it is there."""

    run: int
    set_name: str
    sequence: int
    sha256: str
    is_finished: bool  # the walk came to its end: what the set needs no more may be pruned
    new_packs: tuple[int, ...]  # in the order that the snapshot lists them
    live_packs: frozenset[int]  # all that it needs
    has_ended: bool = False  # the walk came to its end, though what is known may be needed still
    filled: tuple[str, ...] = ()  # the sources that held files
