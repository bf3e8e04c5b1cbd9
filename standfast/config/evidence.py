"""The settings of evidence: what is frozen (`[evidence.NAME]`) and where it lies (`[custody]`).

Owns the fields; what they do stands in `standfast/evidence/`.

Rules
- A source's `kind` is the name of its module in `standfast/evidence/`.
"""

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from standfast.config.fields import Place, not_empty
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
