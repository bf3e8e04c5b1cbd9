import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from standfast.adapters.senders.sendgrid.delivery_events import (
    SIGNATURE,
    TIMESTAMP,
    NotGenuine,
    read_events,
    read_headers,
    verify,
)
from standfast.errors import ConfigurationError
from standfast.records import DeliveryState
from tests.servers.sendgrid import SendGrid

NOW = datetime(2026, 3, 4, 3, 0, tzinfo=UTC)
TOKEN = "0123456789abcdef" * 2


def event(kind: object, **changes: Any) -> dict[str, Any]:
    return {
        "event": kind,
        "timestamp": int(NOW.timestamp()),
        "sg_event_id": f"{kind}",
        "standfast_token": TOKEN,
        **changes,
    }


@pytest.mark.parametrize(
    ("kind", "state", "is_complaint"),
    [
        ("processed", DeliveryState.TAKEN, False),
        ("deferred", DeliveryState.DEFERRED, False),
        ("delivered", DeliveryState.DELIVERED, False),
        ("bounce", DeliveryState.BOUNCED, False),
        ("dropped", DeliveryState.DROPPED, False),
        ("spamreport", DeliveryState.DELIVERED, True),
    ],
)
def test_each_kind_of_event_means_one_thing(
    kind: str, state: DeliveryState, is_complaint: bool
) -> None:
    told = read_events(json.dumps([event(kind)]).encode())
    (one,) = told.events
    assert (one.token, one.state, one.at, one.is_complaint) == (TOKEN, state, NOW, is_complaint)
    assert told.unread == 0


def test_repeated_event_counts_once_foreign_never() -> None:
    events = [
        event("bounce"),
        event("bounce"),
        *map(event, ("open", "click", "unsubscribe", "group_unsubscribe", "group_resubscribe")),
        event("delivered", standfast_token="alarm.1"),
        event("delivered", standfast_token=None),
        event("delivered", standfast_token=TOKEN[1:]),
        event("delivered", standfast_token=TOKEN + ".1"),
    ]
    told = read_events(json.dumps(events).encode())
    assert [one.state for one in told.events] == [DeliveryState.BOUNCED]
    assert told.unread == 0


def test_events_without_id_both_count() -> None:
    """The event that arrives last need not be the latest one."""
    other = {**event("delivered", standfast_token=TOKEN[::-1]), "sg_event_id": None}
    events = [
        event("bounce"),
        event("delivered"),
        {**event("deferred"), "sg_event_id": None},
        other,
    ]
    told = read_events(json.dumps(events).encode())
    assert [(one.token, one.state) for one in told.events] == [
        (TOKEN, DeliveryState.BOUNCED),
        (TOKEN, DeliveryState.DELIVERED),
        (TOKEN, DeliveryState.DEFERRED),
        (TOKEN[::-1], DeliveryState.DELIVERED),
    ]


@pytest.mark.parametrize(
    "broken",
    [
        event("exploded"),
        event(["bounce"]),
        event("bounce", timestamp="1700000000"),
        event("bounce", timestamp=True),
        event("bounce", timestamp=-1),
        event("bounce", timestamp=10**400),
        7,
        None,
    ],
)
def test_unreadable_events_are_counted(broken: Any) -> None:
    told = read_events(json.dumps([broken, event("delivered")]).encode())
    assert [one.state for one in told.events] == [DeliveryState.DELIVERED]
    assert told.unread == 1


@pytest.mark.parametrize("body", [b"", b"{}", b"[", b"\xff", b"7"])
def test_what_is_no_list_is_an_error(body: bytes) -> None:
    with pytest.raises(ValueError):
        read_events(body)


def test_signature_covers_bytes_time_and_keys() -> None:
    ours, others = SendGrid(), SendGrid()
    at = int(NOW.timestamp())
    body, headers = ours.signed([event("bounce")], at)
    signed = read_headers({name.lower(): text for name, text in headers.items()}, NOW)
    verify(signed, body, [others.event_key, ours.event_key + "\n"])
    for keys, content in (([], body), ([others.event_key], body), ([ours.event_key], body + b" ")):
        with pytest.raises(NotGenuine):
            verify(signed, content, keys)
    with pytest.raises(ConfigurationError, match="event_key"):
        verify(signed, body, ["no key"])


@pytest.mark.parametrize("signature", ["no base64!", "abc", "\u00e9", ""])
def test_a_signature_that_is_none_is_not_genuine(signature: str) -> None:
    account = SendGrid()
    body, headers = account.signed([event("bounce")], int(NOW.timestamp()))
    signed = read_headers({name.lower(): text for name, text in headers.items()}, NOW)
    with pytest.raises(NotGenuine):
        verify(replace(signed, signature=signature), body, [account.event_key])


def test_non_text_body_is_refused() -> None:
    account = SendGrid()
    headers = account.headers_of(b"\xff", int(NOW.timestamp()))
    signed = read_headers({name.lower(): text for name, text in headers.items()}, NOW)
    with pytest.raises(NotGenuine):
        verify(signed, b"\xff", [account.event_key])


@pytest.mark.parametrize(
    ("moment", "is_near"),
    [
        (NOW - timedelta(hours=25), True),
        (NOW - timedelta(hours=27), False),
        (NOW + timedelta(minutes=9), True),
        (NOW + timedelta(minutes=11), False),
    ],
)
def test_a_message_is_believed_for_a_day(moment: datetime, is_near: bool) -> None:
    headers = {SIGNATURE: "c2ln", TIMESTAMP: str(int(moment.timestamp()))}
    if is_near:
        assert read_headers(headers, NOW).signature == "c2ln"
    else:
        with pytest.raises(NotGenuine):
            read_headers(headers, NOW)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {SIGNATURE: "c2ln"},
        {SIGNATURE: "c2ln", TIMESTAMP: "soon"},
        {SIGNATURE: "c2ln", TIMESTAMP: f" {NOW.timestamp():.0f}"},
        {SIGNATURE: "c2ln", TIMESTAMP: f"-{NOW.timestamp():.0f}"},
        {SIGNATURE: "c2ln", TIMESTAMP: "9" * 13},
        {SIGNATURE: "c2ln", TIMESTAMP: "9" * 5000},
        {SIGNATURE: "c" * 501, TIMESTAMP: f"{NOW.timestamp():.0f}"},
        {TIMESTAMP: f"{NOW.timestamp():.0f}"},
    ],
)
def test_headers_that_are_not_there_are_not_genuine(headers: dict[str, str]) -> None:
    with pytest.raises(NotGenuine):
        read_headers(headers, NOW)
