"""Journal of a recovery: events in its incident; the newest one decides.

The recovery of one backup set is an effect: one change outside Standfast. An interrupted or failed
effect is executed again, and its newest event shows where to continue.

Rules
- An event is written before and after each restore and each rename. The events are part of the
  audit chain, in which each event contains the hash of the event before it.
- An effect has a token as its id. A repeated execution has the same token, and reads the events of
  the earlier executions.
"""

from dataclasses import dataclass

from standfast.errors import StandfastError
from standfast.ledger.audit.auditor import AuditEvent
from standfast.records import Json, JsonObject
from standfast.usecases.core.installation import Installation

RESTORING, RESTORED = "recovery.restoring", "recovery.restored"
LOADING, LOADED = "recovery.loading", "recovery.loaded"  # of a database
PROGRESS = "recovery.progress"  # of the objects of a bucket
REPLACING, REPLACED = "recovery.replacing", "recovery.replaced"
MOVING, MOVED = "recovery.moving", "recovery.moved"  # of a MariaDB database to another name
RETURNING, RETURNED = "recovery.returning", "recovery.returned"
RECOVERED = "recovery.done"  # end of the recovery, with RTO and RPO of the set


class Stopped(StandfastError):
    """The incident was stopped; the recovery can continue when it is resumed."""


@dataclass(frozen=True, kw_only=True)
class RecoveryJournal:
    """The events of one effect, which recovers or returns one backup set."""

    installation: Installation
    incident: str
    effect: str  # the token of the effect
    set_name: str

    def write(self, action: str, **detail: Json) -> None:
        """Append an event; `detail` must not contain personal data."""
        known: dict[str, Json] = {"set": self.set_name, "effect": self.effect}
        self.installation.record_event(self.incident, action, {**known, **detail})

    def refuse_stopped(self) -> None:
        """Raise `Stopped` if a person has stopped the incident."""
        if self.installation.ledger.incidents.is_stopped(self.incident):
            raise Stopped(f"{self.incident}: stopped. It continues after it is resumed.")

    def find(self, action: str) -> JsonObject | None:
        """Return the detail of this effect's newest event of a kind, or None."""
        found = self._events(action, effect=self.effect)
        return found[-1].detail if found else None

    def is_replaced(self, source: str) -> bool:
        """Return whether a source was replaced, and not put back since then."""
        found = self._events(REPLACED, RETURNED, effect=self.effect, source=source)
        return bool(found) and found[-1].action == REPLACED

    def find_replaced(self, source: str) -> JsonObject | None:
        """Return the detail of the newest replacement of a source, by any effect."""
        found = self._events(REPLACED, set=self.set_name, source=source)
        return found[-1].detail if found else None

    def last_of(self, source: str, database: str, *actions: str) -> str | None:
        """Return the newest of these actions on a database, or None."""
        found = self._events(*actions, effect=self.effect, source=source, database=database)
        return found[-1].action if found else None

    def moves(self, source: str, database: str) -> list[AuditEvent]:
        """Return the moves of a MariaDB database's content, by any effect."""
        return self._events(MOVING, MOVED, set=self.set_name, source=source, database=database)

    def _events(self, *actions: str, **detail: str) -> list[AuditEvent]:
        """Return the incident's events with these actions and details, in order."""
        return [
            event
            for event in self.installation.ledger.timeline(self.incident)
            if event.action in actions
            and all(event.detail.get(name) == value for name, value in detail.items())
        ]
