"""A message is committed with its incident or without one, once."""

import threading

import pytest

from standfast.ledger import Ledger
from standfast.ledger.schema.tables import trigger_message
from standfast.records import JsonObject, Mode
from tests.ledger.ledger_files import NOW
from tests.ledger.stage import message_of, open_incident


def test_repeated_message_returns_the_same_incident(ledger: Ledger) -> None:
    first = open_incident(ledger, trigger="a", message="msg_1")
    events = len(ledger.timeline())
    assert open_incident(ledger, trigger="a", message="msg_1") == first
    # The same message from another trigger.
    assert open_incident(ledger, trigger="b", message="msg_1") == first
    assert len(ledger.timeline()) == events  # a repeat adds no event
    others: JsonObject = {"accounts": ["somebody", "else"]}
    assert open_incident(ledger, trigger="b", message="msg_2", inputs=others) != first
    assert ledger.audit.verify().is_whole


def test_message_of_a_closed_incident_opens_none(ledger: Ledger) -> None:
    first = open_incident(ledger, trigger="a", message="msg_1")
    ledger.incidents.close(first, "olga", NOW)
    assert open_incident(ledger, trigger="a", message="msg_1") == first
    assert open_incident(ledger, trigger="a", message="msg_2") != first


def test_another_message_joins_the_open_incident(ledger: Ledger) -> None:
    first = open_incident(ledger, trigger="a", message="msg_1")
    assert open_incident(ledger, trigger="a", message="msg_2") == first
    assert open_incident(ledger, trigger="other", message="msg_2") == first


def test_two_sources_may_use_one_id(ledger: Ledger) -> None:
    mine, theirs = message_of(ledger, "msg_1", "siem"), message_of(ledger, "msg_1", "mail")
    assert (mine.handle, mine.source) != (theirs.handle, theirs.source)
    opened = [
        ledger.incidents.open(
            scenario="lock",
            mode=Mode.PLAN,
            playbook="",
            adapters=[],
            inputs={},
            opened_by="trigger:x",
            is_signed=False,
            trigger=None,
            now=NOW,
            message=message,
        )
        for message in (mine, theirs)
    ]
    assert [has_joined for _, has_joined in opened] == [False, False]


def test_simultaneous_copies_open_one_incident(ledger: Ledger) -> None:
    together = threading.Barrier(8)
    opened: list[str] = []

    def send(number: int) -> None:
        together.wait(timeout=60)
        opened.append(open_incident(ledger, trigger=f"t{number}", message="msg_1"))

    threads = [threading.Thread(target=send, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert opened == ["inc-2026-0001"] * 8
    assert [one.id for one in ledger.incidents.all()] == ["inc-2026-0001"]
    assert ledger.audit.verify().is_whole


def test_uncommitted_incident_leaves_no_message(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(write: object, message: object, incident_id: str) -> None:
        raise RuntimeError("the power went")

    monkeypatch.setattr("standfast.ledger.incidents.trigger_messages.keep", fail)
    with pytest.raises(RuntimeError):
        open_incident(ledger, message="msg_1")
    assert ledger.incidents.all() == []
    with ledger.database.reading() as connection:
        assert connection.execute(trigger_message.select()).all() == []
