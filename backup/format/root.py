"""The owner's records: `pub/root/<n>` says who writes for which domain, `k/…` holds its key.

- Both are canonical JSON, a newline, the owner's signature.  Each root names the SHA-256 of the
  one before.
- The owner's public key stands in every root and never changes: whoever pins it cannot be fooled.
"""

import base64
import binascii
from dataclasses import dataclass
from datetime import datetime

import pyrage
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from backup.errors import Damaged
from backup.format import FORMAT
from backup.format.canonical import from_json, to_json, to_time
from backup.format.fields import Fields, check_format, from_hex
from backup.format.layout import LARGEST_NUMBER
from backup.format.signed import KEY_CONTEXT, ROOT_CONTEXT, check_signature, sign, unsigned

REPOSITORY_BYTES = 16
PUBLIC_KEY_BYTES = 32
LARGEST_GENERATION = 2**32 - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class WriterGrant:
    """A backup host in one epoch of its life."""

    id: str
    epoch: int
    key: bytes  # Ed25519 public key
    domains: tuple[str, ...]
    trusted_through: int | None  # the last sequence to believe; None while the writer is trusted


@dataclass(frozen=True, kw_only=True, slots=True)
class DomainGrant:
    """An erasure domain in one generation of its key."""

    id: str
    generation: int
    recipient: str  # age public key


@dataclass(frozen=True, kw_only=True, slots=True)
class RootRecord:
    """Who may do what, as the owner signed it."""

    repository: bytes  # 16 bytes
    number: int
    previous: bytes | None  # SHA-256 of the record before, signature included
    owner: bytes  # Ed25519 public key
    created: datetime
    writers: tuple[WriterGrant, ...]
    domains: tuple[DomainGrant, ...]  # every generation; the highest is the one to write for
    keeper: bytes | None  # Ed25519 public key

    def writer(self, id: str, epoch: int) -> WriterGrant | None:  # noqa: A002 - the field's name
        """The grant of a writer in an epoch, if there is one."""
        return next((w for w in self.writers if (w.id, w.epoch) == (id, epoch)), None)

    def domain(self, id: str) -> DomainGrant | None:  # noqa: A002 - the field's name
        """The newest generation of a domain."""
        found = [domain for domain in self.domains if domain.id == id]
        return max(found, key=lambda domain: domain.generation, default=None)


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyRecord:
    """A domain's private key, encrypted to the custodians."""

    repository: bytes
    domain: str
    generation: int
    number: int  # grows when the custodians change; the highest counts
    recipient: str
    custodians: tuple[str, ...]  # their public keys, to tell who can open it
    wrapped: bytes  # age(the domain's "AGE-SECRET-KEY-1…" text)


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
            }
            for writer in record.writers
        ],
        "domains": [
            {"id": domain.id, "generation": domain.generation, "recipient": domain.recipient}
            for domain in record.domains
        ],
        "keeper": None if record.keeper is None else record.keeper.hex(),
    }
    return sign(ROOT_CONTEXT, to_json(value) + b"\n", owner)


def root_from_bytes(data: bytes, where: str) -> RootRecord:
    """Decode a root record and check that the owner named in it signed it."""
    value = _content(data, "root", where)
    fields = Fields(value, where, _ROOT_FIELDS)
    record = RootRecord(
        repository=fields.hexadecimal("repository", REPOSITORY_BYTES),
        number=fields.integer("number", high=LARGEST_NUMBER),
        previous=_optional_hex(fields.raw("previous"), 32, where),
        owner=fields.hexadecimal("owner", PUBLIC_KEY_BYTES),
        created=fields.time("created"),
        writers=tuple(_writer(item, where) for item in fields.items("writers")),
        domains=tuple(_domain(item, where) for item in fields.items("domains")),
        keeper=_optional_hex(fields.raw("keeper"), PUBLIC_KEY_BYTES, where),
    )
    check_signature(ROOT_CONTEXT, data, record.owner, where)
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
    """Decode a key record and check the owner's signature."""
    value = _content(data, "key", where)
    check_signature(KEY_CONTEXT, data, owner, where)
    fields = Fields(value, where, _KEY_FIELDS)
    try:
        wrapped = base64.b64decode(fields.text("wrapped"), validate=True)
    except (binascii.Error, ValueError):
        raise Damaged(f"{where} holds no wrapped key; verify the repository") from None
    return KeyRecord(
        repository=fields.hexadecimal("repository", REPOSITORY_BYTES),
        domain=fields.name("domain"),
        generation=fields.integer("generation", high=LARGEST_GENERATION),
        number=fields.integer("number", high=LARGEST_NUMBER),
        recipient=_recipient(fields, where),
        custodians=tuple(_text(item, where) for item in fields.items("custodians")),
        wrapped=wrapped,
    )


_ROOT_FIELDS = (
    "format", "kind", "repository", "number", "previous", "owner", "created", "writers", "domains",
    "keeper",
)  # fmt: skip
_KEY_FIELDS = (
    "format", "kind", "repository", "domain", "generation", "number", "recipient", "custodians",
    "wrapped",
)  # fmt: skip


def _content(data: bytes, kind: str, where: str) -> object:
    content = unsigned(data, where)
    if not content.endswith(b"\n"):
        raise Damaged(f"{where} is no signed record; verify the repository")
    value = from_json(content[:-1], where)
    check_format(value, kind, where)
    return value


def _writer(value: object, where: str) -> WriterGrant:
    fields = Fields(value, where, ("id", "epoch", "key", "domains", "trusted_through"))
    return WriterGrant(
        id=fields.name("id"),
        epoch=fields.integer("epoch"),
        key=fields.hexadecimal("key", PUBLIC_KEY_BYTES),
        domains=tuple(_text(item, where) for item in fields.items("domains")),
        trusted_through=fields.optional_integer("trusted_through"),
    )


def _domain(value: object, where: str) -> DomainGrant:
    fields = Fields(value, where, ("id", "generation", "recipient"))
    return DomainGrant(
        id=fields.name("id"),
        generation=fields.integer("generation", high=LARGEST_GENERATION),
        recipient=_recipient(fields, where),
    )


def _recipient(fields: Fields, where: str) -> str:
    text = fields.text("recipient")
    try:
        pyrage.x25519.Recipient.from_str(text)
    except pyrage.RecipientError:
        raise Damaged(f"{where} names no age public key; verify the repository") from None
    return text


def _optional_hex(value: object, size: int, where: str) -> bytes | None:
    return None if value is None else from_hex(value, size, where)


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise Damaged(f"{where} holds no text where some belongs; verify the repository")
    return value
