"""Rounds and rows of a measurement, and the table of its rows.

Contenders (the programs that are compared) take turns, and every row keeps the figures of all
rounds.

Rules
- One round of a contender returns all figures of that round, or raises and fails its rows.
- `Missing` means that a contender cannot run here; `Wrong`, that its result is not correct.
- A round that exceeds its time limit is ended and fails.
"""

import signal
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

OURS = "standfast"
_HEADINGS = ("metric", "program", "unit", "min", "median", "max", "n", "ours ÷ this")
_LEGEND = (
    "`ours ÷ this`: standfast's time over that of the row, by medians; 2.0 = standfast takes twice"
    " as long, 0.5 = half."
)


class Missing(Exception):
    """The contender is not installed; the message names what to install."""


class Wrong(Exception):
    """A wrong result, so its time means nothing."""


class _TookTooLong(Exception):
    """The round exceeded its time limit and was ended."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Options of one run of the benchmarks."""

    folder: Path  # empty, and removed by the caller
    rounds: int
    is_quick: bool
    report_progress: Callable[[str], None]  # progress, for people
    is_all: bool = False  # also benchmarks that take many minutes

    def size(self, whole: int, quick: int) -> int:
        """Return `whole`, or `quick` for a quick run."""
        return quick if self.is_quick else whole

    def new_folder(self, name: str) -> Path:
        """Create an empty folder of this name."""
        folder = self.folder / name
        folder.mkdir(parents=True)
        return folder


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A measured program; `run` returns the figures of one round, by metric."""

    subject: str
    run: Callable[[int], Mapping[str, float]]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Row:
    """All rounds of one figure of one contender."""

    benchmark: str
    metric: str
    subject: str
    unit: str
    values: tuple[float, ...] = ()
    ours_to_this: float | None = None  # ratio of median times: first contender to this one
    note: str = ""
    is_failed: bool = False

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def as_json(self) -> dict[str, object]:
        """Return the row for `--json`, with every round."""
        return {
            "benchmark": self.benchmark,
            "metric": self.metric,
            "subject": self.subject,
            "unit": self.unit,
            "rounds": len(self.values),
            "min": min(self.values, default=None),
            "median": self.median if self.values else None,
            "max": max(self.values, default=None),
            "values": list(self.values),
            "ours_to_this": self.ours_to_this,
            "note": self.note,
            "is_failed": self.is_failed,
        }


@dataclass(kw_only=True)
class _Turns:
    """Figures of a contender up to now."""

    contender: Contender
    figures: dict[str, list[float]] = field(default_factory=dict)
    ended: str = ""  # the reason, if the contender takes no further turn
    is_failed: bool = False

    def take(self, number: int, seconds: float) -> None:
        try:
            with within(seconds):
                figures = self.contender.run(number)
        except Missing as missing:
            self.ended = f"not measured: {missing}"
        except _TookTooLong:
            self.ended, self.is_failed = f"FAILED: took longer than {seconds:g} s", True
        # The servers of the tests report a failed start as pytest's own error, which is not an
        # `Exception`.
        except (Exception, pytest.fail.Exception, pytest.skip.Exception) as error:
            self.ended, self.is_failed = f"FAILED: {type(error).__name__}: {error}", True
        else:
            for metric, value in figures.items():
                self.figures.setdefault(metric, []).append(value)


def compare(
    benchmark: str,
    units: Mapping[str, str],
    contenders: Sequence[Contender],
    setting: Setting,
    *,
    seconds_a_round: float = 120,
    rounds: int | None = None,
) -> list[Row]:
    """Measure contenders in turn; return a row per figure, ours first.

    `units` names every figure and its unit; a unit that ends in `/s` is a rate, where more is
    better. `ours_to_this` is the first contender's time divided by the contender's own.
    """
    turns = [_Turns(contender=contender) for contender in contenders]
    count = rounds or setting.rounds
    for number in range(count):
        for place in range(len(turns)):
            turn = turns[(place + number) % len(turns)]
            if not turn.ended:
                setting.report_progress(
                    f"{benchmark}: round {number + 1} of {count}, {turn.contender.subject}"
                )
                turn.take(number, seconds_a_round)
    return [
        _row(benchmark, metric, unit, turn, turns[0])
        for metric, unit in units.items()
        for turn in turns
        if metric in turn.figures or turn.ended
    ]


def _row(benchmark: str, metric: str, unit: str, turn: _Turns, first: _Turns) -> Row:
    values = () if turn.is_failed else tuple(turn.figures.get(metric, ()))
    ours = () if first.is_failed else tuple(first.figures.get(metric, ()))
    ratio = None
    if turn is not first and values and ours:
        ratio = statistics.median(ours) / statistics.median(values)
        if unit.endswith("/s"):
            ratio = 1 / ratio
    return Row(
        benchmark=benchmark,
        metric=metric,
        subject=turn.contender.subject,
        unit=unit,
        values=values,
        ours_to_this=ratio,
        note=turn.ended or turn.contender.note,
        is_failed=turn.is_failed,
    )


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise an exception if the block takes longer than `seconds`.

    Works only in the main thread, and cannot be nested.
    """

    def interrupt(_number: int, _frame: object) -> None:
        raise _TookTooLong

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Stopwatch:
    """A stopwatch that starts when it is created."""

    def __init__(self) -> None:
        self._begin = time.perf_counter()

    def seconds(self) -> float:
        return time.perf_counter() - self._begin


def expect(is_right: bool, metric: str) -> None:
    """Raise Wrong with the expectation if it is not met."""
    if not is_right:
        raise Wrong(metric)


def render(machine: Mapping[str, str], rows: Sequence[Row]) -> str:
    """Return the whole page: the machine, then the rows of each benchmark."""
    width = max(len(name) for name in machine)
    lines = [f"{name:<{width}}  {value}" for name, value in machine.items()]
    cells = [_cells(row) for row in rows]
    widths = [
        max(len(line[column]) for line in (_HEADINGS, *cells)) for column in range(len(_HEADINGS))
    ]
    benchmark = ""
    for row, line in zip(rows, cells, strict=True):
        if row.benchmark != benchmark:
            benchmark = row.benchmark
            lines += ["", benchmark.upper(), _line(_HEADINGS, widths)]
        lines.append(_line(line, widths) + (f"  {row.note}" if row.note else ""))
    return "\n".join([*lines, "", _LEGEND])


def number(value: float) -> str:
    """Return a figure with three significant digits."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 0.001 else f"{value:.1e}"


def _cells(row: Row) -> tuple[str, ...]:
    if not row.values:
        return (row.metric, row.subject, row.unit, "-", "-", "-", "0", "")
    figures = (min(row.values), row.median, max(row.values))
    ratio = "" if row.ours_to_this is None else f"{row.ours_to_this:.2f}"
    written = (number(value) for value in figures)
    return (row.metric, row.subject, row.unit, *written, str(len(row.values)), ratio)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    words = [
        f"{cell:<{width}}" if column < 3 else f"{cell:>{width}}"
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(words).rstrip()
