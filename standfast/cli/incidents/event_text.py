"""Text and JSON of audit events, such as the timeline of an incident."""

from typing import TYPE_CHECKING

from standfast.local_time import second
from standfast.records import Json, timestamp

if TYPE_CHECKING:
    from standfast.ledger.audit.auditor import AuditEvent


def event_json(event: "AuditEvent") -> dict[str, Json]:
    """Return the JSON document of one event of the timeline."""
    return {
        "sequence": event.sequence,
        "at": timestamp(event.at),
        "actor": event.actor,
        "action": event.action,
        "detail": event.detail,
    }


def event_cells(event: "AuditEvent", zone: str) -> list[str]:
    """Return the cells of one event: time, actor, action and details."""
    detail = ", ".join(f"{key}={value}" for key, value in event.detail.items())
    return [second(event.at, zone), event.actor, event.action, detail]
