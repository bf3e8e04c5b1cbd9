"""Settings of restore drills: identity, gaps, schedules.

A drill is a restore that is measured, checked and recorded, without any effect on live systems. The
identity is the private key that opens the backups. A gap is something that recovery lacks.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field

from standfast.config.base_section import Section
from standfast.config.value_types import (
    CronSchedule,
    Hours,
    Name,
    Place,
    SecretReference,
)

DRILL_SCHEDULE = "0 5 * * 0"  # of each backup set: Sunday morning, when a restore disturbs least


class SurpriseDrillConfig(Section):
    """Drills that nobody can prepare for: one drill in each window.

    The service, the recovery points and the moment are drawn from a random seed, which is recorded.
    """

    begins: CronSchedule = Field(
        description="When a window begins. A window must end before the next one begins.",
        examples=["0 8 1 * *"],
    )
    hours: Hours = Field(description="The length of the window.", examples=[200])


class DrillScheduleConfig(Section):
    """Times of unattended drills, in the organisation's time zone.

    Without this section, each set is drilled on Sundays at 05:00. With this section, only the sets
    and services in it are drilled.
    """

    set: Mapping[Name, CronSchedule] = Field(
        default={},
        description="Backup sets, and when each is drilled.",
        examples=[{"main": DRILL_SCHEDULE}],
    )
    service: Mapping[Name, CronSchedule] = Field(
        default={},
        description="Services, and when each is drilled with all services that it needs.",
        examples=[{"crm": "0 4 1 * *"}],
    )
    surprise: SurpriseDrillConfig | None = Field(
        default=None, description="Windows for a drill of a random service at a random time."
    )


class DrillsConfig(Section):
    """The folder and the identity of restore drills."""

    folder: Place = Field(
        default=Path("drills"),
        description="The folder that drills restore into. Restored data are destroyed after "
        "each drill.",
        examples=["/var/lib/standfast/drills"],
    )
    loads_databases: bool = Field(
        default=True,
        description="Load dumps into throwaway servers. This needs disk space for the "
        "databases, and the server programs, as docs/drills.md explains.",
        examples=[False],
    )
    identity: SecretReference | None = Field(
        default=None,
        description="A custodian's identity for unattended drills: with it, `standfast serve` "
        "runs the drills of `drills.schedule`. It opens backups, so never store it on the backup "
        "host. Without it a drill asks for the file of the identity.",
        examples=["file:keys/custodian.txt"],
    )
    yara_rules: Place | None = Field(
        default=None,
        description="A file of YARA rules, or a folder with `.yar` and `.yara` files, by which "
        "restored files are scanned. It needs the extra `yara`.",
        examples=["/etc/standfast/yara"],
    )
    gap_days: Annotated[int, Field(ge=1, le=3650)] = Field(
        default=30,
        description="Days after which a gap in the report of a drill or recovery is due.",
        examples=[14],
    )
    schedule: DrillScheduleConfig | None = Field(
        default=None,
        description="When `standfast serve` drills. Default: each set on Sundays at 05:00.",
    )
