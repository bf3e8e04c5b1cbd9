"""Senders: what every channel of notices promises.

Promises
- `send` gives one result a message, in order. DONE means handed over: the provider took it on.
- The message's token becomes its Message-ID (or the provider's custom id), the same at every try,
  so that a reader's duplicate filter and a later event find the same message.
- What the provider refused for this recipient is REFUSED (an address that does not exist) or FAILED
  with `retry_after_seconds` (greylisting, 4xx, 429); what may have been taken on is UNKNOWN.
  A sender never repeats by itself.
- One bad recipient never stops the others; no value of one recipient reaches another's message.
- No header is built from unchecked text: CR, LF and other controls are refused.
- `find` answers whether a message was taken on; None when the channel cannot tell (SMTP cannot).
- Reasons carry no address and no server's text verbatim beyond its status code.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from standfast.errors import StandfastError
from standfast.records import EffectState, Limits, Result


@dataclass(frozen=True, kw_only=True)
class Message:
    """One rendered message to one person."""

    token: str
    address: str
    subject: str
    text: str
    html: str
    language: str  # BCP 47, becomes Content-Language


class Sender(ABC):
    """One channel."""

    name: str  # the key in the configuration
    limits: Limits

    def send(self, messages: Sequence[Message]) -> list[Result]:
        """Hand the messages over; what escapes the channel becomes UNKNOWN for each."""
        try:
            results = list(self._send(messages))
        except StandfastError as error:
            return [_unknown(message, str(error)) for message in messages]
        except Exception as error:
            return [_unknown(message, f"unexpected {type(error).__name__}") for message in messages]
        if [result.target for result in results] != [message.address for message in messages]:
            return [_unknown(message, "the sender's answers do not match") for message in messages]
        return results

    def find(self, tokens: Sequence[str]) -> list[bool | None]:
        """Was each message taken on? None when this channel cannot tell."""
        return [None for _ in tokens]

    @abstractmethod
    def _send(self, messages: Sequence[Message]) -> list[Result]: ...


def _unknown(message: Message, reason: str) -> Result:
    return Result(target=message.address, state=EffectState.UNKNOWN, reason=reason)
