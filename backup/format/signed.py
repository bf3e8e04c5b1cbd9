"""Signatures: `content || Ed25519 signature (64 bytes)`, over `context || 0x00 || content`.

- The context says what the content is for, so a signature never passes for one of another kind.
"""

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from backup.errors import Damaged

SIGNATURE_BYTES = 64

ROOT_CONTEXT = b"standfast-backup-0 root"
KEY_CONTEXT = b"standfast-backup-0 key"
SNAPSHOT_CONTEXT = b"standfast-backup-0 snapshot"


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
