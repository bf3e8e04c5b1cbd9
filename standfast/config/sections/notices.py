"""Settings of all notices, `[notices]`: canary, pauses, templates.

`audiences.py` has the recipients, `senders.py` the senders. The behaviour is in
`standfast/notices/`.
"""

from typing import Annotated

from pydantic import Field

from standfast.config.base_section import Section
from standfast.config.value_types import (
    Count,
    Name,
    Place,
)


class NoticesConfig(Section):
    """Defaults for notices; a playbook may override them."""

    sender: Name | None = Field(
        default=None,
        description="The sender used where a playbook names none; needed when there are several.",
        examples=["mail"],
    )
    letters: Name | None = Field(
        default=None,
        description="The sender of kind `letters` that writes to people without an e-mail address; "
        "the only one of that kind without it. With neither, they are listed as not told.",
        examples=["post"],
    )
    staff_audience: Name | None = Field(
        default=None,
        description="The audience that is meant by `staff`; the one of that name without it.",
        examples=["staff"],
    )
    templates: Place | None = Field(
        default=None,
        description="A folder with your own templates; one named like a shipped one replaces it.",
        examples=["notices"],
    )
    canary_percent: Annotated[int, Field(ge=0, le=50)] = Field(
        default=1,
        description="Of each hundred recipients, how many are written to first, spread over the "
        "whole audience; the others wait for `canary_minutes`. 0 writes to all at once.",
        examples=[1],
    )
    canary_from: Count = Field(
        default=1000,
        description="Audiences of fewer recipients are written to at once.",
        examples=[1000],
    )
    canary_minutes: Count = Field(
        default=15,
        description="How long after the first ones the others go, when of those at least one has "
        "gone, none failed or is in doubt, and at most a tenth was turned away or bounced. "
        "Otherwise, and with 0, not before a person says `standfast notice go`.",
        examples=[15],
    )
    abort_window_seconds: Count = Field(
        default=120,
        description="How long an approved notice waits before the first message leaves, so that "
        "`standfast incident stop` still can; 0 sends at once.",
        examples=[120],
    )
