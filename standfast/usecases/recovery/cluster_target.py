"""Data directory of a PostgreSQL server as the target of a recovery."""

import os
from pathlib import Path

from backup.sources.client_programs import ProgramFailed
from standfast.config.sections.backup_sources import PostgresqlBaseSourceConfig
from standfast.usecases.drills.throwaway.postgresql import installed_programs


def cluster_obstacle(source: PostgresqlBaseSourceConfig, path: Path) -> str:
    """Return why a base backup cannot be recovered there, or ""."""
    owner = data_owner(path)
    if os.geteuid() not in (0, owner.st_uid):
        return f"{path}: this user is not its owner. Run as the user of the server, or as root."
    if owner.st_uid == 0:
        return f"{path}: its owner is root. Create it as an empty folder of the server's user."
    try:
        installed = installed_programs(source.programs)
    except ProgramFailed as error:
        return f"{path}: its log cannot be replayed here: {error}."
    version = path / "PG_VERSION"
    present = int(version.read_text()) if version.is_file() else 0
    if present and present not in {programs.version for programs in installed}:
        return f"{path}: it is of PostgreSQL {present}. Install the package postgresql-{present}."
    return ""


def data_owner(path: Path) -> os.stat_result:
    """Return the status of the data directory, or of its parent without one."""
    return (path if path.exists() else path.parent).stat()
