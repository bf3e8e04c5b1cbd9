"""Checks of backups: vault, copy, sets, private keys, custodians.

The vault is the folder or bucket with the encrypted backups. A custodian is a person that can
decrypt them. The ledger is the installation's database.

Rules
- Write access is tested by a write, because for root every check of file modes succeeds.
"""

import os
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from backup.archiver.writer_authorization import authorize_writer
from backup.errors import AlreadyThere, BackupError
from backup.errors import UsageError as BackupUsageError
from backup.format.object_names import snapshot_prefix
from backup.ownership.roster import read_roster
from backup.records import INSTALLATION_SET
from backup.sources import Obstacle
from backup.sources.files.exclusion_patterns import Exclusion
from backup.stores import Store
from backup.stores.directory import DirectoryStore
from backup.trust.root_chain import load_root_chain
from standfast.adapters.factory.live_adapters import read_signing_key
from standfast.config import Config
from standfast.config.sections.backup import BackupSetConfig, FilesSourceConfig, SqliteSourceConfig
from standfast.continuity.run_schedule import last_due
from standfast.errors import ConfigurationError, StandfastError, UsageError
from standfast.plurals import counted
from standfast.usecases.backups.configured_sources import own_files, relative_path, source_of
from standfast.usecases.core.backup_repository import local_host_keys, open_vault
from standfast.usecases.drills.database_load import missing_programs
from standfast.usecases.health import shared_host_checks
from standfast.usecases.health.check_results import (
    Check,
    CheckFunction,
    CheckInputs,
    Verdict,
    fail,
    lacking,
    ok,
    warn,
)
from standfast.usecases.health.disk_space import LITTLE_BYTES, free_at, nearest_existing_folder
from standfast.usecases.key_ceremonies.custodian_answers import (
    FRESH_FOR,
    custodian_statuses,
    folder_of,
)

_OPEN_TO_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def _vault(inputs: CheckInputs) -> Iterator[Check]:
    config = inputs.config.backup
    store = open_vault(inputs.config, inputs.resolver, inputs.clock)
    try:
        host = local_host_keys(config)
        trust = authorize_writer(store, host).trust  # the same check that a backup makes
    except (UsageError, BackupUsageError) as error:
        yield fail("backup", str(error), "set a vault and a key store of the same repository")
        return
    if host.writer != config.writer:
        yield warn(
            "backup",
            f"backup.writer is {config.writer!r}, but the keys of this host belong to "
            f"{host.writer!r}, and its recovery points have that name",
            "set backup.writer to that name, or copy the right host.json here",
        )
    if config.s3 is None:
        yield from _folder(config.vault)
    else:
        yield _bucket(config.s3.bucket, store, host.writer)
    traits = store.describe()
    if traits.is_write_only:
        yield ok("backup", f"the vault is write-only: {traits.why}")
    else:
        yield warn(
            "backup",
            f"the vault is not write-only: {traits.why}",
            "put the vault on another machine, or keep a second copy of it there"
            if config.s3 is None
            else "give the bucket a default lock in COMPLIANCE mode; see deploy/s3/README.md",
        )
    yield from (
        fail("backup", problem, "see `standfast backup verify`") for _, problem in trust.problems
    )


def _folder(vault: Path) -> Iterator[Check]:
    DirectoryStore(vault).try_to_put()
    free_bytes = free_at(vault)
    yield ok("backup", f"the vault is readable and writable, {free_bytes >> 20:,} MiB free")
    if free_bytes < LITTLE_BYTES:
        yield warn(
            "backup", "less than 1 GiB is free in the vault", "free space, or use another vault"
        )


def _bucket(bucket: str, store: Store, writer: str) -> Check:
    """Check that this host may add objects to the bucket, without adding one.

    A new object could not be removed again. Therefore the newest snapshot is uploaded again. The
    store checks the permission first, and then rejects the upload because the object exists.
    """
    later_versions = {
        stat.name: stat.later_versions for stat in store.list(snapshot_prefix(writer))
    }
    newest = max(later_versions, default=None)
    if newest is None:
        return ok(
            "backup",
            f"bucket {bucket} answers and knows this host; it is empty, so the first backup shows "
            "whether this identity may add objects",
        )
    try:
        store.put(newest, store.get(newest))
    except AlreadyThere:
        pass
    except BackupUsageError as error:
        return fail(
            "backup", str(error), "correct [backup.s3]: until then no backup can use the bucket"
        )
    if store.stat(newest).later_versions > later_versions[newest]:
        return warn(
            "backup",
            f"bucket {bucket} ignores If-None-Match: it accepted {newest}, which exists already. "
            "Each check therefore adds a version of this object, and `standfast backup verify` "
            "names the version",
            "see deploy/s3/README.md for the consequences",
        )
    return ok("backup", f"bucket {bucket} answers, and this identity may add objects")


def _sets(inputs: CheckInputs) -> Iterator[Check]:
    sets = inputs.config.backup.sets
    if not sets:
        yield lacking("backup sets", "nothing is backed up", "add [backup.sets.NAME]")
    elif INSTALLATION_SET not in sets:
        yield lacking(
            "backup sets",
            "the installation itself is not backed up: it would be lost with this machine",
            "add [backup.installation]; docs/recover-installation.md explains it",
        )
    yield from shared_host_checks.cloned_host(inputs)
    yield from shared_host_checks.other_keepers(inputs)
    for name, settings in sets.items():
        zone = settings.time_zone or inputs.config.organisation.time_zone
        last_due(settings.schedule, zone, inputs.clock())  # raises if it never comes
        missing = _missing(settings)
        if missing:
            yield fail(
                "backup sets",
                f"{name}: {', '.join(missing)} does not exist or cannot be read",
                "correct the path, or run as a user that may read it",
            )
        obstacles = list(_obstacles(inputs, settings))
        yield from obstacles
        if name != INSTALLATION_SET:
            yield from _own_files_in(settings, inputs.config)
        yield from shared_host_checks.other_hosts_of(inputs, name)
        if not missing and not any(found.verdict is Verdict.FAIL for found in obstacles):
            yield ok("backup sets", f"{name}: {counted(len(settings.sources), 'source')}, readable")
    config = inputs.config
    for folder in (config.backup.send_log.parent, config.drills.folder, config.custody.folder):
        _try_to_write(nearest_existing_folder(folder))
    yield ok("folders", "upload cache, drills and evidence can be written")
    if config.drills.identity is not None:
        inputs.resolver.resolve(config.drills.identity)
        yield ok("drills", "the identity for unattended drills is present")
        for source, reason in missing_programs(config, sets).items():
            problem = f"{source}: a drill cannot load it: {reason}"
            yield warn("drills", problem, "see docs/drills.md")


def _missing(settings: BackupSetConfig) -> list[str]:
    return [
        source.name
        for source in settings.sources
        if isinstance(source, FilesSourceConfig | SqliteSourceConfig)
        and not os.access(source.path, os.R_OK)
    ]


def _obstacles(inputs: CheckInputs, settings: BackupSetConfig) -> Iterator[Check]:
    """Check the client program, the server and the permissions of each source."""
    for source_settings in settings.sources:
        own = own_files(inputs.config.backup)
        source = source_of(source_settings, inputs.resolver, settings.exclude, own)
        with tempfile.TemporaryDirectory() as scratch:
            try:
                found = source.obstacles(Path(scratch))
            except BackupError as error:
                found = [Obstacle(problem=str(error))]
        for obstacle in found:
            judge = fail if obstacle.prevents else warn
            yield judge("backup sets", f"{source.name}: {obstacle.problem}", "see docs/sources.md")


def _own_files_in(settings: BackupSetConfig, config: Config) -> Iterator[Check]:
    """Warn if a backup set contains the keys that encrypt the ledger's data."""
    path = config.ledger.keys
    for source in settings.sources:
        if not isinstance(source, FilesSourceConfig):
            continue
        exclusion = Exclusion([*settings.exclude, *source.exclude])
        inner = relative_path(source.path, path)
        if inner is not None and not _is_left_out(exclusion, inner, is_folder=path.is_dir()):
            yield warn(
                "backup sets",
                f"{source.name}: {path} is in it: the keys in a backup could decrypt the data of "
                "people who were erased here",
                f'exclude = ["/{inner}*"] for that source',
            )


def _is_left_out(exclusion: Exclusion, inner: Path, *, is_folder: bool) -> bool:
    """Return whether patterns exclude a path or one of its parent folders."""
    is_directory = is_folder
    for path in (inner, *inner.parents[:-1]):
        as_folder, as_other = exclusion.match(os.fsencode(path), os.fsencode(path.name))
        if as_folder if is_directory else as_other:
            return True
        is_directory = True
    return False


def _keys(inputs: CheckInputs) -> Iterator[Check]:
    config = inputs.config
    try:
        read_signing_key(config.custody.key)
    except ConfigurationError as error:
        yield fail("keys", str(error))
    private = [
        config.backup.host,
        *_inside(config.backup.host),
        config.ledger.keys,
        *_inside(config.ledger.keys),
        *(
            [config.custody.key] if config.custody.key.exists() else []
        ),  # if missing, reported above
    ]
    missing = [path for path in private if not path.exists()]
    for path in missing:
        yield fail("keys", f"{path} does not exist", "restore it, or correct its path")
    loose = [path for path in private if path.exists() and path.stat().st_mode & _OPEN_TO_OTHERS]
    for path in loose:
        yield fail("keys", f"{path} is readable by others", f"chmod go-rwx '{path}'")
    if not loose and not missing:
        yield ok("keys", f"readable by their user only: {counted(len(private), 'path')}")


def _custodians(inputs: CheckInputs) -> Iterator[Check]:
    now, ask = inputs.clock(), "`standfast backup custodian challenge new --to FILE`"
    found = custodian_statuses(folder_of(inputs.config.backup.send_log))
    if not found:
        store = open_vault(inputs.config, inputs.resolver, inputs.clock)
        made = load_root_chain(store).roots[0].created
        if now - made > FRESH_FOR:
            yield warn("custodians", "no custodian was ever asked to prove that a key works", ask)
        return
    openers = _openers(inputs)
    for custodian in found:
        name = custodian.name or custodian.fingerprint
        if openers and custodian.fingerprint not in openers:
            yield warn("custodians", f"{name} answered, but cannot open new backups", ask)
        elif custodian.lacks:
            yield warn(
                "custodians",
                f"{name} does not open {', '.join(custodian.lacks)}",
                "`standfast backup owner add-custodian` encrypts the key to that custodian",
            )
        elif custodian.is_overdue(now):
            last = custodian.answered_at or custodian.asked_at
            yield warn("custodians", f"no proof of {name}'s key for {(now - last).days} days", ask)
        elif custodian.answered_at is None:
            yield warn("custodians", f"{name} has not answered the challenge yet", "remind them")
        else:
            days = (now - custodian.answered_at).days
            when = f"{counted(days, 'day')} ago" if days else "today"
            yield ok("custodians", f"{name} proved the key {when}")
    for fingerprint in sorted(openers.keys() - {custodian.fingerprint for custodian in found}):
        yield warn("custodians", f"{openers[fingerprint]} is new and was never asked", ask)


def _openers(inputs: CheckInputs) -> dict[str, str]:
    """Return the custodians that can open new backups, by key fingerprint.

    The values are titles for messages. If the custodians cannot be read, return {}.
    """
    try:
        vault = open_vault(inputs.config, inputs.resolver, inputs.clock)
        roster = read_roster(vault, DirectoryStore(inputs.config.backup.keys))
    except (BackupError, StandfastError):
        return {}  # the check of the vault reports it
    return {custodian.fingerprint: custodian.title for custodian in roster.custodians}


def _inside(folder: Path) -> Sequence[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else ()


def _try_to_write(folder: Path) -> None:
    """Write to an unnamed temporary file in a folder."""
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"standfast check")


CHECKS: Mapping[str, CheckFunction] = {
    "backup": _vault,
    "backup sets": _sets,
    "keys": _keys,
    "custodians": _custodians,
}
