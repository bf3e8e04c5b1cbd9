"""Rota of the people on call: turns, overlaps, gaps, changes of the clock."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from standfast.config.sections.on_call import OverrideConfig, ShiftConfig
from standfast.continuity.on_call_rota import Duty, merged, override_duties, shift_duties

BERLIN = "Europe/Berlin"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def shift(*people: str, **more: object) -> ShiftConfig:
    return ShiftConfig.model_validate({"people": people, **more})


def rota(*shifts: ShiftConfig, since: str, days: int, overrides: list[Duty] | None = None) -> str:
    """Return the merged duties as text: `DAY TIME people` in UTC."""
    start = at(since)
    end = start + timedelta(days=days)
    found = merged(shift_duties(shifts, BERLIN, start, end), overrides or [], start, end)
    assert found[0].start == start
    assert found[-1].end == end
    assert all(one.end == two.start for one, two in pairwise(found))
    return "; ".join(f"{duty.start:%d %H:%M} {'+'.join(duty.people) or '-'}" for duty in found)


def test_people_take_turns_of_a_week() -> None:
    weekly = shift("lee", "kim", start="09:00", end="09:00", first_day="2026-01-05")
    assert (
        rota(weekly, since="2026-01-05T08:00", days=21)
        == "05 08:00 lee; 12 08:00 kim; 19 08:00 lee"
    )


def test_turn_may_begin_on_any_weekday() -> None:
    weekly = shift("lee", "kim", start="12:00", end="12:00", first_day="2026-01-07")
    assert rota(weekly, since="2026-01-12T00:00", days=4) == "12 00:00 lee; 14 11:00 kim"


def test_night_shift_ends_on_the_next_day() -> None:
    night = shift("lee", start="18:00", end="08:00", days=["mon"])
    assert rota(night, since="2026-01-05T12:00", days=1) == "05 12:00 -; 05 17:00 lee; 06 07:00 -"


def test_shift_that_began_yesterday_counts() -> None:
    night = shift("lee", start="18:00", end="08:00")
    assert rota(night, since="2026-01-05T02:00", days=1).startswith("05 02:00 lee; 05 07:00 -")


def test_first_shift_is_paged_first_in_an_overlap() -> None:
    first, second = shift("lee", start="08:00", end="18:00"), shift("kim")
    assert rota(first, second, since="2026-01-05T00:00", days=1) == (
        "05 00:00 kim; 05 07:00 lee+kim; 05 17:00 kim"
    )


def test_override_replaces_everybody() -> None:
    always = shift("lee")
    dates = {"people": ["kim"], "start": "2026-01-05T18:00", "end": "2026-01-06T09:00"}
    overrides = override_duties([OverrideConfig.model_validate(dates)], BERLIN)
    assert rota(always, since="2026-01-05T00:00", days=2, overrides=overrides) == (
        "05 00:00 lee; 05 17:00 kim; 06 08:00 lee"
    )


def test_change_of_the_clock_makes_no_gap() -> None:
    # Berlin goes from 02:00 to 03:00 on 29 March, and from 03:00 back to 02:00 on 25 October 2026.
    split = (shift("lee", start="02:30", end="12:00"), shift("kim", start="12:00", end="02:30"))
    assert rota(*split, since="2026-03-28T20:00", days=1) == (
        "28 20:00 kim; 29 01:30 lee; 29 10:00 kim"
    )
    assert rota(*split, since="2026-10-24T20:00", days=1) == (
        "24 20:00 kim; 25 00:30 lee; 25 11:00 kim"
    )
