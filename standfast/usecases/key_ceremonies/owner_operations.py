"""Owner operations: open the owner's key; writers, custodians, erasure.

The owner is the person with the offline key that signs every owner operation. A writer is a backup
host; its signing key is valid in one epoch. A domain is a group of backup sets that share one key.
A keeper may expire backups. A custodian has a private key (identity) that can decrypt backups. This
module opens the stores and keys; the operations themselves are in `backup/ownership`.

The backups of a domain are erased together, by the deletion of its key. The owner orders the
erasure, and custodians consent by signed attestations.

Rules
- The ledger (the database of incidents) is not opened: the owner's key is used on a machine that
  may have no ledger.
- A passphrase is requested only if a file is locked, and is not stored.
- The results of the operations are public: names, public keys, numbers.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from backup.errors import WrongKey
from backup.ownership.bundled_reader import bundled_files, publish_bundled_reader
from backup.ownership.custodian_public_key import parse_custodian
from backup.ownership.erasure.domain_erasure import erase, order_erasure
from backup.ownership.erasure.erasure_order import Order, read_attestation, read_order
from backup.ownership.key_record_copies import KeyFolder, record_seen
from backup.ownership.operation_plan import OperationResult
from backup.ownership.operations.custodians import add_custodian, retire_custodian
from backup.ownership.operations.domains import add_domain, new_generation
from backup.ownership.operations.keepers import retire_keeper, set_keeper
from backup.ownership.operations.writers import add_writer, new_epoch, remove_writer, witnessed_head
from backup.ownership.owner_session import OwnerSession, is_locked, lock_owner_file, open_owner
from backup.ownership.roster import Roster, read_roster
from backup.stores import Store
from backup.stores.directory_keeper import DirectoryKeeperStore
from backup.system.durable_files import create_file, read_file
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
from standfast.usecases.key_ceremonies.key_record_copies import (
    reachable,
    unlisted_sites,
    unreachable_copies,
)

AskPassphrase = Callable[[str], str]  # the argument names the locked file


@dataclass(frozen=True, kw_only=True)
class Stores:
    """A configuration, with access to the stores that it names."""

    config: Config
    resolver: Resolver
    clock: Now

    @property
    def vault(self) -> Store:
        """The store of the recovery points."""
        return open_vault(self.config, self.resolver, self.clock)

    @property
    def keys(self) -> DirectoryKeeperStore:
        """The store of the key records (domain keys, encrypted to custodians)."""
        return DirectoryKeeperStore(self.config.backup.keys)

    def copy(self, name: str) -> tuple[CopyConfig, Store]:
        """Return a second site by name; UsageError if unknown or the first site."""
        backup = self.config.backup
        copies = backup.copies
        if name not in copies:
            raise UsageError(
                f"copy {name!r}: not configured; {known_names_hint(name, copies)}. For another "
                f"copy, add [backup.copies.{name}]"
            )
        site = copies[name]
        if (
            _is_same(site.keys, backup.keys)
            or (site.s3 is None and backup.s3 is None and _is_same(site.vault, backup.vault))
            or (
                site.s3 is not None
                and backup.s3 is not None
                and _bucket_address(site.s3) == _bucket_address(backup.s3)
            )
        ):
            raise UsageError(
                f"backup.copies.{name}: it is the first site itself. Set vault and keys of a "
                "second site."
            )
        folder = site.vault or self.config.backup.vault  # a bucket takes precedence if it is set
        return site, open_store(folder, site.s3, self.resolver, self.clock)

    @property
    def known_owner(self) -> bytes | None:
        """The owner's public key that this machine has stored, or None."""
        folder = self.config.backup.host
        return Host.load(folder).owner if folder.is_dir() else None


def _is_same(first: Path | None, second: Path) -> bool:
    return first is not None and os.path.realpath(first) == os.path.realpath(second)


def _bucket_address(bucket: S3Config) -> tuple[object, ...]:
    return bucket.endpoint_url, bucket.bucket, bucket.prefix


def open_stores(config_file: Path, env: Mapping[str, str], clock: Now = system_clock) -> Stores:
    """Load the configuration; do not open a store yet."""
    config = load(config_file)
    return Stores(
        config=config, resolver=SystemResolver(env=env, base_dir=config.folder), clock=clock
    )


def open_owner_session(stores: Stores, owner_key: Path, ask: AskPassphrase) -> OwnerSession:
    """Open the owner's key together with the stores."""
    with translated_errors("opening the owner's key"):
        passphrase = ask("the owner's key") if is_locked(owner_key) else None
        owner = open_owner(owner_key, passphrase)
        # The folder of the owner's key is also used as a copy of the key records, because it is
        # present at every operation.
        folders = reachable(stores.config.backup, owner_key.absolute().parent)
        copies = [KeyFolder(folder) for folder in folders.values()][1:]
        return OwnerSession(
            owner=owner,
            owner_file=owner_key.absolute(),
            vault=stores.vault,
            keys=stores.keys,
            now=stores.clock,
            key_copies=copies,
            copies_away=unreachable_copies(folders),
            copies_unseen=unlisted_sites(stores.config.backup, folders),
            on_done=lambda root: record_seen(root, folders, stores.clock()),
        )


def open_custodian(path: Path, ask: AskPassphrase) -> Identity:
    """Read a custodian's identity, asking for its passphrase if it is locked."""
    with translated_errors("reading the identity"):
        try:
            return open_identity(path)
        except WrongKey:
            if not path.is_file() or not is_locked(path):
                raise
            return open_identity(path, passphrase=ask("the identity"))


def check_new_file(to: Path) -> None:
    """Raise `UsageError` if the file to be written exists already."""
    if os.path.lexists(to):
        raise UsageError(f"{to}: it exists already. Name a new file with --to.")


def roster(stores: Stores) -> Roster:
    """Return the roles and their holders; no key is needed."""
    with translated_errors("reading the roster"):
        return read_roster(stores.vault, stores.keys, owner=stores.known_owner)


def add_writer_as_owner(
    session: OwnerSession, name: str, domain: str, host_dir: Path
) -> OperationResult:
    """Authorize a new backup host."""
    with translated_errors("adding a writer"):
        return add_writer(session, name=name, domain=domain, host_dir=host_dir)


def last_witnessed(session: OwnerSession, writer: str, witness: Path) -> int:
    """Return the newest sequence number of a writer in a witness file.

    The witness file, kept outside the vault, lists the newest recovery point of each writer at
    earlier verifications.
    """
    if not witness.is_file():
        raise UsageError(f"witness {witness}: not found. Name its file, or use --trusted-through.")
    heads, findings = read_heads(witness)
    if findings:
        raise UsageError(
            f"witness {witness}: not a witness, or changed: {findings[0].object} names no recovery "
            "point. Name the correct file, or use --trusted-through."
        )
    with translated_errors("comparing with the witness"):
        return witnessed_head(session, writer, heads)


def begin_epoch_as_owner(
    session: OwnerSession, writer: str, trusted_through: int, host_dir: Path
) -> OperationResult:
    """Replace a writer's keys after a compromise.

    Recovery points after the sequence number `trusted_through` become invalid.
    """
    with translated_errors("beginning a new epoch"):
        return new_epoch(session, writer=writer, trusted_through=trusted_through, host_dir=host_dir)


def remove_writer_as_owner(
    session: OwnerSession, writer: str, trusted_through: int
) -> OperationResult:
    """Revoke a writer; its points after `trusted_through` become invalid."""
    with translated_errors("removing a writer"):
        return remove_writer(session, writer=writer, trusted_through=trusted_through)


def add_domain_as_owner(
    session: OwnerSession, name: str, recipients: Iterable[str]
) -> OperationResult:
    """Add an erasure domain."""
    with translated_errors("adding a domain"):
        return add_domain(
            session, name=name, custodians=[parse_custodian(recipient) for recipient in recipients]
        )


def begin_generation_as_owner(session: OwnerSession, domain: str) -> OperationResult:
    """Replace the key of a domain."""
    with translated_errors("beginning a new generation"):
        return new_generation(session, domain=domain)


def set_keeper_as_owner(
    session: OwnerSession, keeper_file: Path | None, key: str | None
) -> OperationResult:
    """Authorize a keeper."""
    public = None
    if key is not None:
        try:
            public = bytes.fromhex(key)
        except ValueError:
            public = b""
        if len(public) != 32:
            raise UsageError("key: a keeper's public key has 64 hexadecimal digits. Correct it.")
    with translated_errors("granting a keeper"):
        return set_keeper(session, keeper_file=keeper_file, key=public)


def retire_keeper_as_owner(session: OwnerSession, trusted_through: int | None) -> OperationResult:
    """Revoke the keeper.

    The keeper's retention records after the number `trusted_through` become invalid.
    """
    with translated_errors("retiring the keeper"):
        return retire_keeper(session, trusted_through=trusted_through)


def add_custodian_as_owner(
    session: OwnerSession, recipient: str, name: str, identity: Identity
) -> OperationResult:
    """Add a custodian that can open every domain."""
    with translated_errors("adding a custodian"):
        return add_custodian(session, custodian=parse_custodian(recipient, name), identity=identity)


def retire_custodian_as_owner(
    session: OwnerSession, which: str, identity: Identity
) -> OperationResult:
    """Prevent a custodian from decrypting data that is backed up from now on."""
    with translated_errors("retiring a custodian"):
        return retire_custodian(session, name=which, identity=identity)


def publish_documents(stores: Stores) -> tuple[str, ...]:
    """Publish FORMAT.md and break_glass.py to the vault; return the new files."""
    with translated_errors("publishing the documents"):
        vault = stores.vault
        before = set(read_roster(vault, None, owner=stores.known_owner).documents)
        publish_bundled_reader(vault)
        return tuple(name for name in bundled_files() if name not in before)


def write_locked_owner_key(owner_key: Path, to: Path, ask_new: AskPassphrase) -> None:
    """Write the owner's key, locked with a passphrase, to a new file.

    Raise UsageError for a short passphrase, and for a key that is locked already.
    """
    check_new_file(to)
    with translated_errors("locking the owner's key"):
        if is_locked(owner_key):
            raise UsageError(
                f"{owner_key}: locked already. To change the passphrase, first open it with "
                f"`age -d -o owner.json {quote(str(owner_key))}`, then lock that file."
            )
        open_owner(owner_key)
        passphrase = ask_new("the owner's key")
        check_new(passphrase)
        lock_owner_file(owner_key, to, passphrase)


def write_erasure_order(
    session: OwnerSession, *, domain: str, ordered_by: str, reason: str, to: Path
) -> Order:
    """Write a signed order to a new file; nothing is erased."""
    with translated_errors("ordering the erasure"):
        check_new_file(to)
        data = order_erasure(session, domain=domain, ordered_by=ordered_by, reason=reason)
        create_file(to.absolute(), data)
        return read_order(data, str(to))


def execute_erasure(
    session: OwnerSession,
    *,
    domain: str,
    order: Path,
    attestations: Sequence[Path],
    certificate: Path,
) -> OperationResult:
    """Execute an order; UsageError if the order is for another domain."""
    with translated_errors("erasing the domain"):
        given = read_order(read_file(order), str(order), owner=session.owner.public)
        if given.domain != domain:
            raise UsageError(
                f"order {order}: it is for domain {given.domain}, not {domain}. Nothing was erased."
            )
        return erase(
            session,
            order=given,
            attestations=[read_attestation(read_file(file), str(file)) for file in attestations],
            certificate=certificate,
        )
