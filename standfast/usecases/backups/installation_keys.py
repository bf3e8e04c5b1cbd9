"""Keys of incidents that a copy of the installation contains.

Deleting the key of an incident erases the data of its customers. A copy of the key in the vault
would survive the deletion. The copy therefore contains only the keys of open incidents, which
nobody could continue without their keys.
"""

from standfast.config.installation_set import LEDGER_KEYS
from standfast.config.sections.backup import BackupSetConfig, FilesSourceConfig
from standfast.ledger.schema.column_encryption import INSTALLATION
from standfast.usecases.core.installation import Installation


def without_closed_incidents(
    installation: Installation, settings: BackupSetConfig
) -> BackupSetConfig:
    """Return the set without the keys of closed incidents.

    The key of an incident that is opened during the backup is included, because the ledger, which
    is copied before the keys, may contain that incident.
    """
    closed = [row.id for row in installation.ledger.incidents.all() if not row.is_open]
    return _excluding(settings, [f"/{incident}.key" for incident in closed])


def without_incidents(settings: BackupSetConfig) -> BackupSetConfig:
    """Return the set without any incident's key, for an unreadable ledger."""
    return _excluding(settings, ["*", f"!/{INSTALLATION}.key"])


def _excluding(settings: BackupSetConfig, patterns: list[str]) -> BackupSetConfig:
    return settings.model_copy(
        update={
            "sources": tuple(
                source.model_copy(update={"exclude": tuple(patterns)})
                if isinstance(source, FilesSourceConfig) and source.name == LEDGER_KEYS
                else source
                for source in settings.sources
            )
        }
    )
