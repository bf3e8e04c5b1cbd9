"""The settings of evidence: what is frozen (`[evidence.NAME]`) and where it lies (`[custody]`).

Owns the fields; what they do stands in `standfast/evidence/`.

Rules
- A source's `kind` is the name of its module in `standfast/evidence/`.
"""

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from standfast.config.backup import S3Config
from standfast.config.fields import Line, ObjectPrefix, Place, SecretReference, not_empty
from standfast.config.section import Section, setting


class FilesEvidenceConfig(Section):
    """Files and folders that are frozen as evidence: copied, hashed, sealed."""

    kind: Literal["files"] = setting(
        description="Files and folders on this machine.", examples=["files"]
    )
    paths: Annotated[tuple[Place, ...], not_empty] = setting(
        description="What is frozen; folders with all that is in them.",
        examples=[["/var/log/auth.log", "/var/log/telephony"]],
    )
    exclude: tuple[str, ...] = setting(
        default=(),
        description="Shell patterns of what is left out, matched against the whole path and the "
        "last name in it. What was left out is counted in the manifest.",
        examples=[["*.gz", "/var/log/telephony/cache/*"]],
    )


EvidenceConfig: TypeAlias = FilesEvidenceConfig


class EvidenceBucketConfig(S3Config):
    """A bucket with Object Lock that frozen folders are copied into; see docs/evidence.md."""

    bucket: Line = setting(
        description="The bucket, with versions and a default Object Lock for as long as evidence "
        "is kept; best one of its own.",
        examples=["example-evidence"],
    )
    access_key_id: SecretReference = setting(
        description="The access key's name, of an identity that may only add and read back: "
        "deploy/s3/evidence-policy.json.",
        examples=["file:keys/evidence-access-key-id"],
    )
    prefix: ObjectPrefix = setting(
        default="",
        description="What every object's name begins with, where the bucket has other things as "
        "well; it ends with a slash.",
        examples=["call-centre/"],
    )
    requires_lock: bool = setting(
        default=True,
        description="Copy into no bucket that does not lock what is put into it: there, who owns "
        "this host could delete the copies.",
        examples=[True],
    )


class CustodyConfig(Section):
    """Where evidence lies, and the key that seals it."""

    folder: Place = setting(
        default=Path("evidence"),
        description="The folder of all evidence; one folder an incident below it.",
        examples=["/srv/evidence"],
    )
    key: Place = setting(
        default=Path("keys/evidence-seal.key"),
        description="The Ed25519 key that seals manifests; `standfast init` makes it.",
        examples=["/etc/standfast/evidence-seal.key"],
    )
    s3: EvidenceBucketConfig | None = setting(
        default=None,
        description="A bucket that locks, into which each frozen folder is copied as well, as soon "
        "as it is sealed: whoever owns this host can delete the folder, and seal another one.",
    )
