"""Context to build senders: organisation, secrets, clock."""

from dataclasses import dataclass

from standfast.config.schema import OrganisationConfig
from standfast.records import Now
from standfast.secrets import Reveal


@dataclass(frozen=True, kw_only=True)
class SenderContext:
    """The organisation, the secrets by reference, and the clock of a sender."""

    organisation: OrganisationConfig
    reveal: Reveal
    clock: Now
