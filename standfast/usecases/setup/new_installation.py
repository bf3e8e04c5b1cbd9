"""Setting up a place: its configuration, its keys, its repository and its ledger.

Owns the order of it. Leaves each part to the room that makes it.

Rules
- `standfast.toml` is written last, in one piece: where it stands, everything that it names is
  there. Until then nothing takes the folder for a place, and the same command completes it.
- A folder that has a `standfast.toml` is never set up again. Only a ledger that it names and that
  was never made is made: who changes over to PostgreSQL has none yet. Where the witness knows of
  one, it was lost, and an empty one would hide that.
- What opens backups goes into one folder of its own, to be carried away as it is.
- The place must not lie inside of what it backs up: its own keys would be in the backup.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from backup.ownership.bundled_reader import READER, document
from backup.ownership.key_record_copies import KeyFolder, note_seen, synchronize
from backup.ownership.repository_creation import create_repository
from backup.stores.directory import DirectoryStore
from backup.system.durable_files import create_file
from backup.trust.root_chain import load_root_chain
from standfast.adapters.factory.live_adapters import read_signing_key
from standfast.config import Config
from standfast.config.default_file import render_default
from standfast.config.load import load, parse
from standfast.config_file import DEFAULT_FILE
from standfast.errors import FileInvalid, Refused, StandfastError, UsageError
from standfast.evidence.durable_files import write_atomically
from standfast.ledger import create, is_there
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
Restoring a backup takes three things: the vault, the key records, and a recovery identity.
This folder holds the second and the third.

identity.txt    the custodian's recovery identity. Whoever has it, the key records and the vault
                can read every backup.
k/              a copy of the key records. They are sealed to the recovery identities, so they open
                nothing without one. Without them no identity opens anything.
break_glass.py  restores from the vault and this folder alone, without the rest of the program:
                python break_glass.py VAULT . identity.txt TARGET; its first lines say how.
owner.json      the owner's key: it signs changes of who may write and open backups. No restore
                needs it.

Copy this whole folder onto two sticks or cards, and keep them in two places away from this machine.
Then delete it here: with it, whoever takes this machine over can read every backup. The machine
makes backups without it, and cannot open what it made.

Tell the program where each copy is kept, with the stick at hand:
    standfast backup keys copy FOLDER-ON-THE-STICK --name "safe in Leeds"
Run it again after each change of custodians or domains: `standfast check` says when a copy is
behind. When a domain is erased, every copy has to be cleaned in this way, or destroyed.
"""


@dataclass(frozen=True, kw_only=True)
class SetUp:
    """What was set up, and where it lies."""

    config_file: Path
    source: Path
    source_kind: str  # files | sqlite
    source_name: str
    identity_file: Path
    owner_file: Path
    recipient: str  # the custodian's public key, to know the identity file by

    def as_json(self) -> JsonObject:
        """Give it for `--json`; paths only, no key."""
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
    """Raise UsageError when a place cannot be set up in `folder` for `source`; changes nothing."""
    if (folder / DEFAULT_FILE).exists():
        raise UsageError(
            f"{folder / DEFAULT_FILE} is there already: this place is set up; use it with "
            f"-c {folder / DEFAULT_FILE}, or name another folder"
        )
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; name a folder")
    if not source.exists():
        raise UsageError(f"there is no {source}; --source names what is backed up")
    if not (source.is_dir() or source.is_file()):
        raise UsageError(f"{source} is neither a folder nor a file; name one with --source")
    for path in (folder, source):
        if not _is_text(path):
            raise UsageError(
                "a path whose name is not UTF-8 cannot stand in the configuration; name a folder "
                "above it, or rename it"
            )
    if folder.resolve().is_relative_to(source.resolve()):
        raise UsageError(
            f"{folder} lies inside of what it would back up, {source}: its own keys would be in "
            "the backup; name a folder elsewhere"
        )


def make_ledger(folder: Path, env: Mapping[str, str], now: datetime) -> bool:
    """Make the ledger that a place names and has not; give whether there was none.

    Raises Refused where its witness tells of one that was there.
    """
    config_file = folder / DEFAULT_FILE
    config = load(config_file)
    url = ledger_url(config, SystemResolver(env=env, base_dir=config.folder))
    if is_there(url):
        return False
    witness = config.ledger.witness
    if witness.exists() and witness.stat().st_size:
        raise Refused(
            f"there is no ledger where ledger.url says, and {witness} tells of one that was: bring "
            "it back from a backup; for a new and empty one, let ledger.witness name another file, "
            "then run this again"
        )
    create(url, config.ledger.keys, witness, now)
    return True


def set_up(
    folder: Path, source: Path, *, organisation: str, contact_line: str, now: datetime
) -> SetUp:
    """Make a place in `folder` that backs `source` up; called again after a crash, it completes it.

    Raises UsageError for what `refuse_unfit` names, and StandfastError when something cannot be
    written: what was made so far stays, and is taken up by the next call.
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
                "sets": {SET: {"sources": [{"kind": kind, "name": name, "path": str(source)}]}}
            },
        }
    ).encode()
    config = _checked(text, config_file)
    offline = folder / OFFLINE
    with translated_errors("setting up the place"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make_repository(config, offline, now)
        _fill_offline(config, offline, now)
        create(config.ledger.url, config.ledger.keys, config.ledger.witness, now)
        _make_evidence_key(config.custody.key)
        create_file(config_file, text)
    return SetUp(
        config_file=config_file,
        source=source,
        source_kind=kind,
        source_name=name,
        identity_file=offline / IDENTITY_FILE,
        owner_file=offline / OWNER_FILE,
        recipient=_recipient(offline / IDENTITY_FILE),
    )


def _checked(text: bytes, config_file: Path) -> Config:
    """Check what is to be written; what does not fit is told by its option, as no file is there."""
    try:
        return parse(text, config_file)
    except FileInvalid as error:
        found = [problem.message.partition(": ") for problem in error.problems]
        told = "\n".join(f"{_OPTIONS.get(key, key)}: {why}" for key, _, why in found)
        raise UsageError(told) from None


def _make_repository(config: Config, offline: Path, now: datetime) -> None:
    """Make the repository, or complete it; one that is whole is left alone.

    The plan beside the owner's file is removed last of all, so its absence means whole.
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
    """Write what a restore needs besides the vault and the identity into the offline folder."""
    backup = config.backup
    root = load_root_chain(DirectoryStore(backup.vault)).root
    synchronize(root, KeyFolder(backup.keys), KeyFolder(offline))
    note_seen(root, {key_store_name(backup): backup.keys, OFFLINE: offline}, now)
    write_atomically(offline / READER, document(READER))
    write_atomically(offline / "README.txt", _README.encode())


def _make_evidence_key(path: Path) -> None:
    if path.exists():
        read_signing_key(path)
        return
    key = Ed25519PrivateKey.generate()
    create_file(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _recipient(identity_file: Path) -> str:
    """Read the public key that the identity file says about itself."""
    try:
        lines = identity_file.read_text().splitlines()
    except OSError as error:
        raise StandfastError(
            f"the recovery identity {identity_file} cannot be read: {error.strerror}; without it "
            "no backup can be restored: set the place up again in another folder"
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
        raise UsageError(f"{path} cannot be read: {error.strerror}; run as who may") from None


def _source_name(source: Path) -> str:
    """Make a name that the configuration takes: `/srv/Call Recordings` becomes call-recordings."""
    stem = source.stem if source.is_file() else source.name
    words = re.sub(r"[^a-z0-9_]+", "-", os.fsencode(stem).decode("ascii", "replace").lower())
    return words.lstrip("-_0123456789")[:_LONGEST_NAME].rstrip("-_") or "files"
