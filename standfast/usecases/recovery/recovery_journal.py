"""Journal of a recovery: events in the timeline of its incident.

Rules
- An event is written before and after each restore and each rename. The events are chained and
  signed with the rest of the ledger.
- A repeated try reads the events of the earlier ones, by the token of the effect.
"""

from dataclasses import dataclass

from standfast.records import Json, JsonObject
from standfast.usecases.core.installation import Installation

RESTORING, RESTORED = "recovery.restoring", "recovery.restored"
REPLACING, REPLACED = "recovery.replacing", "recovery.replaced"
RETURNING, RETURNED = "recovery.returning", "recovery.returned"


@dataclass(frozen=True, kw_only=True)
class RecoveryJournal:
    """The events of one effect."""

    installation: Installation
    incident: str
    effect: str  # the token of the effect
    set_name: str

    def write(self, action: str, **detail: Json) -> None:
        """Append an event; its detail has no personal data."""
        known: dict[str, Json] = {"set": self.set_name, "effect": self.effect}
        self.installation.record_event(self.incident, action, {**known, **detail})

    def find(self, action: str) -> JsonObject | None:
        """Return the detail of the newest event of this kind, if there is one."""
        events = self.installation.ledger.timeline(self.incident)
        found = [
            event.detail
            for event in events
            if event.action == action and event.detail.get("effect") == self.effect
        ]
        return found[-1] if found else None
