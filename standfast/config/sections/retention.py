"""Settings of retention, `[backup.keeping]`.

`backup/retention/rules.py` has the rules, and `standfast/usecases/backups/retention.py` applies
them.

Rules
- Recovery points (the single backups of a set) are kept by age, never by number: with a number,
  somebody who can add recovery points could make older ones expire.
- The key of the keeper (the machine that may expire backups) belongs on another machine than the
  backup host; the backup host needs none of these settings.
"""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from standfast.config.base_section import Section
from standfast.config.value_types import CronSchedule, Place, matching

KeptFor = Annotated[
    str,
    matching(
        r"[1-9][0-9]{0,3}[dwmy]", "a time to keep something is written like 35d, 12w, 6m or 7y"
    ),
]


class KeepingConfig(Section):
    """Retention of recovery points; a month has 31 days and a year 366."""

    key: Place = Field(
        default=Path("keys/keeper.json"),
        description="The keeper's key, which the owner creates. It must not be on the backup host.",
        examples=["/etc/standfast/keeper.json"],
    )
    everything: KeptFor = Field(
        default="35d", description="Every recovery point is kept for this time."
    )
    daily: KeptFor = Field(
        default="90d",
        description="The last complete recovery point of each day (UTC) is kept for this time. "
        "For a day without a complete recovery point, the last partial one is kept. The same "
        "applies to weeks and months.",
    )
    weekly: KeptFor = Field(
        default="1y",
        description="The last complete recovery point of each ISO week is kept for this time.",
    )
    monthly: KeptFor = Field(
        default="7y",
        description="The last complete recovery point of each month is kept for this time.",
    )
    floor: KeptFor = Field(
        default="30d",
        description="No recovery point that is younger than this, by the store's clock, "
        "expires. Two recovery points of each set never expire: the newest complete "
        "one, and the newest one of an uninterrupted run.",
    )
    schedule: CronSchedule | None = Field(
        default=None,
        description="When the retention run starts here, in the organisation's time zone. "
        "Without it, retention runs by hand only. Set it on the keeper's machine.",
        examples=["0 6 * * *"],
    )
