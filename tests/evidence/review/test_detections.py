"""Each detection finds its pattern at its threshold, not below it."""

from typing import Any

import pytest

from standfast.evidence.parsers.log_record import FAILURE, SIGN_IN, SUCCESS
from standfast.evidence.review.detections import (
    AFTER_LOCK,
    FIRST_SEEN,
    MANY_ACCOUNTS,
    MASS_ACCESS,
    TRAVEL,
    Detector,
    Finding,
    LockPeriod,
    Thresholds,
)
from standfast.evidence.review.log_timeline import Event

MINUTE = 60 * 10**6
THRESHOLDS = Thresholds(
    accounts_per_address=3, records_per_hour=3, known_sign_ins=2, travel_kmh=900, travel_hours=2
)


def event(minute: int, **fields: Any) -> Event:
    empty: dict[str, Any] = dict.fromkeys(Event._fields, "") | {
        "at": minute * MINUTE,
        "log": 0,
        "line": minute,
        "is_zone_assumed": False,
        "action": SIGN_IN,
        "result": SUCCESS,
        "account": "agent01",
        "indicators": (),
        "records": (),
        "is_selected": True,
    }
    return Event(**(empty | fields))


def found(*events: Event, locks: tuple[LockPeriod, ...] = ()) -> list[Finding]:
    detector = Detector(THRESHOLDS, locks)
    for seen in events:
        detector.see(seen)
    assert detector.is_complete
    return detector.findings


def test_sign_in_after_lock_is_found() -> None:
    lock = LockPeriod(account="Agent01", begin=5 * MINUTE, end=20 * MINUTE)
    events = [event(minute) for minute in (1, 6, 7, 30)] + [event(8, result=FAILURE)]
    (finding,) = found(*events, locks=(lock,))
    assert (finding.rule, finding.count) == (AFTER_LOCK, 2)
    assert finding.lines == [(0, 6), (0, 7)]


@pytest.mark.parametrize(("apart", "rules"), [(10, [MANY_ACCOUNTS]), (40, [])])
def test_accounts_of_one_address_count_within_hour(apart: int, rules: list[str]) -> None:
    names = ["a", "b", "a", "c"]
    events = [
        event(1 + number * apart, account=name, address="203.0.113.9", result=FAILURE)
        for number, name in enumerate(names)
    ]
    findings = found(*events)
    assert [finding.rule for finding in findings] == rules
    assert all(finding.count == 4 for finding in findings)


def test_new_device_counts_after_known_sign_ins() -> None:
    known = [event(minute, device="phone", address="10.0.0.7") for minute in (1, 2)]
    assert found(*known[:1], event(3, device="laptop", address="10.0.0.7")) == []
    (finding,) = found(*known, event(3, device="laptop", address="10.0.0.7"))
    assert (finding.rule, finding.lines) == (FIRST_SEEN, [(0, 3)])


@pytest.mark.parametrize(
    ("before", "after", "minutes", "is_found"),
    [
        ("DE 52.5 13.4", "BR -23.5 -46.6", 60, True),
        ("DE 52.5 13.4", "BR -23.5 -46.6", 1200, False),
        ("DE 52.5 13.4", "DE 52.4 13.1", 1, False),
        ("DE", "BR", 60, True),
        ("DE", "BR", 180, False),
        ("DE", "DE 52.5 13.4", 1, False),
    ],
)
def test_travel_needs_speed_or_countries(
    before: str, after: str, minutes: int, is_found: bool
) -> None:
    findings = found(event(1, place=before), event(1 + minutes, place=after))
    assert [finding.rule for finding in findings] == [TRAVEL] * is_found


def test_events_of_all_windows_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("standfast.evidence.review.detections.MOST_EVENTS", 4)
    detector = Detector(THRESHOLDS, ())

    def read(minute: int, target: str) -> Event:
        return event(minute, account=target[:1], action="read", object=target)

    for minute, target in ((1, "a1"), (2, "a2"), (3, "b1"), (4, "b2")):
        detector.see(read(minute, target))
    for number in range(3):  # after an hour there is room again
        detector.see(read(100 + number, f"c{number}"))
    assert [finding.account for finding in detector.findings] == ["c"]
    assert detector.is_complete
    for number in range(3):
        detector.see(read(110 + number, f"d{number}"))
    assert not detector.is_complete


def test_mass_access_counts_different_objects() -> None:
    def read(minute: int, target: str) -> Event:
        return event(minute, action="read", object=target)

    assert found(*(read(minute, "1") for minute in range(9))) == []
    (finding,) = found(*(read(minute, str(minute)) for minute in range(9)))
    assert (finding.rule, finding.count) == (MASS_ACCESS, 9)
