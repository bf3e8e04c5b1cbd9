"""Context to build connectors: secrets, clock, new passwords; limits."""

from dataclasses import dataclass
from typing import Any

from standfast.adapters.accounts.base.new_passwords import NewPasswords
from standfast.config import SecretReference
from standfast.records import Limits, Now
from standfast.secrets import Reveal


@dataclass(frozen=True, kw_only=True)
class BuildContext:
    """Access of a connector to secrets, the clock and new passwords."""

    reveal: Reveal
    clock: Now
    new_secrets: NewPasswords | None = None  # None: no recipients are configured

    def reveal_optional(self, reference: SecretReference | None) -> str | None:
        """Return the secret, or None if none is configured."""
        return None if reference is None else self.reveal(reference)


def limits_of(settings: Any, *, batch: int = 1) -> Limits:
    """Return the call limits of a directory from its settings."""
    return Limits(
        batch=batch,
        workers=settings.workers,
        per_second=settings.per_second,
        burst=settings.burst,
        timeout_seconds=settings.timeout_seconds,
    )
