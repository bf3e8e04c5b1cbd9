"""Erasure certificate: signed by the owner, as JSON and as text.

- A domain (backup sets that share one key) is erased by removing its key records, which contain the
  encrypted private keys. Before the erasure, the owner (the person with the offline signing key)
  signs an order, and the people that can decrypt the backups agree in signed attestations.
- The certificate names the domain and its key pairs, the order with its date and person, and the
  attestations. It also names the removed key records, the copies of key records that must still be
  destroyed, and the number of recovery points that nobody can open any more. It contains no secret.
- The first line is canonical JSON. The second line is the signature of the first line, in
  hexadecimal.
"""

from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from backup.errors import WrongKey
from backup.format.canonical_json import to_json
from backup.format.signature import SIGNATURE_BYTES, check_signature, sign, signed_value
from backup.format.strict_fields import from_hex

CERTIFICATE = "erasure-certificate"
_CONTEXT = b"standfast-backup-1 erasure-certificate"

Certificate = Mapping[str, Any]


def certificate_to_bytes(value: Certificate, owner: Ed25519PrivateKey) -> bytes:
    """Sign and encode a certificate."""
    content = to_json(dict(value)) + b"\n"
    signature = sign(_CONTEXT, content, owner)[len(content) :]
    return content + signature.hex().encode() + b"\n"


def certificate_from_bytes(data: bytes, owner: bytes, where: str) -> Certificate:
    """Verify a certificate with the owner's key; return its content."""
    content, _, rest = data.partition(b"\n")
    signature = from_hex(rest.decode("ascii", "replace").strip(), SIGNATURE_BYTES, where)
    signed = content + b"\n" + signature
    check_signature(_CONTEXT, signed, owner, where)
    value = signed_value(signed, CERTIFICATE, where)
    if not isinstance(value, dict):
        raise WrongKey(f"{where}: not a certificate. Name the right file.")
    return value


def certificate_text(value: Certificate) -> str:
    """Return the certificate as one page of plain text."""
    lines = [
        "CERTIFICATE OF ERASURE",
        "",
        f"Domain      {value['domain']}",
        f"Repository  {value['repository']}",
        f"Owner's key {value['owner']}",
        f"Erased at   {value['erased_at']}",
        f"Reason      {value['reason']}",
        "",
        f"Ordered by {value['ordered_by']} at {value['ordered_at']}.",
        "Attested by:",
        *(
            f"  {item['attested_by']} at {item['attested_at']}, custodian {item['custodian']}"
            for item in value["attestations"]
        ),
        "",
        "Key records removed from the key store and from each named copy of it:",
        *(f"  {item['name']}  SHA-256 {item['sha256']}" for item in value["key_records"]),
        "",
        "Copies that could not be reached and may still have these records. Destroy each one,",
        "or clean it with `standfast backup keys copy FOLDER`:",
        *(
            [f"  {item['copy']}, last seen: {item['seen']}" for item in value["copies_to_destroy"]]
            or ["  none is known"]
        ),
        "",
        f"{value['points']} recovery points of this domain can no longer be opened. Their packs",
        "are encrypted to a removed key, and are deleted as their locks end. An unknown copy of",
        "these key records could still be opened by custodians.",
        "",
        f"Root record {value['root']['number']} states this in the repository. Its SHA-256:",
        f"  {value['root']['sha256']}",
        "SHA-256 of the order:",
        f"  {value['order']}",
        "",
        "Destroy by hand the copies that no program knows: printed or archived key records.",
    ]
    return "\n".join(lines) + "\n"
