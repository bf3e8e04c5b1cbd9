"""Snapshot slots: numbered objects of a writer, and which are trusted.

- A writer is a backup host. A snapshot is the signed object that makes one of its backups
  restorable. A slot is the object under one sequence number. If the object is not a valid snapshot
  of this writer (junk), the slot is returned with its problem. The caller decides what the problem
  means.
- The owner is the person with the offline signing key. The root record, the owner's signed list of
  keys, decides which snapshots of a writer are trusted.
- An object that is larger than the largest allowed snapshot is not read.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from backup.errors import BackupError, Damaged
from backup.format.object_names import MAX_SNAPSHOT_BYTES, parse_number, snapshot_prefix
from backup.format.snapshot import Snapshot, check_snapshot_signature, snapshot_from_bytes
from backup.stores import Stat, Store
from backup.stores.bounded_read import read_bounded
from backup.stores.parallel_reads import Read, read_ahead
from backup.trust.root_chain import RootChain


class NoLongerTrusted(Damaged):
    """A valid snapshot, newer than the last snapshot that the owner trusts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Slot:
    """One slot; either `snapshot` or `problem` is set."""

    name: str
    sequence: int
    sha256: str
    snapshot: Snapshot | None
    sealed: bytes  # the encrypted part; empty without a snapshot
    problem: str | None
    is_distrusted: bool = False  # a valid snapshot, but newer than the last trusted snapshot
    stored: datetime | None = None  # time of the put by the store's clock; None without a listing


def read_slot(
    vault: Store, trust: RootChain, writer: str, name: str, read: Read | None = None
) -> Slot:
    """Read and verify one slot; `read`, if passed, is called for its bytes."""
    sequence = parse_number(name, snapshot_prefix(writer)) or 0
    try:
        data = read_bounded(vault, name, MAX_SNAPSHOT_BYTES) if read is None else read()
    except Damaged as error:
        # Do not raise, so that the caller can read the other snapshots.
        return _no_snapshot(writer, name, str(error))
    try:
        snapshot, sealed = parse_snapshot(data, trust, writer, sequence, name)
        problem, is_distrusted = None, False
    except BackupError as error:
        snapshot, sealed, problem = None, b"", str(error)
        is_distrusted = isinstance(error, NoLongerTrusted)
    return Slot(
        name=name,
        sequence=sequence,
        sha256=hashlib.sha256(data).hexdigest(),
        snapshot=snapshot,
        sealed=sealed,
        problem=problem,
        is_distrusted=is_distrusted,
    )


def read_listed(
    vault: Store, trust: RootChain, writer: str, stat: Stat, read: Read | None = None
) -> Slot:
    """Read a listed slot, unless its object is larger than any snapshot."""
    if stat.size_bytes > MAX_SNAPSHOT_BYTES:
        slot = _no_snapshot(writer, stat.name, f"{stat.name} is larger than any snapshot")
    else:
        slot = read_slot(vault, trust, writer, stat.name, read)
    return replace(slot, stored=stat.modified)


def read_history(
    vault: Store, trust: RootChain, writer: str, junk: dict[Stat, Slot] | None = None
) -> Iterator[Slot]:
    """Yield every slot of a writer, oldest first.

    `junk` caches slots without a valid snapshot. When a new root record is in force, the caller
    must pass an empty cache, because the new record may trust other keys.
    """
    stats = (
        stat
        for stat in vault.list(snapshot_prefix(writer))
        if parse_number(stat.name, snapshot_prefix(writer)) is not None
    )

    def is_new(stat: Stat) -> bool:
        return junk is None or stat not in junk

    for stat, read in read_ahead(vault, stats, MAX_SNAPSHOT_BYTES, is_new):
        slot = None if junk is None else junk.get(stat)
        if slot is None:
            slot = read_listed(vault, trust, writer, stat, read)
            if junk is not None and slot.snapshot is None:
                junk[stat] = slot
        yield slot


def _no_snapshot(writer: str, name: str, problem: str) -> Slot:
    return Slot(
        name=name,
        sequence=parse_number(name, snapshot_prefix(writer)) or 0,
        sha256="",
        snapshot=None,
        sealed=b"",
        problem=problem,
    )


def parse_snapshot(
    data: bytes, trust: RootChain, writer: str, sequence: int, name: str
) -> tuple[Snapshot, bytes]:
    """Decode a snapshot; verify signature, name and trust.

    Raise `Damaged` with the failed check.
    """
    # Check the signature first, so that no object of a stranger reaches the parser.
    _check_signer(data, trust, writer, name)
    snapshot, sealed = snapshot_from_bytes(data, name)
    if (snapshot.writer, snapshot.sequence) != (writer, sequence):
        raise Damaged(f"{name} contains snapshot {snapshot.sequence} of {snapshot.writer}")
    if snapshot.repository != trust.root.repository:
        raise Damaged(f"{name} belongs to another repository")
    grant = trust.root.writer(writer, snapshot.epoch)
    if grant is None:
        raise Damaged(f"{name} was written by {writer} in an epoch that no root record grants")
    check_snapshot_signature(data, grant.key, name)
    if snapshot.domain not in grant.domains:
        raise Damaged(f"{name} is for a domain that {writer} may not write for")
    if grant.trusted_through is not None and sequence > grant.trusted_through:
        raise NoLongerTrusted(
            f"{name} is newer than the last snapshot of {writer} that the owner trusts: it may "
            "be forged"
        )
    is_pinned = sequence == grant.trusted_through and grant.trusted_sha256 is not None
    if is_pinned and hashlib.sha256(data).hexdigest() != grant.trusted_sha256:
        raise Damaged(
            f"{name} is not the snapshot with which the owner ended the trust in {writer}"
        )
    if snapshot.root_record not in trust.links:
        raise Damaged(f"{name} refers to a root record that this repository does not have")
    return snapshot, sealed


def _check_signer(data: bytes, trust: RootChain, writer: str, name: str) -> None:
    problem = Damaged(f"{name} is from {writer}, which no root record authorizes")
    for grant in trust.root.writers:
        if grant.id == writer:
            try:
                check_snapshot_signature(data, grant.key, name)
            except Damaged as error:
                problem = error
            else:
                return
    raise problem


def find_older_junk(
    junk: Mapping[int, datetime | None], newest: int, head_stored: datetime | None
) -> set[int]:
    """Return slots with junk that was put before the newest valid snapshot.

    Only slots with higher numbers than this snapshot are returned. Times are by the store's clock.
    A writer uses the lowest unused sequence number and may never reach the numbers of these slots.
    So perhaps no snapshot will list them as skipped. A damaged later snapshot is not returned,
    because it was put after the newest valid snapshot.
    """
    if head_stored is None:
        return set()
    return {
        number
        for number, stored in junk.items()
        if number > newest and stored is not None and stored < head_stored
    }
