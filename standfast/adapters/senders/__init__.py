"""Senders: one class for each channel of notices, and their contract.

A notice is a message to the people that an incident concerns.

    sender = build_adapter(Sender, "mail", config.senders["mail"], context)
    (result,) = sender.send([Message(token=…, address="ana@example.com", subject="Notice", …)])

Promises
- `send` returns one result for each message, in order. DONE means that the provider accepted it.
- The message's token becomes its Message-ID (or the provider's custom id). It is the same in every
  attempt, so that a reader's duplicate filter and a later event find the same message.
- In a result REFUSED, `may_go_elsewhere` states whether another channel may send the message: yes
  if this channel cannot send it, no if the mailbox does not exist.
- A message that the provider refuses for its recipient is REFUSED (the address does not exist) or
  FAILED with `retry_after_seconds` (greylisting, 4xx, 429). A message that may have been accepted
  is UNKNOWN. A sender never repeats a message itself.
- An error for one recipient never stops the messages to others. No value of one recipient reaches
  another's message.
- A message may have the text pieces that it shares with other messages (`parts`), and the values
  for the places (slots) between them. A channel that accepts one text for many recipients may send
  pieces and values instead of the text, if they produce exactly this message.
- No header is built from unchecked text: `send` refuses CR, LF and other control characters for
  every channel, before the channel receives the message.
- A message that a person must deliver, such as a letter, is UNKNOWN until a person reports its
  result.
- `find` returns whether a message was accepted, or None if the channel cannot look that up (SMTP
  cannot).
- A reason contains no address. Of a server's answer, it contains only the status code.
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
    """One rendered message to one recipient."""

    token: str
    address: str  # for a letter, the lines in the window of the envelope
    subject: str
    text: str
    html: str
    language: str  # BCP 47, becomes Content-Language
    parts: PreparedParts | None = None  # the identical object in each message that shares it
    shown: Mapping[str, str] = field(default_factory=dict)  # by slot, in plain text
    escaped: Mapping[str, str] = field(default_factory=dict)  # by slot, in HTML

    @cached_property
    def is_made_of_parts(self) -> bool:
        """Return whether the shared pieces and the slots produce this message."""
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
    """Base class of one channel."""

    name: str  # the key in the configuration
    limits: Limits

    def send(self, messages: Sequence[Message]) -> list[Result]:
        """Send the messages; an unexpected error makes each of them UNKNOWN."""
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
        """Return why the channel cannot reach an address; empty if it can."""
        try:
            parse_address(address)
        except ValueError as error:
            return str(error)
        return ""

    def find(self, tokens: Sequence[str]) -> list[bool | None]:
        """Return whether each message was accepted; None if it cannot be known."""
        return [None for _ in tokens]

    def reach(self) -> None:  # a channel without connections is always reachable
        """Connect and sign in without sending a message.

        Raises Unavailable with the cause. `standfast check` calls it.
        """

    def close(self) -> None:  # a channel without connections closes nothing
        """Close idle connections; the next call opens new ones."""

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
    """Return why no channel may send a message; empty if it may be sent."""
    if not _TOKEN.fullmatch(message.token) or len(message.token) > 120:
        return "the token is not valid in a Message-ID"
    if not message.subject or not is_one_line(message.subject):
        return "the subject is not one visible line"
    if begins_encoded_word(message.subject):
        return "the subject has the beginning of an encoded word"
    if not _LANGUAGE.fullmatch(message.language):
        return "the language is not a language tag"
    if not _is_mail_text(message):
        return "the body has a control character"
    return ""


def _is_mail_text(message: Message) -> bool:
    if message.parts is not None and message.is_made_of_parts:
        # The shared pieces are checked once, and the recipient's own part for each message.
        own = (*message.shown.values(), *message.escaped.values())
        return message.parts.is_mail_text and all(map(is_mail_text, own))
    return is_mail_text(message.text) and is_mail_text(message.html)


def _unknown(message: Message, reason: str) -> Result:
    return Result(target=message.address, state=EffectState.UNKNOWN, reason=reason)
