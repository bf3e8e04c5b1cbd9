"""From a configured source to what `backup` reads: files here, services by `backup_sources.py`.

A night that backs up nothing but files ends in less time than importing the services takes.
"""

from collections.abc import Sequence

from backup.sources import Source
from backup.sources.files import FilesSource
from standfast.config.backup import BackupSourceConfig, FilesSourceConfig, SqliteSourceConfig
from standfast.operations.repository import plain_errors
from standfast.secrets import Resolver


def source_of(
    config: BackupSourceConfig, resolver: Resolver, exclude: Sequence[str] = ()
) -> Source:
    """Give the reader of one configured source; nothing is reached and no secret read yet.

    `exclude` is what the whole set leaves out of its files.
    """
    match config:
        case FilesSourceConfig():
            return files_source(config, exclude)
        case SqliteSourceConfig():
            from backup.sources.sqlite import SqliteSource

            return SqliteSource(config.name, config.path)
        case _:
            from standfast.operations.backup_sources import service_source

            return service_source(config, resolver)


def files_source(config: FilesSourceConfig, exclude: Sequence[str] = ()) -> FilesSource:
    """Give the reader of files; `UsageError` for a pattern that can match nothing."""
    with plain_errors(f"source {config.name}"):
        return FilesSource(
            config.name,
            config.path,
            (*exclude, *config.exclude),
            one_file_system=config.one_file_system,
            ignore_inode=config.ignore_inode,
        )
