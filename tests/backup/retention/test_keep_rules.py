"""Retention rules, applied to times alone."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backup.errors import UsageError
from backup.format.keep_record import SnapshotId
from backup.format.snapshot import State
from backup.retention.rules import (
    AgedPoint,
    RetentionRules,
    expiry_times,
    parse_period,
    point_times,
)

START = datetime(2026, 1, 1, 2, 30, tzinfo=UTC)
DAY = timedelta(days=1)
SHORTEST = dict.fromkeys(("everything", "daily", "weekly", "monthly", "floor"), DAY)


def point(
    number: int,
    moment: datetime,
    state: State = "complete",
    *,
    set_name: str = "main",
    writer: str = "w",
    erased: datetime | None = None,
) -> AgedPoint:
    return AgedPoint(
        id=(writer, number),
        set_name=set_name,
        state=state,
        moment=moment,
        stored=moment,
        erased=erased,
    )


def daily_points(count: int, state: State = "complete") -> list[AgedPoint]:
    return [point(number, START + number * DAY, state) for number in range(1, count + 1)]


def left(points: Sequence[AgedPoint], rules: RetentionRules, now: datetime) -> list[AgedPoint]:
    ends = expiry_times(points, rules)
    return [one for one in points if (end := ends[one.id]) is None or end > now]


def test_rules_thin_nine_years_of_daily_points() -> None:
    points = daily_points(9 * 365)
    now = points[-1].moment
    kept: list[AgedPoint] = []
    for one in points:  # retention runs every day; an expired point never returns
        kept = left([*kept, one], RetentionRules(), one.moment)
    age = {one.moment.date(): (now - one.moment).days for one in kept}
    # With one point a day, each point is the last of its day.
    assert sorted(a for a in age.values() if a < 90) == list(range(90))
    for day, a in age.items():
        if 90 < a < 366:
            is_last_of_month = (day + timedelta(days=1)).month != day.month
            assert day.isoweekday() == 7 or is_last_of_month, day
        if a > 366:
            assert (day + timedelta(days=1)).month != day.month, day
    months = {(day.year, day.month) for day, a in age.items() if a > 366}
    assert len(months) in range(7 * 12 - 13, 7 * 12)
    assert max(age.values()) <= 7 * 366


def test_last_complete_point_of_a_day_stays() -> None:
    day = START + 10 * DAY
    points = [
        point(1, day, "complete"),
        point(2, day + timedelta(hours=5), "complete"),
        point(3, day + timedelta(hours=9), "partial"),
        point(4, day + DAY, "partial"),
        point(5, day + DAY + timedelta(hours=5), "partial"),
        point(6, day + 60 * DAY),
    ]
    hours = timedelta(hours=10)
    rules = RetentionRules(weekly=DAY, monthly=DAY)
    stay = {one.id[1] for one in left(points, rules, day + 36 * DAY + hours)}
    assert stay == {2, 5, 6}
    stay = {one.id[1] for one in left(points, rules, day + 91 * DAY + hours)}
    assert stay == {6}


def test_each_set_of_each_writer_has_its_newest() -> None:
    points = [
        point(1, START, writer="a"),
        point(2, START, writer="a", set_name="other"),
        point(1, START, writer="b"),
        point(2, START + DAY, writer="b"),
    ]
    ends = expiry_times(points, RetentionRules())
    assert [one.id for one in points if ends[one.id] is None] == [("a", 1), ("a", 2), ("b", 2)]


def test_newest_complete_point_stays_behind_partial_ones() -> None:
    points = [
        *daily_points(3),
        point(4, START + 5 * DAY, "partial"),
        point(5, START + 6 * DAY, "partial"),
    ]
    now = START + 9999 * DAY
    assert [one.id[1] for one in left(points, RetentionRules(), now)] == [3, 5]


def test_interim_point_stays_until_its_run_ends() -> None:
    interim = [point(n, START + n * DAY, "interim") for n in (1, 2)]
    assert left(interim, RetentionRules(), START + 999 * DAY) == interim
    ended = [*interim, point(3, START + 3 * DAY, "partial"), point(4, START + 4 * DAY, "interim")]
    assert [one.id[1] for one in left(ended, RetentionRules(), START + 33 * DAY)] == [3, 4]
    assert [one.id[1] for one in left(ended, RetentionRules(), START + 31 * DAY)] == [2, 3, 4]
    other = [*interim, point(3, START + 3 * DAY, set_name="other")]
    assert left(other, RetentionRules(), START + 999 * DAY) == other


def test_erased_point_is_never_the_newest() -> None:
    erased = point(2, START + DAY, erased=START + 50 * DAY)
    points = [point(1, START), erased]
    ends = expiry_times(points, RetentionRules())
    assert ends == {("w", 1): None, ("w", 2): START + 80 * DAY}


@settings(max_examples=60, deadline=None)
@given(
    days=st.lists(st.integers(0, 1500), min_size=1, max_size=60).map(sorted),
    states=st.lists(st.sampled_from(["complete", "partial", "interim"]), min_size=60, max_size=60),
    rules=st.builds(
        RetentionRules,
        everything=st.integers(1, 50).map(lambda d: timedelta(days=d)),
        daily=st.integers(1, 200).map(lambda d: timedelta(days=d)),
        weekly=st.integers(1, 400).map(lambda d: timedelta(days=d)),
        monthly=st.integers(1, 3000).map(lambda d: timedelta(days=d)),
        floor=st.integers(1, 60).map(lambda d: timedelta(days=d)),
    ),
    later=st.integers(0, 60) | st.integers(0, 4000),
)
def test_nothing_within_the_minimum_expires(
    days: list[int], states: list[State], rules: RetentionRules, later: int
) -> None:
    points = [
        point(number, START + day * DAY, state)
        for number, (day, state) in enumerate(zip(days, states, strict=False), 1)
    ]
    now = points[-1].moment + later * DAY
    stay = {one.id for one in left(points, rules, now)}
    for one in points:
        if now - one.stored < rules.floor:
            assert one.id in stay
        if one.state != "interim" and now - one.moment < rules.everything:
            assert one.id in stay
    for kind in (("complete",), ("complete", "partial")):
        newest: list[SnapshotId] = [one.id for one in points if one.state in kind][-1:]
        assert set(newest) <= stay


def test_minimum_longer_than_every_rule_applies() -> None:
    points = daily_points(20)
    now = points[-1].moment
    young = [one for one in points if now - one.stored < 9 * DAY]
    assert left(points, RetentionRules(**(SHORTEST | {"floor": 9 * DAY})), now) == young


def test_forged_time_changes_no_age() -> None:
    hour = timedelta(hours=1)
    stored = [START + n * DAY for n in range(6)]
    claims = [stored[0] - hour, stored[1] - hour, stored[0] - 300 * DAY, stored[3] + 9000 * DAY]
    claims += [stored[4] - hour, stored[5]]
    assert point_times(zip(claims, stored, strict=True)) == [
        stored[0] - hour,
        stored[1] - hour,
        stored[1] - hour,  # not before the previous point
        stored[3],  # not after the time at which it was stored
        stored[4] - hour,
        stored[5],
    ]


def test_copied_vault_keeps_times_of_its_points() -> None:
    copied = START + 500 * DAY
    claims = [START + n * DAY for n in range(5)]
    assert point_times((one, copied) for one in claims) == claims


@pytest.mark.parametrize(
    ("text", "days"), [("35d", 35), ("12w", 84), ("6m", 186), ("7y", 2562), ("1d", 1)]
)
def test_duration_is_a_number_and_a_letter(text: str, days: int) -> None:
    assert parse_period(text) == timedelta(days=days)


@pytest.mark.parametrize("text", ["", "35", "d", "0d", "-1d", "1.5y", "35 d", "99999d", "1h", "١d"])
def test_invalid_period_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="35d"):
        parse_period(text)


@pytest.mark.parametrize("floor", [timedelta(0), timedelta(hours=23)])
def test_retention_needs_a_minimum(floor: timedelta) -> None:
    with pytest.raises(UsageError, match="floor"):
        RetentionRules(floor=floor)


@pytest.mark.parametrize("rule", SHORTEST)
def test_longest_rule_decides_final_expiry(rule: str) -> None:
    assert RetentionRules(**(SHORTEST | {rule: 9 * DAY})).longest == 9 * DAY


@pytest.mark.parametrize(("rule", "step"), [("weekly", 7 * DAY), ("monthly", 31 * DAY)])
def test_weeks_and_months_belong_to_their_year(rule: str, step: timedelta) -> None:
    rules = RetentionRules(**(SHORTEST | {rule: 1200 * DAY}))
    points = [point(n, START + n * step) for n in range(1, 1100 * DAY // step)]
    assert left(points, rules, points[-1].moment + DAY) == points
