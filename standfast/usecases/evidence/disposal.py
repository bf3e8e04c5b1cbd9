"""Disposal of evidence: request, approval by a second person, refusals.

Disposal destroys the content of evidence folders when the evidence is no longer needed.

Rules
- The incident must have been closed for `custody.retention_days`, and must have no legal hold.
- Two people count as one if enrolments connect them, for example if one enrolled the other.
- The legal hold, the request, the approval and the time of closing are stored in the ledger (the
  installation's database). The whole ledger is verified before each decision and each disposal.
- A request contains the hash of the manifest of each evidence folder. Its approval covers only
  these folders.
- Each folder is disposed of in three steps: verify the whole folder, record in the ledger that the
  disposal begins, destroy the content (`folder_disposal`). A folder that differs from its seal
  (signed manifest), its chain of custody or the ledger is not changed, because a person must
  examine it first.
- Each folder that is not disposed of is reported with the reason: it is invalid, on another host,
  or newer than the request.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from standfast.adapters.factory.live_adapters import read_signing_key
from standfast.errors import Damaged, ExitStatus, Refused, StandfastError, UsageError
from standfast.evidence.custody import read_custody
from standfast.evidence.disposal_certificate import Certificate
from standfast.evidence.private_files import folder_lock
from standfast.evidence.seal import manifest_hash
from standfast.records import JsonObject
from standfast.usecases.core.installation import Installation
from standfast.usecases.evidence.disposal_state import (
    APPROVED,
    BEGUN,
    DISPOSED,
    REQUESTED,
    WITHDRAWN,
    DisposalState,
    current_state,
    record_signed,
    refuse_one_person,
    verified_state,
)
from standfast.usecases.evidence.evidence_record import recorded_evidence
from standfast.usecases.evidence.folder_disposal import dispose_of
from standfast.usecases.evidence.frozen_folders import (
    Frozen,
    list_frozen,
    no_evidence_found,
    problems_of,
)
from standfast.usecases.evidence.item_opening import person_with_role


@dataclass(frozen=True, kw_only=True)
class Disposal:
    """The state of a disposal, with its certificates and problems."""

    requested_by: str
    approved_by: str = ""  # "" while it waits for approval
    certificates: tuple[Certificate, ...] = ()
    problems: tuple[str, ...] = ()  # folders that are not disposed of, with the reasons

    @property
    def exit_status(self) -> ExitStatus:
        """WAITS_FOR_PEOPLE before the approval, then PARTIAL or DONE.

        PARTIAL means that there are problems.
        """
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
    """Request the disposal of all valid evidence of an incident on this host.

    Raise Refused if the evidence must be kept, or if its disposal was requested already.
    """
    by, reason = person_with_role(installation, by), reason.strip()
    if not reason:
        raise UsageError("disposal: it needs a reason. Add --reason TEXT.")
    state = verified_state(installation, incident_id)
    _refuse_if_kept(installation, incident_id, state)
    if state.request:
        raise Refused(
            f"disposal of {incident_id}: {state.request.actor} requested it. Another person "
            "approves it with --approve; --withdraw withdraws it."
        )
    waiting = _not_disposed(installation, incident_id, state)
    folders: JsonObject = {
        evidence.name: manifest_hash(evidence.folder)
        for evidence in waiting
        if not evidence.problems
    }
    if not folders:
        if state.disposed and not waiting:
            raise UsageError(f"disposal of {incident_id}: all evidence is already disposed of.")
        raise no_evidence_found(installation, incident_id)
    detail: JsonObject = {"reason": reason, "folders": folders}
    record_signed(installation, incident_id, REQUESTED, detail, by)
    return Disposal(requested_by=by, problems=tuple(_uncovered(waiting, folders)))


def withdraw_disposal(installation: Installation, incident_id: str, by: str | None) -> str:
    """Withdraw the request; return the name of the person that made it.

    Raise UsageError without a request, and Refused if a folder is partly destroyed.
    """
    by = person_with_role(installation, by)
    state = verified_state(installation, incident_id)
    if state.request is None:
        raise _nothing_requested(incident_id)
    if partly := sorted((state.begun.keys() & state.folders.keys()) - state.disposed):
        raise Refused(
            f"disposal of {incident_id}: {partly[0]} is partly destroyed. Continue with --approve."
        )
    detail: JsonObject = {"requested_by": state.request.actor, "request": state.request.sequence}
    record_signed(installation, incident_id, WITHDRAWN, detail, by)
    return state.request.actor


def approve_disposal(installation: Installation, incident_id: str, by: str | None) -> Disposal:
    """Approve a requested disposal, and dispose of the evidence.

    A repeated call continues an interrupted disposal.

    Raise ApprovalRefused if the requester and the approver count as one person, Refused if the
    evidence must be kept, and Damaged if the ledger does not verify.
    """
    by = person_with_role(installation, by)
    state = verified_state(installation, incident_id)
    if state.request is None:
        raise _nothing_requested(incident_id)
    _refuse_if_kept(installation, incident_id, state)
    request = state.request
    approver = state.approval.actor if state.approval else by
    refuse_one_person(installation, request.actor, approver, f"disposal of {incident_id}")
    if state.approval is None:
        detail: JsonObject = {"requested_by": request.actor, "request": request.sequence}
        record_signed(installation, incident_id, APPROVED, detail, by)
    problems = [*_uncovered(_not_disposed(installation, incident_id, state), state.folders)]
    certificates: list[Certificate] = []
    root = installation.config.custody.folder / incident_id
    for name in sorted(state.folders.keys() - state.disposed):
        try:
            with folder_lock(folder := root / name) as is_locked:
                if not is_locked:
                    raise Refused("another process changes it")
                certificates.append(_dispose_of(installation, incident_id, folder, name))
        except (StandfastError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            problems.append(f"{name}: not disposed of: {reason}")
    return Disposal(
        requested_by=request.actor,
        approved_by=approver,
        certificates=tuple(certificates),
        problems=tuple(problems),
    )


def _nothing_requested(incident_id: str) -> UsageError:
    return UsageError(
        f"disposal of {incident_id}: nobody requested it. Request it with --reason TEXT."
    )


def _refuse_if_kept(installation: Installation, incident_id: str, state: DisposalState) -> None:
    """Raise Refused while the evidence must be kept."""
    row = installation.ledger.incidents.get(incident_id)
    if state.hold:
        raise Refused(
            f"disposal of {incident_id}: under legal hold by {state.hold.actor} since "
            f"{state.hold.at:%Y-%m-%d}. Another person releases it with `standfast evidence "
            f"release {incident_id}`."
        )
    if row.closed_at is None:
        raise Refused(f"disposal of {incident_id}: the incident is open. Close it first.")
    until = row.closed_at + timedelta(days=installation.config.custody.retention_days)
    if installation.clock() < until:
        raise Refused(
            f"disposal of {incident_id}: kept until {until:%Y-%m-%d} (custody.retention_days). "
            "Run the command again then."
        )


def _not_disposed(
    installation: Installation, incident_id: str, state: DisposalState
) -> list[Frozen]:
    """Return the incident's folders, on any host, that are not disposed of."""
    listed = list_frozen(installation, incident_id).evidence
    return [evidence for evidence in listed if evidence.name not in state.disposed]


def _uncovered(waiting: Iterable[Frozen], folders: Collection[str]) -> Iterator[str]:
    """Yield a line for each folder that is not in the request."""
    for evidence in waiting:
        if evidence.name not in folders:
            why = evidence.problems[0] if evidence.problems else "it was frozen after the request"
            yield f"{evidence.name}: not disposed of: {why}"


def _dispose_of(
    installation: Installation, incident_id: str, folder: Path, name: str
) -> Certificate:
    """Verify one folder, record that its disposal begins, and dispose of it."""
    state = current_state(installation, incident_id)
    _refuse_if_kept(installation, incident_id, state)  # a hold may have been placed meanwhile
    if state.request is None or state.approval is None:
        raise Refused("a legal hold, a withdrawal or another process has ended the request")
    manifest = state.folders[name]
    if name not in state.begun:
        known = recorded_evidence(installation, incident_id)
        key = read_signing_key(installation.config.custody.key).public_key()
        for problem in problems_of(folder, key, known):
            raise Damaged(problem)
        request = state.request.sequence
        begins: JsonObject = {"request": request, "folder": name, "manifest": manifest}
        record_signed(installation, incident_id, BEGUN, begins, installation.actor)
        if name not in current_state(installation, incident_id).begun:
            raise Refused("a legal hold or a withdrawal has ended the request")
    certificate = dispose_of(installation, folder, manifest, state.request, state.approval)
    custody: JsonObject = {name: read_custody(folder)[-1].hash}
    record_signed(installation, incident_id, DISPOSED, {"custody": custody}, installation.actor)
    return certificate
