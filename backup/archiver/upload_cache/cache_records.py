"""Records of the upload cache: heads, keep records, slots, packs, commits.

The upload cache is a file on the backup host. It lists the content that is already in the vault,
the folder or bucket with the encrypted backups. A slot is the object name with one sequence number
of this host's snapshots.
"""

from dataclasses import dataclass

from backup.format.record_link import Link


@dataclass(frozen=True, kw_only=True, slots=True)
class CachedHead:
    """The newest snapshot that this host put or found in the vault."""

    sequence: int
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CachedKeepRecord:
    """The last keep record that this host applied.

    A keep record is a signed list of packs that will be removed or are damaged.
    """

    link: Link
    root_number: (
        int  # number of the owner's signed list of keys that was in force when it was applied
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class SkippedSlot:
    """An object with the name of a snapshot that is not a trusted snapshot."""

    size_bytes: int
    modified: str
    is_distrusted: (
        bool  # it is a snapshot, signed with an old key that the owner does not trust any more
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class PackRow:
    """A pack that the store acknowledged."""

    number: int
    name: bytes
    size: int
    blob_bytes: int  # bytes of its blobs, before compression
    blob_count: int  # number of blobs whose last byte is in it
    sequence: int | None  # number of the first snapshot that names it; None: no snapshot yet
    ordinal: int | None  # index of the pack in the pack list of this snapshot


@dataclass(frozen=True, kw_only=True, slots=True)
class Commit:
    """A snapshot, and the data that the cache needs after its commit."""

    run: int
    set_name: str
    sequence: int
    sha256: str
    is_finished: bool  # the walk is complete: content that the set no longer needs may be pruned
    new_packs: tuple[int, ...]  # in the order of the snapshot's list
    live_packs: frozenset[int]  # all packs that the snapshot needs
    has_ended: bool = False  # the walk ended; without `is_finished`, nothing is pruned
    filled: tuple[str, ...] = ()  # sources that had files
