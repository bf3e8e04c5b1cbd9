"""State of a disposal, read from the timeline: hold, request, approval.

A legal hold is a decision that the evidence must be kept.

Rules
- The state is computed only from the events of the incident's timeline, in their order. An event
  that is not permitted is ignored, such as the approval of another request, or the beginning of a
  disposal during a hold.
- A hold cancels the request if no disposal of a requested folder has begun.
- The event `evidence.disposal_begun` is recorded before anything in a folder is destroyed. A
  certificate of disposal is valid only if such an event has the same folder, the same hash of the
  manifest, and the same two people.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from standfast.errors import ApprovalRefused, Damaged
from standfast.evidence.disposal_certificate import read_certificate
from standfast.evidence.seal import manifest_hash
from standfast.ledger.audit.auditor import AuditEvent
from standfast.records import JsonObject
from standfast.usecases.core.installation import Installation

HELD, RELEASED = "evidence.held", "evidence.hold_released"
REQUESTED, APPROVED = "evidence.disposal_requested", "evidence.disposal_approved"
WITHDRAWN, BEGUN = "evidence.disposal_withdrawn", "evidence.disposal_begun"
DISPOSED = "evidence.disposed"  # its detail has the hash of the folder's last custody line


_NOT_PERMITTED = "it has a certificate of disposal, but the ledger has no approved request for it"


@dataclass(frozen=True, kw_only=True)
class Authority:
    """The recorded permission to dispose of one folder."""

    manifest: str  # SHA-256
    requested_by: str
    approved_by: str


@dataclass(kw_only=True)
class DisposalState:
    """The legal hold, the open request and the folders of one incident."""

    hold: AuditEvent | None = None
    request: AuditEvent | None = None  # None if all folders of the newest request are disposed of
    approval: AuditEvent | None = None
    begun: dict[str, Authority] = field(default_factory=dict)  # by folder, as SOURCE/TOKEN
    disposed: set[str] = field(default_factory=set)

    @property
    def folders(self) -> dict[str, str]:
        """The folders of the request, each with the hash of its manifest."""
        return dict(self.request.detail["folders"]) if self.request else {}

    def add(self, event: AuditEvent) -> None:
        """Apply the next event of the timeline."""
        match event.action:
            case "evidence.held":
                self.hold = event
                if not self.begun.keys() & self.folders.keys():
                    self.request = self.approval = None
            case "evidence.hold_released":
                self.hold = None
            case "evidence.disposal_requested":
                self.request, self.approval = event, None
            case "evidence.disposal_withdrawn":
                self.request = self.approval = None
            case "evidence.disposal_approved":
                if self.hold is None and self._is_of_request(event):
                    self.approval = self.approval or event
            case "evidence.disposal_begun":
                self._begin(event)
            case "evidence.disposed":
                self.disposed |= event.detail["custody"].keys() & self.begun.keys()
                if self.folders.keys() <= self.disposed:
                    self.request = self.approval = None

    def _begin(self, event: AuditEvent) -> None:
        name, manifest = str(event.detail["folder"]), str(event.detail["manifest"])
        if (
            self.request
            and self.approval
            and self.hold is None
            and self._is_of_request(event)
            and self.folders.get(name) == manifest
        ):
            self.begun[name] = Authority(
                manifest=manifest,
                requested_by=self.request.actor,
                approved_by=self.approval.actor,
            )

    def _is_of_request(self, event: AuditEvent) -> bool:
        return self.request is not None and event.detail.get("request") == self.request.sequence


def disposal_state(events: Iterable[AuditEvent]) -> DisposalState:
    """Return the state after the events of an incident."""
    state = DisposalState()
    for event in events:
        state.add(event)
    return state


def problems_of_certificate(
    folder: Path, key: Ed25519PublicKey, authority: Authority | None
) -> list[str]:
    """Return a problem if a folder's disposal was not permitted.

    `authority` is the permission that the ledger (the installation's database) records for the
    folder, or None.
    """
    certificate = read_certificate(folder, key)
    if certificate is None or authority == Authority(
        manifest=manifest_hash(folder),
        requested_by=certificate.requested_by,
        approved_by=certificate.approved_by,
    ):
        return []
    return [_NOT_PERMITTED]


def verified_state(installation: Installation, incident_id: str) -> DisposalState:
    """Verify the whole ledger, then return the state of an incident.

    Raise Damaged if an event, a row or a signature of the ledger does not verify.
    """
    for finding in installation.ledger.audit.verify().findings:
        raise Damaged(
            f"{finding.where}: {finding.problem}. Nothing was done. Run `standfast audit verify`."
        )
    installation.ledger.incidents.get(incident_id)  # raises UsageError for an unknown incident
    return current_state(installation, incident_id)


def current_state(installation: Installation, incident_id: str) -> DisposalState:
    """Return the state of an incident without verifying the ledger."""
    return disposal_state(installation.ledger.timeline(incident_id))


def record_signed(
    installation: Installation, incident_id: str, action: str, detail: JsonObject, by: str
) -> None:
    """Record an event, and sign the chain of audit events up to this event.

    The signature is also sent to the witness, another machine that keeps the newest signatures.
    """
    installation.record_event(incident_id, action, detail, by=by)
    installation.ledger.audit.sign_head(installation.clock())


def refuse_one_person(installation: Installation, first: str, second: str, decision: str) -> None:
    """Raise ApprovalRefused if two people count as one person."""
    if installation.ledger.people.are_connected(first, second):
        raise ApprovalRefused(
            f"{decision}: {second} and {first} count as one person, by name or by enrolments. "
            "Another person must do this."
        )
