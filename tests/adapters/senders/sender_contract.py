"""Contract of every sender."""

from collections.abc import Sequence
from typing import Any

import pytest

from standfast.adapters.senders import Message, Sender
from standfast.records import EffectState


def message(number: int = 1, **changes: str) -> Message:
    fields: dict[str, Any] = {
        "token": f"token-{number}",
        "address": f"person{number}@customers.test",
        "subject": f"For person {number}: größere Störung",
        "text": f"Dear person {number},\n.\n..two dots\nFrom here on: naïve\n",
        "html": f"<p>Dear person {number}: naïve</p>\n",
        "language": "en",
    }
    return Message(**{**fields, **changes})


class SenderContract:
    """Contract of a sender: needs a `sender`, its arrivals and a rejection."""

    @pytest.fixture
    def sender(self) -> Sender:
        raise NotImplementedError

    def arrived(self) -> Sequence[Message]:
        """Return the messages that the far side accepted, parsed, in order."""
        raise NotImplementedError

    def turn_away(self, address: str) -> None:
        """Make the receiver report an unknown mailbox from now on."""
        raise NotImplementedError

    def put_off(self, address: str) -> None:
        """Make the receiver defer every message from now on."""
        raise NotImplementedError

    def test_a_message_is_handed_over_as_it_is(self, sender: Sender) -> None:
        sent = message()
        (result,) = sender.send([sent])
        assert (result.target, result.state) == (sent.address, EffectState.DONE)
        (there,) = self.arrived()
        assert (there.token, there.address) == (sent.token, sent.address)
        assert (there.subject, there.language) == (sent.subject, sent.language)
        assert (there.text, there.html) == (sent.text, sent.html)

    def test_batch_is_answered_in_order(self, sender: Sender) -> None:
        batch = [message(number) for number in (3, 1, 2)]
        results = sender.send(batch)
        assert [result.target for result in results] == [one.address for one in batch]
        assert {result.state for result in results} == {EffectState.DONE}
        for one, there in zip(batch, self.arrived(), strict=True):
            assert (there.address, there.subject) == (one.address, one.subject)
            assert (there.text, there.html) == (one.text, one.html)

    def test_nothing_to_send_is_no_call(self, sender: Sender) -> None:
        assert sender.send([]) == []
        assert not self.arrived()

    def test_one_turned_away_stops_nobody(self, sender: Sender) -> None:
        self.turn_away("person2@customers.test")
        self.put_off("person3@customers.test")
        results = sender.send([message(number) for number in (1, 2, 3, 4)])
        assert [result.state for result in results] == [
            EffectState.DONE,
            EffectState.REFUSED,
            EffectState.FAILED,
            EffectState.DONE,
        ]
        assert results[2].retry_after_seconds
        assert [there.token for there in self.arrived()] == ["token-1", "token-4"]

    def test_reasons_name_nobody(self, sender: Sender) -> None:
        self.turn_away("person1@customers.test")
        self.put_off("person2@customers.test")
        for result in sender.send([message(1), message(2), message(3, address="no address")]):
            assert result.reason
            assert "person" not in result.reason
            assert "no address" not in result.reason

    @pytest.mark.parametrize(
        "changes",
        [
            {"subject": "two\r\nBcc: all@customers.test"},
            {"subject": "two\nlines"},
            {"subject": "turned \u202eround"},
            {"subject": ""},
            {"subject": "=?utf-8?q?a=0D=0ABcc:_all=40customers.test?="},
            {"subject": "half \ud800"},
            {"address": "person1@customers.test\r\nBcc: all@customers.test"},
            {"address": "person1@customers.test, all@customers.test"},
            {"address": "all <all@customers.test>"},
            {"address": "nobody"},
            {"address": ""},
            {"token": "a>\r\nBcc: all@customers.test"},
            {"token": ""},
            {"language": "en\r\nBcc: all@customers.test"},
            {"text": "a\x00b"},
            {"html": "half \udfff"},
        ],
    )
    def test_hostile_message_is_refused_alone(
        self, sender: Sender, changes: dict[str, str]
    ) -> None:
        bad = message(1, **changes)
        results = sender.send([message(2), bad, message(3)])
        assert [result.state for result in results] == [
            EffectState.DONE,
            EffectState.REFUSED,
            EffectState.DONE,
        ]
        assert results[1].target == bad.address
        assert [there.token for there in self.arrived()] == ["token-2", "token-3"]
        assert all("all@" not in there.address for there in self.arrived())

    def test_token_is_equal_in_every_attempt(self, sender: Sender) -> None:
        sender.send([message()])
        sender.send([message()])
        assert [there.token for there in self.arrived()] == ["token-1", "token-1"]

    def test_finding_answers_once_a_token(self, sender: Sender) -> None:
        sender.send([message(1)])
        taken, unknown = sender.find(["token-1", "token-2"])
        assert taken in (True, None)
        assert unknown in (False, None)
