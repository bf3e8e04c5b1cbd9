"""Bandwidth as it is written: hours and rates, and what is no such thing."""

import pytest

from standfast.config.sections.bandwidth import bytes_per_second, overlapping, span_minutes


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("08:00-20:00", (480, 1200)),
        ("22:30-06:15", (1350, 375)),
        ("00:00-24:00", (0, 1440)),
        ("20:00-00:00", (1200, 1440)),
        ("23:59-24:00", (1439, 1440)),
    ],
)
def test_a_span_is_read_in_minutes(text: str, minutes: tuple[int, int]) -> None:
    assert span_minutes(text) == minutes


@pytest.mark.parametrize(
    "text",
    ["", "8-20", "8:00-20:00", "08:00–20:00", "24:00-08:00", "08:00-25:00", "08:60-09:00",
     "08:00-08:00", "08:00 - 20:00", "08:00-20:00\n"],
)  # fmt: skip
def test_what_is_no_span_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"hours"):
        span_minutes(text)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("20 MB/s", 20_000_000),
        ("500KB/s", 500_000),
        ("1.5 MB/s", 1_500_000),
        ("0.125 GB/s", 125_000_000),
        ("100 KB/s", 100_000),
    ],
)
def test_a_rate_is_read_in_bytes(text: str, rate: int) -> None:
    assert bytes_per_second(text) == rate


@pytest.mark.parametrize(
    "text", ["", "20", "20 MB", "20 Mbit/s", "-1 MB/s", "0 MB/s", "99 KB/s", "20 mb/s", "٢ MB/s"]
)
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="bandwidth"):
        bytes_per_second(text)


def test_spans_that_share_a_minute_are_found() -> None:
    assert overlapping(["08:00-20:00", "20:00-08:00"]) is None
    assert overlapping(["08:00-20:00", "19:59-21:00"]) == ("08:00-20:00", "19:59-21:00")
    assert overlapping(["22:00-06:00", "05:00-07:00"]) == ("22:00-06:00", "05:00-07:00")
    assert overlapping([]) is None
