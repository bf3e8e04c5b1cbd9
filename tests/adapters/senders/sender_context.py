"""Context that a test passes to a sender, besides its settings."""

from datetime import UTC, datetime
from typing import Any

from standfast.adapters.senders.sender_context import SenderContext
from standfast.config.schema import OrganisationConfig
from standfast.records import Now
from tests.adapters.settings import reveal


def context(clock: Now = lambda: datetime.now(UTC), **organisation: Any) -> SenderContext:
    """Return a context; `organisation` settings are not checked."""
    example = OrganisationConfig(name="Example & Sons", contact_line="020 7946 0000")
    return SenderContext(
        organisation=example.model_copy(update=organisation), reveal=reveal, clock=clock
    )
