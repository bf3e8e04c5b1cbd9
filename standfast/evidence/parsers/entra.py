"""Sign-ins and directory audits of Microsoft Entra ID."""

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


def parse_sign_in(number: int, event: Mapping[str, Any]) -> Record | None:
    """Parse a sign-in; None if it has no time."""
    time = parse_time(event.get("createdDateTime"))
    if time is None:
        return None
    at, _ = time
    device, area = event.get("deviceDetail"), event.get("location")
    described = (text_of(inner(device, key)) for key in ("operatingSystem", "browser"))
    return Record(
        at,
        number,
        False,
        text_of(event.get("userPrincipalName")),
        text_of(event.get("ipAddress")),
        SIGN_IN,
        text_of(event.get("appDisplayName")) or text_of(event.get("resourceDisplayName")),
        SUCCESS if inner(event, "status", "errorCode") == 0 else FAILURE,
        text_of(inner(device, "deviceId")) or " ".join(filter(None, described)),
        place(
            inner(area, "countryOrRegion"),
            inner(area, "geoCoordinates", "latitude"),
            inner(area, "geoCoordinates", "longitude"),
        ),
    )


def parse_audit(number: int, event: Mapping[str, Any]) -> Record | None:
    """Parse a directory audit; None if it has no time."""
    time = parse_time(event.get("activityDateTime"))
    if time is None:
        return None
    at, _ = time
    by, target = event.get("initiatedBy"), inner(event, "targetResources", 0)
    return Record(
        at,
        number,
        False,
        text_of(inner(by, "user", "userPrincipalName")) or text_of(inner(by, "app", "displayName")),
        text_of(inner(by, "user", "ipAddress")),
        text_of(event.get("activityDisplayName")),
        text_of(inner(target, "userPrincipalName")) or text_of(inner(target, "displayName")),
        text_of(event.get("result")),
    )
