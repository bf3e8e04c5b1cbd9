"""Settings of the connections to the monitoring of the organisation."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from standfast.config.base_section import Section
from standfast.config.value_types import Name, SecretReference, like

DrillName = Annotated[
    str,
    like(
        r"(service\.)?[a-z][a-z0-9_-]{0,39}",
        "a drill is named after a backup set, or `service.` and a service",
    ),
]


class HeartbeatsConfig(Section):
    """URLs of a monitor that expects backups and drills to report."""

    backup: Mapping[Name, SecretReference] = Field(
        default={},
        description="Backup sets, and the URL of each, as healthchecks.io shows it. `serve` and "
        "every `standfast backup run` call it with `/start` at the start, as it is after a "
        "success, and with `/fail` otherwise.",
        examples=[{"crm": "file:keys/heartbeat-crm"}],
    )
    drill: Mapping[DrillName, SecretReference] = Field(
        default={},
        description="The same for drills: a backup set, or `service.` and a service.",
        examples=[{"crm": "file:keys/heartbeat-drill", "service.desk": "env:HEARTBEAT_DESK"}],
    )
