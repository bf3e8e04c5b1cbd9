"""The backup repository as the configuration describes it: its stores, keys and errors.

Owns the step from settings to what `backup/` takes, and the one translation of its errors. Leaves
what is done with them to `backups.py` and `drills.py`.

Rules
- Every error of `backup` becomes one of ours with the same message, here and nowhere else.
- An identity is read when it is needed and kept nowhere.
"""

import errno
import sqlite3
import stat
from collections.abc import Iterator, Sized
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

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
from backup.stores.directory import DirectoryStore
from backup.trust.key_files import Host, Identity, open_identity
from standfast.config import Config
from standfast.config.sections.backup import BackupConfig, BackupSetConfig, S3Config
from standfast.errors import Damaged, Refused, StandfastError, Unavailable, UsageError
from standfast.records import Now
from standfast.secrets import Resolver
from standfast.suggestions import known_names_hint
from standfast.usecases.core.installation import Installation

if TYPE_CHECKING:
    from backup.repository import Repository
    from backup.stores.s3.store import S3Options

_MEND = "see that the disks have room and may be written"
_MENDS = {
    errno.EEXIST: "remove it, or name another path",
    errno.ENOTDIR: "name another path",
    errno.EMFILE: "let it open more files, by `ulimit -n` or LimitNOFILE in its unit",
    errno.ENOSPC: "see that the disks, and the folder for temporary files (TMPDIR), have room",
}


@contextmanager
def translated_errors(doing: str) -> Iterator[None]:
    """Turn what `backup` and the disk under it raise into our errors; `doing` names the act."""
    try:
        yield
    except BackupError as error:
        raise _ours(error) from error
    except BrokenPipeError:
        raise  # who reads our output has enough, and no disk is to blame
    except OSError as error:
        where = f": {error.filename}" if isinstance(error.filename, str) else ""
        raise StandfastError(
            f"{doing} failed: {error.strerror or type(error).__name__}{where}; "
            f"{_MENDS.get(error.errno or 0, _MEND)}, then run again"
        ) from error
    except sqlite3.Error as error:
        raise StandfastError(
            f"{doing} failed: the send-log's SQLite says {error}; see that its disk has room and "
            "may be written, then run again"
        ) from error


def _ours(error: BackupError) -> StandfastError:
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
    """Give the store that recovery points lie in, as `open_vault` does."""
    return open_vault(installation.config, installation.resolver, installation.clock)


def writing_vault_of(installation: Installation) -> Store:
    """Give the same store as a backup uses it: what it puts keeps to the bandwidth."""
    return throttled(vault_of(installation), installation.config, installation.clock)


def throttled(store: Store, config: Config, clock: Now) -> Store:
    """Give a store that is put into at no more than the bandwidth of the hour."""
    limits = config.backup.bandwidth
    if not limits:
        return store
    from zoneinfo import ZoneInfo

    from backup.stores.bandwidth_limit import (
        Bandwidth,
        BandwidthLimitedStore,
        Window,
    )  # few limit it
    from standfast.config.sections.bandwidth import bytes_per_second, span_minutes

    windows = []
    for hours, rate in limits.items():
        start, end = span_minutes(hours)
        windows.append(
            Window(start_minute=start, end_minute=end, bytes_per_second=bytes_per_second(rate))
        )
    zone = ZoneInfo(config.organisation.time_zone)
    return BandwidthLimitedStore(store, Bandwidth(windows=windows, zone=zone), now=clock)


def open_vault(config: Config, resolver: Resolver, clock: Now) -> Store:
    """Give the store that recovery points lie in: the bucket where one is set, else the folder.

    A bucket is asked what protects it: `UsageError` when it does not lock and should, or refuses
    the credentials; `Unavailable` when it does not answer. A folder need not be there yet.
    """
    return open_store(config.backup.vault, config.backup.s3, resolver, clock)


def open_store(folder: Path, bucket: S3Config | None, resolver: Resolver, clock: Now) -> Store:
    """Give a store of the kind that is set, as `open_vault` does."""
    if bucket is None:
        return DirectoryStore(folder)
    with translated_errors(f"opening bucket {bucket.bucket}"):
        from backup.stores.s3.store import open_s3

        return open_s3(s3_options(bucket, resolver), now=clock)


def s3_options(settings: S3Config, resolver: Resolver) -> "S3Options":
    """Give the bucket's options with its credentials."""
    token, days = settings.session_token, settings.lock_days
    from backup.stores.s3.store import S3Options

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
    """Give the store that the domain keys lie in."""
    return DirectoryStore(installation.config.backup.keys)


def owner_of(installation: Installation) -> bytes | None:
    """Give the owner's public key as this host knows it, or None where no host's keys lie."""
    host = _host_of(installation)
    return None if host is None else host.owner


def _host_of(installation: Installation) -> Host | None:
    with translated_errors("reading the host's keys"):
        folder = installation.config.backup.host
        return Host.load(folder) if folder.is_dir() else None


def local_host_keys(config: BackupConfig) -> Host:
    """Read the keys that this host writes with.

    `UsageError` when they write for another domain than is set: what is sealed to one can never be
    moved, and would outlive the erasure of the domain that people think it is in.
    """
    host = Host.load(config.host)
    if host.domain != config.domain:
        raise UsageError(
            f"backup.domain is {config.domain!r}, and the keys in {config.host} write for "
            f"{host.domain!r}: set it to that, or carry the host.json here that `backup owner "
            f"add-writer NAME --domain {config.domain}` makes"
        )
    return host


def identity_of(installation: Installation, identity_file: Path | None) -> Identity:
    """Read a custodian's identity: from the file, or the one that `drills.identity` names."""
    with translated_errors("reading the identity"):
        if identity_file is not None:
            identity = open_identity(identity_file)
            _warn_of_readers(identity_file)
            return identity
        reference = installation.config.drills.identity
        if reference is None:
            raise UsageError(
                "a custodian's identity is needed: name its file with --identity, or set "
                "drills.identity for drills that nobody attends"
            )
        return open_identity(installation.resolver.resolve(reference).reveal().encode())


def _warn_of_readers(identity_file: Path) -> None:
    """Warn on the log when somebody else on this machine can read a recovery identity."""
    if identity_file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        import logging  # most identities are closed to others

        logging.getLogger("standfast.backup").warning(
            "%s: others on this machine can read it, and with it every backup. Run chmod 600.",
            identity_file,
        )


def check_identity(identity: Identity | None, known: bytes | None) -> None:
    """`UsageError` when an identity was made for another repository than the owner's `known` here.

    Said here: to `backup` alone this looks like a vault that somebody else signed.
    """
    if identity is not None and known is not None and identity.owner not in (None, known):
        raise UsageError(
            "this identity was made for another repository; take the custodian's file of this one"
        )


def opened_repository(installation: Installation, identity: Identity | None) -> "Repository":
    """Open the repository for listing, and with an identity for restoring."""
    host = _host_of(installation)
    known = None if host is None else host.owner
    check_identity(identity, known)
    keys = None if identity is None else keys_of(installation)
    from backup.repository import Repository  # a backup reads nothing back

    writer = None if host is None else host.writer
    beside = None if identity is None else identity.folder
    copies = () if beside is None else (DirectoryStore(beside),)
    return Repository.open(vault_of(installation), keys, identity, known, writer, copies)


def check_set(installation: Installation, set_name: str | None, found: Sized) -> None:
    """`UsageError` when nothing was found of a set that is not configured: a typo, then.

    One that was removed may still have points and drills.
    """
    if set_name is not None and not found:
        set_of(installation, set_name)


def set_of(installation: Installation, set_name: str) -> BackupSetConfig:
    """Give the settings of a set; UsageError names the sets that there are."""
    sets = installation.config.backup.sets
    if set_name not in sets:
        raise UsageError(
            f"there is no backup set {set_name!r} in the configuration; "
            f"{known_names_hint(set_name, sets)}"
        )
    return sets[set_name]
