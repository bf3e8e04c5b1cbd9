"""An unchanged alert group is one message; only firing alerts count."""

import copy
from typing import Any

import pytest

from standfast.triggers.alertmanager import read_group

GROUP: dict[str, Any] = {
    "version": "4",
    "groupKey": '{}:{alertname="Takeover"}',
    "status": "firing",
    "receiver": "standfast",
    "alerts": [
        {"status": "firing", "labels": {"account": "a"}, "fingerprint": "1", "startsAt": "t1"},
        {"status": "resolved", "labels": {"account": "b"}, "fingerprint": "2", "startsAt": "t1"},
        {"status": "firing", "labels": {"account": "c"}, "fingerprint": "3", "startsAt": "t1"},
    ],
}


def group(**more: Any) -> dict[str, Any]:
    return {**copy.deepcopy(GROUP), **more}


def test_group_has_its_key_and_firing_alerts() -> None:
    found = read_group(group())
    assert (found.key, found.is_firing) == (GROUP["groupKey"], True)
    assert [one["fingerprint"] for one in found.payload["alerts"]] == ["1", "3"]  # type: ignore[attr-defined]


def test_order_of_alerts_does_not_matter() -> None:
    first = read_group(group()).message_id
    assert read_group(group(alerts=GROUP["alerts"][::-1])).message_id == first
    assert read_group(group(externalURL="https://elsewhere")).message_id == first


def test_new_alert_is_another_message() -> None:
    first = read_group(group()).message_id
    more = {"status": "firing", "labels": {}, "fingerprint": "4", "startsAt": "t2"}
    assert read_group(group(alerts=[*GROUP["alerts"], more])).message_id != first
    anew = copy.deepcopy(GROUP["alerts"])
    anew[0]["startsAt"] = "t9"
    assert read_group(group(alerts=anew)).message_id != first
    assert read_group(group(groupKey="other")).message_id != first


@pytest.mark.parametrize(("said", "left_out"), [(7, 7), (0, 0), (-1, 0), (True, 0), ("7", 0)])
def test_how_many_alerts_were_left_out_is_told(said: object, left_out: int) -> None:
    assert read_group(group(truncatedAlerts=said)).left_out == left_out
    assert read_group(group()).left_out == 0


def test_a_resolved_group_fires_nothing() -> None:
    found = read_group(group(status="resolved"))
    assert found.is_firing is False
    assert found.message_id != read_group(group()).message_id


@pytest.mark.parametrize(
    "bad",
    [
        {"version": "3"},
        {"groupKey": ""},
        {"groupKey": 7},
        {"status": "other"},
        {"alerts": {}},
        {"alerts": ["x"]},
        {"alerts": []},
    ],
)
def test_what_is_not_alertmanagers_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_group(group(**bad))
