"""Backup set `installation`: the parts of an installation to copy.

An installation is one configured Standfast: its configuration, its ledger (the database of
incidents and approvals) and its keys. `[backup.installation]` adds this set to the other backup
sets, so that every rule for backup sets applies to it.
`standfast/usecases/setup/installation_recovery.py` reads the copies.

Rules
- Each part is one source of the set and has the same name.
- The ledger is read before its keys, so that a copy has the key of every incident in the ledger.
- A copy excludes every key that opens or expires backups, and every file that a secret reference
  names. It also excludes the witness (the ledger's signatures that are kept on another machine).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args
from urllib.parse import parse_qs, unquote, urlsplit

from backup.records import INSTALLATION_SET
from standfast.config.schema import Config
from standfast.config.sections.backup import (
    BackupSetConfig,
    BackupSourceConfig,
    FilesSourceConfig,
    SqliteSourceConfig,
)
from standfast.config.sections.backup_sources import PostgresqlSourceConfig
from standfast.config.sections.server_settings import PostgresqlTls

CONFIGURATION, LEDGER, LEDGER_KEYS = "configuration", "ledger", "ledger-keys"
_SQLITE = "sqlite:///"


@dataclass(frozen=True, kw_only=True)
class FilePart:
    """A folder or a file that is copied unchanged."""

    table: str  # the table of the setting with its path
    key: str
    default_path: (
        str  # path in a recovered installation, for a part outside the installation's folder
    )
    is_folder: bool = True


FILE_PARTS: Mapping[str, FilePart] = {
    LEDGER_KEYS: FilePart(table="ledger", key="keys", default_path="keys/ledger"),
    "backup-host": FilePart(table="backup", key="host", default_path="keys/backup-host"),
    "evidence-key": FilePart(
        table="custody", key="key", default_path="keys/evidence-seal.key", is_folder=False
    ),
    "playbooks": FilePart(table="playbooks", key="folder", default_path="playbooks"),
    "notices": FilePart(table="notices", key="templates", default_path="notices"),
}


def with_installation_set(config: Config, file: Path) -> Config:
    """Return the configuration with the set that `[backup.installation]` adds."""
    copies = config.backup.installation
    if copies is None:
        return config
    sources: list[BackupSourceConfig] = [
        FilesSourceConfig(kind="files", name=CONFIGURATION, path=file.absolute()),
        _ledger_source(config, copies.programs),
    ]
    for name, part in FILE_PARTS.items():
        path = path_of(config, part)
        if path is not None:
            sources.append(FilesSourceConfig(kind="files", name=name, path=path))
    added = BackupSetConfig(sources=tuple(sources), schedule=copies.schedule)
    backup = config.backup.model_copy(
        update={"sets": {**config.backup.sets, INSTALLATION_SET: added}}
    )
    return config.model_copy(update={"backup": backup})


def path_of(config: Config, part: FilePart) -> Path | None:
    """Return the path of a part; None if it is not configured."""
    path: Path | None = getattr(getattr(config, part.table), part.key)
    return path


def ledger_file(url: str) -> Path | None:
    """Return the file of a ledger in SQLite; None for a database server."""
    return Path(url.removeprefix(_SQLITE)) if url.startswith(_SQLITE) else None


def _ledger_source(config: Config, programs: Path | None) -> BackupSourceConfig:
    file = ledger_file(config.ledger.url)
    if file is not None:
        return SqliteSourceConfig(kind="sqlite", name=LEDGER, path=file)
    parts = urlsplit(config.ledger.url)
    options = {name: values[0] for name, values in parse_qs(parts.query).items()}
    tls = options.get("sslmode")
    settings: dict[str, Any] = {
        "host": parts.hostname or options.get("host", "localhost"),
        "port": parts.port or 5432,
        "databases": (unquote(parts.path.lstrip("/")),),
        "password": config.ledger.password,
        "programs": programs,
        "tls": tls if tls in get_args(PostgresqlTls) else None,
        "ca_file": Path(options["sslrootcert"]) if "sslrootcert" in options else None,
    }
    if parts.username:
        settings["user"] = unquote(parts.username)
    return PostgresqlSourceConfig(kind="postgresql", name=LEDGER, **settings)
