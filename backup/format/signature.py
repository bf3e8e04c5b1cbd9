"""Ed25519 signatures of records, also of records of later formats.

A signed record is `content || signature (64 bytes)`.

The signed bytes are `context || 0x00 || content`. The context names the kind of the record, so a
signature is never valid for a record of another kind.
"""

import re

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from backup.errors import Damaged
from backup.format import FORMAT
from backup.format.canonical_json import from_json
from backup.format.strict_fields import check_format

SIGNATURE_BYTES = 64

_CLAIM = re.compile(rb'"format":([0-9]{1,9})[,}]')

ROOT_CONTEXT = b"standfast-backup-1 root"
KEY_CONTEXT = b"standfast-backup-1 key"
KEEP_CONTEXT = b"standfast-backup-1 keep"
SNAPSHOT_CONTEXT = b"standfast-backup-1 snapshot"


def sign(context: bytes, content: bytes, key: Ed25519PrivateKey) -> bytes:
    """Append the signature to the content."""
    return content + key.sign(context + b"\0" + content)


def signed_content(data: bytes, where: str) -> bytes:
    """Return the content without checking its signature.

    Use it only to find the key with which the signature must be checked.
    """
    if len(data) <= SIGNATURE_BYTES:
        raise Damaged(f"{where} is too short for a signature. Verify the vault")
    return data[:-SIGNATURE_BYTES]


def check_signature(context: bytes, data: bytes, public_key: bytes, where: str) -> None:
    """Raise `Damaged` unless the key signed the content for this context."""
    content = signed_content(data, where)
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(
            data[-SIGNATURE_BYTES:], context + b"\0" + content
        )
    except (InvalidSignature, ValueError):
        raise Damaged(f"{where} has no valid signature: it was damaged or forged") from None


def check_later_signature(
    kind: str, number: int, data: bytes, public_key: bytes, where: str
) -> None:
    """Raise `Damaged` unless the key signed a record of a later format.

    Later formats keep the form of the context and the place of the signature. So this version can
    check that a record is authentic even if it cannot read the record. A record of a later format
    stops this program. Without the check, anybody with the right to put objects could stop it with
    a forged record.
    """
    check_signature(f"standfast-backup-{number} {kind}".encode(), data, public_key, where)


def signed_value(data: bytes, kind: str, where: str) -> object:
    """Return the JSON of a signed record without checking the signature."""
    content = signed_content(data, where)
    if not content.endswith(b"\n"):
        raise Damaged(f"{where} is not a signed record. Verify the vault")
    value = from_json(content[:-1], where)
    check_format(value, kind, where)
    return value


def claimed_later_format(data: bytes) -> int | None:
    """Return the later format number that a record claims, or None.

    The number is found by a text search, because the record cannot be parsed. The claim can be
    false, so the caller must then call `check_later_signature`.
    """
    match = _CLAIM.search(data)
    number = FORMAT if match is None else int(match[1])
    return number if number > FORMAT else None
