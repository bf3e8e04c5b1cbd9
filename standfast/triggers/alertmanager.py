"""Messages of Prometheus' Alertmanager (webhook version 4).

A trigger, a configured way to open an incident, receives these messages. One message contains a
group of alerts.

Rules
- Alertmanager cannot sign messages: everybody with the bearer token of the trigger can send
  anything. Therefore its messages only plan an incident and page people.
- A group is identified by its key. While the incident that a group opened is open, further messages
  of the group are added to it.
- The same alerts in the same state are one message, even if they are repeated. If an alert is added
  or missing, or fires again, the message is a new one.
- Of a firing group, only the firing alerts are used. The account of a resolved alert is not locked.
- Alertmanager may omit alerts (`max_alerts`). The number of omitted alerts is reported, because
  they are lost.
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
    """One group of alerts, as Alertmanager posted it."""

    key: str
    message_id: str
    is_firing: bool
    payload: Mapping[str, object]  # with the firing alerts only
    left_out: int  # number of alerts that Alertmanager did not send


def read_group(payload: Mapping[str, object]) -> AlertGroup:
    """Parse a posted message; ValueError for any format but Alertmanager's."""
    if payload.get("version") != _VERSION:
        raise ValueError("the message is not of Alertmanager, version 4")
    key, status, alerts = payload.get("groupKey"), payload.get("status"), payload.get("alerts")
    if not isinstance(key, str) or not key or status not in (_FIRING, _RESOLVED):
        raise ValueError("the group has no key, or its state is invalid")
    if not isinstance(alerts, list) or not all(isinstance(alert, dict) for alert in alerts):
        raise ValueError("the group has no list of alerts")
    listed = cast("list[dict[str, object]]", alerts)
    firing = [alert for alert in listed if alert.get("status") == _FIRING]
    if status == _FIRING and not firing:
        raise Missing("the status of the group is firing, but that of none of its alerts")
    return AlertGroup(
        key=key,
        message_id=_id(key, str(status), firing if status == _FIRING else listed),
        is_firing=status == _FIRING,
        payload={**payload, "alerts": firing},
        left_out=_left_out(payload.get("truncatedAlerts")),
    )


def _left_out(count: object) -> int:
    return count if isinstance(count, int) and not isinstance(count, bool) and count > 0 else 0


def _id(key: str, status: str, alerts: list[dict[str, object]]) -> str:
    identities = sorted(f"{alert.get('fingerprint')} {alert.get('startsAt')}" for alert in alerts)
    return hashlib.sha256(
        "\n".join([key, status, *identities]).encode(errors="replace")
    ).hexdigest()
