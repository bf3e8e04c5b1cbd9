"""Senders: what every channel of notices promises.

Promises
- `send` gives one result a message, in order. DONE means handed over: the provider took it on.
- The message's token becomes its Message-ID (or the provider's custom id), the same at every try,
  so that a reader's duplicate filter and a later event find the same message.
- REFUSED says whether another channel may take it (`may_go_elsewhere`): what this one cannot carry
  it may, what has no mailbox it may not.
- What the provider refused for this recipient is REFUSED (an address that does not exist) or FAILED
  with `retry_after_seconds` (greylisting, 4xx, 429); what may have been taken on is UNKNOWN.
  A sender never repeats by itself.
- One bad recipient never stops the others; no value of one recipient reaches another's message.
- A message may say what it shares with others (`parts`) and what stands in its slots. A channel
  that takes one text for many may send it so, when the two come to exactly this message.
- No header is built from unchecked text: CR, LF and other controls are refused. `send` does this
  for every channel, before the channel sees the message.
- What a channel only puts ready for a person to carry is UNKNOWN, and says that only a person can
  tell.
- `find` answers whether a message was taken on; None when the channel cannot tell (SMTP cannot).
- Reasons carry no address and no server's text verbatim beyond its status code.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from standfast.errors import StandfastError
from standfast.notices.mail_addresses import parse_address
from standfast.notices.plain_text import begins_encoded_word, is_mail_text, is_one_line
from standfast.notices.prepared_notice import PreparedParts, join
from standfast.records import EffectState, Limits, Result

_TOKEN = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")  # the left side of a Message-ID
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")


@dataclass(frozen=True, kw_only=True)
class Message:
    """One rendered message to one person."""

    token: str
    address: str  # of a letter, the lines of its window
    subject: str
    text: str
    html: str
    language: str  # BCP 47, becomes Content-Language
    parts: PreparedParts | None = None  # the very same object in each message that shares it
    shown: Mapping[str, str] = field(default_factory=dict)  # by slot, in plain text
    escaped: Mapping[str, str] = field(default_factory=dict)  # by slot, in HTML

    @cached_property
    def is_made_of_parts(self) -> bool:
        """Do the shared pieces and these values come to exactly this message?"""
        if self.parts is None:
            return False
        try:
            return (join(self.parts.text, self.shown), join(self.parts.html, self.escaped)) == (
                self.text,
                self.html,
            )
        except KeyError:
            return False


class Sender(ABC):
    """One channel."""

    name: str  # the key in the configuration
    limits: Limits

    def send(self, messages: Sequence[Message]) -> list[Result]:
        """Hand the messages over; what escapes the channel becomes UNKNOWN for each."""
        refused = {
            position: Result(target=message.address, state=EffectState.REFUSED, reason=reason)
            for position, message in enumerate(messages)
            if (reason := self.why_no_address(message.address) or sending_obstacle(message))
        }
        fit = [message for position, message in enumerate(messages) if position not in refused]
        sent = iter(self._send_checked(fit) if fit else ())
        return [
            refused[position] if position in refused else next(sent)
            for position in range(len(messages))
        ]

    def why_no_address(self, address: str) -> str:
        """Say why this channel cannot carry anything there, or nothing when it can."""
        try:
            parse_address(address)
        except ValueError as error:
            return str(error)
        return ""

    def find(self, tokens: Sequence[str]) -> list[bool | None]:
        """Was each message taken on? None when this channel cannot tell."""
        return [None for _ in tokens]

    def reach(self) -> None:  # a channel with nothing to connect to is always there
        """Connect and sign in as for a message, and hand none over.

        Raises Unavailable with what is in the way; `standfast check` asks.
        """

    def close(self) -> None:  # not every channel keeps connections
        """Let go of the connections that are kept; the next call opens new ones."""

    def _send_checked(self, messages: Sequence[Message]) -> list[Result]:
        try:
            results = list(self._send(messages))
        except StandfastError as error:
            return [_unknown(message, str(error)) for message in messages]
        except Exception as error:
            return [_unknown(message, f"unexpected {type(error).__name__}") for message in messages]
        if [result.target for result in results] != [message.address for message in messages]:
            return [_unknown(message, "the sender's answers do not match") for message in messages]
        return results

    @abstractmethod
    def _send(self, messages: Sequence[Message]) -> list[Result]: ...


def sending_obstacle(message: Message) -> str:
    """Say why a message must not reach any channel, or nothing when it may."""
    if not _TOKEN.fullmatch(message.token) or len(message.token) > 120:
        return "the token cannot stand in a Message-ID"
    if not message.subject or not is_one_line(message.subject):
        return "the subject is empty or not one visible line"
    if begins_encoded_word(message.subject):
        return "the subject has the beginning of an encoded word"
    if not _LANGUAGE.fullmatch(message.language):
        return "the language is no language tag"
    if not _is_mail_text(message):
        return "the body has a control character"
    return ""


def _is_mail_text(message: Message) -> bool:
    if message.parts is not None and message.is_made_of_parts:
        # The pieces are looked at once for all, and of each message what is its own.
        own = (*message.shown.values(), *message.escaped.values())
        return message.parts.is_mail_text and all(map(is_mail_text, own))
    return is_mail_text(message.text) and is_mail_text(message.html)


def _unknown(message: Message, reason: str) -> Result:
    return Result(target=message.address, state=EffectState.UNKNOWN, reason=reason)
