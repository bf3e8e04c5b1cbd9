"""Recovery of an installation from its copy: parts, keys, ledger.

The installation (the configured Standfast itself) backs itself up to its vault, the folder or
bucket with the encrypted backups. In this module, a copy is one such backup. A recovery needs the
vault, the private key of a custodian (a person that can decrypt backups), and the key records: the
keys of the backups, encrypted to the custodians. The key records are usually in the folder of the
private key. `standfast/config/installation_set.py` defines the content of a copy.

Rules
- The copy is restored to a folder inside the new folder, and its parts are then moved to the paths
  that the configuration names. An existing part is not replaced, so every call may be repeated.
- `standfast.toml` is written after all other parts. A folder without it is not an installation.
- A path outside the old installation's folder becomes a path inside the new folder, and the setting
  is changed accordingly. Nothing outside the new folder is written.
- The recovered ledger (the database of incidents and runs) lacks all events after the copy.
  Therefore each open live incident is stopped: a person compares it with the systems and resumes
  it. A run that was in progress is marked as failed.
- The witness is a file outside the ledger with signatures of its newest events. A ledger that is
  older than its witness is refused, here as in every command. After a person has renamed the
  witness file, the same call completes the recovery.
"""

import fcntl
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from backup.errors import BackupError
from backup.format.root_record import RootRecord
from backup.ownership.key_copy_list import read_copy_list
from backup.ownership.key_record_copies import KeyFolder, record_seen, synchronize
from backup.records import INSTALLATION_SET, Progress, RecoveryPoint
from backup.repository import Repository
from backup.restorer.safe_paths import JOURNAL
from backup.stores import Store
from backup.stores.directory import DirectoryStore
from backup.system.durable_files import create_file, replace_file, resolve_path
from backup.system.tree_removal import remove_tree
from backup.trust.key_files import Identity
from standfast.config import Config
from standfast.config.installation_set import (
    CONFIGURATION,
    FILE_PARTS,
    LEDGER,
    ledger_file,
    path_of,
)
from standfast.config.loader import parse
from standfast.config.sections.backup import BackupConfig
from standfast.config.setting_edit import with_setting
from standfast.config.setting_list import paths_of, secrets_of
from standfast.config.value_types import SecretReference
from standfast.config_file import DEFAULT_FILE
from standfast.errors import (
    ConfigurationError,
    Damaged,
    Refused,
    StandfastError,
    UnderWay,
    UsageError,
)
from standfast.evidence.private_files import make_private, sync_folder
from standfast.ledger.runs.run_record import Origin
from standfast.records import JsonObject, Mode, Now, timestamp
from standfast.secrets import SystemResolver
from standfast.usecases.core.backup_repository import translated_errors
from standfast.usecases.core.installation import Installation
from standfast.usecases.core.run_record import KINDS
from standfast.usecases.key_ceremonies.key_record_copies import key_store_name
from standfast.usecases.setup.installation_opening import open_installation

_STAGING = ".recovery"  # a complete restored copy; its parts are moved from here
_PARTIAL = ".recovery.partial"  # a copy that is being restored
_POINT = "recovery-point"
_RECOVERED = ("installation", "installation.recovered")  # subject and action of the event
_LOST = "the machine was lost"
_LEDGER_FILE = "ledger.db"
_KEY_STORE = "keys/store"
# Paths of these settings need not exist after a recovery: Standfast creates them, or a person
# restores their data.
_NOT_EXPECTED = (
    "backup.",
    "custody.folder",
    "drills.folder",
    "ledger.witness",
    "serve.prefect_home",
)


@dataclass(frozen=True, kw_only=True)
class RecoveryRequest:
    """The arguments of a recovery."""

    vault: Store
    vault_folder: Path | None  # None for a bucket
    identity: Identity
    keys: Path  # the folder with the key records
    into: Path
    env: Mapping[str, str]
    at: datetime | None = None  # use no later copy
    host: str | None = None  # the lost host; needed if the vault has copies of several hosts


@dataclass(frozen=True, kw_only=True)
class RecoveredInstallation:
    """Result of a recovery."""

    config_file: Path
    point: str
    made_at: datetime
    restored: tuple[str, ...]  # names of the parts
    lacking: tuple[str, ...]  # names of parts that the copy does not contain
    changed: tuple[str, ...]  # settings that have another value than in the copy
    secrets: tuple[tuple[str, str], ...]  # setting and reference of each secret that is not set
    paths: tuple[tuple[str, str], ...]  # setting and path of each path that does not exist
    stopped: tuple[str, ...]  # ids of the stopped incidents
    is_on_server: bool  # the ledger is on PostgreSQL

    def as_json(self) -> JsonObject:
        """Return the JSON form; it names secrets without their values."""
        return {
            "config": str(self.config_file),
            "point": self.point,
            "made_at": timestamp(self.made_at),
            "restored": list(self.restored),
            "lacking": list(self.lacking),
            "changed": list(self.changed),
            "secrets": [{"setting": key, "reference": name} for key, name in self.secrets],
            "paths": [{"setting": key, "path": path} for key, path in self.paths],
            "stopped": list(self.stopped),
            "is_ledger_on_server": self.is_on_server,
        }


def recover_installation(
    request: RecoveryRequest, clock: Now, progress: Callable[[Progress], None] | None = None
) -> RecoveredInstallation:
    """Recover an installation into a new folder, or continue such a recovery.

    Raise `UsageError` if the private key decrypts no key record, if the vault has no copy, or if it
    has copies of several hosts and `request.host` is None. Raise `Refused` if the folder has other
    content, `UnderWay` while another recovery writes there, and `Damaged` if the copy is damaged or
    the ledger is older than its witness.
    """
    into = request.into.absolute()
    with translated_errors("recovering the installation"), _locked(into):
        repository = Repository.open(request.vault, DirectoryStore(request.keys), request.identity)
        point = _chosen_point(repository, request)
        staging = _restored_copy(repository, point, into, clock, progress)
        text, config, changed = _configuration(staging, into, request.vault_folder)
        restored = _place_parts(config, staging, into)
        with suppress(BackupError):  # not fatal: the key records may be on a write-protected medium
            _bring_key_records(repository.trust.root, config.backup, request.keys, clock())
        config_file = into / DEFAULT_FILE
        if not config_file.exists():
            create_file(config_file, text.encode())
        is_on_server = ledger_file(config.ledger.url) is None
        stopped = () if is_on_server else _settle_ledger(config_file, request.env, point, clock)
        resolver = SystemResolver(env=request.env, base_dir=into)
        copied = config.backup.sets.get(INSTALLATION_SET)  # None after the table was removed
        result = RecoveredInstallation(
            config_file=config_file,
            point=point.name,
            made_at=point.time,
            restored=restored,
            lacking=tuple(
                part.name
                for part in (copied.sources if copied else ())
                if part.name not in restored
            ),
            changed=changed,
            secrets=tuple(
                (key, reference)
                for key, reference in secrets_of(config)
                if not _is_set(resolver, reference)
            ),
            paths=tuple(
                (key, str(path))
                for key, path in paths_of(config)
                if not key.startswith(_NOT_EXPECTED) and not path.exists()
            ),
            stopped=stopped,
            is_on_server=is_on_server,
        )
        remove_tree(staging)
    return result


@contextmanager
def _locked(into: Path) -> Iterator[None]:
    """Lock a folder that is empty or has an unfinished recovery."""
    if into.exists() and not into.is_dir():
        raise UsageError(f"{into}: it is a file. Name a new folder with --into.")
    make_private(into)
    descriptor = os.open(into, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UnderWay(
                f"{into}: another recovery writes there. Wait until it ends, then run again."
            ) from None
        found = {path.name for path in into.iterdir()}
        if found and not found & {_STAGING, _PARTIAL}:
            raise Refused(f"{into}: it is not empty. Name a new folder with --into.")
        yield
    finally:
        os.close(descriptor)


def _chosen_point(repository: Repository, request: RecoveryRequest) -> RecoveryPoint:
    """Return the newest copy of the host; with `request.at`, no later copy."""
    points = [
        point
        for point in repository.points(INSTALLATION_SET)
        if not point.is_interim
        and request.host in (None, point.writer)
        and (request.at is None or point.time <= request.at)
    ]
    if not points:
        of_host = f" of host {request.host}" if request.host else ""
        until = f" until {timestamp(request.at)}" if request.at else ""
        raise UsageError(
            f"vault {request.vault.where}: no copy of an installation{of_host}{until}. Name "
            "another vault, host or time; or restore sets with `standfast backup restore`."
        )
    hosts = sorted({point.writer for point in points})
    if len(hosts) > 1:
        raise UsageError(
            f"vault {request.vault.where}: copies of several hosts. Name one with --host: "
            f"{', '.join(hosts)}."
        )
    return points[-1]


def _restored_copy(
    repository: Repository,
    point: RecoveryPoint,
    into: Path,
    clock: Now,
    progress: Callable[[Progress], None] | None,
) -> Path:
    """Return the folder of the restored copy; restore it if necessary."""
    staging, partial = into / _STAGING, into / _PARTIAL
    if not staging.exists():
        if partial.exists() and not (partial / os.fsdecode(JOURNAL)).exists():
            remove_tree(partial)  # the restore ended, but its process died before the rename
        result = repository.restore(point, partial, progress=progress, now=clock)
        if result.problems:
            problem = result.problems[0]
            raise Damaged(
                f"recovery point {point.name}: {problem.path}: {problem.reason}. Remove {into}, "
                "and recover from an earlier copy with --at."
            )
        replace_file(partial / _POINT, point.name.encode())
        partial.rename(staging)
        sync_folder(into)
    marker = staging / _POINT  # missing if a recovery ended while it removed the folder
    begun = marker.read_text() if marker.exists() else point.name
    if begun != point.name:
        raise Refused(
            f"{into}: it has an unfinished recovery of {begun}, and {point.name} was chosen. "
            "Choose the same copy with --at, or name a new folder."
        )
    return staging


def _configuration(
    staging: Path, into: Path, vault: Path | None
) -> tuple[str, Config, tuple[str, ...]]:
    """Return the configuration for the new folder, and the changed settings."""
    config_file = into / DEFAULT_FILE
    if config_file.exists():
        text = config_file.read_text()
        return text, parse(text.encode(), config_file), ()
    (file,) = (staging / CONFIGURATION).iterdir()
    text = file.read_bytes().decode("utf-8-sig")
    config = parse(text.encode(), config_file)
    changed: list[str] = []
    edits: list[tuple[str, str, str]] = [
        (part.table, part.key, part.default_path)
        for part in FILE_PARTS.values()
        if (path := path_of(config, part)) is not None and not path.is_relative_to(into)
    ]
    ledger = ledger_file(config.ledger.url)
    if ledger is not None and not ledger.is_relative_to(into):
        edits.append(("ledger", "url", f"sqlite:///{_LEDGER_FILE}"))
    keys = config.backup.keys
    if not keys.is_relative_to(into) and not keys.is_dir():
        edits.append(("backup", "keys", _KEY_STORE))
    if vault is not None and config.backup.s3 is None:
        is_same = resolve_path(config.backup.vault) == resolve_path(vault)
        edits += [] if is_same else [("backup", "vault", str(resolve_path(vault)))]
    for table, key, value in edits:
        text = with_setting(text, table, key, value)
        changed.append(f"{table}.{key}")
    return text, parse(text.encode(), config_file), tuple(changed)


def _place_parts(config: Config, staging: Path, into: Path) -> tuple[str, ...]:
    """Move the parts of a copy to their paths; return the parts in place.

    A ledger on a server is included if the copy contains its dump.
    """
    restored = [CONFIGURATION]
    ledger = ledger_file(config.ledger.url)
    if ledger is None:
        restored += [LEDGER] if any((staging / LEDGER).glob("*.dump")) else []
    elif _move_file(staging / LEDGER, ledger, into):
        restored.append(LEDGER)
    for name, part in FILE_PARTS.items():
        path = path_of(config, part)
        if path is None:
            continue
        if part.is_folder:
            is_there = _move(staging / name, path, into)
        else:
            is_there = _move_file(staging / name, path, into)
        restored += [name] if is_there else []
    return tuple(restored)


def _move_file(folder: Path, path: Path, into: Path) -> bool:
    """Move the only file of a restored folder; return whether it is in place."""
    found = list(folder.iterdir()) if folder.is_dir() else []
    return _move(found[0], path, into) if found else path.exists()


def _move(source: Path, path: Path, into: Path) -> bool:
    """Move a path unless the target exists; return whether it is in place."""
    if not path.is_relative_to(into):
        raise Refused(f"{path}: it is outside {into}. Nothing is written there.")
    if source.exists() and not path.exists():
        make_private(path.parent)
        source.rename(path)
        sync_folder(path.parent)
    return path.exists()


def _bring_key_records(root: RootRecord, backup: BackupConfig, copy: Path, now: datetime) -> None:
    """Add the key records in `copy` to the key store of the new installation.

    Record in the list of copies that both folders exist now.
    """
    synchronize(root, KeyFolder(backup.keys), KeyFolder(copy))
    folders = {key_store_name(backup): backup.keys}
    if own_name := read_copy_list(copy).own_name:
        folders[own_name] = copy
    record_seen(root, folders, now)


def _settle_ledger(
    config_file: Path, env: Mapping[str, str], point: RecoveryPoint, clock: Now
) -> tuple[str, ...]:
    """Stop live incidents, end lost runs and record the recovery, once."""
    with open_installation(config_file, env=env, clock=clock) as installation:
        ledger = installation.ledger
        with ledger.database.reading() as connection:
            ledger.database.rows.refuse_rolled_back(connection)
        subject, action = _RECOVERED
        live = [row.id for row in ledger.incidents.all(only_open=True) if row.mode is Mode.LIVE]
        is_settled = any(
            (event.action, event.detail.get("point")) == (action, point.name)
            for event in ledger.timeline(subject)
        )
        if not is_settled:
            _stop_work(installation, live)
            installation.record_event(
                subject, action, {"point": point.name, "made_at": timestamp(point.time)}
            )
        # A repeated call signs too: the first process may have died before it wrote the signature
        # to the witness.
        with suppress(ConfigurationError):  # perhaps the witness is not mounted yet
            ledger.audit.sign_head(clock())
    return tuple(live)


def _stop_work(installation: Installation, live: Sequence[str]) -> None:
    """Stop live incidents, and end the runs of the lost machine."""
    ledger, actor, clock = installation.ledger, installation.actor, installation.clock
    for incident_id in live:
        ledger.incidents.set_stopped(incident_id, True, actor, clock())
    for kind in KINDS:
        for run in ledger.runs.all(kind, states=["running"]):
            summary = {**Origin.of(run.summary).as_json(), "problem": _LOST}
            ledger.runs.finish(run.id, kind, "failed", summary, actor, clock())


def _is_set(resolver: SystemResolver, reference: SecretReference) -> bool:
    with suppress(StandfastError):
        resolver.resolve(reference)
        return True
    return False
