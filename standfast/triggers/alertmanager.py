"""What Prometheus' Alertmanager posts: a group of alerts, firing or resolved (webhook version 4).

Rules
- It cannot sign: whoever knows its bearer token may say anything, so it plans and pages only.
- A group is known by its key, and joins the incident that it opened while that is open.
- The same alerts in the same state are one message, however often they are repeated. An alert more
  or less, or one that fires anew, is another.
- Of a group that fires, only the alerts that fire count: a resolved one locks nobody.
- Alertmanager may leave alerts out (`max_alerts`); how many it says it did is told: they are lost.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from standfast.triggers.input_mapping import Missing

_VERSION = "4"
_FIRING, _RESOLVED = "firing", "resolved"


@dataclass(frozen=True, kw_only=True)
class AlertGroup:
    """One group as it was posted."""

    key: str
    message_id: str
    is_firing: bool
    payload: Mapping[str, object]  # with the alerts that fire alone
    left_out: int  # alerts that Alertmanager did not send


def read_group(payload: Mapping[str, object]) -> AlertGroup:
    """Read what was posted; ValueError when it is not Alertmanager's."""
    if payload.get("version") != _VERSION:
        raise ValueError("this is no message of Alertmanager, version 4")
    key, status, alerts = payload.get("groupKey"), payload.get("status"), payload.get("alerts")
    if not isinstance(key, str) or not key or status not in (_FIRING, _RESOLVED):
        raise ValueError("the group has no key, or neither fires nor is resolved")
    if not isinstance(alerts, list) or not all(isinstance(one, dict) for one in alerts):
        raise ValueError("the group has no list of alerts")
    listed = cast("list[dict[str, object]]", alerts)
    firing = [one for one in listed if one.get("status") == _FIRING]
    if status == _FIRING and not firing:
        raise Missing("the group fires, and none of its alerts does")
    return AlertGroup(
        key=key,
        message_id=_id(key, str(status), firing if status == _FIRING else listed),
        is_firing=status == _FIRING,
        payload={**payload, "alerts": firing},
        left_out=_left_out(payload.get("truncatedAlerts")),
    )


def _left_out(said: object) -> int:
    return said if isinstance(said, int) and not isinstance(said, bool) and said > 0 else 0


def _id(key: str, status: str, alerts: list[dict[str, object]]) -> str:
    told = sorted(f"{one.get('fingerprint')} {one.get('startsAt')}" for one in alerts)
    return hashlib.sha256("\n".join([key, status, *told]).encode(errors="replace")).hexdigest()
