"""What senders are built with besides their settings."""

from dataclasses import dataclass

from standfast.config.schema import OrganisationConfig
from standfast.records import Now
from standfast.secrets import Reveal


@dataclass(frozen=True, kw_only=True)
class SenderContext:
    """What a sender is built with: who writes, secrets by reference, and the clock."""

    organisation: OrganisationConfig
    reveal: Reveal
    clock: Now
