from collections.abc import Sequence

import pytest

from standfast.adapters.senders import Message
from standfast.adapters.senders.simulator import TAKEN, Answer, SimulatedSender
from standfast.records import EffectState
from tests.adapters.senders.sender_contract import SenderContract, message


class TestMemorySender(SenderContract):
    @pytest.fixture
    def sender(self) -> SimulatedSender:
        self.answers: dict[str, Answer] = {}
        self.memory = SimulatedSender(answer=lambda one: self.answers.get(one.address, TAKEN))
        return self.memory

    def arrived(self) -> Sequence[Message]:
        return self.memory.messages

    def turn_away(self, address: str) -> None:
        self.answers[address] = Answer(state=EffectState.REFUSED, reason="no such mailbox")

    def put_off(self, address: str) -> None:
        self.answers[address] = Answer(
            state=EffectState.FAILED, reason="not now", retry_after_seconds=60.0
        )


def test_possibly_accepted_message_can_be_found() -> None:
    lost = Answer(state=EffectState.UNKNOWN, reason="no answer", is_taken=True)
    sender = SimulatedSender(answer=lambda one: lost if one.token == "token-1" else TAKEN)
    assert [one.state for one in sender.send([message(1), message(2)])] == [
        EffectState.UNKNOWN,
        EffectState.DONE,
    ]
    assert sender.find(["token-1", "token-2", "token-3"]) == [True, True, False]


def test_escaped_error_is_unknown_and_not_quoted() -> None:
    def broken(one: Message) -> Answer:
        raise RuntimeError(f"about {one.address}")

    results = SimulatedSender(answer=broken).send([message(1), message(2)])
    assert {result.state for result in results} == {EffectState.UNKNOWN}
    assert {result.reason for result in results} == {"unexpected RuntimeError"}
