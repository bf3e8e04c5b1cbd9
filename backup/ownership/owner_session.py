"""Owner session: owner's key file, rollback check, next root record.

The owner is the person with the offline signing key. The owner's operations, such as the
authorization of a host, are in the packages `operations` and `erasure`.

- An operation first reads all that it needs, then stores its plan (see `operation_plan`), and only
  then writes.
- A root record is the owner's signed list of all authorized hosts and keys. The file `<owner's
  file>.seen` names the last root record that this key signed on this machine. If this root record
  is missing from the vault (the folder or bucket with the encrypted backups), the vault was rolled
  back, and nothing is signed.
- The owner's key file may be an age file with a passphrase.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pyrage
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from backup.errors import BackupError, Damaged, NotFound, NotWritable, UsageError, WrongKey
from backup.format import FORMAT
from backup.format.canonical_json import from_json, to_json
from backup.format.object_names import root_name
from backup.format.record_link import Link, link_from_json, link_to_json
from backup.format.root_record import REPOSITORY_BYTES, DomainGrant, RootRecord, root_to_bytes
from backup.format.strict_fields import NAME, read_record
from backup.ownership.key_copy_list import KeyCopy
from backup.ownership.key_record_copies import synchronize
from backup.ownership.operation_plan import OperationResult, Plan, Put, execute_plan
from backup.stores import Store
from backup.stores.keeper import KeeperStore
from backup.system.durable_files import create_file, read_file, replace_file
from backup.trust.key_files import AGE_FILE, unlock
from backup.trust.root_chain import RootChain, load_root_chain


@dataclass(frozen=True, kw_only=True, slots=True)
class Owner:
    """Owner's key, which signs all root records and other owner documents."""

    repository: bytes
    key: Ed25519PrivateKey = field(repr=False)

    @property
    def public(self) -> bytes:
        """Return the public key.

        Key files of backup hosts and of custodians (the people that can decrypt backups) contain
        it.
        """
        return self.key.public_key().public_bytes_raw()

    def to_bytes(self) -> bytes:
        """Encode the content of the owner's file."""
        value = {
            "format": FORMAT,
            "kind": "owner",
            "repository": self.repository.hex(),
            "owner_key": self.key.private_bytes_raw().hex(),
        }
        return to_json(value) + b"\n"


def is_locked(path: Path) -> bool:
    """Return whether an owner's file needs a passphrase.

    Raise `NotFound` if the file does not exist.
    """
    return _read_owner_file(path).startswith(AGE_FILE)


def open_owner(path: Path, passphrase: str | None = None) -> Owner:
    """Read the owner's key; raise `WrongKey` for a wrong file or passphrase."""
    data = _read_owner_file(path)
    if data.startswith(AGE_FILE):
        data = unlock(data, passphrase, str(path))
    try:
        fields = read_record(data, "owner", ("repository", "owner_key"), str(path))
        return Owner(
            repository=fields.hexadecimal("repository", REPOSITORY_BYTES),
            key=Ed25519PrivateKey.from_private_bytes(fields.hexadecimal("owner_key", 32)),
        )
    except Damaged:
        raise WrongKey(f"{path}: not an owner's key. Use the repository's owner.json.") from None


def lock_owner_file(path: Path, to: Path, passphrase: str) -> None:
    """Write the owner's key to a new file, encrypted with a passphrase."""
    open_owner(path)
    create_file(to, pyrage.passphrase.encrypt(_read_owner_file(path), passphrase))


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnerSession:
    """Key, stores and clock for the operations of an owner."""

    owner: Owner
    owner_file: Path
    vault: Store
    keys: KeeperStore | None
    now: Callable[[], datetime]
    # Reachable copies of the key store (encrypted private keys); synchronized after an operation.
    key_copies: Sequence[KeeperStore] = ()
    copies_away: Sequence[KeyCopy] = ()  # copies that were read earlier and are not reachable now
    copies_unseen: Sequence[str] = ()  # locations of copies that this machine has never read
    on_done: Callable[[RootRecord], object] = lambda _: None  # called after each operation
    random: Callable[[int], bytes] = os.urandom

    @property
    def plan_file(self) -> Path:
        """Return the path of the plan of an unfinished operation."""
        return self.owner_file.with_name(self.owner_file.name + ".unfinished")

    def load_trust(self) -> RootChain:
        """Return all root records, verified; raise `Damaged` after a rollback."""
        wrong = WrongKey(
            f"owner's key {self.owner_file}: it is of another repository than {self.vault.where}."
            " Use the owner.json of this repository."
        )
        try:
            trust = load_root_chain(self.vault, owner=self.owner.public)
        except Damaged:
            if load_root_chain(self.vault).root.repository != self.owner.repository:
                raise wrong from None  # the vault is not damaged: it is another repository
            raise
        if trust.root.repository != self.owner.repository:
            raise wrong
        # `unlinked` lists root records that the owner's key signed but that do not follow the root
        # record before them. Invalid objects with another signature are ignored: an attacker that
        # puts such an object must not be able to prevent the revocation of a key.
        if trust.unlinked:
            raise Damaged(
                f"{trust.unlinked[0]}: signed with this key, but it does not follow the existing"
                " records. Restore the root records from a copy; nothing can be signed before that."
            )
        seen = _read_seen(self._seen_file)
        if seen is not None and seen not in trust.links:
            raise Damaged(
                f"root record {seen.number}: this key signed it, but the vault lacks it or has "
                "another record; the vault was rolled back. Restore the root records from a "
                "copy first."
            )
        return trust

    def key_store(self) -> KeeperStore:
        """Return the key store; raise `UsageError` if none is configured."""
        if self.keys is None:
            raise UsageError("key store: this operation needs it. Name it in the configuration.")
        return self.keys

    def run(
        self, operation: str, request: Mapping[str, str], make_plan: Callable[[RootChain], Plan]
    ) -> OperationResult:
        """Run an operation, or complete it if the same request was interrupted."""
        result = execute_plan(
            self.plan_file,
            operation,
            request,
            lambda: make_plan(self.load_trust()),
            vault=self.vault,
            keys=self.keys,
            forget_in=() if self.keys is None else (self.keys, *self.key_copies),
        )
        failed = self._refresh_copies(self._record_signed_root().root)
        return {**result, "copies_failed": failed} if failed else result

    def _refresh_copies(self, root: RootRecord) -> list[str]:
        """Synchronize each copy of the key store; return the failures."""
        failed: list[str] = []
        for copy in self.key_copies:
            try:
                synchronize(root, self.key_store(), copy)
            except BackupError as error:  # the operation itself is done, so this is only reported
                failed.append(f"{copy.where}: {error}")
        try:
            self.on_done(root)
        except BackupError as error:
            failed.append(str(error))
        return failed

    @property
    def _seen_file(self) -> Path:
        return self.owner_file.with_name(self.owner_file.name + ".seen")

    def _record_signed_root(self) -> RootChain:
        trust = load_root_chain(self.vault, owner=self.owner.public)
        replace_file(self._seen_file, to_json(link_to_json(trust.links[-1])))
        return trust


def check_name(role: str, name: str) -> None:
    """Raise `UsageError` unless the name of a host or domain is valid.

    A domain is a group of backup sets that share one key and are erased together.
    """
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{role} {name!r}: not a valid name. Use 1 to 31 of a-z, 0-9, dash and underscore."
        )


def known_domain(root: RootRecord, domain: str) -> DomainGrant:
    """Return the newest key of a domain; raise `NotFound` if unknown."""
    newest = root.domain(domain)
    if newest is None:
        known = ", ".join(root.domain_ids)
        raise NotFound(f"domain {domain}: unknown. Choose one of: {known}.")
    return newest


def next_root(
    session: OwnerSession, trust: RootChain, moment: datetime, **changes: Any
) -> tuple[RootRecord, Put]:
    """Return the next root record, with changes, and the step that puts it."""
    number = trust.next_number
    record: RootRecord = replace(
        trust.root,
        number=number,
        previous=bytes.fromhex(trust.links[-1].sha256),
        created=moment,
        **changes,
    )
    data = root_to_bytes(record, session.owner.key)
    return record, Put(where="vault", name=root_name(number), data=data)


def _read_owner_file(path: Path) -> bytes:
    missing = f"owner's key {path}: not found. Name the file with --owner-key."
    return read_file(path, f"owner's key {path}", missing=missing)


def _read_seen(path: Path) -> Link | None:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise NotWritable(f"{path}: cannot be read ({error.strerror}). Check it.") from error
    return link_from_json(from_json(data, str(path)), str(path))
