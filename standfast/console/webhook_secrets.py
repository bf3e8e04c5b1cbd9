"""Secrets that verify messages, read again every few seconds.

Rules
- A secret that is replaced in its file is used within seconds, without a restart.
- A secret that cannot be read is logged and authenticates nobody. The other secrets remain valid.
- The log names an invalid secret by its reference (its name in the configuration), never by its
  value.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from standfast.config.value_types import SecretReference
from standfast.errors import StandfastError
from standfast.secrets import Resolver
from standfast.triggers.standard_webhooks import read_secret
from standfast.usecases.triggers.message_intake import SHORTEST_TOKEN, SignedTrigger

log = logging.getLogger("standfast.serve")

FRESH_SECONDS = 10.0


@dataclass(kw_only=True)
class Keys:
    """The resolved secrets, with the time of their resolution."""

    resolver: Resolver
    monotonic: Callable[[], float] = time.monotonic
    _known: dict[SecretReference, tuple[float, str]] = field(default_factory=dict)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def webhook(self, trigger: SignedTrigger) -> list[bytes]:
        """Return the readable secrets of a webhook, as bytes."""
        found = []
        for reference in trigger.secrets:
            text = self._text(f"trigger {trigger.name}", reference)
            try:
                found += [read_secret(text)] if text else []
            except ValueError as error:
                log.warning("trigger %s: %s: %s", trigger.name, reference, error)
        return found

    def bearer(self, owner: str, references: Iterable[SecretReference]) -> list[str]:
        """Return the readable tokens that are long enough not to be guessed."""
        found = []
        for reference in references:
            text = self._text(owner, reference)
            if text and len(text) < SHORTEST_TOKEN:
                log.warning(
                    "%s: %s: a token needs at least %d characters", owner, reference, SHORTEST_TOKEN
                )
            elif text:
                found.append(text)
        return found

    def of_sender(self, sender: str, reference: SecretReference) -> str:
        """Return the key that verifies a sender's events; "" if unreadable."""
        return self._text(f"sender {sender}", reference)

    def _text(self, owner: str, reference: SecretReference) -> str:
        now = self.monotonic()
        with self._guard:
            looked_at, text = self._known.get(reference, (float("-inf"), ""))
            if now - looked_at < FRESH_SECONDS:
                return text
            try:
                text = self.resolver.resolve(reference).reveal()
            except StandfastError as error:
                log.warning("%s: %s", owner, error)
                text = ""
            self._known[reference] = (now, text)
            return text
