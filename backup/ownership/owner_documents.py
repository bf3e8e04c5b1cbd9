"""Unsigned documents (challenges, attestations): encoding and hash.

- Unsigned documents are challenges (to test a decryption key) and attestations (consents of a
  custodian, a person that can decrypt backups, to an erasure). Orders and certificates of the owner
  are signed; see `erasure`.
- A document is canonical JSON and a newline.
- An answer refers to a document by the SHA-256 of all its bytes.
"""

import hashlib
from collections.abc import Iterable

from backup.errors import Damaged, WrongKey
from backup.format import FORMAT
from backup.format.canonical_json import to_json
from backup.format.strict_fields import Fields, read_record


def owner_document(kind: str, **fields: object) -> bytes:
    """Encode an unsigned document."""
    return to_json({"format": FORMAT, "kind": kind, **fields}) + b"\n"


def read_owner_document(data: bytes, kind: str, names: Iterable[str], where: str) -> Fields:
    """Read an unsigned document; raise `WrongKey` if it has another kind."""
    try:
        return read_record(data, kind, names, where)
    except Damaged:
        raise WrongKey(f"{where}: not a {kind.replace('-', ' ')}. Name the right file.") from None


def owner_document_hash(data: bytes) -> str:
    """Return the hash by which an answer refers to a document."""
    return hashlib.sha256(data).hexdigest()
