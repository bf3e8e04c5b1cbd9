"""Configured repository: vault, keys, identity; translation of its errors.

The vault is the folder or bucket with the encrypted backups. A backup set is a group of sources
that are backed up together. A recovery point is one restorable state of one backup set.

Rules
- Each error of the package `backup` becomes an error of Standfast with the same message. Only
  `translated_errors` translates errors.
- A recovery identity is the private key of a custodian, a person that can decrypt backups. It is
  read when it is needed, and this module never stores it.
"""

import errno
import logging
import sqlite3
import stat
from collections.abc import Iterator, Sized
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from backup.errors import (
    BackupError,
    Busy,
    Locked,
    RetentionStopped,
    StoreUnavailable,
    UnexpectedStatement,
    UnsafePath,
)
from backup.errors import Damaged as DamagedBackup
from backup.errors import UsageError as BackupUsageError
from backup.stores import ObjectLock, Store
from backup.stores.bandwidth_limit import Bandwidth, BandwidthLimitedStore, Window
from backup.stores.directory import DirectoryStore
from backup.stores.s3 import S3Options
from backup.trust.key_files import Host, Identity, open_identity
from standfast.config import Config
from standfast.config.sections.backup import BackupConfig, BackupSetConfig, S3Config
from standfast.config.sections.bandwidth import bytes_per_second, span_minutes
from standfast.errors import Damaged, Refused, StandfastError, Unavailable, UsageError
from standfast.records import Now
from standfast.secrets import Resolver
from standfast.suggestions import known_names_hint
from standfast.usecases.core.installation import Installation

if TYPE_CHECKING:
    from backup.repository import Repository

_ACTION = "Check that the disks are writable and have free space"
_ACTIONS = {
    errno.EEXIST: "Remove it, or name another path",
    errno.ENOTDIR: "Name another path",
    errno.EMFILE: "Raise the limit of open files (`ulimit -n`, or LimitNOFILE in the unit)",
    errno.ENOSPC: "Free space on the disks and in the folder for temporary files (TMPDIR)",
}


@contextmanager
def translated_errors(doing: str) -> Iterator[None]:
    """Translate errors of `backup`, of the disk and of SQLite in the block.

    `doing` is the action of the block in words, such as "opening the repository".
    """
    try:
        yield
    except BackupError as error:
        raise _translate(error) from error
    except BrokenPipeError:
        raise  # the program that reads the output has ended; no disk has failed
    except OSError as error:
        where = f": {error.filename}" if isinstance(error.filename, str) else ""
        raise StandfastError(
            f"{doing}: {error.strerror or type(error).__name__}{where}. "
            f"{_ACTIONS.get(error.errno or 0, _ACTION)}, then run the command again."
        ) from error
    except sqlite3.Error as error:
        raise StandfastError(
            f"{doing}: SQLite error in the upload cache: {error}. Check that its disk is writable "
            "and has free space, then run the command again."
        ) from error


def _translate(error: BackupError) -> StandfastError:
    match error:
        case DamagedBackup():
            return Damaged(str(error))
        case StoreUnavailable() | Locked():
            return Unavailable(str(error))
        case Busy() | UnsafePath() | UnexpectedStatement() | RetentionStopped():
            return Refused(str(error))
        case BackupUsageError():
            return UsageError(str(error))
        case _:
            return StandfastError(str(error))


def vault_of(installation: Installation) -> Store:
    """Return the vault of an installation; see `open_vault`."""
    return open_vault(installation.config, installation.resolver, installation.clock)


def writing_vault_of(installation: Installation) -> Store:
    """Return the vault of an installation, with limited upload bandwidth."""
    return throttled(vault_of(installation), installation.config, installation.clock)


def throttled(store: Store, config: Config, clock: Now) -> Store:
    """Return a store that limits uploads to the configured bandwidth.

    The configuration may have different limits for different hours of the day.
    """
    limits = config.backup.bandwidth
    if not limits:
        return store
    windows = []
    for hours, rate in limits.items():
        start, end = span_minutes(hours)
        windows.append(
            Window(start_minute=start, end_minute=end, bytes_per_second=bytes_per_second(rate))
        )
    zone = ZoneInfo(config.organisation.time_zone)
    return BandwidthLimitedStore(store, Bandwidth(windows=windows, zone=zone), now=clock)


def open_vault(config: Config, resolver: Resolver, clock: Now) -> Store:
    """Return the vault: the bucket if one is configured, else the folder.

    Raise `UsageError` if the bucket rejects the credentials, or if it has no Object Lock although
    the configuration requires one. Raise `Unavailable` if the bucket does not answer. A folder need
    not exist yet.
    """
    return open_store(config.backup.vault, config.backup.s3, resolver, clock)


def open_store(folder: Path, bucket: S3Config | None, resolver: Resolver, clock: Now) -> Store:
    """Return a store for the bucket, or for the folder if there is no bucket."""
    if bucket is None:
        return DirectoryStore(folder)
    with translated_errors(f"opening bucket {bucket.bucket}"):
        from backup.stores.s3.store import open_s3  # imported here: it loads boto3

        return open_s3(s3_options(bucket, resolver), now=clock)


def s3_options(settings: S3Config, resolver: Resolver) -> S3Options:
    """Return the options of a bucket, with its credentials."""
    token, days = settings.session_token, settings.lock_days
    return S3Options(
        bucket=settings.bucket,
        access_key_id=resolver.resolve(settings.access_key_id).reveal(),
        secret_access_key=resolver.resolve(settings.secret_access_key).reveal(),
        session_token=None if token is None else resolver.resolve(token).reveal(),
        prefix=settings.prefix,
        region=settings.region,
        endpoint_url=settings.endpoint_url,
        ca_file=settings.ca_file,
        requires_lock=settings.requires_lock,
        lock_each=None if days is None else ObjectLock(mode=settings.lock_mode, days=days),
    )


def keys_of(installation: Installation) -> DirectoryStore:
    """Return the store of the keys that decrypt backups.

    Each of these keys is itself encrypted to the custodians.
    """
    return DirectoryStore(installation.config.backup.keys)


def owner_of(installation: Installation) -> bytes | None:
    """Return the owner's public key; None if this machine has no host keys.

    The owner is the person with the offline key that signs the list of backup hosts.
    """
    host = _host_of(installation)
    return None if host is None else host.owner


def _host_of(installation: Installation) -> Host | None:
    with translated_errors("reading the host's keys"):
        folder = installation.config.backup.host
        return Host.load(folder) if folder.is_dir() else None


def local_host_keys(config: BackupConfig) -> Host:
    """Read the keys with which this host writes recovery points.

    An erasure domain is a group of backup sets that share one key and are erased together. Raise
    `UsageError` if the host's keys are for another domain than the configured one. Otherwise the
    backups would be encrypted for the other domain, and remain when the configured domain is
    erased: encrypted data cannot be moved to another domain.
    """
    host = Host.load(config.host)
    if host.domain != config.domain:
        raise UsageError(
            f"backup.domain: it is {config.domain!r}, but the keys in {config.host} write for "
            f"{host.domain!r}. Set it to {host.domain!r}, or copy the host.json that `backup owner "
            f"add-writer NAME --domain {config.domain}` writes to {config.host}."
        )
    return host


def identity_of(installation: Installation, identity_file: Path | None) -> Identity:
    """Read a custodian's identity from the file, or from `drills.identity`."""
    with translated_errors("reading the identity"):
        if identity_file is not None:
            identity = open_identity(identity_file)
            _warn_of_readers(identity_file)
            return identity
        reference = installation.config.drills.identity
        if reference is None:
            raise UsageError(
                "recovery identity: none is given. Name the identity file of a custodian with "
                "--identity, or set drills.identity for unattended drills."
            )
        return open_identity(installation.resolver.resolve(reference).reveal().encode())


def private_key_paths(config: Config, identity_file: Path | None) -> tuple[Path, ...]:
    """Return the paths of private keys.

    A restore hides these paths from the database programs that it starts.
    """
    found = [config.backup.host]
    if identity_file is not None:
        found.append(identity_file)
    reference = config.drills.identity
    if reference is not None and reference.scheme == "file":
        found.append(config.folder / Path(reference.place).expanduser())
    return tuple(found)


def _warn_of_readers(identity_file: Path) -> None:
    """Log a warning when other users can read a recovery identity."""
    if identity_file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        logging.getLogger("standfast.backup").warning(
            "%s: other users of this machine can read it, and with it every backup. Run chmod 600.",
            identity_file,
        )


def check_identity(identity: Identity | None, known: bytes | None) -> None:
    """Raise `UsageError` for a recovery identity of another repository.

    `known` is the public key of the owner (see `owner_of`) in the host's keys. Without this check,
    the package `backup` would report that another person signed the vault.
    """
    if identity is not None and known is not None and identity.owner not in (None, known):
        raise UsageError(
            "identity: it belongs to another repository. Use the identity file of a custodian of "
            "this repository."
        )


def open_repository(installation: Installation, identity: Identity | None) -> "Repository":
    """Open the repository to list backups; with an identity, also to restore."""
    from backup.repository import Repository  # imported here: a backup does not need it

    host = _host_of(installation)
    known = None if host is None else host.owner
    check_identity(identity, known)
    keys = None if identity is None else keys_of(installation)
    writer = None if host is None else host.writer
    identity_folder = None if identity is None else identity.folder
    copies = () if identity_folder is None else (DirectoryStore(identity_folder),)
    return Repository.open(vault_of(installation), keys, identity, known, writer, copies)


def check_set(installation: Installation, set_name: str | None, found: Sized) -> None:
    """Raise `UsageError` for an unknown backup set of which nothing was found.

    `found` contains the recovery points or drills (test restores) of this set. A set that was
    removed from the configuration may still have some. If there are none, an unknown name is
    probably a typing error.
    """
    if set_name is not None and not found:
        set_of(installation, set_name)


def set_of(installation: Installation, set_name: str) -> BackupSetConfig:
    """Return the settings of a backup set; raise UsageError if unknown."""
    sets = installation.config.backup.sets
    if set_name not in sets:
        raise UsageError(
            f"backup set {set_name!r}: not configured; {known_names_hint(set_name, sets)}"
        )
    return sets[set_name]
