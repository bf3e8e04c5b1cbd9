"""The owner's deeds as use-cases: from the configuration and two files to what was done.

Owns how the stores, the owner's key and a custodian's identity are opened for a ceremony. Leaves
the deeds to `backup/ownership*.py`.

Rules
- No ledger is opened: the owner's key is used on a machine that may have none.
- A passphrase is asked for only when a file is locked, and kept nowhere.
- Everything is public that comes out: names, public keys, numbers.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from backup.errors import WrongKey
from backup.ownership.custodian_public_key import custodian
from backup.ownership.key_record_copies import KeyFolder, note_seen
from backup.ownership.operation_plan import OperationResult
from backup.ownership.operations.custodians import add_custodian, retire_custodian
from backup.ownership.operations.domains import add_domain, new_generation
from backup.ownership.operations.keepers import retire_keeper, set_keeper
from backup.ownership.operations.writers import add_writer, new_epoch, remove_writer, witnessed_head
from backup.ownership.owner_session import OwnerSession, is_locked, lock_owner_file, open_owner
from backup.ownership.roster import Roster, read_roster
from backup.stores import Store
from backup.stores.directory_keeper import DirectoryKeeperStore
from backup.trust.key_files import Host, Identity, open_identity
from standfast.config import Config, load
from standfast.config.sections.backup import CopyConfig, S3Config
from standfast.errors import UsageError
from standfast.people.passphrase_keys import check_new
from standfast.records import Now
from standfast.secrets import Resolver, SystemResolver
from standfast.suggestions import known_names_hint
from standfast.usecases.core.backup_repository import open_store, open_vault, translated_errors
from standfast.usecases.core.backup_witness import read_heads
from standfast.usecases.core.installation import system_clock
from standfast.usecases.key_ceremonies.key_record_copies import away, reachable, unseen

AskPassphrase = Callable[[str], str]  # given what it is of


@dataclass(frozen=True, kw_only=True)
class Stores:
    """A configuration and what opens the stores that it names."""

    config: Config
    resolver: Resolver
    clock: Now

    @property
    def vault(self) -> Store:
        """Where the backups are."""
        return open_vault(self.config, self.resolver, self.clock)

    @property
    def keys(self) -> DirectoryKeeperStore:
        """Where the domain keys are."""
        return DirectoryKeeperStore(self.config.backup.keys)

    def copy(self, name: str) -> tuple[CopyConfig, Store]:
        """A second site by name; UsageError names those that there are, or that it is the first."""
        backup = self.config.backup
        copies = backup.copies
        if name not in copies:
            raise UsageError(
                f"there is no copy {name!r} in the configuration: add [backup.copies.{name}]; "
                f"{known_names_hint(name, copies)}"
            )
        one = copies[name]
        if (
            _is_same(one.keys, backup.keys)
            or (one.s3 is None and backup.s3 is None and _is_same(one.vault, backup.vault))
            or (one.s3 is not None and backup.s3 is not None and _at(one.s3) == _at(backup.s3))
        ):
            raise UsageError(
                f"backup.copies.{name} is the very place that it should be a copy of: set a vault "
                "and keys of a second site"
            )
        folder = one.vault or self.config.backup.vault  # the bucket goes first where it is set
        return one, open_store(folder, one.s3, self.resolver, self.clock)

    @property
    def known_owner(self) -> bytes | None:
        """The owner's public key as this machine's host file knows it."""
        folder = self.config.backup.host
        return Host.load(folder).owner if folder.is_dir() else None


def _is_same(one: Path | None, other: Path) -> bool:
    return one is not None and os.path.realpath(one) == os.path.realpath(other)


def _at(bucket: S3Config) -> tuple[object, ...]:
    return bucket.endpoint_url, bucket.bucket, bucket.prefix


def open_stores(config_file: Path, env: Mapping[str, str], clock: Now = system_clock) -> Stores:
    """Load the configuration; nothing is opened yet."""
    config = load(config_file)
    return Stores(
        config=config,
        resolver=SystemResolver(env=env, base_dir=config.folder),
        clock=clock,
    )


def open_owner_session(stores: Stores, owner_key: Path, ask: AskPassphrase) -> OwnerSession:
    """Bring the owner's key and the stores together."""
    with translated_errors("opening the owner's key"):
        passphrase = ask("the owner's key") if is_locked(owner_key) else None
        owner = open_owner(owner_key, passphrase)
        # Its own folder is a copy of the key records, since it is there at every deed.
        folders = reachable(stores.config.backup, owner_key.absolute().parent)
        copies = [KeyFolder(folder) for folder in folders.values()][1:]
        return OwnerSession(
            owner=owner,
            owner_file=owner_key.absolute(),
            vault=stores.vault,
            keys=stores.keys,
            now=stores.clock,
            key_copies=copies,
            copies_away=away(folders),
            copies_unseen=unseen(stores.config.backup, folders),
            on_done=lambda root: note_seen(root, folders, stores.clock()),
        )


def open_custodian(path: Path, ask: AskPassphrase) -> Identity:
    """Read a custodian's identity, which may be under a passphrase."""
    with translated_errors("reading the identity"):
        try:
            return open_identity(path)
        except WrongKey:
            if not path.is_file() or not is_locked(path):
                raise
            return open_identity(path, passphrase=ask("the identity"))


def check_new_file(to: Path) -> None:
    """`UsageError` when something stands where a paper or a key is to be written."""
    if os.path.lexists(to):
        raise UsageError(f"{to} is there already; name a new file with --to")


def roster(stores: Stores) -> Roster:
    """Say who may do what; takes no key."""
    with translated_errors("reading who may do what"):
        return read_roster(stores.vault, stores.keys, owner=stores.known_owner)


def add_writer_as_owner(
    office: OwnerSession, name: str, domain: str, host_dir: Path
) -> OperationResult:
    """Let a new backup host write."""
    with translated_errors("adding a writer"):
        return add_writer(office, name=name, domain=domain, host_dir=host_dir)


def last_witnessed(office: OwnerSession, writer: str, witness: Path) -> int:
    """The newest sequence of a writer that a witness file vouches for."""
    if not witness.is_file():
        raise UsageError(f"there is no witness {witness}; name its file, or --trusted-through")
    heads, torn = read_heads(witness)
    if torn:
        raise UsageError(
            f"{witness} is no witness, or was changed: {torn[0].object} names no recovery point. "
            "Name the right file, or say --trusted-through"
        )
    with translated_errors("comparing with the witness"):
        return witnessed_head(office, writer, heads)


def epoch_begun(
    office: OwnerSession, writer: str, trusted_through: int, host_dir: Path
) -> OperationResult:
    """Give a writer new keys after a compromise."""
    with translated_errors("beginning a new epoch"):
        return new_epoch(office, writer=writer, trusted_through=trusted_through, host_dir=host_dir)


def writer_removed(office: OwnerSession, writer: str, trusted_through: int) -> OperationResult:
    """Let a writer write no more."""
    with translated_errors("removing a writer"):
        return remove_writer(office, writer=writer, trusted_through=trusted_through)


def domain_added(office: OwnerSession, name: str, recipients: Iterable[str]) -> OperationResult:
    """Add an erasure domain."""
    with translated_errors("adding a domain"):
        return add_domain(office, name=name, custodians=[custodian(one) for one in recipients])


def generation_begun(office: OwnerSession, domain: str) -> OperationResult:
    """Give a domain a new key."""
    with translated_errors("beginning a new generation"):
        return new_generation(office, domain=domain)


def keeper_set(office: OwnerSession, keeper_file: Path | None, key: str | None) -> OperationResult:
    """Grant a keeper."""
    public = None
    if key is not None:
        try:
            public = bytes.fromhex(key)
        except ValueError:
            public = b""
        if len(public) != 32:
            raise UsageError("a keeper's public key is 64 hexadecimal digits")
    with translated_errors("granting a keeper"):
        return set_keeper(office, keeper_file=keeper_file, key=public)


def keeper_retired(office: OwnerSession, trusted_through: int | None) -> OperationResult:
    """Trust the keeper no further."""
    with translated_errors("retiring the keeper"):
        return retire_keeper(office, trusted_through=trusted_through)


def custodian_added(
    office: OwnerSession, recipient: str, name: str, identity: Identity
) -> OperationResult:
    """Let one more custodian open every domain."""
    with translated_errors("adding a custodian"):
        return add_custodian(office, custodian=custodian(recipient, name), identity=identity)


def custodian_retired(office: OwnerSession, which: str, identity: Identity) -> OperationResult:
    """Let a custodian open nothing of what comes."""
    with translated_errors("retiring a custodian"):
        return retire_custodian(office, which=which, identity=identity)


def documents_published(stores: Stores) -> tuple[str, ...]:
    """Put this version's FORMAT.md and break_glass.py into the vault; names those that are new."""
    from backup.ownership.bundled_reader import bundled_files, publish_bundled_reader

    with translated_errors("publishing the documents"):
        vault = stores.vault
        before = set(read_roster(vault, None, owner=stores.known_owner).documents)
        publish_bundled_reader(vault)
        return tuple(name for name in bundled_files() if name not in before)


def key_locked(owner_key: Path, to: Path, ask_new: AskPassphrase) -> None:
    """Write the owner's key under a passphrase into a new file; UsageError for a short one.

    One that is locked is not locked anew: its own passphrase would have to be asked for as well.
    """
    check_new_file(to)
    with translated_errors("locking the owner's key"):
        if is_locked(owner_key):
            raise UsageError(
                f"{owner_key} is locked already; for another passphrase open it first, with "
                f"`age -d -o owner.json {quote(str(owner_key))}`, then lock that"
            )
        open_owner(owner_key)
        passphrase = ask_new("the owner's key")
        check_new(passphrase)
        lock_owner_file(owner_key, to, passphrase)
