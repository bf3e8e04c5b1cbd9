"""The secrets that messages are compared with, looked up late and again.

Rules
- A secret that is replaced in its file counts within seconds, and without a restart.
- One that cannot be read lets nobody in by it, and is said in the log; the other one still counts.
- A secret that is none is not worth a guess: it is refused, by its reference.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from standfast.config.value_types import SecretReference
from standfast.errors import StandfastError
from standfast.secrets import Resolver
from standfast.triggers.standard_webhooks import read_secret
from standfast.usecases.triggers.message_intake import SHORTEST_TOKEN, AlertTrigger, SignedTrigger

log = logging.getLogger("standfast.serve")

FRESH_SECONDS = 10.0


@dataclass(kw_only=True)
class Keys:
    """What is known of each reference, and since when."""

    resolver: Resolver
    monotonic: Callable[[], float] = time.monotonic
    _known: dict[SecretReference, tuple[float, str]] = field(default_factory=dict)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def webhook(self, trigger: SignedTrigger) -> list[bytes]:
        """Give the bytes of each secret of a webhook that can be read."""
        found = []
        for reference in trigger.secrets:
            text = self._text(f"trigger {trigger.name}", reference)
            try:
                found += [read_secret(text)] if text else []
            except ValueError as error:
                log.warning("trigger %s: %s: %s", trigger.name, reference, error)
        return found

    def bearer(self, trigger: AlertTrigger) -> list[str]:
        """Give each token that can be read, and that nobody guesses."""
        found = []
        for reference in trigger.tokens:
            text = self._text(f"trigger {trigger.name}", reference)
            if text and len(text) < SHORTEST_TOKEN:
                log.warning(
                    "trigger %s: %s: a token has at least %d characters",
                    trigger.name,
                    reference,
                    SHORTEST_TOKEN,
                )
            elif text:
                found.append(text)
        return found

    def of_sender(self, sender: str, reference: SecretReference) -> str:
        """Give the key with which the provider of a sender signs; empty when it cannot be read."""
        return self._text(f"sender {sender}", reference)

    def _text(self, whose: str, reference: SecretReference) -> str:
        now = self.monotonic()
        with self._guard:
            looked_at, text = self._known.get(reference, (float("-inf"), ""))
            if now - looked_at < FRESH_SECONDS:
                return text
            try:
                text = self.resolver.resolve(reference).reveal()
            except StandfastError as error:
                log.warning("%s: %s", whose, error)
                text = ""
            self._known[reference] = (now, text)
            return text
