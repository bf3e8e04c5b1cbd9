"""Frozen folders, copied into the bucket that `[custody.s3]` names; and whether they are there.

Rules
- What is not what was sealed is not copied: the copy is to be what a court can be shown.
- A copy that cannot be looked at, or lacks something, is no damage here; it is named.
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
    Elsewhere,
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
    """What copying one folder came to."""

    folder: Path
    objects: int  # that were put
    problem: str = ""  # why it is not copied, or not all of it


def elsewhere(config: Config, resolver: Resolver, clock: Now) -> Elsewhere | None:
    """Say where frozen folders are copied to as well; None where nothing is set."""
    settings = config.custody.s3
    if settings is None:
        return None
    below = f" below {settings.prefix}" if settings.prefix else ""

    def opened() -> Store:
        return open_store(config.custody.folder, settings, resolver, clock)

    return Elsewhere(where=f"bucket {settings.bucket}{below}", open=opened)


def required_evidence_bucket(config: Config, resolver: Resolver, clock: Now) -> Elsewhere:
    """Give it, or UsageError."""
    found = elsewhere(config, resolver, clock)
    if found is None:
        raise UsageError("no bucket is set to copy evidence into; add [custody.s3]")
    return found


def copy_each(
    config: Config, to: Elsewhere, folders: list[Path], who: str, clock: Now
) -> Iterator[Copied]:
    """Copy what is not there yet of each; one that cannot be copied does not stop the others.

    The error of a bucket that cannot be opened comes out.
    """
    store = to.open()
    key = read_signing_key(config.custody.key).public_key()
    for folder in folders:
        if problems := [*verify_seal(folder, key), *verify_custody(folder)]:
            yield Copied(folder=folder, objects=0, problem=f"is not what was sealed: {problems[0]}")
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
    """Look at the copy of one folder; the store's errors, as ours."""
    with translated_errors(f"looking at the copy of {folder.name}"):
        return inspect_copy(folder, name_of(config, folder), store, clock())


def uncopied_folders(to: Elsewhere, folders: list[Path]) -> list[Path]:
    """Give the folders of which the chain of custody does not say that all was copied; asks nobody.

    All is the folder, and its time stamp where it has one.
    """
    return [folder for folder in folders if not _says_copied(folder, to.where)]


def _says_copied(folder: Path, where: str) -> bool:
    try:
        return is_copied(folder, where) and is_stamp_copied(folder, where)
    except StandfastError:
        return False


def name_of(config: Config, folder: Path) -> str:
    """Give what a folder is called there: INCIDENT/SOURCE/TOKEN."""
    return folder.relative_to(config.custody.folder).as_posix()
