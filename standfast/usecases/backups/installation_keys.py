"""Keys of incidents in a backup of the installation: only of open ones.

The installation (the configured Standfast itself) is backed up too. The names of customers in an
incident are encrypted with a key of that incident. To erase the names, the key is deleted. A copy
of the key in a backup would survive the deletion. Therefore a backup contains only the keys of open
incidents, because these incidents could not be continued without their keys.
"""

from standfast.config.installation_set import LEDGER_KEYS
from standfast.config.sections.backup import BackupSetConfig, FilesSourceConfig
from standfast.ledger.schema.column_encryption import INSTALLATION
from standfast.usecases.core.installation import Installation


def without_closed_incidents(
    installation: Installation, settings: BackupSetConfig
) -> BackupSetConfig:
    """Return settings of the backup set without the keys of closed incidents.

    The key of an incident that is opened during the backup is included, because the ledger (the
    database of incidents) is backed up before the keys and may already contain that incident.
    """
    closed = [row.id for row in installation.ledger.incidents.all() if not row.is_open]
    return _excluding(settings, [f"/{incident}.key" for incident in closed])


def without_incidents(settings: BackupSetConfig) -> BackupSetConfig:
    """Return settings of the backup set without the keys of all incidents.

    These settings are used if the ledger cannot be read.
    """
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
