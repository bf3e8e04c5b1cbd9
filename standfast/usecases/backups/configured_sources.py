"""From a configured source to what `backup` reads: files here, services by `backup_sources.py`.

A night that backs up nothing but files ends in less time than importing the services takes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from backup.sources import Source
from backup.sources.files.files_source import FilesSource
from backup.system.durable_files import resolved
from standfast.config.sections.backup import (
    BackupConfig,
    BackupSourceConfig,
    FilesSourceConfig,
    SqliteSourceConfig,
)
from standfast.secrets import Resolver
from standfast.usecases.core.backup_repository import translated_errors


@dataclass(frozen=True, kw_only=True)
class OwnFiles:
    """What backups make here, and must not take up again."""

    vaults: tuple[Path, ...] = ()  # folders that backups go to
    send_log: Path | None = None  # a cache, which is another one after each backup


NONE = OwnFiles()


def source_of(
    config: BackupSourceConfig,
    resolver: Resolver,
    exclude: Sequence[str] = (),
    own: OwnFiles = NONE,
) -> Source:
    """Give the reader of one configured source; nothing is reached and no secret read yet.

    `exclude` is what the whole set leaves out of its files; `own` is left out, too.
    """
    match config:
        case FilesSourceConfig():
            return files_source(config, exclude, own)
        case SqliteSourceConfig():
            from backup.sources.sqlite import SqliteSource

            return SqliteSource(config.name, config.path)
        case _:
            from standfast.usecases.backups.service_sources import service_source

            return service_source(config, resolver)


def own_files(config: BackupConfig) -> OwnFiles:
    """Give what backups make on this machine."""
    copies = [one.vault for one in config.copies.values() if one.vault is not None]
    vaults = (*copies, config.vault) if config.s3 is None else tuple(copies)
    return OwnFiles(vaults=vaults, send_log=config.send_log)


def files_source(
    config: FilesSourceConfig, exclude: Sequence[str] = (), own: OwnFiles = NONE
) -> FilesSource:
    """Give the reader of files; `UsageError` for a pattern that can match nothing."""
    with translated_errors(f"source {config.name}"):
        return FilesSource(
            config.name,
            config.path,
            [*exclude, *config.exclude],
            one_file_system=config.one_file_system,
            ignore_inode=config.ignore_inode,
            not_entered=own.vaults,
            own_files=() if own.send_log is None else (own.send_log,),
        )


def below(folder: Path, path: Path) -> Path | None:
    """Give a path as it is called from a folder that it lies in; None when it does not."""
    folder, path = resolved(folder), resolved(path)
    return path.relative_to(folder) if path.is_relative_to(folder) else None
