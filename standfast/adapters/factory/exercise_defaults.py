"""Stand-ins for empty sections of the configuration, for exercises.

An installation without a directory, a log or a channel could not rehearse any playbook, and would
notice only in an incident which adapter is missing. The use-cases report which stand-ins were used.

Rules
- Only an empty section gets a stand-in: configured adapters are rehearsed as they are.
- The addresses in the settings of a stand-in cannot exist (RFC 6761, `.invalid`), and no simulator
  reads them.
"""

from pathlib import Path

from standfast.config import Config
from standfast.config.sections.accounts import ScimDirectoryConfig
from standfast.config.sections.evidence_sources import FilesEvidenceConfig
from standfast.config.sections.senders import SmtpSenderConfig
from standfast.config.value_types import SecretReference

NAME = "stand-in"


def with_exercise_defaults(config: Config) -> Config:
    """Return the configuration with a stand-in directory, log and sender.

    A stand-in is added only if the section is empty.
    """
    stand_ins = {
        "accounts": ScimDirectoryConfig(
            kind="scim",
            url="https://directory.invalid/scim/v2",
            token=SecretReference("env:STAND_IN"),
        ),
        "evidence": FilesEvidenceConfig(kind="files", paths=(Path("/nowhere"),)),
        "senders": SmtpSenderConfig(
            kind="smtp", host="mail.invalid", sender_address="stand-in@example.invalid"
        ),
    }
    missing = {
        section: {NAME: settings}
        for section, settings in stand_ins.items()
        if not getattr(config, section)
    }
    return config.model_copy(update=missing) if missing else config
