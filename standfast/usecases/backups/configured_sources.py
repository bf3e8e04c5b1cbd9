"""Readers of the configured sources, and files that are never backed up.

A source is one thing that is backed up, such as a folder or a database server. Readers of databases
and buckets are in `service_sources.py`. A backup of files does not import that module, because the
import of its clients takes longer than a small backup.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from backup.sources import Source
from backup.sources.files.files_source import FilesSource
from backup.system.durable_files import resolve_path
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
    """Files that backups write, and that no backup may therefore include."""

    vaults: tuple[Path, ...] = ()  # folders that receive backups
    send_log: Path | None = None  # the upload cache, which changes with each backup


NONE = OwnFiles()


def source_of(
    config: BackupSourceConfig,
    resolver: Resolver,
    exclude: Sequence[str] = (),
    own: OwnFiles = NONE,
) -> Source:
    """Return the reader of a source, without connecting or reading secrets.

    `exclude` are the patterns of the whole set. The files of `own` are excluded too.
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
    """Return the files that backups create on this machine."""
    copies = [copy.vault for copy in config.copies.values() if copy.vault is not None]
    vaults = (*copies, config.vault) if config.s3 is None else tuple(copies)
    return OwnFiles(vaults=vaults, send_log=config.send_log)


def files_source(
    config: FilesSourceConfig, exclude: Sequence[str] = (), own: OwnFiles = NONE
) -> FilesSource:
    """Return the reader of a folder; `UsageError` for an invalid pattern."""
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


def relative_path(folder: Path, path: Path) -> Path | None:
    """Return the path relative to the folder; None if the path is outside."""
    folder, path = resolve_path(folder), resolve_path(path)
    return path.relative_to(folder) if path.is_relative_to(folder) else None
