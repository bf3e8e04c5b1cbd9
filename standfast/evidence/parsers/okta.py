"""Events of Okta's system log."""

from collections.abc import Mapping
from typing import Any

from standfast.evidence.parsers.log_record import (
    FAILURE,
    SIGN_IN,
    SUCCESS,
    Record,
    inner,
    parse_time,
    place,
    text_of,
)

_SIGN_INS = ("user.session.start", "user.authentication")


def parse_event(number: int, event: Mapping[str, Any]) -> Record | None:
    """Parse an event; None if it has no time."""
    time = parse_time(event.get("published"))
    if time is None:
        return None
    at, _ = time
    action, result = text_of(event.get("eventType")), text_of(inner(event, "outcome", "result"))
    if action.startswith(_SIGN_INS):
        action, result = SIGN_IN, SUCCESS if result in ("SUCCESS", "ALLOW") else FAILURE
    client, target = event.get("client"), inner(event, "target", 0)
    area = inner(client, "geographicalContext")
    return Record(
        at,
        number,
        False,
        text_of(inner(event, "actor", "alternateId")),
        text_of(inner(client, "ipAddress")),
        action,
        text_of(inner(target, "alternateId")) or text_of(inner(target, "displayName")),
        result,
        text_of(inner(event, "debugContext", "debugData", "deviceFingerprint"))
        or text_of(inner(client, "userAgent", "rawUserAgent")),
        place(
            inner(area, "country"),
            inner(area, "geolocation", "lat"),
            inner(area, "geolocation", "lon"),
        ),
    )
