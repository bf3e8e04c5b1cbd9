"""Objects of JSON, in lines or in the pages that providers send.

Rules
- The keys of an object say which provider wrote it. Another object is read by common names.
- An object that only wraps a list of events, such as a page, is its events.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import orjson

from standfast.evidence.parsers import cloudtrail, entra, journald, okta, postgresql
from standfast.evidence.parsers.log_record import LONGEST_TEXT, Record, inner, moment, text_of

_Parser: TypeAlias = Callable[[int, Mapping[str, Any]], Record | None]
_PAGES = ("Records", "value", "items", "events", "Contacts")  # keys of lists
_PROVIDERS: tuple[tuple[tuple[str, ...], _Parser], ...] = (
    (("eventVersion", "eventName"), cloudtrail.parse_event),
    (("published", "eventType", "actor"), okta.parse_event),
    (("createdDateTime", "userPrincipalName"), entra.parse_sign_in),
    (("activityDateTime", "activityDisplayName"), entra.parse_audit),
    (("timestamp", "error_severity"), postgresql.parse_json),
    (("__REALTIME_TIMESTAMP",), journald.parse_entry),
)
TIMES = (
    "timestamp", "@timestamp", "time", "ts", "at", "datetime", "created_at", "eventTime",
    "log_time", "date", "InitiationTimestamp",
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
_NAMES = ("name", "email", "id", "login")  # of an object in place of an account


def read_objects(raw: bytes) -> Iterator[Mapping[str, Any] | None]:
    """Yield the events of one JSON text; None for what is not an object.

    Raises ValueError if it is not JSON.
    """
    value = orjson.loads(raw)
    if isinstance(value, dict):
        lists = [value[key] for key in _PAGES if isinstance(value.get(key), list)]
        value = lists[0] if lists else [value]
    for event in value if isinstance(value, list) else [value]:
        yield event if isinstance(event, dict) else None


def parse_object(number: int, event: Mapping[str, Any]) -> Record | None:
    """Parse an object of any provider; None if it has no time."""
    for keys, parser in _PROVIDERS:
        if all(key in event for key in keys):
            found = parser(number, event)
            break
    else:
        found = _by_names(number, event)
    if found is None or found.text:
        return found
    return found._replace(text=orjson.dumps(event)[:LONGEST_TEXT].decode("utf-8", "replace"))


def _by_names(number: int, event: Mapping[str, Any]) -> Record | None:
    at = next((found for key in TIMES if (found := moment(event.get(key)))), None)
    at = at or moment(inner(event, "id", "time"))  # Google Workspace
    if at is None:
        return None
    events = event.get("events")
    named = events[0] if isinstance(events, list) and events else event
    return Record(
        at[0],
        number,
        at[1],
        _first(event, _ACCOUNTS),
        _first(event, _ADDRESSES),
        _first(named if isinstance(named, dict) else event, _ACTIONS),
        _first(event, _OBJECTS),
        _first(event, _RESULTS),
        _first(event, _DEVICES),
    )


def _first(event: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    for key in keys:
        value = event.get(key)
        if isinstance(value, dict):
            value = next((value[name] for name in _NAMES if value.get(name)), None)
        if text := text_of(value):
            return text
    return ""
