"""Keys on this machine: what a backup host and a custodian hold in files.

- A host holds its signing key, the id key, and public keys: nothing in its folder decrypts
  anything.
- A custodian's file is made once, then taken offline, as the owner's is (see `ownership`).
- Files are made with mode 0600 in folders of 0700, synced, and never overwritten.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyrage
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from backup.errors import BackupError, Damaged, NotFound, StoreUnavailable, WrongKey
from backup.format import FORMAT
from backup.format.canonical_json import to_json
from backup.format.object_names import MAX_KEY_RECORD_BYTES, keys_of, number_in
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
    """What a backup host works with."""

    repository: bytes
    owner: bytes  # Ed25519 public key that every root record must be signed with
    writer: str
    epoch: int
    domain: str
    signing_key: Ed25519PrivateKey = field(repr=False)
    id_key: bytes = field(repr=False)

    @staticmethod
    def load(host_dir: Path) -> "Host":
        """Read a host's folder; `NotFound` when it holds no keys, `Damaged` when they are bad."""
        path = host_dir / HOST_FILE
        data = read_file(
            path,
            f"the host's key file {path}",
            missing=f"{host_dir} holds no host's keys: name the right folder, bring them back from"
            " a copy, or let the owner make new ones with `backup owner new-epoch`",
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
                f"{path} does not hold a host's keys as they were made: bring it back from a copy,"
                " or let the owner make new ones with `backup owner new-epoch`"
            ) from None

    def to_bytes(self) -> bytes:
        """The content of the host's file."""
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
        """What the root record must name for this writer."""
        return self.signing_key.public_key().public_bytes_raw()


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """A custodian's keys; `owner` and `repository` are pinned when the file names them."""

    keys: tuple[object, ...] = field(repr=False)  # pyrage identities
    owner: bytes | None
    repository: bytes | None
    folder: Path | None = None  # of its file, where a copy of the key records may lie


def open_identity(source: Path | bytes, *, passphrase: str | None = None) -> Identity:
    """Read an age identity file, an SSH private key, or an age file locked with a passphrase.

    `WrongKey` when it holds no identity or the passphrase does not open it, `NotFound` when there
    is no such file.
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
            raise WrongKey("the SSH key cannot be used: take an unencrypted one") from None
    found: list[object] = []
    pins: dict[str, str] = {}
    for line in data.decode("utf-8", "replace").splitlines():
        if line.startswith("#"):
            name, _, value = line.removeprefix("#").partition(":")
            pins[name.strip()] = value.strip()
        elif line.startswith(_SECRET):
            try:
                found.append(pyrage.x25519.Identity.from_str(line.strip()))
            except pyrage.IdentityError:
                raise WrongKey("the identity file has a damaged key; take the copy") from None
    if not found:
        raise WrongKey("the identity file holds no key; take the custodian's file")
    return Identity(
        keys=tuple(found),
        owner=_pin(pins.get("owner"), PUBLIC_KEY_BYTES),
        repository=_pin(pins.get("repository"), REPOSITORY_BYTES),
        folder=folder,
    )


def unlock(data: bytes, passphrase: str | None, what: str) -> bytes:
    """Open an age file under a passphrase; `WrongKey` when that is missing or another.

    And when trying it would take this machine too long, which is no word on the passphrase.
    """
    if passphrase is None:
        raise WrongKey(f"{what} is locked with a passphrase; give it")
    try:
        opened: bytes = pyrage.passphrase.decrypt(data, passphrase)
    except pyrage.DecryptError as error:
        # age measures this machine first, and refuses what would take it many seconds.
        if str(error).startswith("Excessive work"):
            raise WrongKey(
                f"{what} takes this machine too long to open, so the passphrase was not tried: try"
                " again when it has less to do, or on a faster one"
            ) from None
        raise WrongKey(f"the passphrase does not open {what}") from None
    return opened


def open_domains(
    root: RootRecord,
    keys: Store | None,
    identity: Identity,
    damaged: dict[tuple[str, int], Damaged] | None = None,
    key_copies: Sequence[Store] = (),
) -> dict[tuple[str, int], pyrage.x25519.Identity]:
    """Unlock the private key of every domain and generation that the identity can open.

    `key_copies` are tried in order for what the key store does not open.

    Without a `keys` store the identity must be a domain's own key.  A domain that was erased is not
    opened, whatever still lies somewhere.  `WrongKey` when nothing opens, but for `Damaged` or
    `StoreUnavailable` when a key record could not be had.  `damaged` gets what is wrong with a
    key record of each domain that does not open.
    """
    if identity.repository not in (None, root.repository) or identity.owner not in (
        None,
        root.owner,
    ):
        raise WrongKey("this identity was made for another repository; take the one of this")
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
        found: list[BackupError] = []
        for store in (keys, *key_copies):
            passed_over: list[Damaged] = []
            try:
                record = read_key_record(store, root, domain, passed_over)
                opened[domain.id, domain.generation] = _unwrap(record, identity)
                break
            except BackupError as error:
                # One that was passed over may be the one that was written for this identity.
                found.append(passed_over[0] if passed_over else error)
        else:
            problems += found
            if damaged is not None and isinstance(found[0], Damaged):
                damaged[domain.id, domain.generation] = found[0]
    if not opened:
        for kind in (Damaged, StoreUnavailable):  # the identity may be right
            for problem in problems:
                if isinstance(problem, kind):
                    raise problem
        if all(domain.erased is not None for domain in root.domains):
            raise problems[0]
        if problems and all(isinstance(error, NotFound) for error in problems):
            raise NotFound(
                "this key store holds no key of any domain: the identity may be right, and the"
                " store is not. See that its disk is mounted, or name the one that holds the keys"
            )
        raise WrongKey(
            "this identity opens no domain of the repository; take a custodian's key, and name the"
            " store that holds the domain keys"
        ) from (problems[0] if problems else None)
    return opened


def erased_text(domain: DomainGrant) -> str:
    """Say that a domain was erased, and when."""
    return (
        f"domain {domain.id} was erased on {domain.erased:%Y-%m-%d} by its owner and custodians:"
        " nobody can open what was backed up in it"
    )


def read_key_record(
    keys: Store, root: RootRecord, domain: DomainGrant, passed_over: list[Damaged] | None = None
) -> KeyRecord:
    """Read and check the newest valid key record of a domain; `NotFound` when there is none.

    Junk above it is passed over, noted in `passed_over`, and for `verify` to name; `Damaged` when
    nothing there is valid.
    """
    prefix = keys_of(domain.id, domain.generation)
    names = [stat.name for stat in keys.list(prefix) if number_in(stat.name, prefix) is not None]
    damaged: list[Damaged] = [] if passed_over is None else passed_over
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
        f"there is no key of domain {domain.id} in this key store; name the store that holds it"
    )


def parse_key_record(data: bytes, root: RootRecord, domain: DomainGrant, name: str) -> KeyRecord:
    """Decode a key record and check that it is what its name says, and the owner's."""
    record = key_from_bytes(data, root.owner, name)
    number = number_in(name, keys_of(domain.id, domain.generation))
    here = (root.repository, domain.id, domain.generation, number)
    if (record.repository, record.domain, record.generation, record.number) != here:
        raise Damaged(f"{name} holds another domain's key; restore it from a copy")
    if record.recipient != domain.recipient:
        raise Damaged(
            f"{name} holds another key than the root record names; restore it from a copy"
        )
    return record


def _unwrap(record: KeyRecord, identity: Identity) -> pyrage.x25519.Identity:
    try:
        text = pyrage.decrypt(record.wrapped, list(identity.keys))
        opened = pyrage.x25519.Identity.from_str(text.decode("ascii", "replace"))
    except (pyrage.DecryptError, pyrage.IdentityError):
        raise WrongKey(
            f"this identity does not open domain {record.domain}; take a custodian's key"
        ) from None
    if str(opened.to_public()) != record.recipient:
        raise Damaged(f"the key of domain {record.domain} is not the one its record names")
    return opened


def _identity_bytes(path: Path) -> bytes:
    missing = f"there is no identity file {path}; name the custodian's file"
    return read_file(path, f"the identity file {path}", missing=missing)


def _pin(text: str | None, size: int) -> bytes | None:
    if text is None:
        return None
    try:
        return from_hex(text, size, "the identity file")
    except Damaged:
        raise WrongKey("the identity file names its repository wrongly; take the copy") from None
