"""Snapshot record: public part, encrypted body, packs in use.

A snapshot has a public part, a body that is encrypted to the domain (backup sets that share one
key), and the signature of the writer (backup host):

    canonical JSON || newline || age(u32 length || body JSON || zeros to the padded size) ||
    signature

- The public part can be read without a key. With it, anyone can check the history and the packs,
  and a keeper (a machine that may expire backups) can find the packs that are not needed any more.
- `packs` lists the packs that are new in this snapshot. `uses` contains a bitmap for each earlier
  snapshot that has packs in use: one bit for each pack of the earlier snapshot.
- `previous` is the last valid snapshot before this snapshot. The sequence numbers between
  `previous` and this snapshot are skipped: objects that are not valid snapshots already occupied
  these names. The JSON key of the skipped numbers is `burnt`.
- The lists `burnt`, `packs` and `uses` may be long, so they are parsed item by item from their
  text. A JSON parser that reads a whole list needs memory of 25 times its size, and a compromised
  host may sign a list of 64 MiB.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Literal

import pyrage
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from backup.errors import Damaged, UsageError, WrongKey
from backup.format import FORMAT
from backup.format.age_header import has_short_header
from backup.format.canonical_json import from_json, to_json, to_time
from backup.format.manifest import BlobRef, ref_from_json, ref_to_json
from backup.format.object_names import MAX_NUMBER, MAX_SNAPSHOT_BYTES
from backup.format.pack import MAX_PACK_BYTES, padded_size
from backup.format.record_link import Link, link_from_json, link_to_json, optional_link_from_json
from backup.format.root_record import MAX_GENERATION, REPOSITORY_BYTES
from backup.format.signature import SIGNATURE_BYTES, SNAPSHOT_CONTEXT, check_signature, sign
from backup.format.strict_fields import Fields, check_ascending, check_format, from_hex
from backup.records import SourceOutcome, Unread

# Complete: the run ended, and all paths were read. Partial: the run ended, but paths or sources
# could not be read. Interim: the run had not ended, so later paths are missing.
State = Literal["complete", "partial", "interim"]
_STATES: dict[str, State] = {"complete": "complete", "partial": "partial", "interim": "interim"}

MAX_UNREAD_NAMED = 10_000
MAX_UNREAD_BYTES = 4 * 1024 * 1024
MAX_TREE_DEPTH = 8

# The lists that can be long, each with the key that follows it in canonical JSON.
_LISTS = ((b"burnt", b"domain"), (b"packs", b"previous"), (b"uses", b"writer"))
_MAX_OTHER_BYTES = 64 * 1024  # all other fields together need less than 1 KiB
_END = rb"(?:,(?!\Z)|\Z)"
_SKIPPED = re.compile(rb"(0|[1-9][0-9]{0,15})" + _END)
_PACK = re.compile(rb'\["([0-9a-f]{64})",([1-9][0-9]{0,7})\]' + _END)
_USE = re.compile(rb'\[([1-9][0-9]{0,9}),"([0-9a-f]*+)"\]' + _END)


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """Public part of a snapshot."""

    repository: bytes
    writer: str
    epoch: int  # number of the writer's signing key
    sequence: int
    previous: Link | None
    skipped: tuple[int, ...]  # sequence numbers between `previous` and this snapshot
    root_record: Link  # newest owner's list of authorized keys that the writer had read
    keep_record: Link | None  # newest keeper's list of removed packs that it had read
    domain: str
    generation: int  # number of the domain's key pair
    set_name: str
    time: datetime
    state: State
    packs: tuple[tuple[str, int], ...]  # (SHA-256, size) of each new pack
    # Packs of earlier snapshots in use: sequence number → bitmap over the earlier snapshot's
    # `packs`, lowest bit first.
    uses: Mapping[int, bytes]

    def used_packs(self, earlier: "Snapshot") -> list[str]:
        """Return the packs of an earlier snapshot that this snapshot needs.

        Raise `Damaged` if a set bit of the bitmap has no pack.
        """
        # Compare the last bit with the number of packs before making a list: a forged bitmap may
        # have 64 MiB.
        bitmap = self.uses.get(earlier.sequence, b"").rstrip(b"\0")
        if bitmap and 8 * len(bitmap) - 8 + bitmap[-1].bit_length() > len(earlier.packs):
            raise Damaged(
                f"snapshot {self.sequence} of {self.writer} uses a pack that snapshot"
                f" {earlier.sequence} does not have. Verify the vault"
            )
        return [earlier.packs[index][0] for index in bitmap_to_indexes(bitmap)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Body:
    """Encrypted part of a snapshot."""

    consistent_at: datetime
    started: datetime
    ended: datetime
    id_key: bytes  # secret key of the keyed hashes that identify blobs
    root_page: BlobRef
    depth: int  # levels of the manifest's page tree above the leaf pages
    files: int
    directories: int
    bytes: int
    unread: tuple[Unread, ...]
    unread_total: int
    sources: tuple[SourceOutcome, ...]


def indexes_to_bitmap(indices: set[int]) -> bytes:
    """Return a bitmap with one bit per index, lowest bit first."""
    bits = bytearray(max(indices, default=-1) // 8 + 1)
    for index in indices:
        bits[index // 8] |= 1 << index % 8
    return bytes(bits)


def bitmap_to_indexes(bitmap: bytes) -> list[int]:
    """Return the indexes of the set bits, in order."""
    return [
        8 * position + bit
        for position, byte in enumerate(bitmap)
        for bit in range(8)
        if byte >> bit & 1
    ]


def seal_body(body: Body, recipient: str) -> bytes:
    """Encrypt the body to the public key of a domain."""
    value = {
        "consistent_at": to_time(body.consistent_at),
        "started": to_time(body.started),
        "ended": to_time(body.ended),
        "id_key": body.id_key.hex(),
        "root": ref_to_json(body.root_page),
        "depth": body.depth,
        "files": body.files,
        "directories": body.directories,
        "bytes": body.bytes,
        "unread": list(_unread_to_json(body.unread)),
        "unread_total": body.unread_total,
        "sources": [
            {
                "name": source.name,
                "kind": source.kind,
                "consistent_at": to_time(source.consistent_at),
                "files": source.files,
                "bytes": source.bytes,
                "problem": source.problem,
            }
            for source in body.sources
        ],
    }
    plain = to_json(value)
    plain = len(plain).to_bytes(4, "big") + plain
    plain = plain.ljust(padded_size(len(plain)), b"\0")
    sealed: bytes = pyrage.encrypt(plain, [pyrage.x25519.Recipient.from_str(recipient)])
    return sealed


def open_body(sealed: bytes, identities: list[pyrage.x25519.Identity], where: str) -> Body:
    """Decrypt a body; raise `WrongKey` if no private key opens it."""
    if not has_short_header(sealed):
        raise Damaged(
            f"the encrypted part of {where} does not open: it is not an age file for one key"
        )
    try:
        plain = pyrage.decrypt(sealed, identities)
    except pyrage.DecryptError:
        raise WrongKey(
            f"the encrypted part of {where}: this identity does not open it. Use the recovery"
            " identity of a custodian of the domain, or verify the vault"
        ) from None
    length = int.from_bytes(plain[:4], "big")
    end = 4 + length
    is_padded = len(plain) == max(end, padded_size(end)) and not any(plain[end:])
    if len(plain) < 4 or not is_padded:
        raise Damaged(
            f"the encrypted part of {where} has a wrong length or padding. Verify the vault"
        )
    fields = Fields(from_json(plain[4:end], where), where, _BODY_FIELDS)
    unread = tuple(_unread(item, where) for item in fields.items("unread"))
    named_bytes = sum(len(item.path.encode()) + len(item.reason.encode()) for item in unread)
    if len(unread) > MAX_UNREAD_NAMED or named_bytes > MAX_UNREAD_BYTES:
        raise Damaged(f"{where} names too many unread paths. Verify the vault")
    return Body(
        consistent_at=fields.time("consistent_at"),
        started=fields.time("started"),
        ended=fields.time("ended"),
        id_key=fields.hexadecimal("id_key", 32),
        root_page=ref_from_json(fields.raw("root"), where),
        depth=fields.integer("depth", high=MAX_TREE_DEPTH),
        files=fields.integer("files"),
        directories=fields.integer("directories"),
        bytes=fields.integer("bytes"),
        unread=unread,
        unread_total=fields.integer("unread_total"),
        sources=tuple(_source(item, where) for item in fields.items("sources")),
    )


def snapshot_to_bytes(snapshot: Snapshot, sealed: bytes, key: Ed25519PrivateKey) -> bytes:
    """Encode and sign a snapshot; raise `UsageError` if it is too large."""
    value = {
        "format": FORMAT,
        "kind": "snapshot",
        "repository": snapshot.repository.hex(),
        "writer": snapshot.writer,
        "epoch": snapshot.epoch,
        "sequence": snapshot.sequence,
        "previous": link_to_json(snapshot.previous),
        "burnt": list(snapshot.skipped),
        "root": link_to_json(snapshot.root_record),
        "keep": link_to_json(snapshot.keep_record),
        "domain": snapshot.domain,
        "generation": snapshot.generation,
        "set": snapshot.set_name,
        "time": to_time(snapshot.time),
        "state": snapshot.state,
        "packs": [[name, size] for name, size in snapshot.packs],
        "uses": [[number, snapshot.uses[number].hex()] for number in sorted(snapshot.uses)],
    }
    data = sign(SNAPSHOT_CONTEXT, to_json(value) + b"\n" + sealed, key)
    if len(data) > MAX_SNAPSHOT_BYTES:
        raise UsageError(
            f"snapshot {snapshot.sequence}: it would have {len(data):,} bytes, and at most"
            f" {MAX_SNAPSHOT_BYTES:,} can be read. Split the largest file of set"
            f" {snapshot.set_name}, or move it to another set"
        )
    return data


def snapshot_from_bytes(data: bytes, where: str) -> tuple[Snapshot, bytes]:
    """Return the public part, decoded, and the encrypted part of a snapshot.

    The signature is not checked.
    """
    end = data.find(b"\n", 0, len(data) - SIGNATURE_BYTES)
    if end < 0:
        raise Damaged(f"{where} is not a snapshot. Verify the vault")
    other_fields, skipped, packs, uses = _split_lists(data[:end])
    if len(other_fields) > _MAX_OTHER_BYTES:
        raise Damaged(f"{where} is not a valid snapshot. Verify the vault")
    value = from_json(other_fields, where)
    check_format(value, "snapshot", where)
    fields = Fields(value, where, _SNAPSHOT_FIELDS)
    for name, _ in _LISTS:
        if fields.items(name.decode()):
            raise Damaged(f"{where} is not a valid snapshot. Verify the vault")
    snapshot = Snapshot(
        repository=fields.hexadecimal("repository", REPOSITORY_BYTES),
        writer=fields.name("writer"),
        epoch=fields.integer("epoch"),
        sequence=fields.integer("sequence", 1, MAX_NUMBER),
        previous=optional_link_from_json(fields.raw("previous"), where),
        skipped=tuple(_skipped_numbers(skipped, where)),
        root_record=link_from_json(fields.raw("root"), where),
        keep_record=optional_link_from_json(fields.raw("keep"), where),
        domain=fields.name("domain"),
        generation=fields.integer("generation", high=MAX_GENERATION),
        set_name=fields.name("set"),
        time=fields.time("time"),
        state=_state(fields.text("state"), where),
        packs=tuple(_pack(item, where) for item in _items(_PACK, packs, "pack", where)),
        uses=_uses(uses, where),
    )
    _check_order(snapshot, where)
    return snapshot, data[end + 1 : -SIGNATURE_BYTES]


def check_snapshot_signature(data: bytes, public_key: bytes, where: str) -> None:
    """Raise `Damaged` unless the writer's key signed these bytes."""
    check_signature(SNAPSHOT_CONTEXT, data, public_key, where)


_SNAPSHOT_FIELDS = (
    "format", "kind", "repository", "writer", "epoch", "sequence", "previous", "burnt", "root",
    "keep", "domain", "generation", "set", "time", "state", "packs", "uses",
)  # fmt: skip
_BODY_FIELDS = (
    "consistent_at", "started", "ended", "id_key", "root", "depth", "files", "directories", "bytes",
    "unread", "unread_total", "sources",
)  # fmt: skip


def _state(text: str, where: str) -> State:
    if text not in _STATES:
        raise Damaged(f"{where} has an invalid state. Verify the vault")
    return _STATES[text]


def _split_lists(public: bytes) -> tuple[bytes, memoryview, memoryview, memoryview]:
    """Cut the items of the long lists out of the public part.

    Return the remaining JSON, with empty lists, and the text of the items of each list. If a list
    is missing, or is not followed by its next key in `_LISTS`, return the whole public part and no
    items.
    """
    other_fields, items, end = [], [], 0
    for name, next_key in _LISTS:
        opening = b'"%s":[' % name
        start = public.find(opening, end) + len(opening)
        closing = public.find(b'],"%s":' % next_key, start)
        if start < len(opening) or closing < 0:
            nothing = memoryview(b"")
            return public, nothing, nothing, nothing
        other_fields.append(memoryview(public)[end:start])
        items.append(memoryview(public)[start:closing])
        end = closing
    skipped, packs, uses = items
    return b"".join([*other_fields, memoryview(public)[end:]]), skipped, packs, uses


def _items(
    pattern: re.Pattern[bytes], text: memoryview, item_kind: str, where: str
) -> Iterator[re.Match[bytes]]:
    end = 0
    while end < len(text):
        match = pattern.match(text, end)
        if match is None:
            raise Damaged(f"{where} lists an invalid {item_kind}. Verify the vault")
        yield match
        end = match.end()


def _skipped_numbers(text: memoryview, where: str) -> Iterator[int]:
    previous = -1
    for match in _items(_SKIPPED, text, "skipped sequence number", where):
        number = int(match[1])
        check_ascending((previous, number), "sequence numbers", where)
        yield number
        previous = number


def _pack(match: re.Match[bytes], where: str) -> tuple[str, int]:
    size = int(match[2])
    if size > MAX_PACK_BYTES:
        raise Damaged(f"{where} lists a pack that is too large. Verify the vault")
    return match[1].decode(), size


def _check_order(snapshot: Snapshot, where: str) -> None:
    previous = 0 if snapshot.previous is None else snapshot.previous.number
    slots = chain((previous,), snapshot.skipped, (snapshot.sequence,))
    check_ascending(slots, "sequence numbers", where)
    uses = chain((0,), snapshot.uses, (snapshot.sequence,))
    check_ascending(uses, "uses of earlier snapshots", where)
    if len({name for name, _ in snapshot.packs}) < len(snapshot.packs):
        raise Damaged(f"{where} names a pack twice. Verify the vault")


def _uses(text: memoryview, where: str) -> dict[int, bytes]:
    uses: dict[int, bytes] = {}
    previous = 0
    for match in _items(_USE, text, "bitmap of packs", where):
        number, bitmap = int(match[1]), match[2].decode()
        check_ascending((previous, number), "uses of earlier snapshots", where)
        uses[number] = from_hex(bitmap, len(bitmap) // 2, where)
        previous = number
    return uses


def _unread_to_json(unread: tuple[Unread, ...]) -> Iterator[list[str]]:
    """Yield as many unread paths as fit into `MAX_UNREAD_BYTES`."""
    room = MAX_UNREAD_BYTES
    for item in unread[:MAX_UNREAD_NAMED]:
        room -= len(item.path.encode()) + len(item.reason.encode()) + 8
        if room < 0:
            return
        yield [item.path, item.reason]


def _unread(value: object, where: str) -> Unread:
    match value:
        case [str(path), str(reason)]:
            return Unread(path=path, reason=reason)
    raise Damaged(f"{where} lists an invalid unread path. Verify the vault")


def _source(value: object, where: str) -> SourceOutcome:
    fields = Fields(value, where, ("name", "kind", "consistent_at", "files", "bytes", "problem"))
    problem = fields.raw("problem")
    return SourceOutcome(
        name=fields.text("name"),
        kind=fields.text("kind"),
        consistent_at=fields.time("consistent_at"),
        files=fields.integer("files"),
        bytes=fields.integer("bytes"),
        problem=None if problem is None else fields.text("problem"),
    )
