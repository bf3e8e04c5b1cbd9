"""Making a repository: the one act that needs owner, custodian and host at once.

- Everything is generated first and written to a plan (`<owner_file>.unfinished`, mode 0600).
  Each later step creates something that the plan fixes to the byte, so a second call after a
  crash completes it.
- The root record in the vault is the commit; then the owner's file gets its name and the plan goes.
- Nothing is overwritten: what stands in the way and is not the plan's own is named in
  `AlreadyThere`.
"""

import base64
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from os import urandom
from pathlib import Path

import pyrage
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from backup.errors import AlreadyThere, NotWritable, UsageError
from backup.format import FORMAT
from backup.format.canonical import from_json, to_json, to_time
from backup.format.fields import NAME, Fields
from backup.format.layout import key_name, keys_of, root_name
from backup.format.root import (
    REPOSITORY_BYTES,
    DomainGrant,
    KeyRecord,
    RootRecord,
    WriterGrant,
    key_to_bytes,
    root_to_bytes,
)
from backup.local_files import create_file, sync_folder
from backup.stores import Store

HOST_FILE = "host.json"
HOST_FIELDS = (
    "format", "kind", "repository", "owner", "writer", "epoch", "domain", "signing_key", "id_key",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Created:
    """What a new repository is known by; all of it is public and belongs on the recovery card."""

    repository: str  # hexadecimal
    owner: str  # the owner's public key, hexadecimal
    writer: str
    domain: str
    custodian: str  # age public key
    owner_file: Path
    identity_file: Path
    host_dir: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class _Plan:
    repository: str
    owner: str
    writer: str
    domain: str
    custodian: str
    owner_file: bytes
    identity_file: bytes
    host_file: bytes
    key_record: bytes
    root_record: bytes


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
    random: Callable[[int], bytes] = urandom,
) -> Created:
    """Make a repository with one writer, one domain and one custodian.

    Called again after a crash with the same arguments, it completes what it began.
    `AlreadyThere` when the vault has a repository or a file stands in the way; nothing of it is
    changed.
    """
    for what, name in (("writer", writer), ("domain", domain)):
        if not NAME.fullmatch(name):
            raise UsageError(
                f"{name!r} cannot name a {what}: use 1 to 31 of a-z, 0-9, dash and underscore"
            )
    plan_file = owner_file.with_name(owner_file.name + ".unfinished")
    plan = _read_plan(plan_file)
    if plan is None:
        _refuse_what_is_there(
            vault, keys, domain, (owner_file, identity_file, host_dir / HOST_FILE)
        )
        plan = _make_plan(writer, domain, now, random)
        create_file(plan_file, to_json(_plan_to_json(plan)))
    elif (plan.writer, plan.domain) != (writer, domain):
        raise UsageError(
            f"{plan_file} belongs to a repository of writer {plan.writer} and domain {plan.domain};"
            " complete that one first, or take another owner file"
        )
    _put_exactly(keys, key_name(domain, 0, 0), plan.key_record)
    _create_exactly(identity_file, plan.identity_file)
    _create_exactly(host_dir / HOST_FILE, plan.host_file)
    with suppress(OSError):
        host_dir.chmod(0o700)
    _put_exactly(vault, root_name(0), plan.root_record)
    _create_exactly(owner_file, plan.owner_file)
    plan_file.unlink()
    sync_folder(plan_file.parent)
    return Created(
        repository=plan.repository,
        owner=plan.owner,
        writer=writer,
        domain=domain,
        custodian=plan.custodian,
        owner_file=owner_file,
        identity_file=identity_file,
        host_dir=host_dir,
    )


def _make_plan(writer: str, domain: str, now: datetime, random: Callable[[int], bytes]) -> _Plan:
    repository = random(REPOSITORY_BYTES)
    owner_seed, signing_seed, id_key = random(32), random(32), random(32)
    owner = Ed25519PrivateKey.from_private_bytes(owner_seed)
    owner_public = _public(owner)
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
        owner=owner_public,
        created=now,
        writers=(
            WriterGrant(
                id=writer,
                epoch=0,
                key=_public(Ed25519PrivateKey.from_private_bytes(signing_seed)),
                domains=(domain,),
                trusted_through=None,
            ),
        ),
        domains=(DomainGrant(id=domain, generation=0, recipient=recipient),),
        keeper=None,
    )
    host = {
        "format": FORMAT,
        "kind": "host",
        "repository": repository.hex(),
        "owner": owner_public.hex(),
        "writer": writer,
        "epoch": 0,
        "domain": domain,
        "signing_key": signing_seed.hex(),
        "id_key": id_key.hex(),
    }
    owner_file = {
        "format": FORMAT,
        "kind": "owner",
        "repository": repository.hex(),
        "owner_key": owner_seed.hex(),
    }
    identity_file = (
        f"# created: {to_time(now)}\n"
        f"# repository: {repository.hex()}\n"
        f"# owner: {owner_public.hex()}\n"
        f"# public key: {custodian.to_public()}\n"
        f"{custodian}\n"
    )
    return _Plan(
        repository=repository.hex(),
        owner=owner_public.hex(),
        writer=writer,
        domain=domain,
        custodian=str(custodian.to_public()),
        owner_file=to_json(owner_file) + b"\n",
        identity_file=identity_file.encode(),
        host_file=to_json(host) + b"\n",
        key_record=key_to_bytes(key_record, owner),
        root_record=root_to_bytes(root, owner),
    )


_PUBLIC = ("repository", "owner", "writer", "domain", "custodian")
_BYTES = ("owner_file", "identity_file", "host_file", "key_record", "root_record")


def _plan_to_json(plan: _Plan) -> dict[str, str]:
    texts = {name: getattr(plan, name) for name in _PUBLIC}
    return texts | {name: base64.b64encode(getattr(plan, name)).decode() for name in _BYTES}


def _read_plan(path: Path) -> _Plan | None:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise NotWritable(f"{path} cannot be read: {error.strerror}") from error
    where = str(path)
    fields = Fields(from_json(data, where), where, _PUBLIC + _BYTES)
    raw = {name: base64.b64decode(fields.text(name)) for name in _BYTES}
    return _Plan(
        repository=fields.text("repository"),
        owner=fields.text("owner"),
        writer=fields.text("writer"),
        domain=fields.text("domain"),
        custodian=fields.text("custodian"),
        owner_file=raw["owner_file"],
        identity_file=raw["identity_file"],
        host_file=raw["host_file"],
        key_record=raw["key_record"],
        root_record=raw["root_record"],
    )


def _refuse_what_is_there(vault: Store, keys: Store, domain: str, files: tuple[Path, ...]) -> None:
    # Everything below pub/ and not only the first root: half a repository is not an empty place.
    found = [str(path) for path in files if path.exists() or path.is_symlink()]
    found += [stat.name for stat in vault.list("pub/")][:1]
    found += [stat.name for stat in keys.list(keys_of(domain, 0))][:1]
    if found:
        raise AlreadyThere(
            f"a repository is not made over another: {', '.join(found)} is already there."
            " Use what is there, or name other places; nothing was changed"
        )


def _put_exactly(store: Store, name: str, data: bytes) -> None:
    try:
        store.put(name, data)
    except AlreadyThere:
        if store.get(name) != data:
            raise AlreadyThere(
                f"{name} was made by someone else meanwhile; nothing was changed."
                " Name another store, or remove the .unfinished file and look at what is there"
            ) from None


def _create_exactly(path: Path, data: bytes) -> None:
    try:
        create_file(path, data)
    except AlreadyThere:
        if path.read_bytes() != data:
            raise AlreadyThere(
                f"{path} is already there and is another repository's; nothing was changed"
            ) from None


def _public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
