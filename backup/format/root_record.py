"""Root and key records (`pub/root/`, `k/`): fields, and unique roles.

The owner is the person with the offline signing key. A root record lists the keys that the owner
authorizes: those of writers (backup hosts), keepers (machines that may expire backups) and domains
(groups of backup sets that share one key and are erased together). A key record contains the
encrypted private key of a domain.

- An epoch is the period of one signing key of a writer. A generation is one key pair of a domain.
- Both types of record are canonical JSON, a newline and the owner's signature. Each root record
  names the SHA-256 of the previous root record.
- The owner's public key is in every root record and never changes. A reader that already knows this
  key refuses records that another key signed.
- Each pair of writer and epoch, each pair of domain and generation, and each keeper occurs once in
  a root record. With duplicates, two readers could use different entries.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import pyrage
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from backup.errors import Damaged
from backup.format import FORMAT
from backup.format.canonical_json import to_json, to_time
from backup.format.object_names import MAX_NUMBER
from backup.format.signature import KEY_CONTEXT, ROOT_CONTEXT, check_signature, sign, signed_value
from backup.format.strict_fields import NAME, Fields

REPOSITORY_BYTES = 16
PUBLIC_KEY_BYTES = 32
MAX_GENERATION = 2**32 - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class WriterGrant:
    """A writer (backup host) in one epoch."""

    id: str
    epoch: int
    key: bytes  # Ed25519 public key
    domains: tuple[str, ...]
    trusted_through: int | None  # number of its last trusted snapshot; None: no limit
    trusted_sha256: str | None = None  # of the last trusted snapshot, in hexadecimal, if known


@dataclass(frozen=True, kw_only=True, slots=True)
class DomainGrant:
    """A domain, with the public key of one generation."""

    id: str
    generation: int
    recipient: str  # age public key
    erased: datetime | None = None  # time of its erasure; None: not erased


@dataclass(frozen=True, kw_only=True, slots=True)
class KeeperGrant:
    """A keeper, which signs keep records: lists of expired points."""

    key: bytes  # Ed25519 public key
    trusted_through: int | None  # number of the last trusted keep record; None: no limit
    trusted_sha256: str | None = None  # of the last trusted keep record, in hexadecimal, if known


@dataclass(frozen=True, kw_only=True, slots=True)
class RootRecord:
    """Writers, domains and keepers of a repository, signed by the owner."""

    repository: bytes  # 16 bytes
    number: int
    previous: bytes | None  # SHA-256 of the previous root record, including its signature
    owner: bytes  # Ed25519 public key
    created: datetime
    writers: tuple[WriterGrant, ...]
    domains: tuple[DomainGrant, ...]  # every generation; new packs use the highest generation
    keepers: tuple[KeeperGrant, ...] = ()

    def writer(self, writer_id: str, epoch: int) -> WriterGrant | None:
        """Return the grant of a writer in an epoch, or None."""
        return next(
            (writer for writer in self.writers if (writer.id, writer.epoch) == (writer_id, epoch)),
            None,
        )

    @property
    def writer_ids(self) -> list[str]:
        """Return the name of every writer, sorted."""
        return sorted({writer.id for writer in self.writers})

    @property
    def domain_ids(self) -> list[str]:
        """Return the name of every domain, sorted."""
        return sorted({domain.id for domain in self.domains})

    def domain(self, domain_id: str) -> DomainGrant | None:
        """Return the newest generation of a domain, or None."""
        found = [domain for domain in self.domains if domain.id == domain_id]
        return max(found, key=lambda domain: domain.generation, default=None)


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyRecord:
    """A domain's private key, encrypted to people that may decrypt backups."""

    repository: bytes
    domain: str
    generation: int
    number: int  # of several valid records, the one with the highest number is in force
    recipient: str  # the domain's age public key
    custodians: tuple[str, ...]  # public keys and names of these people
    wrapped: bytes  # age file that contains the text of the private key, "AGE-SECRET-KEY-1…"


def root_to_bytes(record: RootRecord, owner: Ed25519PrivateKey) -> bytes:
    """Encode and sign a root record."""
    value = {
        "format": FORMAT,
        "kind": "root",
        "repository": record.repository.hex(),
        "number": record.number,
        "previous": None if record.previous is None else record.previous.hex(),
        "owner": record.owner.hex(),
        "created": to_time(record.created),
        "writers": [
            {
                "id": writer.id,
                "epoch": writer.epoch,
                "key": writer.key.hex(),
                "domains": list(writer.domains),
                "trusted_through": writer.trusted_through,
                "trusted_sha256": writer.trusted_sha256,
            }
            for writer in record.writers
        ],
        "domains": [
            {
                "id": domain.id,
                "generation": domain.generation,
                "recipient": domain.recipient,
                "erased": None if domain.erased is None else to_time(domain.erased),
            }
            for domain in record.domains
        ],
        "keepers": [
            {
                "key": keeper.key.hex(),
                "trusted_through": keeper.trusted_through,
                "trusted_sha256": keeper.trusted_sha256,
            }
            for keeper in record.keepers
        ],
    }
    return sign(ROOT_CONTEXT, to_json(value) + b"\n", owner)


def root_from_bytes(data: bytes, where: str) -> RootRecord:
    """Decode a root record; verify its signature with the key that it names."""
    value = signed_value(data, "root", where)
    fields = Fields(value, where, _ROOT_FIELDS)
    record = RootRecord(
        repository=fields.hexadecimal("repository", REPOSITORY_BYTES),
        number=fields.integer("number", high=MAX_NUMBER),
        previous=fields.optional_hexadecimal("previous", 32),
        owner=fields.hexadecimal("owner", PUBLIC_KEY_BYTES),
        created=fields.time("created"),
        writers=tuple(_writer(item, where) for item in fields.items("writers")),
        domains=tuple(_domain(item, where) for item in fields.items("domains")),
        keepers=tuple(_keeper(item, where) for item in fields.items("keepers")),
    )
    check_signature(ROOT_CONTEXT, data, record.owner, where)
    _check_unique([(writer.id, writer.epoch) for writer in record.writers], where)
    _check_unique([(domain.id, domain.generation) for domain in record.domains], where)
    _check_unique([keeper.key for keeper in record.keepers], where)
    return record


def key_to_bytes(record: KeyRecord, owner: Ed25519PrivateKey) -> bytes:
    """Encode and sign a key record."""
    value = {
        "format": FORMAT,
        "kind": "key",
        "repository": record.repository.hex(),
        "domain": record.domain,
        "generation": record.generation,
        "number": record.number,
        "recipient": record.recipient,
        "custodians": list(record.custodians),
        "wrapped": base64.b64encode(record.wrapped).decode(),
    }
    return sign(KEY_CONTEXT, to_json(value) + b"\n", owner)


def key_from_bytes(data: bytes, owner: bytes, where: str) -> KeyRecord:
    """Decode a key record and verify the owner's signature."""
    check_signature(KEY_CONTEXT, data, owner, where)
    value = signed_value(data, "key", where)
    fields = Fields(value, where, _KEY_FIELDS)
    return KeyRecord(
        repository=fields.hexadecimal("repository", REPOSITORY_BYTES),
        domain=fields.name("domain"),
        generation=fields.integer("generation", high=MAX_GENERATION),
        number=fields.integer("number", high=MAX_NUMBER),
        recipient=_recipient(fields, where),
        custodians=tuple(_text(item, where) for item in fields.items("custodians")),
        wrapped=fields.base64("wrapped"),
    )


_ROOT_FIELDS = (
    "format", "kind", "repository", "number", "previous", "owner", "created", "writers", "domains",
    "keepers",
)  # fmt: skip
_WRITER_FIELDS = ("id", "epoch", "key", "domains", "trusted_through", "trusted_sha256")
_KEY_FIELDS = (
    "format", "kind", "repository", "domain", "generation", "number", "recipient", "custodians",
    "wrapped",
)  # fmt: skip


def _writer(value: object, where: str) -> WriterGrant:
    fields = Fields(value, where, _WRITER_FIELDS)
    return WriterGrant(
        id=fields.name("id"),
        epoch=fields.integer("epoch"),
        key=fields.hexadecimal("key", PUBLIC_KEY_BYTES),
        domains=tuple(_name(item, where) for item in fields.items("domains")),
        trusted_through=fields.optional_integer("trusted_through", MAX_NUMBER),
        trusted_sha256=_trusted_sha256(fields, where),
    )


def _domain(value: object, where: str) -> DomainGrant:
    fields = Fields(value, where, ("id", "generation", "recipient", "erased"))
    return DomainGrant(
        id=fields.name("id"),
        generation=fields.integer("generation", high=MAX_GENERATION),
        recipient=_recipient(fields, where),
        erased=fields.optional_time("erased"),
    )


def _keeper(value: object, where: str) -> KeeperGrant:
    fields = Fields(value, where, ("key", "trusted_through", "trusted_sha256"))
    return KeeperGrant(
        key=fields.hexadecimal("key", PUBLIC_KEY_BYTES),
        trusted_through=fields.optional_integer("trusted_through", MAX_NUMBER),
        trusted_sha256=_trusted_sha256(fields, where),
    )


def _recipient(fields: Fields, where: str) -> str:
    text = fields.text("recipient")
    try:
        pyrage.x25519.Recipient.from_str(text)
    except pyrage.RecipientError:
        raise Damaged(f"{where} names an invalid age public key. Verify the vault") from None
    return text


def _trusted_sha256(fields: Fields, where: str) -> str | None:
    sha256 = fields.optional_hexadecimal("trusted_sha256", 32)
    if sha256 is not None and fields.raw("trusted_through") is None:
        raise Damaged(f"{where} has a `trusted_sha256` and no number. Verify the vault")
    return None if sha256 is None else sha256.hex()


def _name(value: object, where: str) -> str:
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise Damaged(f"{where} has an invalid name. Verify the vault")
    return value


def _check_unique(values: Sequence[object], where: str) -> None:
    if len(set(values)) < len(values):
        raise Damaged(f"{where} contains an entry twice. Verify the vault")


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise Damaged(f"{where} has an invalid text. Verify the vault")
    return value
