"""The owner at work: the offline key, what stands in both stores, and how a deed is done.

Owns what every deed needs; the deeds stand in `owner`: `writers`, `domains`, `custodians`,
`keepers` and `erasure`.

- A deed reads everything first, plans (see `plans`), and only then writes.
- A root record is signed on top of the last one that this owner's key is known to have signed here
  (`<owner's file>.seen`): a vault that was rolled back is refused, not forked.
- The owner's key file may be an age file under a passphrase.
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
from backup.trust.key_files import AGE_FILE, unlocked
from backup.trust.root_chain import RootChain, load_root_chain


@dataclass(frozen=True, kw_only=True, slots=True)
class Owner:
    """The key that every root record, key record and order is signed with."""

    repository: bytes
    key: Ed25519PrivateKey = field(repr=False)

    @property
    def public(self) -> bytes:
        """What everyone pins."""
        return self.key.public_key().public_bytes_raw()

    def to_bytes(self) -> bytes:
        """The content of the owner's file."""
        value = {
            "format": FORMAT,
            "kind": "owner",
            "repository": self.repository.hex(),
            "owner_key": self.key.private_bytes_raw().hex(),
        }
        return to_json(value) + b"\n"


def is_locked(path: Path) -> bool:
    """Whether an owner's file needs its passphrase; `NotFound` when there is none."""
    return _read(path).startswith(AGE_FILE)


def open_owner(path: Path, passphrase: str | None = None) -> Owner:
    """Read the owner's key; `WrongKey` when it is another file, or locked under another word."""
    data = _read(path)
    if data.startswith(AGE_FILE):
        data = unlocked(data, passphrase, str(path))
    try:
        fields = read_record(data, "owner", ("repository", "owner_key"), str(path))
        return Owner(
            repository=fields.hexadecimal("repository", REPOSITORY_BYTES),
            key=Ed25519PrivateKey.from_private_bytes(fields.hexadecimal("owner_key", 32)),
        )
    except Damaged:
        raise WrongKey(f"{path} is no owner's key; take owner.json from where it is kept") from None


def lock_owner_file(path: Path, to: Path, passphrase: str) -> None:
    """Write the owner's key under a passphrase into a new file; the open one stays."""
    open_owner(path)
    create_file(to, pyrage.passphrase.encrypt(_read(path), passphrase))


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnerSession:
    """What a deed is done with."""

    owner: Owner
    owner_file: Path
    vault: Store
    keys: KeeperStore | None
    now: Callable[[], datetime]
    key_copies: Sequence[KeeperStore] = ()  # that can be reached: each is equal after a deed
    copies_away: Sequence[KeyCopy] = ()  # copies that are known and cannot be reached now
    copies_unseen: Sequence[str] = ()  # places of copies that were never looked into
    on_done: Callable[[RootRecord], object] = lambda _: None
    random: Callable[[int], bytes] = os.urandom

    @property
    def plan_file(self) -> Path:
        """Where an unfinished deed stands."""
        return self.owner_file.with_name(self.owner_file.name + ".unfinished")

    def standing(self) -> RootChain:
        """The root records, whole and not rolled back; `Damaged` says what to look at otherwise."""
        wrong = WrongKey(
            f"the owner's key {self.owner_file} is of another repository than the one in"
            f" {self.vault.where}; take the owner.json of this one"
        )
        try:
            trust = load_root_chain(self.vault, owner=self.owner.public)
        except Damaged:
            if load_root_chain(self.vault).root.repository != self.owner.repository:
                raise wrong from None  # nothing is damaged, and nothing was believed
            raise
        if trust.root.repository != self.owner.repository:
            raise wrong
        # Junk that somebody else put is passed over, or one object would end all revocation.
        if trust.unlinked:
            raise Damaged(
                f"{trust.unlinked[0]} was signed with this key and does not follow what is there."
                " Nothing is signed on top of that: restore the root records from a copy"
            )
        seen = _read_seen(self._seen_file)
        if seen is not None and seen not in trust.links:
            raise Damaged(
                f"root record {seen.number}, which this key signed, is gone from the vault or is"
                " another one: it was rolled back. Restore the root records from a copy first"
            )
        return trust

    def key_store(self) -> KeeperStore:
        """The key store; `UsageError` when none is named."""
        if self.keys is None:
            raise UsageError("this needs the key store: name it in the configuration")
        return self.keys

    def do(
        self, deed: str, request: Mapping[str, str], make: Callable[[RootChain], Plan]
    ) -> OperationResult:
        """Do a deed, or complete the one of the same request that was cut off."""
        told = execute_plan(
            self.plan_file,
            deed,
            request,
            lambda: make(self.standing()),
            vault=self.vault,
            keys=self.keys,
            forget_in=() if self.keys is None else (self.keys, *self.key_copies),
        )
        failed = self._refresh_copies(self._note_what_was_signed().root)
        return {**told, "copies_failed": failed} if failed else told

    def _refresh_copies(self, root: RootRecord) -> list[str]:
        """Make each copy of the key records equal to the key store; return what failed."""
        failed: list[str] = []
        for copy in self.key_copies:
            try:
                synchronize(root, self.key_store(), copy)
            except BackupError as error:  # the deed is done, and cannot be asked for again
                failed.append(f"{copy.where}: {error}")
        try:
            self.on_done(root)
        except BackupError as error:
            failed.append(str(error))
        return failed

    @property
    def _seen_file(self) -> Path:
        return self.owner_file.with_name(self.owner_file.name + ".seen")

    def _note_what_was_signed(self) -> RootChain:
        trust = load_root_chain(self.vault, owner=self.owner.public)
        replace_file(self._seen_file, to_json(link_to_json(trust.links[-1])))
        return trust


def check_name(what: str, name: str) -> None:
    """`UsageError` unless a writer or a domain can be called so."""
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot name a {what}: use 1 to 31 of a-z, 0-9, dash and underscore"
        )


def known_domain(root: RootRecord, domain: str) -> DomainGrant:
    """The newest generation of a domain; `NotFound` says which ones there are."""
    newest = root.domain(domain)
    if newest is None:
        there = ", ".join(root.domain_ids)
        raise NotFound(f"there is no domain {domain}; there are: {there}")
    return newest


def next_root(
    office: OwnerSession, trust: RootChain, moment: datetime, **changes: Any
) -> tuple[RootRecord, Put]:
    """The record after the one in force, with these fields changed, and the step that puts it."""
    number = trust.next_number
    record: RootRecord = replace(
        trust.root,
        number=number,
        previous=bytes.fromhex(trust.links[-1].sha256),
        created=moment,
        **changes,
    )
    data = root_to_bytes(record, office.owner.key)
    return record, Put(where="vault", name=root_name(number), data=data)


def _read(path: Path) -> bytes:
    missing = f"there is no owner's key {path}; name the file with --owner-key"
    return read_file(path, f"the owner's key {path}", missing=missing)


def _read_seen(path: Path) -> Link | None:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise NotWritable(f"{path} cannot be read: {error.strerror}") from error
    return link_from_json(from_json(data, str(path)), str(path))
