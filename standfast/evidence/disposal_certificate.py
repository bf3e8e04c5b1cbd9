"""Signed certificate `disposal.dsse.json` of a disposed folder.

The disposal of an evidence folder deletes the items (collected files) and their encrypted key. The
folder keeps its manifest, its seal (the manifest's signature), its chain of custody and this
certificate. They show what was collected, and that it was destroyed.

Rules
- The certificate is an in-toto statement about the manifest, signed with the key that signs seals.
- The certificate is written after all items and all reachable copies of the key were removed. Only
  a folder with a certificate is treated as disposed of.
- The certificate names each destroyed copy of the key, and each copy that perhaps still exists.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from standfast.errors import Damaged
from standfast.evidence.item_file import FILES_FOLDER, KEY_FILE
from standfast.evidence.signed_statement import (
    MANIFEST_FILE,
    STATEMENT_TYPE,
    signed_payload,
    statement_about,
    write_statement,
)

DISPOSAL_FILE = "disposal.dsse.json"
PREDICATE_TYPE = "urn:standfast:evidence-disposal:1"


@dataclass(frozen=True, kw_only=True)
class RemainingCopy:
    """One copy that may still exist, of the key or of content."""

    where: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """The disposal of one evidence folder."""

    incident: str
    source: str
    token: str
    reason: str
    requested_by: str
    requested_at: str  # all times: UTC, as `records.timestamp` writes them
    approved_by: str
    approved_at: str
    disposed_at: str
    is_encrypted: bool
    destroyed_keys: tuple[str, ...]  # former places of the key, confirmed as destroyed
    unconfirmed: tuple[RemainingCopy, ...]


def write_certificate(
    folder: Path, certificate: Certificate, signing_key: Ed25519PrivateKey
) -> None:
    """Sign the certificate and write it to the disk."""
    manifest = (folder / MANIFEST_FILE).read_bytes()
    statement = statement_about(manifest, PREDICATE_TYPE, asdict(certificate))
    write_statement(folder / DISPOSAL_FILE, statement, signing_key)


def read_certificate(folder: Path, public_key: Ed25519PublicKey) -> Certificate | None:
    """Return the certificate; None if missing, Damaged if not valid."""
    file = folder / DISPOSAL_FILE
    if not os.path.lexists(file):
        return None
    if file.is_symlink() or not file.is_file():
        raise Damaged(f"{DISPOSAL_FILE} is not a regular file")
    payload = signed_payload(file, public_key)
    try:
        body = json.loads(payload)
        manifest = hashlib.sha256((folder / MANIFEST_FILE).read_bytes()).hexdigest()
        is_ours = (body["_type"], body["predicateType"]) == (STATEMENT_TYPE, PREDICATE_TYPE)
        is_about = body["subject"] == [{"name": MANIFEST_FILE, "digest": {"sha256": manifest}}]
        predicate = body["predicate"]
        predicate["destroyed_keys"] = tuple(map(str, predicate["destroyed_keys"]))
        predicate["unconfirmed"] = tuple(RemainingCopy(**it) for it in predicate["unconfirmed"])
        certificate = Certificate(**predicate)
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise Damaged(f"{DISPOSAL_FILE} cannot be read as a certificate") from error
    if not (is_ours and is_about):
        raise Damaged(f"{DISPOSAL_FILE} is about something else")
    if certificate.approved_by == certificate.requested_by:
        raise Damaged(f"{DISPOSAL_FILE} was requested and approved by one person")
    return certificate


def remains_of_disposal(folder: Path) -> Iterator[str]:
    """Yield a problem for each part that the disposal should have removed."""
    for name in (FILES_FOLDER, KEY_FILE):
        if os.path.lexists(folder / name):
            yield f"{name}: exists, although {DISPOSAL_FILE} says that it was disposed of"
