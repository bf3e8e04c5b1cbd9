"""Keep record: the signed changes that one run of the keeper made.

The keeper is a machine with a signing key. It decides which recovery points expire and which packs
are removed.

- Each record contains only changes. All records, applied in order, give the state of the vault (the
  folder or bucket with the encrypted backups): the expired recovery points, and the packs that are
  marked, dropped or distrusted.
- A record lists at most 100,000 items in total, and each list is sorted. If a run has more changes,
  the next run records the rest.
- A pack that no snapshot needs is removed in two phases. One record lists it as `marked`. A record
  at least seven days later lists it as `dropped`, and then the pack is removed. If a new snapshot
  needs the pack meanwhile, a record lists it as `unmarked` instead.
- `distrusted` packs are damaged or lost. The writer (backup host) sends their content again.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from backup.errors import Damaged
from backup.format import FORMAT
from backup.format.canonical_json import to_json, to_time
from backup.format.object_names import MAX_NUMBER
from backup.format.record_link import Link, link_from_json, link_to_json, optional_link_from_json
from backup.format.root_record import REPOSITORY_BYTES
from backup.format.signature import KEEP_CONTEXT, check_signature, sign, signed_value
from backup.format.strict_fields import NAME, Fields, check_ascending, from_hex

MAX_LISTED = 100_000

SnapshotId = tuple[str, int]  # writer, sequence number
PackId = tuple[str, str]  # writer, SHA-256 in hexadecimal


@dataclass(frozen=True, kw_only=True, slots=True)
class KeepRecord:
    """Changes that one run of the keeper made."""

    repository: bytes
    number: int
    previous: Link | None  # the previous keep record; objects with a number in between are invalid
    root_record: Link  # the owner's list of trusted keys at that time
    created: datetime  # by the store's clock
    expired: tuple[SnapshotId, ...] = ()
    marked: tuple[PackId, ...] = ()
    unmarked: tuple[PackId, ...] = ()
    dropped: tuple[PackId, ...] = ()
    distrusted: tuple[PackId, ...] = ()


def keep_to_bytes(record: KeepRecord, keeper: Ed25519PrivateKey) -> bytes:
    """Encode and sign a keep record, with sorted lists.

    Raise `ValueError` for more than 100,000 items.
    """
    _check_length(record)
    value = {
        "format": FORMAT,
        "kind": "keep",
        "repository": record.repository.hex(),
        "number": record.number,
        "previous": link_to_json(record.previous),
        "root": link_to_json(record.root_record),
        "created": to_time(record.created),
        "expired": [[writer, sequence] for writer, sequence in sorted(set(record.expired))],
        "marked": _packs_to_json(record.marked),
        "unmarked": _packs_to_json(record.unmarked),
        "dropped": _packs_to_json(record.dropped),
        "distrusted": _packs_to_json(record.distrusted),
    }
    return sign(KEEP_CONTEXT, to_json(value) + b"\n", keeper)


def keep_from_bytes(data: bytes, where: str) -> KeepRecord:
    """Decode a keep record without checking its signature."""
    value = signed_value(data, "keep", where)
    fields = Fields(value, where, _FIELDS)
    record = KeepRecord(
        repository=fields.hexadecimal("repository", REPOSITORY_BYTES),
        number=fields.integer("number", high=MAX_NUMBER),
        previous=optional_link_from_json(fields.raw("previous"), where),
        root_record=link_from_json(fields.raw("root"), where),
        created=fields.time("created"),
        expired=tuple(_snapshot(item, where) for item in fields.items("expired")),
        marked=_packs(fields, "marked", where),
        unmarked=_packs(fields, "unmarked", where),
        dropped=_packs(fields, "dropped", where),
        distrusted=_packs(fields, "distrusted", where),
    )
    try:
        _check_length(record)
    except ValueError as error:
        raise Damaged(f"{where} is not a valid keep record: {error}") from None
    for listed in _lists(record):
        check_ascending(listed, "a list", where)
    return record


def check_keep_signature(data: bytes, public_key: bytes, where: str) -> None:
    """Raise `Damaged` unless the keeper's key signed these bytes."""
    check_signature(KEEP_CONTEXT, data, public_key, where)


_FIELDS = (
    "format", "kind", "repository", "number", "previous", "root", "created", "expired", "marked",
    "unmarked", "dropped", "distrusted",
)  # fmt: skip


def _lists(record: KeepRecord) -> tuple[tuple[SnapshotId | PackId, ...], ...]:
    return (record.expired, record.marked, record.unmarked, record.dropped, record.distrusted)


def _check_length(record: KeepRecord) -> None:
    if sum(map(len, _lists(record))) > MAX_LISTED:
        raise ValueError(f"a keep record lists at most {MAX_LISTED:,} items")


def _packs_to_json(packs: Iterable[PackId]) -> list[list[str]]:
    return [[writer, sha256] for writer, sha256 in sorted(set(packs))]


def _packs(fields: Fields, name: str, where: str) -> tuple[PackId, ...]:
    return tuple(_pack(item, where) for item in fields.items(name))


def _pack(value: object, where: str) -> PackId:
    match value:
        case [str(writer), sha256] if NAME.fullmatch(writer):
            return writer, from_hex(sha256, 32, where).hex()
    raise Damaged(f"{where} lists an invalid pack. Verify the vault")


def _snapshot(value: object, where: str) -> SnapshotId:
    match value:
        case [str(writer), int(sequence)] if (
            NAME.fullmatch(writer) and 0 < sequence <= MAX_NUMBER and sequence is not True
        ):
            return writer, sequence
    raise Damaged(f"{where} lists an invalid snapshot. Verify the vault")
