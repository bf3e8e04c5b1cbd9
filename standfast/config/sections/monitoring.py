"""Settings of heartbeats and events that monitoring systems receive.

A heartbeat is a request to a monitor when a backup or a drill (a measured test restore) starts and
ends. An event is a message to another system when a live incident is opened, contained or closed.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from standfast.config.base_section import Section
from standfast.config.sections.procedures import ProcedureName
from standfast.config.value_types import Name, SecretReference, matching

DrillName = Annotated[
    str,
    matching(
        r"(service\.)?[a-z][a-z0-9_-]{0,39}",
        "a drill is named after a backup set, or `service.` and a service",
    ),
]


class HeartbeatsConfig(Section):
    """URLs of a monitor that expects backups and drills to report."""

    backup: Mapping[Name, SecretReference] = Field(
        default={},
        description="Backup sets, and the URL of each, as healthchecks.io shows it. `serve` and "
        "every `standfast backup run` call URL/start at the start, URL after a "
        "success, and URL/fail otherwise.",
        examples=[{"crm": "file:keys/heartbeat-crm"}],
    )
    drill: Mapping[DrillName, SecretReference] = Field(
        default={},
        description="Drills, and the URL of each. A drill is named by its backup set, or by "
        "`service.` and its service.",
        examples=[{"crm": "file:keys/heartbeat-drill", "service.desk": "env:HEARTBEAT_DESK"}],
    )


class EventKind(StrEnum):
    """Events of an incident, in the order in which they happen."""

    OPENED = "opened"
    CONTAINED = "contained"
    CLOSED = "closed"


# The parameters that a request may declare if it is sent for an event.
EVENT_PARAMETERS = ("event", "incident", "playbook", "opened_at", "organisation")


class IncidentEventsConfig(Section):
    """A system that receives events of live incidents.

    Each event is sent by a request. The request may have the parameters `event`, `incident`,
    `playbook`, `opened_at` and `organisation`.
    """

    opened: ProcedureName | None = Field(
        default=None,
        description="The request of `[requests]` that is sent when an incident is opened.",
        examples=["ticket-open"],
    )
    contained: ProcedureName | None = Field(
        default=None,
        description="The request that is sent when every step that locks accounts has ended and "
        "left no account unlocked.",
        examples=["ticket-note"],
    )
    closed: ProcedureName | None = Field(
        default=None,
        description="The request that is sent when the incident is closed.",
        examples=["ticket-close"],
    )

    def request_of(self, kind: EventKind) -> str | None:
        """Return the request for an event of this kind."""
        return {
            EventKind.OPENED: self.opened,
            EventKind.CONTAINED: self.contained,
            EventKind.CLOSED: self.closed,
        }[kind]
