"""From a configured source to what `backup` reads: files here, services by `backup_sources.py`.

A night that backs up nothing but files ends in less time than importing the services takes.
"""

from collections.abc import Sequence
from pathlib import Path

from backup.sources import Source
from backup.sources.files import FilesSource
from standfast.config.backup import (
    BackupConfig,
    BackupSourceConfig,
    FilesSourceConfig,
    SqliteSourceConfig,
)
from standfast.operations.repository import plain_errors
from standfast.secrets import Resolver


def source_of(
    config: BackupSourceConfig,
    resolver: Resolver,
    exclude: Sequence[str] = (),
    vaults: Sequence[Path] = (),
) -> Source:
    """Give the reader of one configured source; nothing is reached and no secret read yet.

    `exclude` is what the whole set leaves out of its files; `vaults`: see `vaults_here`.
    """
    match config:
        case FilesSourceConfig():
            return files_source(config, exclude, vaults)
        case SqliteSourceConfig():
            from backup.sources.sqlite import SqliteSource

            return SqliteSource(config.name, config.path)
        case _:
            from standfast.operations.backup_sources import service_source

            return service_source(config, resolver)


def vaults_here(config: BackupConfig) -> tuple[Path, ...]:
    """The folders that backups go to, which must not be in a backup."""
    copies = [one.vault for one in config.copies.values() if one.vault is not None]
    return (*copies, config.vault) if config.s3 is None else tuple(copies)


def files_source(
    config: FilesSourceConfig, exclude: Sequence[str] = (), vaults: Sequence[Path] = ()
) -> FilesSource:
    """Give the reader of files; `UsageError` for a pattern that can match nothing."""
    with plain_errors(f"source {config.name}"):
        return FilesSource(
            config.name,
            config.path,
            (*exclude, *config.exclude),
            one_file_system=config.one_file_system,
            ignore_inode=config.ignore_inode,
            not_entered=vaults,
        )
