"""Simulator of a channel, for exercises and tests; it stores the messages.

Rules
- The result is DONE unless `answer` returns another result. `find` looks up the accepted messages,
  as with an HTTP provider.
- A message with the result REFUSED or FAILED is not stored. A message with the result UNKNOWN is
  stored if `Answer` requests it, as after a broken connection.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from standfast.adapters.senders import Message, Sender
from standfast.adapters.senders.letters import letter_obstacle
from standfast.records import EffectState, Limits, Result


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The result for one message, and whether it is stored as accepted."""

    state: EffectState
    reason: str = ""
    retry_after_seconds: float | None = None
    is_taken: bool = False


TAKEN = Answer(state=EffectState.DONE, is_taken=True)


class SimulatedSender(Sender):
    """A channel that stores messages in memory; safe for several threads."""

    def __init__(
        self,
        *,
        name: str = "memory",
        answer: Callable[[Message], Answer] = lambda _: TAKEN,
        limits: Limits | None = None,
        is_postal: bool = False,
    ) -> None:
        """Set the function that decides about each message.

        An exception in that function is raised to the caller, as a bug in a sender would be. With
        `is_postal` the class simulates letters: it accepts the lines of a postal address, and no
        mail address.
        """
        self.name = name
        self.limits = limits or Limits(batch=10, is_local=True)
        self.messages: list[Message] = []  # accepted, in order, repeats included
        self.answer = answer
        self._is_postal = is_postal
        self._lock = threading.Lock()

    def why_no_address(self, address: str) -> str:
        """Return why the simulated channel could not reach an address."""
        return letter_obstacle(address) if self._is_postal else super().why_no_address(address)

    def find(self, tokens: Sequence[str]) -> list[bool | None]:
        """Return whether each message was accepted."""
        with self._lock:
            taken = {message.token for message in self.messages}
        return [token in taken for token in tokens]

    def _send(self, messages: Sequence[Message]) -> list[Result]:
        return [self._take(message) for message in messages]

    def _take(self, message: Message) -> Result:
        answer = self.answer(message)
        if answer.is_taken:
            with self._lock:
                self.messages.append(message)
        return Result(
            target=message.address,
            state=answer.state,
            reason=answer.reason,
            retry_after_seconds=answer.retry_after_seconds,
        )
