"""Opening of one item by a person: role, keys, records before and after.

An item is one collected file. The manifest of its evidence folder lists all items.

Rules
- An opening is recorded in the folder's chain of custody and in the incident's timeline before the
  item is read, and again when the person's copy is complete. If the second record is missing, the
  opening failed or was interrupted, and the person may have read parts of the content.
- Both records name the item by its number in the manifest, because its path may name people.
- If the content differs from its hash in the manifest, no file remains.
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from backup.errors import BackupError
from backup.trust.key_files import open_identity
from standfast.adapters.factory.live_adapters import read_signing_key
from standfast.errors import ApprovalRefused, Damaged, StandfastError, UsageError
from standfast.evidence.custody import Act, append_custody, verify_custody
from standfast.evidence.item_file import BLOCK, open_item
from standfast.evidence.manifest import Item, Kind, Manifest
from standfast.evidence.private_files import make_private, sync_folder
from standfast.evidence.seal import read_sealed
from standfast.evidence.wrapped_key import open_key
from standfast.records import JsonObject
from standfast.usecases.core.installation import Installation
from standfast.usecases.evidence.evidence_record import OPENED, OPENING, recorded_evidence
from standfast.usecases.evidence.frozen_folders import frozen, no_evidence_found

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, kw_only=True)
class OpenedItem:
    """One item that was opened, and the file with its content."""

    file: Path
    folder: str  # evidence folder, as SOURCE/TOKEN
    number: int  # number in the manifest, from 1
    item: Item

    def as_json(self) -> JsonObject:
        """Return the JSON form."""
        return {
            "file": str(self.file),
            "folder": self.folder,
            "item": self.number,
            "size_bytes": self.item.size_bytes,
            "sha256": self.item.sha256,
        }


@dataclass(frozen=True, kw_only=True)
class _Found:
    folder: Path
    manifest: Manifest
    number: int
    item: Item

    @property
    def name(self) -> str:
        return f"{self.manifest.source}/{self.manifest.token}"


def person_with_role(installation: Installation, by: str | None) -> str:
    """Return the name of the person that signed in.

    Raise ApprovalRefused if nobody signed in, and if the person has no role.
    """
    if by is None:
        raise ApprovalRefused("evidence: nobody signed in. Add --as PERSON.")
    people = installation.ledger.people
    roles = people.get(by).roles
    if not roles:
        raise ApprovalRefused(
            f"person {by}: has no role. Ask somebody who has one, or `standfast people grant {by} "
            "--role ROLE --as PERSON`."
        )
    if why := people.objection(by, roles, installation.clock()):
        raise ApprovalRefused(why)
    return by


def custodian_keys(identity: Path | None) -> tuple[object, ...]:
    """Return the keys of an identity file; UsageError if it cannot be read."""
    if identity is None:
        return ()
    try:
        return open_identity(identity).keys
    except BackupError as error:
        raise UsageError(f"{error}. Name an unlocked identity with --identity.") from None


def data_key(
    installation: Installation, folder: Path, manifest: Manifest, keys: tuple[object, ...]
) -> bytes | None:
    """Return the key of a folder's items, or None if they are not encrypted.

    Raise UsageError if they are encrypted and `keys` is empty, and the errors of `open_key`.
    """
    if manifest.encryption and not keys:
        raise identity_needed()
    return open_key(folder, manifest, installation.config.custody.key_copies, keys)


def identity_needed() -> UsageError:
    """Return the error for encrypted evidence without an identity file."""
    return UsageError("evidence: encrypted to its custodians. Add --identity FILE of a custodian.")


def open_evidence(
    installation: Installation,
    incident_id: str,
    name: str,
    into: Path,
    *,
    reason: str,
    by: str | None,
    identity: Path | None = None,
) -> OpenedItem:
    """Write the content of one item to a new file in the folder `into`.

    `name` is the path of the item, alone or after SOURCE/TOKEN. `identity` is the identity file of
    a custodian, a person that can decrypt the evidence. Raise ApprovalRefused if `by` may not open
    evidence, UsageError for an unknown item or identity, Refused if the identity does not decrypt
    this evidence, and Damaged if the content differs from its hash.
    """
    by, reason = person_with_role(installation, by), reason.strip()
    if not reason:
        raise UsageError("evidence: a reason is missing. Add --reason TEXT.")
    found = _find(installation, incident_id, name)
    keys = custodian_keys(identity)
    if found.manifest.encryption and not keys:
        raise identity_needed()
    file = into / Path(found.item.location).name
    if os.path.lexists(file):
        raise UsageError(f"{file}: it exists already. Name another folder with --into.")
    position: JsonObject = {"folder": found.name, "item": found.number}
    _record(
        installation,
        incident_id,
        found,
        by,
        f"opening item {found.number}: {reason}",
        OPENING,
        {**position, "reason": reason},
    )
    key = data_key(installation, found.folder, found.manifest, keys)
    try:
        make_private(into)
        _copy(found, key, file)
    except OSError as error:
        raise StandfastError(
            f"{file}: cannot be written: {error.strerror}. Name a folder with free space."
        ) from error
    receipt = f"opened item {found.number}, SHA-256 {found.item.sha256}"
    _record(installation, incident_id, found, by, receipt, OPENED, position)
    return OpenedItem(file=file, folder=found.name, number=found.number, item=found.item)


def _find(installation: Installation, incident_id: str, name: str) -> _Found:
    """Return the item of a name; UsageError if none or several have it."""
    installation.ledger.incidents.get(incident_id)
    found = list(_named(installation, incident_id, name))
    if not found:
        if not frozen(installation.config, incident_id):
            raise no_evidence_found(installation, incident_id)
        raise UsageError(
            "evidence: no file of this name is in a valid folder. Write its whole path, or check "
            f"the folders with `standfast evidence verify {incident_id}`."
        )
    if len(found) > 1:
        folders = ", ".join(match.name for match in found)
        raise UsageError(
            f"evidence: {folders} each have this file. Write SOURCE/TOKEN before its path."
        )
    return found[0]


def _named(installation: Installation, incident_id: str, name: str) -> Iterator[_Found]:
    key = read_signing_key(installation.config.custody.key).public_key()
    known = recorded_evidence(installation, incident_id)
    for evidence in frozen(installation.config, incident_id):
        lines = known.lines.get(evidence.folder, set())
        if evidence.disposed_at or evidence.problems or verify_custody(evidence.folder, lines):
            continue
        manifest = read_sealed(evidence.folder, key)
        prefix = f"{manifest.source}/{manifest.token}"
        for number, item in enumerate(manifest.items, 1):
            if item.kind is Kind.FILE and name in (item.path, prefix + item.path):
                yield _Found(folder=evidence.folder, manifest=manifest, number=number, item=item)


def _record(
    installation: Installation,
    incident_id: str,
    found: _Found,
    by: str,
    line: str,
    action: str,
    detail: JsonObject,
) -> None:
    """Append a line to the chain of custody; record an event with its hash."""
    entry = append_custody(
        found.folder, at=installation.clock(), who=by, act=Act.VIEWED, detail=line
    )
    custody: JsonObject = {found.name: entry.hash}
    installation.record_event(incident_id, action, {**detail, "custody": custody}, by=by)


def _copy(found: _Found, key: bytes | None, file: Path) -> None:
    """Write the content to a file; keep no file if its hash differs."""
    draft = file.with_name(f".{file.name}.draft")
    draft.unlink(missing_ok=True)
    try:
        with (
            open_item(found.folder, found.item, key) as content,
            os.fdopen(os.open(draft, _NEW, 0o600), "wb") as copy,
        ):
            shutil.copyfileobj(content, copy, BLOCK)
            copy.flush()
            os.fsync(copy.fileno())
        draft.rename(file)
    except Damaged as damage:
        name = f"item {found.number} of {found.name}"
        raise Damaged(f"{name}: {damage}. Nothing was written.") from None
    finally:
        draft.unlink(missing_ok=True)
    sync_folder(file.parent)
