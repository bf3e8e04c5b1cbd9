"""Events of AWS CloudTrail."""

from collections.abc import Mapping
from typing import Any

from standfast.evidence.parsers.log_record import (
    FAILURE,
    SIGN_IN,
    SUCCESS,
    Record,
    inner,
    parse_time,
    text_of,
)

_OBJECTS = ("bucketName", "key", "userName", "roleName", "functionName", "instanceId", "tableName")


def parse_event(number: int, event: Mapping[str, Any]) -> Record | None:
    """Parse an event; None if it has no time."""
    time = parse_time(event.get("eventTime"))
    if time is None:
        return None
    at, _ = time
    error = text_of(event.get("errorCode"))
    action, result = text_of(event.get("eventName")), error or SUCCESS
    if action == "ConsoleLogin":
        is_done = inner(event, "responseElements", "ConsoleLogin") == "Success"
        action, result = SIGN_IN, SUCCESS if is_done else FAILURE
    return Record(
        at,
        number,
        False,
        _account(event.get("userIdentity")),
        text_of(event.get("sourceIPAddress")),
        action,
        _object(event),
        result,
        text_of(event.get("userAgent")),
    )


def _account(identity: Any) -> str:
    """Return the user of an identity; for an assumed role, role and session."""
    arn = text_of(inner(identity, "arn"))
    name = text_of(inner(identity, "userName"))
    if not name and ":assumed-role/" in arn:
        return arn.partition(":assumed-role/")[2]
    return name or arn or text_of(inner(identity, "invokedBy"))


def _object(event: Mapping[str, Any]) -> str:
    given = event.get("requestParameters")
    named = [text for key in _OBJECTS if (text := text_of(inner(given, key)))]
    resource = text_of(inner(event, "resources", 0, "ARN"))
    return "/".join(named) or resource or text_of(event.get("eventSource"))
