"""Staff notified through apprise, here by JSON over HTTP on loopback."""

import json
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from standfast.adapters.senders.apprise import AppriseSender
from standfast.config.sections.senders import AppriseSenderConfig
from standfast.errors import ConfigurationError
from standfast.records import EffectState
from tests.adapters.senders.sender_context import context
from tests.adapters.senders.sender_contract import message
from tests.adapters.settings import settings_of
from tests.servers import free_port, growing
from tests.servers.over_http import Answering, listening


@dataclass(kw_only=True)
class Room:
    url: str = ""
    posts: list[dict[str, Any]] = field(default_factory=list)
    status: int = 200
    is_silent: bool = False
    let_go: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def room() -> Iterator[Room]:
    found = Room()

    class Handler(Answering):
        def do_POST(self) -> None:
            found.posts.append(json.loads(self.body()))
            if found.is_silent:
                found.let_go.wait(60)
            self.answer(found.status)

    with listening(Handler) as port:
        found.url = f"json://127.0.0.1:{port}/secret-path"
        yield found
        found.let_go.set()


def sender_for(url: str, seconds: float = 10.0) -> AppriseSender:
    settings = settings_of(AppriseSenderConfig, url=url, timeout_seconds=seconds)
    return AppriseSender("chat", settings, context())


def test_message_is_posted_as_plain_text(room: Room) -> None:
    results = sender_for(room.url).send([message(1), message(2)])
    assert [one.state for one in results] == [EffectState.DONE] * 2
    posts = [(one["title"], one["message"].strip()) for one in room.posts]
    assert posts == [(one.subject, one.text.strip()) for one in (message(1), message(2))]
    assert all("customers.test" not in json.dumps(one) for one in room.posts)


def test_what_says_the_same_is_posted_once(room: Room) -> None:
    same = {"subject": "Please read", "text": "Call the desk.\n"}
    results = sender_for(room.url).send([message(number, **same) for number in (1, 2, 3)])
    assert [one.state for one in results] == [EffectState.DONE] * 3
    assert len(room.posts) == 1


def test_refusal_leaves_the_outcome_unknown(room: Room, caplog: Any) -> None:
    room.status = 500
    with caplog.at_level(logging.DEBUG):
        (result,) = sender_for(room.url).send([message()])
    assert result.state is EffectState.UNKNOWN
    assert len(room.posts) == 1
    assert "secret-path" not in caplog.text + result.reason


def test_silence_is_cut_and_rest_retryable(room: Room) -> None:
    room.is_silent = True
    for seconds in growing(0.4):
        results = sender_for(room.url, seconds=seconds).send([message(1), message(2)])
        if room.posts:
            break
    assert [one.state for one in results] == [EffectState.UNKNOWN, EffectState.FAILED]
    assert len(room.posts) == 1


def test_absent_channel_is_unknown_and_stops_nobody() -> None:
    results = sender_for(f"json://127.0.0.1:{free_port()}").send([message(1), message(2)])
    assert [one.state for one in results] == [EffectState.UNKNOWN] * 2


@pytest.mark.parametrize("url", ["", "nonsense", "what://x", "json://a, json://b"])
def test_unknown_address_is_named_at_build(url: str) -> None:
    with pytest.raises(ConfigurationError, match="url") as caught:
        sender_for(url)
    assert not url or url not in str(caught.value)
