"""Measured recovery times against their objectives."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from standfast.continuity.recovery_objectives import (
    ObjectiveResult,
    RpoBasis,
    elapsed_ms,
    milliseconds,
    minutes_to_ms,
)

START = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)


def judged(rto: int | None, rpo: int | None) -> ObjectiveResult:
    return ObjectiveResult(
        service="crm",
        rto_promised_ms=minutes_to_ms(1),
        rto_actual_ms=rto,
        rpo_promised_ms=minutes_to_ms(2),
        rpo_actual_ms=rpo,
        rpo_basis=RpoBasis.LAST_CHANGE,
    )


def test_exactly_as_promised_is_met() -> None:
    assert judged(60_000, 120_000).is_met


def test_a_millisecond_more_is_missed() -> None:
    assert not judged(60_001, 0).is_rto_met
    assert not judged(0, 120_001).is_rpo_met
    assert not judged(60_001, 0).is_met


def test_what_was_never_reached_is_missed() -> None:
    assert not judged(None, 0).is_met
    assert not judged(0, None).is_met


def test_exceeded_mtpd_is_reported_separately() -> None:
    tolerable = [replace(judged(rto, 0), mtpd_ms=90_000) for rto in (60_001, 90_000, 90_001, None)]
    assert [one.is_beyond_mtpd for one in tolerable] == [False, False, True, True]
    assert not any(one.is_met for one in tolerable)
    assert not judged(None, 0).is_beyond_mtpd  # nobody said what is


def test_a_started_millisecond_counts_whole() -> None:
    assert milliseconds(timedelta(microseconds=1)) == 1
    assert milliseconds(timedelta(milliseconds=5)) == 5


def test_a_clock_that_went_backwards_gives_nothing() -> None:
    assert milliseconds(timedelta(seconds=-1)) == 0


def test_without_an_end_there_is_no_duration() -> None:
    assert elapsed_ms(START, None) is None
    assert elapsed_ms(START, START + timedelta(seconds=2)) == 2000
