"""The twin of a channel, for exercises and tests: it keeps what it is handed.

Rules
- It answers DONE unless told otherwise, and can tell what it took on, as an HTTP provider can.
- A message that it answers REFUSED or FAILED is not kept; one it answers UNKNOWN is kept or not, as
  with a connection that broke, by the answer's own word.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from standfast.adapters.senders import Message, Sender
from standfast.adapters.senders.letters import letter_obstacle
from standfast.records import EffectState, Limits, Result


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the twin says to one message, and whether it takes it on all the same."""

    state: EffectState
    reason: str = ""
    retry_after_seconds: float | None = None
    is_taken: bool = False


TAKEN = Answer(state=EffectState.DONE, is_taken=True)


class SimulatedSender(Sender):
    """Keeps messages in memory; safe to call from several threads."""

    def __init__(
        self,
        *,
        name: str = "memory",
        answer: Callable[[Message], Answer] = lambda _: TAKEN,
        limits: Limits | None = None,
        is_postal: bool = False,
    ) -> None:
        """`answer` decides about each message; what it raises escapes, as a bug would.

        The twin of a channel of letters `is_postal`: it takes lines of an address, and no mail.
        """
        self.name = name
        self.limits = limits or Limits(batch=10, is_local=True)
        self.messages: list[Message] = []  # taken on, in order, repeats included
        self._answer = answer
        self._is_postal = is_postal
        self._lock = threading.Lock()

    def why_no_address(self, address: str) -> str:
        """Say why the channel that this stands for could not carry anything there."""
        return letter_obstacle(address) if self._is_postal else super().why_no_address(address)

    def find(self, tokens: Sequence[str]) -> list[bool | None]:
        """Was each message taken on?"""
        with self._lock:
            taken = {message.token for message in self.messages}
        return [token in taken for token in tokens]

    def _send(self, messages: Sequence[Message]) -> list[Result]:
        return [self._take(message) for message in messages]

    def _take(self, message: Message) -> Result:
        answer = self._answer(message)
        if answer.is_taken:
            with self._lock:
                self.messages.append(message)
        return Result(
            target=message.address,
            state=answer.state,
            reason=answer.reason,
            retry_after_seconds=answer.retry_after_seconds,
        )
