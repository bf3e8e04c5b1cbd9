"""Settings of `[custody]`: folder, key, second copy and time stamps.

`standfast/evidence/` seals evidence: it signs the list of the copied files.
"""

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from standfast.config.base_section import Section
from standfast.config.sections.backup import S3Config
from standfast.config.value_types import (
    Count,
    Items,
    Line,
    ObjectPrefix,
    Place,
    PublicKey,
    SecretReference,
)


class EvidenceBucketConfig(S3Config):
    """A bucket with Object Lock for copies of sealed evidence folders.

    See docs/evidence.md.
    """

    bucket: Line = Field(
        description="The bucket, with versioning and a default Object Lock for as long as "
        "evidence must be kept; preferably a separate one.",
        examples=["example-evidence"],
    )
    access_key_id: SecretReference = Field(
        description="The id of an access key that may only add and read objects: "
        "deploy/s3/evidence-policy.json.",
        examples=["file:keys/evidence-access-key-id"],
    )
    prefix: ObjectPrefix = Field(
        default="",
        description="The beginning of every object name, if the bucket has other content; it "
        "ends with a slash.",
        examples=["call-centre/"],
    )
    requires_lock: bool = Field(
        default=True,
        description="Refuse a bucket that does not lock its objects: in such a bucket, an "
        "attacker on this host could delete the copies.",
    )


def _authority(url: str) -> str:
    """Validate an address, with http or https.

    A time stamp is signed, and a request contains only a hash, so http is safe.
    """
    try:
        parts = urlsplit(url)
        is_web = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        is_web = False
    if not is_web:
        raise ValueError("not a web address; write https://host/path")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ValueError("write the address without user, query or fragment: they may be secrets")
    return url


AuthorityAddress = Annotated[str, AfterValidator(_authority)]


class TimestampConfig(Section):
    """A time stamp authority (RFC 3161) that proves the time of each seal.

    A stamp is requested after each seal; sealing never waits for it. See docs/evidence.md.
    """

    url: AuthorityAddress = Field(
        description="The address of the authority, over HTTP (RFC 3161 3.4). The authority "
        "receives the SHA-256 of a seal, and nothing else.",
        examples=["http://timestamp.example.com/rfc3161"],
    )
    roots: Place = Field(
        description="A PEM file with the root certificates to which time stamps must lead. "
        "Obtain the file by another channel than the authority's answers. If these answers "
        "contain only the authority's own certificate, add the intermediate certificates. "
        "Keep the roots of an earlier authority while evidence has its stamps.",
        examples=["/etc/standfast/timestamp-roots.pem"],
    )
    ca_file: Place | None = Field(
        default=None,
        description="A PEM file with the authorities for the certificate of an https address. "
        "Default: the public authorities.",
        examples=["/etc/standfast/company-ca.pem"],
    )


class CustodyConfig(Section):
    """The folder of the evidence, and the key that seals it."""

    folder: Place = Field(
        default=Path("evidence"),
        description="The folder of all evidence, with one folder for each incident.",
        examples=["/srv/evidence"],
    )
    key: Place = Field(
        default=Path("keys/evidence-seal.key"),
        description="The Ed25519 key that seals manifests; `standfast init` creates it.",
        examples=["/etc/standfast/evidence-seal.key"],
    )
    custodians: Items[PublicKey] = Field(
        default=(),
        description="The public keys of the evidence custodians (age or SSH). New evidence is "
        "encrypted to them, and each custodian can open it alone. Without "
        "custodians, evidence is not encrypted.",
        examples=[["age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"]],
    )
    key_copies: Items[Place] = Field(
        default=(),
        description="Folders, preferably of other machines, that receive a copy of each "
        "encrypted data key. The bucket of `custody.s3` receives no copy, because its lock would "
        "prevent the destruction of the key.",
        examples=[["/mnt/records/evidence-keys"]],
    )
    retention_days: Count = Field(
        default=0,
        description="The days after an incident is closed during which its evidence cannot be "
        "disposed of.",
        examples=[365],
    )
    s3: EvidenceBucketConfig | None = Field(
        default=None,
        description="A bucket with Object Lock that receives a copy of each folder after it is "
        "sealed: an attacker on this host could delete the folder here and seal another one.",
    )
    timestamp: TimestampConfig | None = Field(
        default=None,
        description="An authority that stamps each seal with its own time: an attacker on this "
        "host has the key and can seal other content, but only with a later stamp.",
    )
