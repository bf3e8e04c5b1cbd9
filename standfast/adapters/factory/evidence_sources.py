"""Evidence sources, built from their settings.

Like connectors, a source is imported only when it is built.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Final

from standfast.adapters.evidence_sources import EvidenceSource
from standfast.adapters.evidence_sources.sealed_source import SourceContext
from standfast.config.sections.evidence_sources import EvidenceConfig

# The class by kind; its module below `standfast.adapters.evidence_sources` has the kind's name.
SOURCES: Final[Mapping[str, str]] = {
    "amazon_connect": "AmazonConnectEvidence",
    "cloudwatch": "CloudwatchEvidence",
    "commands": "CommandsEvidence",
    "entra": "EntraEvidence",
    "files": "FilesEvidence",
    "google_workspace": "GoogleWorkspaceEvidence",
    "journald": "JournaldEvidence",
    "okta": "OktaEvidence",
    "postgresql": "PostgresqlEvidence",
    "s3": "S3Evidence",
}


def build_source(name: str, settings: EvidenceConfig, context: SourceContext) -> EvidenceSource:
    """Build a source and resolve its secrets; SecretMissing names one."""
    module = import_module(f"standfast.adapters.evidence_sources.{settings.kind}")
    source: EvidenceSource = getattr(module, SOURCES[settings.kind])(name, settings, context)
    return source
