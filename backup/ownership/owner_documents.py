"""Papers that people hand each other as files: orders, attestations, challenges, answers.

- A paper is canonical JSON and a newline; what the owner orders or certifies is signed as any
  record is.  Each names the repository that it is about.
- The hash of a paper is the SHA-256 of all its bytes; an answer names the paper by it.
"""

import hashlib
from collections.abc import Iterable

from backup.errors import Damaged, WrongKey
from backup.format import FORMAT
from backup.format.canonical_json import to_json
from backup.format.strict_fields import Fields, read_record


def owner_document(kind: str, **fields: object) -> bytes:
    """Write an unsigned paper."""
    return to_json({"format": FORMAT, "kind": kind, **fields}) + b"\n"


def read_owner_document(data: bytes, kind: str, names: Iterable[str], where: str) -> Fields:
    """Read an unsigned paper; `WrongKey` when it is of another kind."""
    try:
        return read_record(data, kind, names, where)
    except Damaged:
        raise WrongKey(f"{where} has no {kind.replace('-', ' ')}: name the right file") from None


def owner_document_hash(data: bytes) -> str:
    """What an answer names a paper by."""
    return hashlib.sha256(data).hexdigest()
