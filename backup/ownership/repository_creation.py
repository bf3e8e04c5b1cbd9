"""Creation of a repository, with its first owner, custodian and host.

- The owner is the person with the offline signing key; a custodian is a person that can decrypt
  backups; a host (also called writer) makes backups.
- All keys and records are generated first and written to a plan file (`<owner_file>.unfinished`).
  So a second call after a crash completes the creation.
- The repository exists when its root record (the owner's signed list of hosts and keys) is in the
  vault (the folder or bucket with the encrypted backups). After that, the owner's file is written
  and the plan file is removed.
- Nothing is overwritten. If an object or file exists, `AlreadyThere` is raised.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from os import urandom
from pathlib import Path

import pyrage
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from backup.errors import AlreadyThere
from backup.format.canonical_json import to_time
from backup.format.object_names import key_name, key_prefix, root_name
from backup.format.root_record import (
    REPOSITORY_BYTES,
    DomainGrant,
    KeyRecord,
    RootRecord,
    WriterGrant,
    key_to_bytes,
    root_to_bytes,
)
from backup.ownership.bundled_reader import bundled_files
from backup.ownership.operation_plan import Create, Plan, Put, execute_plan
from backup.ownership.owner_session import Owner, check_name
from backup.stores import Store
from backup.trust.key_files import HOST_FILE, Host


@dataclass(frozen=True, kw_only=True, slots=True)
class Created:
    """Public identifiers and files of a new repository.

    All values are public. They belong on the recovery card, the printed page with the steps of a
    restore.
    """

    repository: str  # hexadecimal
    owner: str  # the owner's public key, hexadecimal
    writer: str
    domain: str
    custodian: str  # age public key
    owner_file: Path
    identity_file: Path
    host_dir: Path


def create_repository(
    *,
    vault: Store,
    keys: Store,
    writer: str,
    domain: str,
    host_dir: Path,
    owner_file: Path,
    identity_file: Path,
    now: datetime,
    owner_passphrase: str | None = None,
    random: Callable[[int], bytes] = urandom,
) -> Created:
    """Create a repository with one writer, one domain and one custodian.

    A domain is a group of backup sets that share one key and are erased together. With
    `owner_passphrase`, the owner's file is an age file that needs the passphrase. A second call
    with the same arguments after a crash completes the creation.

    Raise `AlreadyThere`, and change nothing, if the vault has a repository or a file exists.
    """
    check_name("writer", writer)
    check_name("domain", domain)

    def make_plan() -> Plan:
        _refuse_existing(vault, keys, domain, (owner_file, identity_file, host_dir / HOST_FILE))
        return _plan(
            writer=writer,
            domain=domain,
            host_file=(host_dir / HOST_FILE).absolute(),
            owner_file=owner_file.absolute(),
            identity_file=identity_file.absolute(),
            owner_passphrase=owner_passphrase,
            now=now,
            random=random,
        )

    result = execute_plan(
        owner_file.with_name(owner_file.name + ".unfinished"),
        "create a repository",
        {"writer": writer, "domain": domain},
        make_plan,
        vault=vault,
        keys=keys,
    )
    with suppress(OSError):
        host_dir.chmod(0o700)
    return Created(
        repository=result["repository"],
        owner=result["owner"],
        writer=writer,
        domain=domain,
        custodian=result["custodian"],
        owner_file=owner_file,
        identity_file=identity_file,
        host_dir=host_dir,
    )


def _plan(
    *,
    writer: str,
    domain: str,
    host_file: Path,
    owner_file: Path,
    identity_file: Path,
    owner_passphrase: str | None,
    now: datetime,
    random: Callable[[int], bytes],
) -> Plan:
    repository = random(REPOSITORY_BYTES)
    owner_seed, signing_seed, id_key = random(32), random(32), random(32)
    owner = Owner(repository=repository, key=Ed25519PrivateKey.from_private_bytes(owner_seed))
    host = Host(
        repository=repository,
        owner=owner.public,
        writer=writer,
        epoch=0,
        domain=domain,
        signing_key=Ed25519PrivateKey.from_private_bytes(signing_seed),
        id_key=id_key,
    )
    custodian = pyrage.x25519.Identity.generate()
    domain_key = pyrage.x25519.Identity.generate()
    recipient = str(domain_key.to_public())
    key_record = KeyRecord(
        repository=repository,
        domain=domain,
        generation=0,
        number=0,
        recipient=recipient,
        custodians=(str(custodian.to_public()),),
        wrapped=pyrage.encrypt(str(domain_key).encode(), [custodian.to_public()]),
    )
    root = RootRecord(
        repository=repository,
        number=0,
        previous=None,
        owner=host.owner,
        created=now,
        writers=(
            WriterGrant(
                id=writer, epoch=0, key=host.public_key, domains=(domain,), trusted_through=None
            ),
        ),
        domains=(DomainGrant(id=domain, generation=0, recipient=recipient),),
    )
    owner_data = owner.to_bytes()
    if owner_passphrase is not None:
        owner_data = pyrage.passphrase.encrypt(owner_data, owner_passphrase)
    identity = (
        f"# created: {to_time(now)}\n"
        f"# repository: {repository.hex()}\n"
        f"# owner: {host.owner.hex()}\n"
        f"# public key: {custodian.to_public()}\n"
        f"{custodian}\n"
    )
    return Plan(
        operation="create a repository",
        request={"writer": writer, "domain": domain},
        result={
            "repository": repository.hex(),
            "owner": host.owner.hex(),
            "custodian": str(custodian.to_public()),
        },
        steps=(
            Put(
                where="keys", name=key_name(domain, 0, 0), data=key_to_bytes(key_record, owner.key)
            ),
            *(Put(where="vault", name=name, data=data) for name, data in bundled_files().items()),
            Create(path=identity_file, data=identity.encode()),
            Create(path=host_file, data=host.to_bytes()),
            Put(where="vault", name=root_name(0), data=root_to_bytes(root, owner.key)),
            Create(path=owner_file, data=owner_data),
        ),
    )


def _refuse_existing(vault: Store, keys: Store, domain: str, files: tuple[Path, ...]) -> None:
    # Check all objects below pub/, not only the root record. If the creation of another repository
    # was interrupted, its other objects exist without the root record, and only its own plan can
    # complete it.
    existing = [str(path) for path in files if path.exists() or path.is_symlink()]
    existing += [stat.name for stat in vault.list("pub/")][:1]
    existing += [stat.name for stat in keys.list(key_prefix(domain, 0))][:1]
    if existing:
        raise AlreadyThere(
            f"{', '.join(existing)}: already exists, and a repository never replaces another;"
            " nothing was changed. Use the existing repository, or choose other locations."
        )
