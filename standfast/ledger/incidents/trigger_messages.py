"""Trigger messages: repeats, ended alerts, triggers of stopped incidents.

A trigger is a configured way to open an incident from outside, such as a webhook.

Rules
- A message is stored in the transaction in which it opens or joins an incident.
- The id of a message is stored as a keyed hash, because a sender may write personal data into it.
- Messages are never deleted: a sender may retry after days with a new signature.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, select

from standfast.ledger.audit.audited_database import AuditedDatabase
from standfast.ledger.audit.transaction import Write
from standfast.ledger.schema.tables import audit_event, incident, trigger_message
from standfast.records import Mode


@dataclass(frozen=True, kw_only=True)
class TriggerMessage:
    """One message of one trigger; `handle` is the HMAC of the message's id."""

    source: str
    handle: str
    lacking: int = 0  # number of items in a list of the message that had no input


@dataclass(frozen=True, kw_only=True)
class IgnoredTrigger:
    """A trigger that added targets to a stopped live incident."""

    incident: str
    scenario: str
    source: str  # name of the trigger in the timeline
    stop: int  # number of the audit event of the newest stop


def find(connection: Connection, message: TriggerMessage) -> str:
    """Return the incident of an earlier message; empty for a new one."""
    known = connection.scalar(
        select(trigger_message.c.incident).where(
            trigger_message.c.source == message.source, trigger_message.c.message == message.handle
        )
    )
    return known or ""


def keep(write: Write, message: TriggerMessage, incident_id: str) -> None:
    """Store a new message with its incident."""
    if message.lacking:
        write.add_detail(lacking=message.lacking)
    write.insert(
        trigger_message,
        {
            "source": message.source,
            "message": message.handle,
            "incident": incident_id,
            "received_at": write.now,
        },
    )


class Triggers:
    """Earlier messages, ended alerts, and triggers of stopped incidents."""

    def __init__(self, database: AuditedDatabase) -> None:
        self._database = database

    def incident_of(self, message: TriggerMessage) -> str:
        """Return the incident of an earlier message; empty for a new one."""
        with self._database.reading() as connection:
            return find(connection, message)

    def record_resolved(
        self, trigger: str, message: TriggerMessage, actor: str, now: datetime
    ) -> str:
        """Record the end of an alert in its incident; return its id.

        Returns an empty text and writes nothing if no incident of the alert is open. A repeated
        message changes nothing.
        """
        with self._database.write(
            actor=actor, subject="", action="trigger.resolved", now=now
        ) as write:
            write.exclude_writers()
            if earlier := find(write.connection, message):
                return earlier
            found = write.connection.scalar(
                select(incident.c.id).where(
                    incident.c.trigger == trigger, incident.c.state == "open"
                )
            )
            if found is not None:
                write.subject = str(found)
                keep(write, message, str(found))
        return str(found or "")

    def waiting(self) -> list[IgnoredTrigger]:
        """Return triggers that joined stopped incidents, oldest incident first."""
        stopped = (
            select(incident.c.id, incident.c.scenario)
            .where(
                incident.c.state == "open",
                incident.c.is_halted,
                incident.c.mode == Mode.LIVE.value,
                incident.c.joined > 0,
            )
            .order_by(incident.c.opened_at)
        )
        found: list[IgnoredTrigger] = []
        with self._database.reading() as connection:
            for row in connection.execute(stopped).all():
                of_incident = audit_event.c.subject == row.id
                stop = connection.scalar(
                    select(func.max(audit_event.c.sequence)).where(
                        of_incident, audit_event.c.action == "incident.stopped"
                    )
                )
                since = select(audit_event.c.actor).where(
                    of_incident,
                    audit_event.c.action == "trigger.joined",
                    audit_event.c.sequence > stop,
                )
                found += [
                    IgnoredTrigger(incident=row.id, scenario=row.scenario, source=source, stop=stop)
                    for source in connection.scalars(since.distinct().order_by(audit_event.c.actor))
                ]
        return found
