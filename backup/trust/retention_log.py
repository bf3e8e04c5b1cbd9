"""Retention log: the chain of keep records, read and verified.

- A keep record is a numbered list of recovery points (restorable backups) that expire, and of packs
  (encrypted containers of content) that will be removed (marked), are removed (dropped), or are
  damaged (distrusted). It is signed by a keeper, a machine that may expire backups. The root
  record, signed by the owner, names the trusted keepers.
- A keep record is in the chain if it names the previous keep record of the chain. It must also be
  signed by a keeper that the newest root record trusts for this number. Other records are skipped
  and reported. So an invalid object (junk) under the name of a record stops neither a reader nor a
  keeper.
- The owner may end the trust in a keeper after the record with a certain number. If the root record
  also names the hash of this record, no other record of this keeper is accepted under the number.
- Only records in the chain decide which recovery points expired and which packs were dropped. But a
  writer (backup host) avoids the packs that any signed record names, in the chain or not. A wrong
  entry only has the effect that the content of a pack is uploaded again.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from backup.errors import BackupError, Damaged, FormatUnknown, StoreUnavailable
from backup.format.keep_record import (
    KeepRecord,
    PackId,
    SnapshotId,
    check_keep_signature,
    keep_from_bytes,
)
from backup.format.object_names import KEEPS, MAX_KEEP_RECORD_BYTES, next_number, parse_number
from backup.format.record_link import Link
from backup.format.signature import check_later_signature, claimed_later_format
from backup.stores import Stat, Store
from backup.stores.parallel_reads import read_ahead
from backup.trust.root_chain import RootChain


@dataclass(frozen=True, kw_only=True, slots=True)
class RetentionLog:
    """State of recovery points and packs after all keep records."""

    head: Link | None  # the last record of the chain
    links: tuple[Link, ...]  # the records of the chain that were read
    taken: frozenset[int]  # numbers of all objects, including junk
    signed: int  # the highest number that a keeper signed, in the chain or not; or -1
    created: datetime | None  # time of the last record of the chain, by the store's clock
    expired: frozenset[SnapshotId]
    marked: Mapping[PackId, datetime]  # time of the mark; without packs unmarked or dropped since
    dropped: frozenset[PackId]
    distrusted: frozenset[PackId]
    avoided: frozenset[PackId]  # packs that no new recovery point may use
    slots: Mapping[int, str]  # SHA-256 of each object that was read, including junk, by number
    problems: tuple[tuple[str, str], ...]  # (object, problem)

    @property
    def next_number(self) -> int:
        """Return the lowest unused number after all signed records."""
        return next_number(KEEPS, self.signed, self.taken)


def load_retention_log(
    vault: Store, trust: RootChain, *, after: Link | None = None
) -> RetentionLog:
    """Read and verify the keep records.

    If `after`, the `head` of an earlier result, is passed, only later records are read, and the
    result has only their changes. So the cost does not grow with the age of the vault. Raise
    `FormatUnknown` if a keeper signed a record of a later format.
    """
    head = after
    signed = -1 if after is None else after.number
    taken: set[int] = set()
    links: list[Link] = []
    created: datetime | None = None
    expired: set[SnapshotId] = set()
    marked: dict[PackId, datetime] = {}
    dropped: set[PackId] = set()
    distrusted: set[PackId] = set()
    unchained: set[PackId] = set()
    slots: dict[int, str] = {}
    problems: list[tuple[str, str]] = []

    def is_new(stat: Stat) -> bool:
        number = parse_number(stat.name, KEEPS)
        return number is not None and (after is None or number > after.number)

    for stat, read in read_ahead(vault, vault.list(KEEPS), MAX_KEEP_RECORD_BYTES, is_new):
        number = parse_number(stat.name, KEEPS)
        if number is None:
            problems.append((stat.name, f"{stat.name} is not a valid name of a keep record"))
            continue
        taken.add(number)
        if after is not None and number <= after.number:
            continue
        try:
            data = read()
            slots[number] = hashlib.sha256(data).hexdigest()
            record = _parse_signed(data, number, trust, stat.name, vault.where)
        except (FormatUnknown, StoreUnavailable):
            # Without this record, it is unknown which packs will be removed. So no new backup may
            # refer to any existing pack.
            raise
        except BackupError as error:
            problems.append((stat.name, str(error)))
            continue
        signed = number
        if record.previous != head:
            problems.append((stat.name, f"{stat.name} does not follow the keep record before it"))
            unchained.update(record.marked, record.dropped, record.distrusted)
            continue
        head = Link(number=number, sha256=slots[number])
        links.append(head)
        created = record.created
        expired.update(record.expired)
        dropped.update(record.dropped)
        distrusted.update(record.distrusted)
        marked.update(dict.fromkeys(record.marked, record.created))
        for pack in (*record.unmarked, *record.dropped):
            marked.pop(pack, None)
    return RetentionLog(
        head=head,
        links=tuple(links),
        taken=frozenset(taken),
        signed=signed,
        created=created,
        expired=frozenset(expired),
        marked=marked,
        dropped=frozenset(dropped),
        distrusted=frozenset(distrusted),
        avoided=frozenset({*marked, *dropped, *distrusted, *unchained}),
        slots=slots,
        problems=tuple(problems),
    )


def _parse_signed(data: bytes, number: int, trust: RootChain, name: str, where: str) -> KeepRecord:
    _check_signer(data, number, trust, name, where)
    record = keep_from_bytes(data, name)
    if record.number != number:
        raise Damaged(f"{name} contains keep record {record.number}: it was moved")
    if record.repository != trust.root.repository:
        raise Damaged(f"{name} belongs to another repository")
    if record.root_record not in trust.links:
        raise Damaged(f"{name} refers to a root record that this repository does not have")
    return record


def _check_signer(data: bytes, number: int, trust: RootChain, name: str, where: str) -> None:
    """Raise `Damaged` unless a trusted keeper signed a record.

    This is checked before the record is parsed, so that no object of a stranger reaches the parser.
    """
    later = claimed_later_format(data)
    for keeper in trust.root.keepers:
        if keeper.trusted_through is not None and number > keeper.trusted_through:
            continue
        try:
            if later is None:
                check_keep_signature(data, keeper.key, name)
            else:
                check_later_signature("keep", later, data, keeper.key, name)
        except Damaged:
            continue
        if later is not None:
            raise FormatUnknown(
                f"{name}: it has format {later}, so the repository in {where} continues in a later"
                " format. Use a newer version of this program"
            )
        is_pinned = number == keeper.trusted_through and keeper.trusted_sha256 is not None
        if is_pinned and hashlib.sha256(data).hexdigest() != keeper.trusted_sha256:
            raise Damaged(f"{name} is not the record at which the owner ended a keeper's trust")
        return
    raise Damaged(f"{name} is not signed by a keeper that the owner trusts for this number")
