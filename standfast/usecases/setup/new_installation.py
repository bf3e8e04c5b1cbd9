"""Creation of an installation: name of its set, keys, ledger, folders.

An installation is one configured Standfast. Its ledger is the database of incidents and runs.

Rules
- `standfast.toml` is written last and atomically: when it exists, everything that it names exists.
  Without it the folder is not an installation, and the same command completes the set-up.
- A folder with a `standfast.toml` is never set up again. Only a missing ledger is created, for
  example after a change to PostgreSQL. But if the witness, a file outside the ledger, has
  signatures of an earlier ledger, that ledger was lost. Then no ledger is created, because an empty
  ledger would hide the loss. A ledger of an earlier release is upgraded.
- All keys that can decrypt backups are written to one folder, which a person then takes offline.
- The installation must not be inside the folder that is backed up, because the backup would contain
  its keys.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from backup.ownership.bundled_reader import READER, document
from backup.ownership.key_record_copies import KeyFolder, record_seen, synchronize
from backup.ownership.repository_creation import create_repository
from backup.stores.directory import DirectoryStore
from backup.system.durable_files import create_file
from backup.trust.root_chain import load_root_chain
from standfast.adapters.factory.live_adapters import read_signing_key
from standfast.config import Config
from standfast.config.default_file import render_default
from standfast.config.loader import load, parse
from standfast.config_file import DEFAULT_FILE
from standfast.errors import FileInvalid, Refused, StandfastError, UsageError
from standfast.evidence.private_files import write_atomically
from standfast.ledger import create, ledger_exists, upgrade
from standfast.records import JsonObject
from standfast.secrets import SystemResolver
from standfast.usecases.core.backup_repository import translated_errors
from standfast.usecases.core.installation import ledger_url
from standfast.usecases.key_ceremonies.key_record_copies import key_store_name

SET = "main"
OFFLINE = "offline"
OWNER_FILE = "owner.json"
IDENTITY_FILE = "identity.txt"
_SQLITE_MAGIC = b"SQLite format 3\0"
_LONGEST_NAME = 64
_OPTIONS = {"organisation.name": "--organisation", "organisation.contact_line": "--contact-line"}

_README = """\
A restore needs three things: the vault, the key records, and a recovery identity.
This folder contains the key records and an identity.

identity.txt    the custodian's recovery identity. A person who has it, the key records and the
                vault can read every backup.
k/              a copy of the key records. They are encrypted to the recovery identities: a
                restore needs both, the key records and an identity.
break_glass.py  restores from the vault and this folder, without the rest of Standfast:
                python break_glass.py VAULT . identity.txt TARGET POINT. Its first lines
                explain it.
                To recover Standfast itself on a new machine, install it, then:
                standfast recover installation --vault VAULT --identity identity.txt --into DIR
owner.json      the owner's key. It signs each change of the people and hosts that may write and
                open backups. No restore needs it.

Copy this whole folder to two USB sticks or cards, and keep them at two locations away from this
machine. Then delete the folder here: an intruder on this machine could read every backup with it.
The machine makes backups without this folder, and cannot open them.

Register each copy while the stick is inserted:
    standfast backup keys copy FOLDER-ON-THE-STICK --name "safe in Leeds"
Run this again after each change of custodians or domains: `standfast check` reports a copy that
is out of date. When a domain is erased, each copy must be updated in this way, or destroyed.
"""


@dataclass(frozen=True, kw_only=True)
class NewInstallation:
    """The paths and the public key of a new installation."""

    config_file: Path
    source: Path
    source_kind: str  # files | sqlite
    source_name: str
    identity_file: Path
    owner_file: Path
    recipient: str  # the public key of the recovery identity, which decrypts backups

    def as_json(self) -> JsonObject:
        """Return the JSON form: paths and the public key, no secret key."""
        return {
            "config": str(self.config_file),
            "set": SET,
            "source": str(self.source),
            "source_kind": self.source_kind,
            "source_name": self.source_name,
            "take_offline": str(self.identity_file.parent),
            "identity": str(self.identity_file),
            "owner": str(self.owner_file),
            "recipient": self.recipient,
        }


def refuse_unfit(folder: Path, source: Path) -> None:
    """Raise UsageError if `folder` cannot become an installation for `source`."""
    if (folder / DEFAULT_FILE).exists():
        raise UsageError(
            f"{folder / DEFAULT_FILE}: the installation is set up already. Use it with "
            f"-c {folder / DEFAULT_FILE}, or name another folder."
        )
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: it is a file. Name a folder.")
    if not source.exists():
        raise UsageError(f"{source}: not found. Name the data to back up with --source.")
    if not (source.is_dir() or source.is_file()):
        raise UsageError(
            f"{source}: neither a folder nor a file. Name a folder or a file with --source."
        )
    for path in (folder, source):
        if not _is_text(path):
            raise UsageError(
                "path: its name is not UTF-8, which no configuration can contain. Rename it, or "
                "name a folder above it."
            )
    if folder.resolve().is_relative_to(source.resolve()):
        raise UsageError(
            f"{folder}: the installation would be inside {source}, the folder to back up, so the "
            "backups would contain the keys of the installation. Name a folder outside it."
        )


def prepare_ledger(
    folder: Path, env: Mapping[str, str], now: datetime
) -> Literal["created", "upgraded"] | None:
    """Create the ledger if it is missing; upgrade that of an earlier release.

    Return None if nothing was done. Raise Refused if the witness file records an earlier ledger.
    """
    config_file = folder / DEFAULT_FILE
    config = load(config_file)
    url = ledger_url(config, SystemResolver(env=env, base_dir=config.folder))
    witness = config.ledger.witness
    if ledger_exists(url):
        return "upgraded" if upgrade(url, config.ledger.keys, witness, now) else None
    if witness.exists() and witness.stat().st_size:
        raise Refused(
            f"ledger.url: no ledger exists, but {witness} records an earlier one. Restore that "
            "ledger from a backup. For a new and empty ledger, set ledger.witness to another file, "
            "then run the command again."
        )
    create(url, config.ledger.keys, witness, now)
    return "created"


def set_up(
    folder: Path, source: Path, *, organisation: str, contact_line: str, now: datetime
) -> NewInstallation:
    """Create an installation in `folder`, or complete it after a crash.

    Raise UsageError as `refuse_unfit` does, and StandfastError if something cannot be written. The
    next call then creates only the parts that are missing.
    """
    folder, source = folder.absolute(), source.absolute()
    refuse_unfit(folder, source)
    kind = "sqlite" if _is_sqlite(source) else "files"
    name = _source_name(source)
    config_file = folder / DEFAULT_FILE
    text = render_default(
        {
            "organisation": {"name": organisation, "contact_line": contact_line},
            "backup": {
                "installation": {},
                "sets": {SET: {"sources": [{"kind": kind, "name": name, "path": str(source)}]}},
            },
        }
    ).encode()
    config = _checked(text, config_file)
    offline = folder / OFFLINE
    with translated_errors("setting up the installation"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make_repository(config, offline, now)
        _fill_offline(config, offline, now)
        create(config.ledger.url, config.ledger.keys, config.ledger.witness, now)
        _make_evidence_key(config.custody.key)
        create_file(config_file, text)
    return NewInstallation(
        config_file=config_file,
        source=source,
        source_kind=kind,
        source_name=name,
        identity_file=offline / IDENTITY_FILE,
        owner_file=offline / OWNER_FILE,
        recipient=_recipient(offline / IDENTITY_FILE),
    )


def _checked(text: bytes, config_file: Path) -> Config:
    """Check the new configuration; an error names the option of the command.

    The configuration file, which other errors name, does not exist yet.
    """
    try:
        return parse(text, config_file)
    except FileInvalid as error:
        found = [problem.message.partition(": ") for problem in error.problems]
        message = "\n".join(f"{_OPTIONS.get(key, key)}: {why}" for key, _, why in found)
        raise UsageError(message) from None


def _make_repository(config: Config, offline: Path, now: datetime) -> None:
    """Create the repository (the structure for backups), or complete it.

    The owner is the person with the offline signing key. The creation writes a file `.unfinished`
    next to the file with the owner's key, and removes `.unfinished` as its last action. If only the
    owner's key exists, the repository is complete and is not changed.
    """
    owner_file = offline / OWNER_FILE
    is_unfinished = owner_file.with_name(owner_file.name + ".unfinished").exists()
    if owner_file.exists() and not is_unfinished:
        return
    create_repository(
        vault=DirectoryStore(config.backup.vault),
        keys=DirectoryStore(config.backup.keys),
        writer=config.backup.writer,
        domain=config.backup.domain,
        host_dir=config.backup.host,
        owner_file=owner_file,
        identity_file=offline / IDENTITY_FILE,
        now=now,
    )


def _fill_offline(config: Config, offline: Path, now: datetime) -> None:
    """Write key records, reader and instructions to the folder `offline`.

    Key records are the keys of the backups, encrypted to the recovery identity. The reader restores
    a backup without Standfast.
    """
    backup = config.backup
    root = load_root_chain(DirectoryStore(backup.vault)).root
    synchronize(root, KeyFolder(backup.keys), KeyFolder(offline))
    record_seen(root, {key_store_name(backup): backup.keys, OFFLINE: offline}, now)
    write_atomically(offline / READER, document(READER))
    write_atomically(offline / "README.txt", _README.encode())


def _make_evidence_key(path: Path) -> None:
    if path.exists():
        read_signing_key(path)
        return
    key = Ed25519PrivateKey.generate()
    create_file(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _recipient(identity_file: Path) -> str:
    """Read the public key in the comments of the identity file."""
    try:
        lines = identity_file.read_text().splitlines()
    except OSError as error:
        raise StandfastError(
            f"recovery identity {identity_file}: cannot be read: {error.strerror}. Without it no "
            "backup can be restored: set up an installation in another folder."
        ) from None
    found = [line.partition(":")[2].strip() for line in lines if line.startswith("# public key:")]
    return found[0] if found else ""


def _is_text(path: Path) -> bool:
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_sqlite(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            return file.read(len(_SQLITE_MAGIC)) == _SQLITE_MAGIC
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be read: {error.strerror}. Run as a user that may read it."
        ) from None


def _source_name(source: Path) -> str:
    """Return a valid name: `call-recordings` for `/srv/Call Recordings`."""
    stem = source.stem if source.is_file() else source.name
    words = re.sub(r"[^a-z0-9_]+", "-", os.fsencode(stem).decode("ascii", "replace").lower())
    return words.lstrip("-_0123456789")[:_LONGEST_NAME].rstrip("-_") or "files"
