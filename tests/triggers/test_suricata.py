"""A rule means an alert when all that it names holds."""

from ipaddress import ip_network
from typing import Any

import pytest

from standfast.triggers.suricata import EveRule, key_of, line_id

ALERT: dict[str, Any] = {
    "event_type": "alert",
    "src_ip": "10.1.2.3",
    "dest_ip": "2001:db8::7",
    "alert": {"signature_id": 1000001, "severity": 2, "category": "Credential Theft"},
}


@pytest.mark.parametrize(
    ("rule", "means"),
    [
        (EveRule(), False),
        (EveRule(signature_ids=frozenset({1000001})), True),
        (EveRule(signature_ids=frozenset({1000002})), False),
        (EveRule(least_severe=1), False),
        (EveRule(least_severe=2), True),
        (EveRule(categories=frozenset({"credential theft"})), True),
        (EveRule(categories=frozenset({"other"})), False),
        (EveRule(networks=(ip_network("10.1.2.0/24"),)), True),
        (EveRule(networks=(ip_network("2001:db8::/64"),)), True),
        (EveRule(networks=(ip_network("192.0.2.0/24"),)), False),
        (EveRule(signature_ids=frozenset({1000001}), least_severe=1), False),
        (EveRule(signature_ids=frozenset({1000001}), networks=(ip_network("10.0.0.0/8"),)), True),
    ],
)
def test_a_rule_means_what_it_names(rule: EveRule, means: bool) -> None:
    assert rule.matches(ALERT) is means
    assert rule.matches({**ALERT, "event_type": "flow"}) is False


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"event_type": "alert"},
        {"event_type": "alert", "alert": []},
        {"event_type": "alert", "alert": {"severity": "1"}},
        {"event_type": "alert", "alert": {"severity": 0}},
        {"event_type": "alert", "alert": {}, "src_ip": 7, "dest_ip": "not an address"},
    ],
)
def test_odd_event_is_ignored(event: dict[str, Any]) -> None:
    rule = EveRule(
        least_severe=3, categories=frozenset({"x"}), networks=(ip_network("10.0.0.0/8"),)
    )
    assert rule.matches(event) is False
    assert EveRule(least_severe=3).matches(event) is False
    assert key_of(event)


def test_a_line_is_known_by_its_bytes() -> None:
    assert line_id(b"{}") == line_id(b"{}")
    assert line_id(b"{}") != line_id(b"{ }")
