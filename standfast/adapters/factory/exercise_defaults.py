"""What an exercise rehearses with where the configuration has nothing yet.

A place without a directory, a log or a channel could rehearse no playbook, and would find out on
the night what it lacks. Leaves saying what is stood in for to `operations/rehearsing`.

Rules
- Only a section that is empty gets a stand-in: what is configured is rehearsed as it is.
- The settings of a stand-in lead nowhere (RFC 6761, `.invalid`), and no twin reads them.
"""

from pathlib import Path

from standfast.config import Config
from standfast.config.sections.accounts import ScimDirectoryConfig
from standfast.config.sections.evidence import FilesEvidenceConfig
from standfast.config.sections.senders import SmtpSenderConfig
from standfast.config.value_types import SecretReference

NAME = "stand-in"


def with_exercise_defaults(config: Config) -> Config:
    """Give the configuration with a stand-in wherever it has no directory, log or sender."""
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
