"""Redaction of texts that leave this program: its log, a support bundle.

Rules
- Each secret that this process has read is replaced. Mail addresses, card numbers and
  social-security numbers are replaced too. Redaction is a second protection: code must not write
  such values into a message.
- A secret of fewer than six characters is not replaced, because it may be a part of many words.
- A log line in JSON has the key `event`: the message without its values. Equal events can therefore
  be counted, and shown to people outside the organisation.
"""

import json
import logging
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from standfast.config.value_types import SecretReference
from standfast.evidence.text_masking import mask_text
from standfast.records import Json, timestamp
from standfast.secrets import Resolver, Secret

HIDDEN = "[hidden]"
_SHORTEST = 6


@dataclass(kw_only=True)
class RedactingResolver:
    """A reader of secrets that can remove these secrets from texts."""

    resolver: Resolver
    _values: set[str] = field(default_factory=set, repr=False)
    _guard: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def resolve(self, reference: SecretReference) -> Secret:
        """Read a secret, as a `Resolver` does, and redact it in later texts."""
        secret = self.resolver.resolve(reference)
        self.hide([secret.reveal()])
        return secret

    def hide(self, values: Iterable[str]) -> None:
        """Redact values, and each of their lines, in every later text."""
        lines = {line.strip() for value in values for line in (value, *value.splitlines())}
        with self._guard:
            self._values |= {line for line in lines if len(line) >= _SHORTEST}

    def redact(self, text: str) -> str:
        """Return a text without the secrets, and with personal data masked."""
        with self._guard:
            values = sorted(self._values, key=len, reverse=True)
        for value in values:
            text = text.replace(value, HIDDEN)
        return mask_text(text)


class RedactedLines(logging.Formatter):
    """Log lines for people."""

    def __init__(self, secrets: RedactingResolver) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        return self._secrets.redact(super().format(record))


class RedactedJsonLines(logging.Formatter):
    """Log lines for programs: one JSON object each."""

    def __init__(self, secrets: RedactingResolver) -> None:
        super().__init__()
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        line: dict[str, Json] = {
            "time": timestamp(datetime.fromtimestamp(record.created, UTC)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": str(record.msg),
            "message": self._secrets.redact(record.getMessage()),
            "process": record.process,
            "thread": record.threadName,
        }
        if record.exc_info and record.exc_info[0]:
            line["exception"] = record.exc_info[0].__name__  # its text may contain personal data
        return json.dumps(line, ensure_ascii=False)
