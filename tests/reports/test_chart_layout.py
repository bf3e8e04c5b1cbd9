"""Layout of charts as numbers: nothing is outside, nothing is missing."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from standfast.records import EffectState
from standfast.reports.chart_layout import (
    PLOT_HEIGHT,
    recovery_plots,
    score_plot,
    stacked,
    time_axis,
)
from standfast.reports.report_records import DayScore
from tests.reports.build import OPENED, at, drill, measure, step

_counts = st.dictionaries(st.sampled_from(list(EffectState)), st.integers(0, 10**7))
_seconds = st.floats(0, 10**6)


@given(_counts)
def test_stacked_bars_show_every_state(
    counts: dict[EffectState, int],
) -> None:
    bars = stacked(counts)
    assert {bar.kind for bar in bars} == {state.value for state, n in counts.items() if n}
    if bars:
        assert abs(sum(bar.width for bar in bars) - 100) < 1e-6
        assert min(bar.width for bar in bars) > 0.5
        assert all(bar.left >= -1e-9 and bar.left + bar.width <= 100 + 1e-6 for bar in bars)


@given(st.lists(st.tuples(_seconds, _seconds, st.booleans()), max_size=6))
def test_every_time_bar_is_visible_on_the_axis(
    spans: list[tuple[float, float, bool]],
) -> None:
    steps = [
        step(
            began_at=at(start),
            running_from=at(start + length / 2),
            ended_at=None if is_open else at(start + length),
        )
        for start, length, is_open in spans
    ]
    axis = time_axis(steps, OPENED, at(3 * 10**6))
    assert len(axis.rows) == len(steps)
    assert len(axis.marks) <= 8
    for row in axis.rows:
        assert row.bars
        for bar in row.bars:
            assert bar.width >= 0.6
            assert bar.left >= 0
            assert bar.left + bar.width <= 100 + 1e-9
    assert all(0 <= mark.left <= 100 + 1e-9 for mark in axis.marks)


def test_waiting_for_people_and_running_are_two_bars() -> None:
    asked = step(began_at=at(0), running_from=at(5), ended_at=at(10))
    (row,) = time_axis([asked], OPENED, at(99)).rows
    assert [(bar.kind, bar.left, bar.width) for bar in row.bars] == [
        ("waits", 0, 50),
        ("runs", 50, 50),
    ]


def test_a_step_that_a_person_does_only_waits() -> None:
    by_hand = step(does="", running_from=None, ended_at=None)
    (row,) = time_axis([by_hand, step()], OPENED, at(99)).rows[:1]
    assert [bar.kind for bar in row.bars] == ["waits open"]


def test_an_open_step_does_not_squeeze_what_ran() -> None:
    week = at(7 * 86_400)
    axis = time_axis([step(ended_at=at(10)), step("watch", ended_at=None)], OPENED, week)
    assert axis.rows[0].bars[0].width > 80


@given(
    st.lists(st.tuples(_seconds, _seconds), min_size=1, max_size=8),
    st.integers(1, 10**5),
)
def test_every_measure_lies_inside_its_plot(
    measured: list[tuple[float, float]], promised: int
) -> None:
    drills = [
        drill(
            at=at(place),
            measures=(
                measure(
                    rto=timedelta(seconds=rto),
                    rpo=timedelta(seconds=rpo),
                    rto_promised=timedelta(minutes=promised),
                ),
            ),
        )
        for place, (rto, rpo) in enumerate(measured)
    ]
    plots = recovery_plots(drills)
    assert [(plot.service, plot.measure) for plot in plots] == [("crm", "RTO"), ("crm", "RPO")]
    for plot in plots:
        assert len(plot.dots) == len(measured)
        tops = [dot.top for dot in plot.dots] + [plot.promise_top]
        tops += [mark.top for mark in plot.marks]
        assert all(0 <= top <= PLOT_HEIGHT for top in tops)
        assert [dot.left for dot in plot.dots] == sorted(dot.left for dot in plot.dots)
    limit = timedelta(minutes=promised)
    assert [dot.is_met for dot in plots[0].dots] == [
        timedelta(seconds=rto) <= limit for rto, _ in measured
    ]


def test_failed_drill_is_on_graph() -> None:
    drills = [drill(), drill(at=at(60), measures=(measure(rto=None, rpo=None),))]
    rto, rpo = recovery_plots(drills)
    assert [(dot.is_failed, dot.is_met) for dot in rto.dots] == [(False, True), (True, False)]
    assert 0 <= rto.dots[1].top < rto.dots[0].top
    assert len(rpo.dots) == 1


def test_unmeasured_service_has_no_plot() -> None:
    unmeasured = measure(rto=None, rpo=None, is_checked=False)
    assert recovery_plots([drill(measures=(unmeasured,))]) == []


def test_scores_are_placed_by_day() -> None:
    days = [(1, 0), (2, 50), (9, 100)]
    plot = score_plot([DayScore(day=date(2026, 12, day), score=score) for day, score in days])
    assert [dot.top for dot in plot.dots] == [PLOT_HEIGHT, PLOT_HEIGHT / 2, 0]
    first, second, last = (dot.left for dot in plot.dots)
    assert (second - first) * 7 == pytest.approx(last - second)
