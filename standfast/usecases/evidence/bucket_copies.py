"""Copies of evidence folders in the bucket of `[custody.s3]`: put, check.

Rules
- A folder that differs from its seal (its signed manifest) is not copied, because a court would not
  accept the copy.
- A copy that is incomplete or cannot be read is reported, but not as damage of the original.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from backup.stores import Store
from standfast.adapters.factory.live_adapters import read_signing_key
from standfast.config import Config
from standfast.errors import StandfastError, UsageError
from standfast.evidence.bucket_copy import (
    Copy,
    CopyDestination,
    copy_folder,
    inspect_copy,
    is_copied,
    is_stamp_copied,
)
from standfast.evidence.custody import verify_custody
from standfast.evidence.seal import verify_seal
from standfast.records import Now
from standfast.secrets import Resolver
from standfast.usecases.core.backup_repository import open_store, translated_errors


@dataclass(frozen=True, kw_only=True)
class Copied:
    """The result of copying one folder."""

    folder: Path
    objects: int  # the number of uploaded objects
    problem: str = ""  # the reason why the copy is missing or incomplete


def second_location(config: Config, resolver: Resolver, clock: Now) -> CopyDestination | None:
    """Return the bucket for copies of evidence; None if none is configured."""
    settings = config.custody.s3
    if settings is None:
        return None
    below = f" below {settings.prefix}" if settings.prefix else ""

    def opened() -> Store:
        return open_store(config.custody.folder, settings, resolver, clock)

    return CopyDestination(where=f"bucket {settings.bucket}{below}", open=opened)


def required_evidence_bucket(config: Config, resolver: Resolver, clock: Now) -> CopyDestination:
    """Return the bucket for copies; raise UsageError if none is configured."""
    found = second_location(config, resolver, clock)
    if found is None:
        raise UsageError("custody.s3: not set. Add [custody.s3] to copy evidence to a bucket.")
    return found


def copy_each(
    config: Config, to: CopyDestination, folders: list[Path], who: str, clock: Now
) -> Iterator[Copied]:
    """Copy the missing parts of each folder; continue after a failed folder.

    If the bucket cannot be opened, raise its error.
    """
    store = to.open()
    key = read_signing_key(config.custody.key).public_key()
    for folder in folders:
        if problems := [*verify_seal(folder, key), *verify_custody(folder)]:
            yield Copied(folder=folder, objects=0, problem=f"differs from its seal: {problems[0]}")
            continue
        name = name_of(config, folder)
        try:
            with translated_errors(f"copying {name}"):
                put = copy_folder(folder, name, store, to.where, who, clock)
        except StandfastError as error:
            yield Copied(folder=folder, objects=0, problem=str(error))
        else:
            yield Copied(folder=folder, objects=put)


def inspect_bucket_copy(config: Config, store: Store, folder: Path, clock: Now) -> Copy:
    """Check the copy of one folder; raise a StandfastError for store errors."""
    with translated_errors(f"looking at the copy of {folder.name}"):
        return inspect_copy(folder, name_of(config, folder), store, clock())


def uncopied_folders(to: CopyDestination, folders: list[Path]) -> list[Path]:
    """Return the folders that have no complete copy.

    A complete copy includes the time stamp, if the folder has one. The bucket is not queried: each
    folder's chain of custody (the record of all access to the folder) names its copies.
    """
    return [folder for folder in folders if not _says_copied(folder, to.where)]


def _says_copied(folder: Path, where: str) -> bool:
    try:
        return is_copied(folder, where) and is_stamp_copied(folder, where)
    except StandfastError:
        return False


def name_of(config: Config, folder: Path) -> str:
    """Return the name of a folder's copy: INCIDENT/SOURCE/TOKEN."""
    return folder.relative_to(config.custody.folder).as_posix()
