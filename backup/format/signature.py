"""Signatures: `content || Ed25519 signature (64 bytes)`, over `context || 0x00 || content`.

- The context says what the content is for, so a signature never passes for one of another kind.
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


def unsigned(data: bytes, where: str) -> bytes:
    """The content, its signature not looked at: only for finding out whose signature to expect."""
    if len(data) <= SIGNATURE_BYTES:
        raise Damaged(f"{where} is too short to hold a signature; verify the repository")
    return data[:-SIGNATURE_BYTES]


def check_signature(context: bytes, data: bytes, public_key: bytes, where: str) -> None:
    """`Damaged` unless the holder of the key signed exactly this content for this context."""
    content = unsigned(data, where)
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(
            data[-SIGNATURE_BYTES:], context + b"\0" + content
        )
    except (InvalidSignature, ValueError):
        raise Damaged(
            f"{where} does not carry a valid signature: it was damaged or forged"
        ) from None


def check_stop_sign(kind: str, number: int, data: bytes, public_key: bytes, where: str) -> None:
    """`Damaged` unless the key signed this as a record of a later format.

    Whatever a later format changes, the context and the place of the signature stay like this: so
    its owner can stop older programs, and a stranger cannot.
    """
    check_signature(f"standfast-backup-{number} {kind}".encode(), data, public_key, where)


def signed_value(data: bytes, kind: str, where: str) -> object:
    """The JSON of a record that is nothing but JSON; the signature is not looked at."""
    content = unsigned(data, where)
    if not content.endswith(b"\n"):
        raise Damaged(f"{where} is no signed record; verify the repository")
    value = from_json(content[:-1], where)
    check_format(value, kind, where)
    return value


def format_of(data: bytes) -> int | None:
    """The number of a later format that a record claims to have; None for one of this format.

    Only looked for, not parsed: it proves nothing, and says which signature to expect.
    """
    found = _CLAIM.search(data)
    number = FORMAT if found is None else int(found[1])
    return number if number > FORMAT else None
