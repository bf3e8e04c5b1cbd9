"""Key files of hosts and custodians; opening of domain keys.

- The file of a host contains its signing key, the id key and the owner's public key. With the id
  key, the host computes the names of blobs (pieces of content). No key in the file decrypts a
  backup.
- The owner is the person that signs the root record, the list of trusted hosts and keys.
- A domain is a group of backup sets that share one key; a generation is one key pair of a domain. A
  key record contains the private key of one generation. It is encrypted to custodians, the people
  that can decrypt backups.
- The identity file of a custodian contains a private key that opens key records. It is created
  once, then taken offline, like the file with the owner's signing key (see `ownership`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyrage
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from backup.errors import BackupError, Damaged, NotFound, StoreUnavailable, WrongKey
from backup.format import FORMAT
from backup.format.canonical_json import to_json
from backup.format.object_names import MAX_KEY_RECORD_BYTES, key_prefix, parse_number
from backup.format.root_record import (
    PUBLIC_KEY_BYTES,
    REPOSITORY_BYTES,
    DomainGrant,
    KeyRecord,
    RootRecord,
    key_from_bytes,
)
from backup.format.strict_fields import from_hex, read_record
from backup.stores import Store
from backup.stores.bounded_read import read_bounded
from backup.system.durable_files import read_file

HOST_FILE = "host.json"
_HOST_FIELDS = (
    "repository", "owner", "writer", "epoch", "domain", "signing_key", "id_key",
)  # fmt: skip

AGE_FILE = b"age-encryption.org/v1"
_SSH_FILE = b"-----BEGIN"
_SECRET = "AGE-SECRET-KEY-1"  # noqa: S105 - the prefix that age writes, not a secret


@dataclass(frozen=True, kw_only=True, slots=True)
class Host:
    """Identity and keys of a backup host."""

    repository: bytes
    owner: bytes  # Ed25519 public key of the person that authorizes hosts
    writer: str  # name of this host
    epoch: int  # number of the signing key; each new key has a new number
    domain: str
    signing_key: Ed25519PrivateKey = field(repr=False)
    id_key: bytes = field(repr=False)

    @staticmethod
    def load(host_dir: Path) -> "Host":
        """Read a host's folder; raise `NotFound` or `Damaged`."""
        path = host_dir / HOST_FILE
        data = read_file(
            path,
            f"the host's key file {path}",
            missing=f"{host_dir}: it contains no keys of a backup host. Name the right folder, "
            "restore the keys from a copy, or let the owner make new keys with `backup "
            "owner new-epoch`",
        )
        try:
            fields = read_record(data, "host", _HOST_FIELDS, str(path))
            seed = fields.hexadecimal("signing_key", 32)
            return Host(
                repository=fields.hexadecimal("repository", REPOSITORY_BYTES),
                owner=fields.hexadecimal("owner", PUBLIC_KEY_BYTES),
                writer=fields.name("writer"),
                epoch=fields.integer("epoch"),
                domain=fields.name("domain"),
                signing_key=Ed25519PrivateKey.from_private_bytes(seed),
                id_key=fields.hexadecimal("id_key", 32),
            )
        except Damaged:
            raise Damaged(
                f"{path}: not a valid key file of a backup host. Restore it from a copy, or let "
                "the owner make new keys with `backup owner new-epoch`"
            ) from None

    def to_bytes(self) -> bytes:
        """Return the content of the host's file."""
        value = {
            "format": FORMAT,
            "kind": "host",
            "repository": self.repository.hex(),
            "owner": self.owner.hex(),
            "writer": self.writer,
            "epoch": self.epoch,
            "domain": self.domain,
            "signing_key": self.signing_key.private_bytes_raw().hex(),
            "id_key": self.id_key.hex(),
        }
        return to_json(value) + b"\n"

    @property
    def public_key(self) -> bytes:
        """Return the host's public key; the root record must name it."""
        return self.signing_key.public_key().public_bytes_raw()


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """Keys of a custodian; owner and repository that the identity file names."""

    keys: tuple[object, ...] = field(repr=False)  # pyrage identities
    owner: bytes | None
    repository: bytes | None
    folder: Path | None = None  # folder of the identity file; it may contain copies of key records


def open_identity(source: Path | bytes, *, passphrase: str | None = None) -> Identity:
    """Read an age identity, SSH private key, or age file with a passphrase.

    Raise `WrongKey` if the file contains no identity or the passphrase does not open it. Raise
    `NotFound` if the file does not exist.
    """
    data = source if isinstance(source, bytes) else _identity_bytes(source)
    folder = source.absolute().parent if isinstance(source, Path) else None
    if data.startswith(AGE_FILE):
        data = unlock(data, passphrase, "the identity file")
    if data.startswith(_SSH_FILE):
        try:
            keys = (pyrage.ssh.Identity.from_buffer(data),)
            return Identity(keys=keys, owner=None, repository=None, folder=folder)
        except pyrage.IdentityError:
            raise WrongKey("SSH key: unreadable. Use an SSH key without a passphrase") from None
    custodian_keys: list[object] = []
    pins: dict[str, str] = {}
    for line in data.decode("utf-8", "replace").splitlines():
        if line.startswith("#"):
            name, _, value = line.removeprefix("#").partition(":")
            pins[name.strip()] = value.strip()
        elif line.startswith(_SECRET):
            try:
                custodian_keys.append(pyrage.x25519.Identity.from_str(line.strip()))
            except pyrage.IdentityError:
                raise WrongKey("identity file: damaged key. Use another copy of the file") from None
    if not custodian_keys:
        name = f"identity file {source}" if isinstance(source, Path) else "identity"
        raise WrongKey(f"{name}: it contains no key. Use the identity file of a custodian")
    return Identity(
        keys=tuple(custodian_keys),
        owner=_pin(pins.get("owner"), PUBLIC_KEY_BYTES),
        repository=_pin(pins.get("repository"), REPOSITORY_BYTES),
        folder=folder,
    )


def unlock(data: bytes, passphrase: str | None, label: str) -> bytes:
    """Decrypt an age file with a passphrase; raise `WrongKey` if this fails.

    Also raise `WrongKey` if the test of the passphrase would take too long on this machine. In this
    case, the passphrase may be right.
    """
    if passphrase is None:
        raise WrongKey(f"{label} is locked with a passphrase. Enter it")
    try:
        opened: bytes = pyrage.passphrase.decrypt(data, passphrase)
    except pyrage.DecryptError as error:
        # age first estimates the time on this machine, and refuses a test of many seconds.
        if str(error).startswith("Excessive work"):
            raise WrongKey(
                f"opening {label} takes too long on this machine, so the passphrase was not "
                "tried. Try again when the machine is less busy, or use a faster machine"
            ) from None
        raise WrongKey(f"the passphrase does not open {label}") from None
    return opened


def open_domains(
    root: RootRecord,
    keys: Store | None,
    identity: Identity,
    damaged: dict[tuple[str, int], Damaged] | None = None,
    key_copies: Sequence[Store] = (),
) -> dict[tuple[str, int], pyrage.x25519.Identity]:
    """Decrypt the private keys of all domains, as far as the identity can.

    - `keys` is the key store, the folder with the key records. Without it, the identity must be the
      private key of a domain.
    - `key_copies` are copies of the key records. They are tried, in order, for domains that the key
      store does not open.
    - `damaged` receives the error of each domain that was not opened and has an invalid key record
      in the key store.

    An erased domain (its keys were destroyed by decision of its owner) is not opened, even if its
    key or a key record still exists. If no domain can be opened, raise an error: `Damaged` or
    `StoreUnavailable` if a key record could not be read, `NotFound` if no key record exists, and
    otherwise `WrongKey`.
    """
    if identity.repository not in (None, root.repository) or identity.owner not in (
        None,
        root.owner,
    ):
        raise WrongKey(
            "identity: it was made for another repository. Use the identity of this repository"
        )
    opened: dict[tuple[str, int], pyrage.x25519.Identity] = {}
    problems: list[BackupError] = []
    for domain in root.domains:
        if domain.erased is not None:
            problems.append(WrongKey(erased_text(domain)))
            continue
        for key in identity.keys:
            if isinstance(key, pyrage.x25519.Identity) and str(key.to_public()) == domain.recipient:
                opened[domain.id, domain.generation] = key
        if keys is None or (domain.id, domain.generation) in opened:
            continue
        store_problems: list[BackupError] = []
        for store in (keys, *key_copies):
            skipped: list[Damaged] = []
            try:
                record = read_key_record(store, root, domain, skipped)
                opened[domain.id, domain.generation] = _unwrap(record, identity)
                break
            except BackupError as error:
                # Prefer the error of an invalid record: perhaps only that record is encrypted to
                # this identity.
                store_problems.append(skipped[0] if skipped else error)
        else:
            problems += store_problems
            if damaged is not None and isinstance(store_problems[0], Damaged):
                damaged[domain.id, domain.generation] = store_problems[0]
    if not opened:
        # Prefer these errors to `WrongKey`, because the identity may be right.
        for kind in (Damaged, StoreUnavailable):
            for problem in problems:
                if isinstance(problem, kind):
                    raise problem
        if all(domain.erased is not None for domain in root.domains):
            raise problems[0]
        if problems and all(isinstance(error, NotFound) for error in problems):
            raise NotFound(
                "key store: it has no key of any domain; the identity may be right. Check that its"
                " disk is mounted, or name the store that has the keys"
            )
        raise WrongKey(
            "identity: it opens no domain of the repository. Use a custodian's key, and name the"
            " store that has the domain keys"
        ) from (problems[0] if problems else None)
    return opened


def erased_text(domain: DomainGrant) -> str:
    """Return the statement that a domain was erased."""
    return (
        f"domain {domain.id} was erased on {domain.erased:%Y-%m-%d} by its owner and custodians:"
        " nobody can open what was backed up in it"
    )


def read_key_record(
    keys: Store, root: RootRecord, domain: DomainGrant, skipped: list[Damaged] | None = None
) -> KeyRecord:
    """Return the newest valid key record of a domain generation.

    Invalid records with higher numbers are skipped, and their errors are added to `skipped`.
    `verify` reports them. Raise `NotFound` if no key record exists, or `Damaged` if none is valid.
    """
    prefix = key_prefix(domain.id, domain.generation)
    names = [stat.name for stat in keys.list(prefix) if parse_number(stat.name, prefix) is not None]
    damaged: list[Damaged] = [] if skipped is None else skipped
    for name in reversed(names):
        try:
            return parse_key_record(
                read_bounded(keys, name, MAX_KEY_RECORD_BYTES), root, domain, name
            )
        except Damaged as error:
            damaged.append(error)
    if damaged:
        raise damaged[0]
    raise NotFound(
        f"domain {domain.id}: this key store has no key of it. Name the store that has it"
    )


def parse_key_record(data: bytes, root: RootRecord, domain: DomainGrant, name: str) -> KeyRecord:
    """Decode a key record; check its name and the owner's signature."""
    record = key_from_bytes(data, root.owner, name)
    number = parse_number(name, key_prefix(domain.id, domain.generation))
    expected = (root.repository, domain.id, domain.generation, number)
    if (record.repository, record.domain, record.generation, record.number) != expected:
        raise Damaged(f"{name}: it contains another domain's key. Restore it from a copy")
    if record.recipient != domain.recipient:
        raise Damaged(
            f"{name}: it contains another key than the root record names. Restore it from a copy"
        )
    return record


def _unwrap(record: KeyRecord, identity: Identity) -> pyrage.x25519.Identity:
    try:
        text = pyrage.decrypt(record.wrapped, list(identity.keys))
        opened = pyrage.x25519.Identity.from_str(text.decode("ascii", "replace"))
    except (pyrage.DecryptError, pyrage.IdentityError):
        raise WrongKey(
            f"identity: it does not open domain {record.domain}. Use a custodian's key"
        ) from None
    if str(opened.to_public()) != record.recipient:
        raise Damaged(
            f"key of domain {record.domain}: it differs from the key that its record names"
        )
    return opened


def _identity_bytes(path: Path) -> bytes:
    missing = f"identity file {path}: not found. Name a custodian's, such as offline/identity.txt"
    return read_file(path, f"the identity file {path}", missing=missing)


def _pin(text: str | None, size: int) -> bytes | None:
    if text is None:
        return None
    try:
        return from_hex(text, size, "the identity file")
    except Damaged:
        raise WrongKey("identity file: its repository line is invalid. Use the copy") from None
