"""What is left of an erased domain: a certificate, signed by the owner, as JSON and as text.

- It names the domain, its generations, when and by whom it was ordered, who attested, which key
  records were removed, which copies of them are left to destroy, and how many points nobody can
  open any more; nothing secret.
- The JSON is one canonical line, the signature in hexadecimal the next.
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
    """Sign a certificate."""
    content = to_json(dict(value)) + b"\n"
    signature = sign(_CONTEXT, content, owner)[len(content) :]
    return content + signature.hex().encode() + b"\n"


def certificate_from_bytes(data: bytes, owner: bytes, where: str) -> Certificate:
    """Check a certificate against the owner's key, and give what it says."""
    content, _, rest = data.partition(b"\n")
    signature = from_hex(rest.decode("ascii", "replace").strip(), SIGNATURE_BYTES, where)
    signed = content + b"\n" + signature
    check_signature(_CONTEXT, signed, owner, where)
    value = signed_value(signed, CERTIFICATE, where)
    if not isinstance(value, dict):
        raise WrongKey(f"{where} is no certificate: name the right file")
    return value


def certificate_text(value: Certificate) -> str:
    """The same for people: one page of plain text."""
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
            f"  {one['attested_by']} at {one['attested_at']}, custodian {one['custodian']}"
            for one in value["attestations"]
        ),
        "",
        "What was removed from the key store and from each copy of it that was named:",
        *(f"  {one['name']}  SHA-256 {one['sha256']}" for one in value["key_records"]),
        "",
        "Copies that were out of reach and may still hold these records. Destroy each one, or",
        "clean it with `standfast backup keys copy FOLDER`:",
        *(
            [f"  {one['copy']}, last seen: {one['seen']}" for one in value["copies_to_destroy"]]
            or ["  none is known"]
        ),
        "",
        f"{value['points']} recovery points of this domain can no longer be opened. What is left",
        "of them is encrypted to a key that is gone, and goes as its locks end. Nobody unlearns a",
        "key: a copy of these key records that was made out of sight still opens for custodians.",
        "",
        f"Root record {value['root']['number']} says so in the repository; its SHA-256 is",
        f"  {value['root']['sha256']}",
        "The order's SHA-256 is",
        f"  {value['order']}",
        "",
        "Remove by hand what no program knows of: printed or archived copies of the key store.",
    ]
    return "\n".join(lines) + "\n"
