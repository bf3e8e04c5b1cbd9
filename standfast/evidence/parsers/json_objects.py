"""Objects of JSON, in lines or in the pages that providers send.

Rules
- The keys of an object identify the provider that wrote it. If no provider is identified, common
  names of keys are used.
- If an object is a result page of a provider's API, the events in its list are yielded instead.
- The message of a CloudWatch event is a line of another log, and is parsed as such. If the time in
  the message has a time zone, it is used; otherwise the time of the event. A message that is not
  JSON is parsed up to LONGEST_TEXT, as a line of text is.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from itertools import chain
from typing import Any, TypeAlias

import orjson

from standfast.evidence.parsers import (
    amazon_connect,
    cloudtrail,
    entra,
    journald,
    okta,
    postgresql,
)
from standfast.evidence.parsers.log_record import (
    LONGEST_TEXT,
    Record,
    as_datetime,
    inner,
    parse_time,
    text_of,
)
from standfast.evidence.parsers.text_lines import message_fields, parse_text

_Parser: TypeAlias = Callable[[int, Mapping[str, Any]], Record | None]
_PAGES = ("Records", "value", "items", "events", "Contacts")  # keys that contain a list of events


def _parse_cloudwatch(number: int, event: Mapping[str, Any]) -> Record | None:
    """Parse an event of CloudWatch by its message; None if it has no time."""
    time = parse_time(event["timestamp"])
    if time is None:
        return None
    at, message = time[0], text_of(event["message"])
    found = _parse_message(number, message, at) or Record(
        at, number, False, *message_fields("", message[:LONGEST_TEXT])
    )
    text = ": ".join(filter(None, (text_of(event.get("logStreamName")), message)))
    return found._replace(
        at=at if found.is_zone_assumed else found.at, is_zone_assumed=False, text=text
    )


def _parse_message(number: int, message: str, at: int) -> Record | None:
    """Parse a message as a line of a log; None if in no known format."""
    try:
        inside = orjson.loads(message)
    except ValueError:
        return parse_text(number, message[:LONGEST_TEXT], as_datetime(at))
    return parse_object(number, {"timestamp": at, **inside}) if isinstance(inside, dict) else None


_PROVIDERS: tuple[tuple[tuple[str, ...], _Parser], ...] = (
    (("timestamp", "message", "ingestionTime"), _parse_cloudwatch),
    (("InitiationTimestamp",), amazon_connect.parse_contact),
    (("eventVersion", "eventName"), cloudtrail.parse_event),
    (("published", "eventType", "actor"), okta.parse_event),
    (("createdDateTime", "userPrincipalName"), entra.parse_sign_in),
    (("activityDateTime", "activityDisplayName"), entra.parse_audit),
    (("timestamp", "error_severity"), postgresql.parse_json),
    (("__REALTIME_TIMESTAMP",), journald.parse_entry),
)
TIMES = (
    "timestamp", "@timestamp", "time", "ts", "at", "datetime", "created_at", "eventTime",
    "log_time", "date",
)  # fmt: skip
_ACCOUNTS = (
    "account", "user", "username", "user_name", "login", "actor", "agent", "agent_id",
    "principal", "email", "usr",
)  # fmt: skip
_ADDRESSES = (
    "address", "ip", "client_ip", "ip_address", "ipAddress", "remote_addr", "remote_ip", "src_ip",
    "source_ip", "client_addr", "client",
)  # fmt: skip
_ACTIONS = (
    "action",
    "event",
    "event_type",
    "operation",
    "method",
    "type",
    "name",
    "message",
    "msg",
)
_OBJECTS = (
    "object", "resource", "record", "customer_id", "target", "path", "uri", "url", "request_uri",
    "table",
)  # fmt: skip
_RESULTS = ("result", "outcome", "status", "success", "status_code")
_DEVICES = ("device", "device_id", "user_agent", "userAgent", "http_user_agent")
_COMMON = (TIMES, _ACCOUNTS, _ADDRESSES, _ACTIONS, _OBJECTS, _RESULTS, _DEVICES)
_KEYS = frozenset(chain(*_COMMON, *(keys for keys, _ in _PROVIDERS)))
_NAMES = ("name", "email", "id", "login")  # keys of the name, if an account is an object


def read_objects(raw: bytes) -> Iterator[Mapping[str, Any] | None]:
    """Yield the events of a JSON text; yield None for each other value.

    Raise ValueError if the text is not JSON.
    """
    value = orjson.loads(raw)
    if isinstance(value, dict):
        lists = [value[key] for key in _PAGES if isinstance(value.get(key), list)]
        value = lists[0] if lists else [value]
    for event in value if isinstance(value, list) else [value]:
        yield event if isinstance(event, dict) else None


def parse_object(number: int, event: Mapping[str, Any]) -> Record | None:
    """Parse an object of any provider; None if it has no time."""
    parser = _parser(_known_keys(event))
    found = parser(number, event) if parser else _by_names(number, event)
    if found is None or found.text:
        return found
    try:
        return found._replace(text=orjson.dumps(event).decode())
    except orjson.JSONEncodeError:  # orjson reads deeper nesting than it writes
        return found._replace(is_cut=True)


def _known_keys(event: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the keys that parsers use.

    Results are cached by these keys. Other keys would fill the caches.
    """
    return tuple(key for key in event if key in _KEYS)


@lru_cache(maxsize=1024)
def _parser(keys: tuple[str, ...]) -> _Parser | None:
    """Return the parser of the provider with these keys, or None."""
    return next((parser for needed, parser in _PROVIDERS if set(needed) <= {*keys}), None)


@lru_cache(maxsize=1024)
def _present(keys: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """Return the keys to read for each field of a record."""
    return tuple(tuple(name for name in names if name in keys) for names in _COMMON)


def _by_names(number: int, event: Mapping[str, Any]) -> Record | None:
    times, accounts, addresses, actions, objects, results, devices = _present(_known_keys(event))
    time = next((found for key in times if (found := parse_time(event[key]))), None)
    time = time or parse_time(inner(event, "id", "time"))  # Google Workspace
    if time is None:
        return None
    at, is_zone_assumed = time
    action = _first(event, actions)
    if not action and isinstance(events := event.get("events"), list) and events:
        action = text_of(inner(events[0], "name"))
    return Record(
        at,
        number,
        is_zone_assumed,
        _first(event, accounts),
        _first(event, addresses),
        action,
        _first(event, objects),
        _first(event, results),
        _first(event, devices),
    )


def _first(event: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    for key in keys:
        value = event[key]
        if isinstance(value, dict):
            value = next((value[name] for name in _NAMES if value.get(name)), None)
        if text := text_of(value):
            return text
    return ""
