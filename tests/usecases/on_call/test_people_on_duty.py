"""Duties from a calendar file, and files that cannot be read."""

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from standfast.config import Config
from standfast.errors import ConfigurationError
from standfast.usecases.on_call.people_on_duty import calendar_duties, duties, on_duty

WEEKLY = """BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//Example//Rota//EN
BEGIN:VEVENT
UID:1
DTSTAMP:20260101T000000Z
SUMMARY: Lee
DTSTART;TZID=Europe/London:20260105T090000
DTEND;TZID=Europe/London:20260112T090000
RRULE:FREQ=WEEKLY;INTERVAL=2
EXDATE;TZID=Europe/London:20260202T090000
END:VEVENT
BEGIN:VEVENT
UID:2
DTSTAMP:20260101T000000Z
SUMMARY: Kim
DTSTART;VALUE=DATE:20260112
DTEND;VALUE=DATE:20260113
END:VEVENT
BEGIN:VEVENT
UID:3
DTSTAMP:20260101T000000Z
SUMMARY:dana
STATUS:CANCELLED
DTSTART:20260113T000000Z
DTEND:20260114T000000Z
END:VEVENT
END:VCALENDAR
"""


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def config_of(folder: Path, **on_call: object) -> Config:
    organisation = {"name": "Example", "contact_line": "555 0100", "time_zone": "Europe/Berlin"}
    return Config.model_validate({"organisation": organisation, "on_call": on_call}, context=folder)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "rota.ics").write_text(WEEKLY.replace("\n", "\r\n"))
    return config_of(tmp_path, calendar="rota.ics")


def test_calendar_with_repeats_and_whole_days(config: Config) -> None:
    start = at("2026-01-05T08:00")
    found = duties(config, start, start + timedelta(days=14))
    assert [(f"{duty.start:%d %H:%M}", duty.people) for duty in found] == [
        ("05 08:00", ()),
        ("05 09:00", ("lee",)),
        ("11 23:00", ("lee", "kim")),  # midnight in Berlin
        ("12 09:00", ("kim",)),
        ("12 23:00", ()),
    ]


def test_exception_of_a_repeated_event_is_a_gap(config: Config) -> None:
    assert on_duty(config, at("2026-02-03T10:00")) == ()
    assert on_duty(config, at("2026-02-17T10:00")) == ("lee",)


def test_override_applies_to_a_calendar(tmp_path: Path, config: Config) -> None:
    override = {"people": ["dana"], "start": "2026-01-06T09:00", "end": "2026-01-07T09:00"}
    overridden = config_of(tmp_path, calendar="rota.ics", overrides=[override])
    assert on_duty(overridden, at("2026-01-06T12:00")) == ("dana",)


def test_moved_occurrence_replaces_the_original(tmp_path: Path) -> None:
    moved = """BEGIN:VEVENT
UID:1
DTSTAMP:20260101T000000Z
SUMMARY:dana
RECURRENCE-ID;TZID=Europe/London:20260119T090000
DTSTART;TZID=Europe/London:20260120T090000
DTEND;TZID=Europe/London:20260121T090000
END:VEVENT
END:VCALENDAR"""
    (tmp_path / "rota.ics").write_text(WEEKLY.replace("END:VCALENDAR", moved))
    config = config_of(tmp_path, calendar="rota.ics")
    assert on_duty(config, at("2026-01-19T12:00")) == ()
    assert on_duty(config, at("2026-01-20T12:00")) == ("dana",)
    assert on_duty(config, at("2026-02-17T10:00")) == ("lee",)


@pytest.mark.parametrize("end", ["UNTIL=20260131", "UNTIL=20260131T120000Z", "COUNT=2"])
def test_repetition_ends_as_its_rule_says(tmp_path: Path, end: str) -> None:
    (tmp_path / "rota.ics").write_text(WEEKLY.replace("INTERVAL=2", f"INTERVAL=2;{end}"))
    config = config_of(tmp_path, calendar="rota.ics")
    assert on_duty(config, at("2026-01-20T12:00")) == ("lee",)
    assert on_duty(config, at("2026-02-17T12:00")) == ()


def test_repetition_keeps_its_time_over_clock_changes(tmp_path: Path, config: Config) -> None:
    # London goes to summer time on 29 March 2026.
    assert on_duty(config, at("2026-03-30T07:59")) == ()
    assert on_duty(config, at("2026-03-30T08:00")) == ("lee",)


@pytest.mark.parametrize(
    "content",
    [None, b"no calendar", WEEKLY.replace("WEEKLY", "SECONDLY").encode(), b"x" * 2_000_000],
)
def test_unreadable_calendar_is_reported(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "rota.ics").write_bytes(content)
    config = config_of(tmp_path, calendar="rota.ics")
    with pytest.raises(ConfigurationError, match="the fallback is paged"):
        on_duty(config, at("2026-01-06T12:00"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"shifts": [{"people": ["lee"]}], "calendar": "rota.ics"},
        {"people": {"lee": {"pagers": [{"sender": "push"}]}}},
        {"shifts": [{"people": ["lee"], "start": "9:00"}]},
        {"shifts": [{"people": ["lee"], "first_day": "5 January"}]},
        {
            "fallback": ["duty-manager"],
            "overrides": [
                {"people": ["lee"], "start": "2026-01-07T09:00", "end": "2026-01-06T09:00"}
            ],
        },
    ],
)
def test_invalid_rota_is_refused(tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="on_call"):
        config_of(tmp_path, **wrong)


@pytest.mark.parametrize("part", ["BYHOUR", "BYMINUTE", "BYSECOND"])
def test_repetition_within_a_day_is_refused(tmp_path: Path, part: str) -> None:
    (tmp_path / "rota.ics").write_text(WEEKLY.replace("INTERVAL=2", f"{part}=1,2"))
    with pytest.raises(ConfigurationError, match="not a calendar"):
        on_duty(config_of(tmp_path, calendar="rota.ics"), at("2026-01-06T09:00"))


def test_name_has_no_control_characters(tmp_path: Path) -> None:
    (tmp_path / "rota.ics").write_text(WEEKLY.replace(" Lee", "L\x1b[2Jee\\nx\u202e"))
    found = on_duty(config_of(tmp_path, calendar="rota.ics"), at("2026-01-06T09:00"))
    assert found == ("l[2jeex",)


def test_abandoned_calendar_ends_its_work(tmp_path: Path) -> None:
    start = WEEKLY.index("BEGIN:VEVENT")
    event = WEEKLY[start : WEEKLY.index("BEGIN:VEVENT", start + 1)].replace("WEEKLY", "DAILY")
    events = event.replace(":20260", ":19000") * 100
    file = tmp_path / "rota.ics"
    file.write_text(WEEKLY[:start] + events + "END:VCALENDAR\n")
    earlier = set(threading.enumerate())
    with pytest.raises(ConfigurationError, match="not read in"):
        calendar_duties(file, "UTC", at("2026-01-01"), at("2026-01-02"), longest_seconds=0.2)
    for thread in set(threading.enumerate()) - earlier:
        thread.join(1)
        assert not thread.is_alive()
