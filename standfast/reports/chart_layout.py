"""Positions on charts: bars of time, stacked counts, measures, scores.

Rules
- Horizontal positions are percentages, and vertical positions are pixels. Thus a chart fills the
  width of a phone or of a wide screen, and its text keeps its size.
- A bar that is not empty is always visible, even if its share is very small.
- Recovery times range from a second to days, so their axis is logarithmic, and the page states
  this. The axis of a score is linear, from 0 to 100.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from standfast.records import EffectState
from standfast.reports.report_records import DayScore, DrillLine, StepLine
from standfast.reports.report_sentences import STATES_IN_ORDER, duration

PLOT_HEIGHT = 120.0  # pixels between the lowest and the highest mark
_THINNEST = 0.6  # percent: the smallest width of a bar
_NICE_SECONDS = (0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200)
_DAY = 86_400
_MARKS_APART = 20  # smallest distance of two marks, in pixels
_PLOTTED_DAYS = 90
_MARKS = (
    (1.0, "1 s"),
    (10.0, "10 s"),
    (60.0, "1 min"),
    (600.0, "10 min"),
    (3600.0, "1 h"),
    (6 * 3600.0, "6 h"),
    (_DAY * 1.0, "1 d"),
    (_DAY * 7.0, "7 d"),
    (_DAY * 30.0, "30 d"),
)


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A part of a row, in percent of its width."""

    left: float
    width: float
    kind: str  # a class of the style sheet


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A vertical line on a chart, with its label."""

    left: float
    text: str


@dataclass(frozen=True, kw_only=True)
class TimeRow:
    """One step of an incident or drill (a test restore), with its bars."""

    step: StepLine
    bars: tuple[Bar, ...]


@dataclass(frozen=True, kw_only=True)
class TimeAxis:
    """All steps on an axis that begins when the incident was opened."""

    rows: tuple[TimeRow, ...]
    marks: tuple[Mark, ...]


@dataclass(frozen=True, kw_only=True)
class Dot:
    """One measured time of one drill (test restore), or one score."""

    left: float
    top: float
    text: str
    is_met: bool
    is_failed: bool = False  # True if the drill could not restore the service


@dataclass(frozen=True, kw_only=True)
class HorizontalLine:
    """A horizontal line on a plot, with its label."""

    top: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Plot:
    """Dots over time: the measured times of one service, or readiness scores."""

    service: str  # "" for the score
    measure: str  # "RTO", "RPO" or "Score"
    dots: tuple[Dot, ...]
    promise_top: float  # position of the objective
    promise: str  # "" if there is no objective
    marks: tuple[HorizontalLine, ...]
    first: date
    last: date


_Point = tuple[datetime, timedelta | None, timedelta]  # time of the drill, measured time, objective


def time_axis(steps: Sequence[StepLine], opened_at: datetime, until: datetime) -> TimeAxis:
    """Return the started steps on an axis that ends when the last step ends."""
    begun = sorted(
        ((step.began_at, step) for step in steps if step.began_at is not None),
        key=lambda item: item[0],
    )
    # Steps that only wait for people do not extend the axis; otherwise the bars of the other steps
    # would become too short. The bar of a step that has not ended reaches the right edge.
    closed = [step.ended_at for _, step in begun if step.ended_at is not None]
    last = max(closed or [until])
    whole = max((last - opened_at).total_seconds(), 1.0)

    def across(moment: datetime) -> float:
        return min(max((moment - opened_at).total_seconds() / whole * 100, 0.0), 100.0)

    rows = tuple(
        TimeRow(step=step, bars=tuple(_bars(step, began, across))) for began, step in begun
    )
    every = next((nice for nice in _NICE_SECONDS if whole / nice <= 6), math.ceil(whole / 6))
    marks = tuple(
        Mark(left=index * every / whole * 100, text=_mark(index * every))
        for index in range(int(whole / every) + 1)
    )
    return TimeAxis(rows=rows, marks=marks)


def _mark(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:g} s" if seconds else "0"
    return duration(timedelta(seconds=seconds))


def _bars(step: StepLine, began: datetime, across: Callable[[datetime], float]) -> list[Bar]:
    is_open = step.ended_at is None
    end = 100.0 if step.ended_at is None else across(step.ended_at)
    start = across(began)
    runs = end if step.running_from is None else across(step.running_from)
    bars = []
    if runs > start:
        bars.append(_bar(start, runs, "waits open" if is_open and runs == end else "waits"))
    if runs < end or not bars:
        bars.append(_bar(max(runs, start), end, "runs open" if is_open else "runs"))
    return bars


def _bar(left: float, right: float, kind: str) -> Bar:
    width = max(right - left, _THINNEST)
    return Bar(left=min(left, 100 - width), width=width, kind=kind)


def stacked(counts: Mapping[EffectState, int]) -> tuple[Bar, ...]:
    """Return one visible bar, side by side, for each state that has targets."""
    present = [(state, counts[state]) for state in STATES_IN_ORDER if counts.get(state)]
    total = sum(count for _, count in present)
    if not total:
        return ()
    wide = [max(count / total * 100, _THINNEST) for _, count in present]
    scale = 100 / sum(wide)
    bars, left = [], 0.0
    for (state, _), width in zip(present, wide, strict=True):
        bars.append(Bar(left=left, width=width * scale, kind=state.value))
        left += width * scale
    return tuple(bars)


def recovery_plots(drills: Sequence[DrillLine], *, height: float = PLOT_HEIGHT) -> list[Plot]:
    """Return an RTO and an RPO plot for each drilled service, by time.

    If a drill could not restore a service, its dot is at the top of the RTO plot. If a time was not
    measured for another reason, there is no dot.
    """
    series: dict[tuple[str, str], list[_Point]] = {}
    for drill in sorted(drills, key=lambda drill: drill.at):
        for measure in drill.measures:
            for measure_name, got, promised in (
                ("RTO", measure.rto, measure.rto_promised),
                ("RPO", measure.rpo, measure.rpo_promised),
            ):
                if got is not None or (measure_name == "RTO" and measure.is_checked):
                    series.setdefault((measure.service, measure_name), []).append(
                        (drill.at, got, promised)
                    )
    return [
        _plot(service, measure_name, points, height)
        for (service, measure_name), points in sorted(
            series.items(), key=lambda item: (item[0][0], item[0][1] != "RTO")
        )
    ]


def score_plot(scores: Sequence[DayScore], *, height: float = PLOT_HEIGHT) -> Plot:
    """Return the plot of scores by day; `scores` are sorted and not empty."""

    def top(score: int) -> float:
        return round(height * (1 - score / 100), 1)

    newest = scores[-_PLOTTED_DAYS:]
    first, last = newest[0].day, newest[-1].day
    span = max((last - first).days, 1)
    return Plot(
        service="",
        measure="Score",
        dots=tuple(
            Dot(
                left=4 + 92 * (day.day - first).days / span,
                top=top(day.score),
                text=str(day.score),
                is_met=True,
            )
            for day in newest
        ),
        promise_top=0.0,
        promise="",
        marks=tuple(HorizontalLine(top=top(mark), text=str(mark)) for mark in (0, 25, 50, 75, 100)),
        first=first,
        last=last,
    )


def _plot(service: str, measure_name: str, points: list[_Point], height: float) -> Plot:
    promised = points[-1][2]
    measured = [got for _, got, _ in points if got is not None]
    longest = max([promised, *measured]).total_seconds()
    shortest = min([promised, *measured]).total_seconds()
    low = max((value for value, _ in _MARKS if value <= max(shortest, 1.0)), default=1.0)
    high = min((value for value, _ in _MARKS if value >= longest), default=longest)
    if high <= low:
        high = low * 10

    def top(length: timedelta | None) -> float:
        if length is None:
            return 0.0
        seconds = min(max(length.total_seconds(), low), high)
        share = (math.log(seconds) - math.log(low)) / (math.log(high) - math.log(low))
        return round(height * (1 - share), 1)

    last = len(points) - 1
    return Plot(
        service=service,
        measure=measure_name,
        dots=tuple(
            Dot(
                left=50.0 if not last else 4 + 92 * index / last,
                top=top(got),
                text="never usable" if got is None else duration(got),
                is_met=got is not None and got <= limit,
                is_failed=got is None,
            )
            for index, (_, got, limit) in enumerate(points)
        ),
        promise_top=top(promised),
        promise=duration(promised),
        marks=_legible_marks(
            [
                HorizontalLine(top=top(timedelta(seconds=value)), text=text)
                for value, text in _MARKS
                if low <= value <= high
            ]
        ),
        first=points[0][0],
        last=points[-1][0],
    )


def _legible_marks(marks: list[HorizontalLine]) -> tuple[HorizontalLine, ...]:
    """Return the marks; omit those that would overlap the label before."""
    kept: list[HorizontalLine] = []
    for mark in marks:
        if not kept or kept[-1].top - mark.top >= _MARKS_APART:
            kept.append(mark)
    return tuple(kept)
