"""Order and attestations of an erasure: signed, attested and read.

The owner, the person with the offline signing key, orders the erasure of a domain (backup sets that
share one key). Every custodian, a person that can decrypt these backups, must agree.

An order contains a challenge for every custodian: a secret number, encrypted to the custodian's
key. An attestation is the consent of one custodian. It contains the decrypted number as proof, and
the name of the person that decrypted it. `domain_erasure` executes an order.
"""

from dataclasses import dataclass, field
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from backup.errors import Damaged, UsageError, WrongKey
from backup.format import FORMAT
from backup.format.canonical_json import to_json, to_time
from backup.format.root_record import PUBLIC_KEY_BYTES, REPOSITORY_BYTES
from backup.format.signature import check_signature, sign, signed_value
from backup.format.strict_fields import Fields
from backup.ownership.custodian_public_key import Custodian, parse_custodian
from backup.ownership.decryption_challenge import (
    Challenge,
    challenges_from_json,
    challenges_to_json,
    decrypt_challenges,
)
from backup.ownership.owner_documents import (
    owner_document,
    owner_document_hash,
    read_owner_document,
)
from backup.trust.key_files import Identity

ORDER = "erasure-order"
_ATTESTATION = "erasure-attestation"
_ORDER_CONTEXT = b"standfast-backup-1 erasure-order"
_LONGEST_LINE = 500
_ORDER_FIELDS = (
    "format", "kind", "repository", "owner", "domain", "generations", "ordered_by", "ordered_at",
    "reason", "text", "challenges",
)  # fmt: skip
_ATTESTATION_FIELDS = ("order", "custodian", "nonce", "attested_by", "attested_at")


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """Signed order of the owner to erase a domain."""

    repository: bytes
    owner: bytes
    domain: str
    generations: tuple[tuple[int, str], ...]  # key pairs of the domain: (number, public key)
    ordered_by: str
    ordered_at: datetime
    reason: str
    text: str  # the statement that the custodians agree to
    challenges: tuple[Challenge, ...]
    sha256: str = ""  # of the signed document


@dataclass(frozen=True, kw_only=True, slots=True)
class Attestation:
    """Consent of one custodian to an order."""

    order: str  # SHA-256 of the order
    custodian: Custodian
    nonce: bytes = field(repr=False)
    attested_by: str
    attested_at: datetime


def order_to_bytes(order: Order, owner: Ed25519PrivateKey) -> bytes:
    """Encode and sign an order."""
    value = {
        "format": FORMAT,
        "kind": ORDER,
        "repository": order.repository.hex(),
        "owner": order.owner.hex(),
        "domain": order.domain,
        "generations": [[number, recipient] for number, recipient in order.generations],
        "ordered_by": order.ordered_by,
        "ordered_at": to_time(order.ordered_at),
        "reason": order.reason,
        "text": order.text,
        "challenges": challenges_to_json(order.challenges),
    }
    return sign(_ORDER_CONTEXT, to_json(value) + b"\n", owner)


def read_order(data: bytes, where: str, *, owner: bytes | None = None) -> Order:
    """Read an order and check its signature.

    Without `owner` (the owner's public key), the signature is checked with the key that the order
    itself names. A person must then compare this key with the owner's key. Raise `WrongKey` if
    another owner signed.
    """
    try:
        value = signed_value(data, ORDER, where)
    except Damaged:
        raise WrongKey(f"{where}: not an erasure order. Name the right file.") from None
    fields = Fields(value, where, _ORDER_FIELDS)
    signer = fields.hexadecimal("owner", PUBLIC_KEY_BYTES)
    check_signature(_ORDER_CONTEXT, data, signer, where)
    if owner not in (None, signer):
        raise WrongKey(
            f"{where}: it was signed by an owner unknown to this host. Check its source."
        )
    return Order(
        sha256=owner_document_hash(data),
        repository=fields.hexadecimal("repository", REPOSITORY_BYTES),
        owner=signer,
        domain=fields.name("domain"),
        generations=tuple(_generation(item, where) for item in fields.items("generations")),
        ordered_by=fields.text("ordered_by"),
        ordered_at=fields.time("ordered_at"),
        reason=fields.text("reason"),
        text=fields.text("text"),
        challenges=challenges_from_json(fields.items("challenges"), where),
    )


def attest(
    data: bytes, identity: Identity, *, attested_by: str, now: datetime, where: str
) -> tuple[bytes, ...]:
    """Return an attestation for each custodian's key in an identity file.

    Raise `WrongKey` if the order names none of these custodians, or if the identity file names
    another owner or repository than the order.
    """
    check_line("your name", attested_by)
    order = read_order(data, where, owner=identity.owner)
    if identity.repository not in (None, order.repository):
        raise WrongKey(
            f"{where}: it belongs to another repository than this identity. Use the order and the "
            "identity of one repository."
        )
    opened = decrypt_challenges(order.challenges, identity, kind=ORDER, text=order.text)
    return tuple(
        owner_document(
            _ATTESTATION,
            order=order.sha256,
            custodian=challenge.custodian.text,
            nonce=challenge.nonce.hex(),
            attested_by=attested_by,
            attested_at=to_time(now),
        )
        for challenge in opened
    )


def read_attestation(data: bytes, where: str) -> Attestation:
    """Read an attestation; `erase` compares it with its order."""
    fields = read_owner_document(data, _ATTESTATION, _ATTESTATION_FIELDS, where)
    return Attestation(
        order=fields.hexadecimal("order", 32).hex(),
        custodian=parse_custodian(fields.text("custodian")),
        nonce=fields.hexadecimal("nonce", 32),
        attested_by=fields.text("attested_by"),
        attested_at=fields.time("attested_at"),
    )


def check_line(subject: str, text: str) -> None:
    """Raise `UsageError` unless a text is one line of a valid length."""
    if not text.strip() or len(text) > _LONGEST_LINE or not text.isprintable():
        raise UsageError(
            f"{subject}: it must be one line of at most {_LONGEST_LINE} letters. Give it."
        )


def _generation(value: object, where: str) -> tuple[int, str]:
    match value:
        case [int(number), str(recipient)]:
            return number, recipient
    raise Damaged(f"{where}: it names an invalid generation. Get the order again.")
