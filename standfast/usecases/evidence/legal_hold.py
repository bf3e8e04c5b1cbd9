"""Legal hold of an incident's evidence: nothing of it can be disposed of.

Rules
- An incident has at most one hold. A person with a role places it, and another one releases it.
- A hold is an event of the timeline, with its reason; the offline verifier reads it there.
"""

from dataclasses import dataclass

from standfast.errors import ApprovalRefused, Refused, UsageError
from standfast.records import JsonObject, timestamp
from standfast.usecases.core.installation import Installation
from standfast.usecases.evidence.item_opening import person_with_role

HELD, RELEASED = "evidence.held", "evidence.hold_released"


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
    found = None
    for event in installation.ledger.timeline(incident_id):
        if event.action == HELD:
            found = LegalHold(
                placed_by=event.actor,
                placed_at=timestamp(event.at),
                reason=str(event.detail["reason"]),
            )
        elif event.action == RELEASED:
            found = None
    return found


def place_hold(
    installation: Installation, incident_id: str, reason: str, by: str | None
) -> LegalHold:
    """Place a hold; Refused if the incident has one."""
    by = _person_with_reason(installation, incident_id, reason, by)
    if found := hold_of(installation, incident_id):
        raise Refused(f"legal hold of {incident_id}: {found.placed_by} placed one already")
    installation.record_event(incident_id, HELD, {"reason": reason.strip()}, by=by)
    found = hold_of(installation, incident_id)
    assert found is not None  # noqa: S101  # for the type checker
    return found


def release_hold(installation: Installation, incident_id: str, reason: str, by: str | None) -> None:
    """Release the hold; ApprovalRefused for the person that placed it."""
    by = _person_with_reason(installation, incident_id, reason, by)
    found = hold_of(installation, incident_id)
    if found is None:
        raise UsageError(f"legal hold of {incident_id}: there is none. Nothing was changed")
    if found.placed_by == by:
        raise ApprovalRefused(
            f"legal hold of {incident_id}: {by} placed it. Another person must release it"
        )
    installation.record_event(incident_id, RELEASED, {"reason": reason.strip()}, by=by)


def _person_with_reason(
    installation: Installation, incident_id: str, reason: str, by: str | None
) -> str:
    installation.ledger.incidents.get(incident_id)
    if not reason.strip():
        raise UsageError("legal hold: a reason is missing. Add --reason TEXT")
    return person_with_role(installation, by)
