"""Signed in-toto statements in DSSE envelopes: writing, verification.

Rules
- The envelope is written with securesystemslib. It is small (loaded in a tenth of a second, when it
  is first needed), has type hints, and is used by the in-toto tools of external examiners.
- securesystemslib finds a signature by its key id, which is optional in the DSSE specification.
  Therefore each envelope has one signature, with the id of its key.
"""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from standfast.errors import Damaged
from standfast.evidence.private_files import write_atomically
from standfast.records import JsonObject, canonical

if TYPE_CHECKING:
    from securesystemslib.dsse import Envelope

MANIFEST_FILE = "manifest.json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"


def statement_about(manifest: bytes, predicate_type: str, predicate: JsonObject) -> JsonObject:
    """Return the in-toto statement about a manifest."""
    digest = hashlib.sha256(manifest).hexdigest()
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": MANIFEST_FILE, "digest": {"sha256": digest}}],
        "predicateType": predicate_type,
        "predicate": predicate,
    }


def write_statement(file: Path, statement: JsonObject, signing_key: Ed25519PrivateKey) -> None:
    """Sign a statement and write its envelope to the disk."""
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import CryptoSigner

    envelope = Envelope(canonical(statement), PAYLOAD_TYPE, {})
    envelope.sign(CryptoSigner(signing_key))
    write_atomically(file, canonical(envelope.to_dict()))


def signed_payload(file: Path, public_key: Ed25519PublicKey) -> bytes:
    """Return the statement of an envelope; Damaged if it does not verify."""
    from securesystemslib.exceptions import VerificationError
    from securesystemslib.signer import SSlibKey

    try:
        raw = file.read_bytes()
    except OSError as error:
        raise Damaged(f"{file.name} cannot be read: {error.strerror}") from error
    envelope = _envelope(raw, file.name)
    # base64 has unused bits, and the chain of custody hashes them too: accept only one encoding.
    if canonical(envelope.to_dict()) != raw:
        raise Damaged(f"{file.name} is not written as it was sealed")
    try:
        envelope.verify([SSlibKey.from_crypto(public_key)], 1)
    except VerificationError as error:
        raise Damaged(f"{file.name} is not signed by the expected key") from error
    if envelope.payload_type != PAYLOAD_TYPE:
        raise Damaged(f"{file.name} does not contain a statement")
    return envelope.payload


def _envelope(raw: bytes, name: str) -> "Envelope":
    from securesystemslib.dsse import Envelope

    try:
        return Envelope.from_dict(json.loads(raw))
    except Exception as error:  # the library documents no single error for an invalid envelope
        raise Damaged(f"{name} cannot be read as an envelope") from error
