"""Settings of all notices, `[notices]`: canary, pauses, templates.

A notice is a message to the people that an incident concerns. Its canary is the first few messages,
which are sent before the rest. `audiences.py` has the recipients, `senders.py` the senders. The
behaviour is in `standfast/notices/`.
"""

from typing import Annotated

from pydantic import Field

from standfast.config.base_section import Section
from standfast.config.value_types import Count, Name, Place


class NoticesConfig(Section):
    """Defaults for notices; a playbook may override them."""

    sender: Name | None = Field(
        default=None,
        description="The sender for playbooks that name no sender. Required if several senders "
        "are configured.",
        examples=["mail"],
    )
    letters: Name | None = Field(
        default=None,
        description="The sender of kind `letters` for people without an e-mail address. "
        "Default: the only sender of that kind. Without such a sender, these people "
        "are listed as not notified.",
        examples=["post"],
    )
    staff_audience: Name | None = Field(
        default=None,
        description="The audience that `staff` means in a playbook. Default: the audience `staff`.",
        examples=["staff"],
    )
    templates: Place | None = Field(
        default=None,
        description="A folder with your own templates. A template with the name of a shipped "
        "one replaces it.",
        examples=["notices"],
    )
    canary_percent: Annotated[int, Field(ge=0, le=50)] = Field(
        default=1,
        description="The percentage of recipients in the canary, spread over the whole "
        "audience. The other recipients wait for `canary_minutes`. With 0, all "
        "recipients get the notice without a canary.",
    )
    canary_from: Count = Field(
        default=1000, description="Audiences with fewer recipients have no canary."
    )
    canary_minutes: Count = Field(
        default=15,
        description="The minutes between the canary and the remaining messages. The remaining "
        "messages are sent if at least one message of the canary was sent, none failed or is "
        "unknown, and at most a tenth was rejected or bounced. Otherwise, and with 0, they wait "
        "for `standfast notice go`.",
    )
    abort_window_seconds: Count = Field(
        default=120,
        description="The time between the approval of a notice and its first message, in which "
        "`standfast incident stop` cancels it. With 0, there is no wait.",
    )
