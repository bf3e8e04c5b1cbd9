"""Disposal of an incident's evidence, which two people decide.

Rules
- The incident is closed, `custody.retention_days` have passed since, and there is no legal hold.
- A request names the folders by the hashes of their manifests. Its approval covers these only.
- The request and the approval are in the timeline before anything is removed. After a crash, the
  same command continues.
- For each folder the copies of the key are removed first: encrypted copies in a bucket are then
  unreadable, although their lock keeps the bytes. Then the items are removed, the certificate is
  written, and the chain of custody gets its last line.
- A folder that differs from its seal is not disposed of: a person must examine it first.
"""

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from standfast.adapters.factory.live_adapters import read_signing_key
from standfast.config.sections.backup import FilesSourceConfig
from standfast.errors import (
    ApprovalRefused,
    Damaged,
    ExitStatus,
    Refused,
    StandfastError,
    UsageError,
)
from standfast.evidence.bucket_copy import is_copied
from standfast.evidence.custody import Act, append_custody, read_custody
from standfast.evidence.disposal_certificate import (
    DISPOSAL_FILE,
    Certificate,
    RemainingCopy,
    read_certificate,
    write_certificate,
)
from standfast.evidence.item_file import FILES_FOLDER
from standfast.evidence.manifest import Manifest
from standfast.evidence.private_files import sync_folder
from standfast.evidence.seal import read_sealed
from standfast.evidence.wrapped_key import key_places
from standfast.ledger.audit.auditor import AuditEvent
from standfast.records import JsonObject, timestamp
from standfast.usecases.core.installation import Installation
from standfast.usecases.evidence.bucket_copies import second_location
from standfast.usecases.evidence.frozen_folders import (
    DISPOSED,
    frozen,
    is_another,
    no_evidence_found,
)
from standfast.usecases.evidence.item_opening import person_with_role
from standfast.usecases.evidence.legal_hold import hold_of

REQUESTED, APPROVED = "evidence.disposal_requested", "evidence.disposal_approved"


@dataclass(frozen=True, kw_only=True)
class Disposal:
    """The state of a disposal."""

    requested_by: str
    approved_by: str = ""  # "" while it waits for approval
    certificates: tuple[Certificate, ...] = ()
    problems: tuple[str, ...] = ()  # folders that were not disposed of, and why

    @property
    def exit_status(self) -> ExitStatus:
        """WAITS_FOR_PEOPLE before the approval, PARTIAL with problems, else DONE."""
        if not self.approved_by:
            return ExitStatus.WAITS_FOR_PEOPLE
        return ExitStatus.PARTIAL if self.problems else ExitStatus.DONE

    def as_json(self) -> JsonObject:
        """Return the JSON form."""
        return {
            "requested_by": self.requested_by,
            "approved_by": self.approved_by or None,
            "disposed": [
                {
                    "folder": f"{certificate.source}/{certificate.token}",
                    "destroyed_keys": list(certificate.destroyed_keys),
                    "unconfirmed": [
                        {"where": copy.where, "why": copy.why} for copy in certificate.unconfirmed
                    ],
                }
                for certificate in self.certificates
            ],
            "problems": list(self.problems),
        }


def request_disposal(
    installation: Installation, incident_id: str, reason: str, by: str | None
) -> Disposal:
    """Request the disposal of all evidence that the incident has here.

    Raise Refused if it may not be disposed of, or if it was requested already.
    """
    by, reason = person_with_role(installation, by), reason.strip()
    if not reason:
        raise UsageError("disposal: it needs a reason. Add --reason TEXT")
    _refuse_if_kept(installation, incident_id)
    if request := _open_request(installation, incident_id)[0]:
        raise Refused(
            f"disposal of {incident_id}: {request.actor} requested it. Another person approves it "
            "with --approve"
        )
    key = read_signing_key(installation.config.custody.key).public_key()
    folders = {
        _name_of(evidence.folder): hashlib.sha256(
            read_sealed(evidence.folder, key).as_bytes()
        ).hexdigest()
        for evidence in frozen(installation.config, incident_id)
        if not evidence.disposed_at and not evidence.problems
    }
    if not folders:
        raise no_evidence_found(installation, incident_id)
    detail: JsonObject = {"reason": reason, "folders": dict(folders)}
    installation.record_event(incident_id, REQUESTED, detail, by=by)
    return Disposal(requested_by=by)


def approve_disposal(installation: Installation, incident_id: str, by: str | None) -> Disposal:
    """Approve a requested disposal and run it, or continue it.

    Raise ApprovalRefused for the person that requested it, and Refused if the evidence must be
    kept.
    """
    by = person_with_role(installation, by)
    request, approval = _open_request(installation, incident_id)
    if request is None:
        raise UsageError(
            f"disposal of {incident_id}: nobody requested it. Request it with --reason TEXT"
        )
    _refuse_if_kept(installation, incident_id)
    if approval is None:
        if by == request.actor:
            raise ApprovalRefused(
                f"disposal of {incident_id}: {by} requested it. Another person must approve it"
            )
        detail: JsonObject = {"requested_by": request.actor, "request": request.sequence}
        installation.record_event(incident_id, APPROVED, detail, by=by)
        _, approval = _open_request(installation, incident_id)
        assert approval is not None  # noqa: S101  # for the type checker
    return _dispose_of_all(installation, incident_id, request, approval)


def _refuse_if_kept(installation: Installation, incident_id: str) -> None:
    """Raise Refused while the evidence must be kept."""
    row = installation.ledger.incidents.get(incident_id)
    if held := hold_of(installation, incident_id):
        raise Refused(
            f"disposal of {incident_id}: under legal hold by {held.placed_by} since "
            f"{held.placed_at}. Another person releases it with `standfast evidence release "
            f"{incident_id}`"
        )
    if row.closed_at is None:
        raise Refused(f"disposal of {incident_id}: the incident is open. Close it first")
    until = row.closed_at + timedelta(days=installation.config.custody.retention_days)
    if installation.clock() < until:
        raise Refused(
            f"disposal of {incident_id}: kept until {until:%Y-%m-%d} (custody.retention_days). "
            "Repeat it then"
        )


def _open_request(
    installation: Installation, incident_id: str
) -> tuple[AuditEvent | None, AuditEvent | None]:
    """Return the request that is not yet carried out, and its approval."""
    request = approval = None
    for event in installation.ledger.timeline(incident_id):
        if event.action == REQUESTED:
            request, approval = event, None
        elif event.action == APPROVED:
            approval = event
        elif event.action == DISPOSED:
            request = approval = None
    return request, approval


def _dispose_of_all(
    installation: Installation, incident_id: str, request: AuditEvent, approval: AuditEvent
) -> Disposal:
    root = installation.config.custody.folder / incident_id
    certificates: list[Certificate] = []
    problems: list[str] = []
    lines: JsonObject = {}
    for name, manifest in request.detail["folders"].items():
        _refuse_if_kept(installation, incident_id)  # a hold may have been placed meanwhile
        try:
            certificate = _dispose_of(installation, root / name, manifest, request, approval)
        except (StandfastError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            problems.append(f"{name}: not disposed of: {reason}")
            continue
        certificates.append(certificate)
        lines = {**lines, name: read_custody(root / name)[-1].hash}
    if not problems:
        detail: JsonObject = {"custody": lines, "approved_by": approval.actor}
        installation.record_event(incident_id, DISPOSED, detail)
    return Disposal(
        requested_by=request.actor,
        approved_by=approval.actor,
        certificates=tuple(certificates),
        problems=tuple(problems),
    )


def _dispose_of(
    installation: Installation,
    folder: Path,
    manifest_sha256: str,
    request: AuditEvent,
    approval: AuditEvent,
) -> Certificate:
    """Dispose of one folder, or complete an interrupted disposal."""
    signing_key = read_signing_key(installation.config.custody.key)
    manifest = read_sealed(folder, signing_key.public_key())
    if is_another(folder, manifest_sha256):
        raise Damaged("it is not the folder of the request")
    certificate = read_certificate(folder, signing_key.public_key())
    if certificate is None:
        keys, unreachable = _destroy_keys(installation, folder, manifest)
        if (folder / FILES_FOLDER).exists():
            shutil.rmtree(folder / FILES_FOLDER)
        sync_folder(folder)
        certificate = Certificate(
            incident=manifest.incident,
            source=manifest.source,
            token=manifest.token,
            reason=str(request.detail["reason"]),
            requested_by=request.actor,
            requested_at=timestamp(request.at),
            approved_by=approval.actor,
            approved_at=timestamp(approval.at),
            disposed_at=timestamp(installation.clock()),
            is_encrypted=manifest.encryption is not None,
            destroyed_keys=keys,
            unconfirmed=(*unreachable, *_other_copies(installation, folder, manifest)),
        )
        write_certificate(folder, certificate, signing_key)
    if not any(entry.act is Act.DISPOSED for entry in read_custody(folder)):
        written = hashlib.sha256((folder / DISPOSAL_FILE).read_bytes()).hexdigest()
        append_custody(
            folder,
            at=installation.clock(),
            who=approval.actor,
            act=Act.DISPOSED,
            detail=f"certificate SHA-256 {written}",
        )
    return certificate


def _destroy_keys(
    installation: Installation, folder: Path, manifest: Manifest
) -> tuple[tuple[str, ...], tuple[RemainingCopy, ...]]:
    """Remove each copy of the key; return removed and unreachable ones."""
    if manifest.encryption is None:
        return (), ()
    copies = installation.config.custody.key_copies
    destroyed, unreachable = [], []
    for place, top in zip(key_places(folder, copies), (folder, *copies), strict=True):
        try:
            top.stat()  # a share that is not mounted has no file, and must not count as destroyed
            place.unlink(missing_ok=True)
            sync_folder(place.parent)
        except OSError as error:
            why = f"copy of the key: {error.strerror}"
            unreachable.append(RemainingCopy(where=str(place), why=why))
        else:
            destroyed.append(str(place))
    return tuple(destroyed), tuple(unreachable)


def _other_copies(
    installation: Installation, folder: Path, manifest: Manifest
) -> Iterator[RemainingCopy]:
    """Yield the copies that left this host, or that other programs made."""
    config, is_encrypted = installation.config, manifest.encryption is not None
    to = second_location(config, installation.resolver, installation.clock)
    if to is not None and is_copied(folder, to.where):
        why = "unreadable without the key" if is_encrypted else "READABLE: it was not encrypted"
        yield RemainingCopy(where=to.where, why=f"the bytes stay until their lock ends, {why}")
    for name, settings in config.backup.sets.items():
        for source in settings.sources:
            if isinstance(source, FilesSourceConfig) and any(
                place.is_relative_to(source.path) for place in (folder, *config.custody.key_copies)
            ):
                why = "its recovery points may have the key or the items until they expire"
                yield RemainingCopy(where=f"backup set {name}", why=why)
    for entry in read_custody(folder):
        if entry.act is Act.EXPORTED and entry.detail.startswith("in clear"):
            where = f"export by {entry.who} at {entry.at}"
            yield RemainingCopy(where=where, why="it left this host, with the key if there is one")
        elif entry.act is Act.VIEWED and entry.detail.startswith("opened item"):
            where = f"{entry.detail.partition(',')[0]}, by {entry.who} at {entry.at}"
            yield RemainingCopy(where=where, why="content that was written in clear")


def _name_of(folder: Path) -> str:
    return f"{folder.parent.name}/{folder.name}"
