"""Legal hold: placed by one person with a reason, released by another.

A legal hold is a decision that the evidence of an incident must be kept.

Rules
- An incident has at most one hold. A person with a role places the hold, and another person
  releases it. Two people count as one if enrolments connect them, for example if one enrolled the
  other.
- A hold is an event in the incident's timeline, with a reason. Thus the program that verifies
  evidence outside the installation (`standfast_verify`) can report the hold.
- The ledger (the installation's database) is verified before a release, because an intruder may
  have changed the name of the person that placed the hold.
"""

from dataclasses import dataclass

from standfast.errors import Refused, UsageError
from standfast.ledger.audit.auditor import AuditEvent
from standfast.records import JsonObject, timestamp
from standfast.usecases.core.installation import Installation
from standfast.usecases.evidence.disposal_state import (
    HELD,
    RELEASED,
    current_state,
    record_signed,
    refuse_one_person,
    verified_state,
)
from standfast.usecases.evidence.item_opening import person_with_role


@dataclass(frozen=True, kw_only=True)
class LegalHold:
    """A hold that is not released."""

    placed_by: str
    placed_at: str
    reason: str

    def as_json(self) -> JsonObject:
        """Return the JSON form."""
        return {"placed_by": self.placed_by, "placed_at": self.placed_at, "reason": self.reason}


def hold_of(installation: Installation, incident_id: str) -> LegalHold | None:
    """Return the hold of an incident, or None."""
    event = current_state(installation, incident_id).hold
    return _as_hold(event) if event else None


def place_hold(
    installation: Installation, incident_id: str, reason: str, by: str | None
) -> LegalHold:
    """Place a hold; raise Refused if the incident has one."""
    by = _person_with_reason(installation, incident_id, reason, by)
    if found := hold_of(installation, incident_id):
        raise Refused(f"legal hold of {incident_id}: {found.placed_by} placed one already.")
    record_signed(installation, incident_id, HELD, {"reason": reason.strip()}, by)
    found = hold_of(installation, incident_id)
    assert found is not None  # noqa: S101  # for the type checker
    return found


def release_hold(installation: Installation, incident_id: str, reason: str, by: str | None) -> None:
    """Release the hold of an incident.

    Raise ApprovalRefused if `by` and the person that placed the hold count as one person. Raise
    Damaged if the ledger does not verify.
    """
    by = _person_with_reason(installation, incident_id, reason, by)
    found = verified_state(installation, incident_id).hold
    if found is None:
        raise UsageError(f"legal hold of {incident_id}: there is none. Nothing was changed.")
    refuse_one_person(installation, found.actor, by, f"legal hold of {incident_id}")
    record_signed(installation, incident_id, RELEASED, {"reason": reason.strip()}, by)


def _as_hold(event: AuditEvent) -> LegalHold:
    return LegalHold(
        placed_by=event.actor, placed_at=timestamp(event.at), reason=str(event.detail["reason"])
    )


def _person_with_reason(
    installation: Installation, incident_id: str, reason: str, by: str | None
) -> str:
    installation.ledger.incidents.get(incident_id)
    if not reason.strip():
        raise UsageError("legal hold: a reason is missing. Add --reason TEXT.")
    return person_with_role(installation, by)
