"""Page of a tabletop exercise: points, and weakest answers first.

In a tabletop exercise, people discuss a written scenario. An inject is one event of the scenario,
with a question.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from standfast.reports.html_page import Clock, render
from standfast.reports.report_records import ChainLine, Heading


@dataclass(frozen=True, kw_only=True)
class InjectLine:
    """One inject of an exercise: question, answer and missed points."""

    title: str
    minute: int  # planned time, in minutes from the start
    text: str
    ask: str
    asked_at: datetime | None  # None: not reached
    answered_at: datetime | None
    answer: str
    points: int
    most: int
    met: tuple[str, ...] = ()
    missed: tuple[str, ...] = ()
    because: str = ""  # the comment on the chosen answer
    best: str = ""  # the best answer of a choice


@dataclass(frozen=True, kw_only=True)
class TabletopReport:
    """The result of a tabletop exercise."""

    heading: Heading
    incident: str
    exercise: str
    version: int
    playbook: str
    title: str
    seats: Mapping[str, str]
    opened_at: datetime
    closed_at: datetime | None
    injects: tuple[InjectLine, ...]
    chain: ChainLine

    @property
    def points(self) -> int:
        return sum(line.points for line in self.injects)

    @property
    def most(self) -> int:
        return sum(line.most for line in self.injects)

    @property
    def asked(self) -> int:
        return sum(line.answered_at is not None for line in self.injects)

    @property
    def unanswered(self) -> tuple[InjectLine, ...]:
        return tuple(line for line in self.injects if line.answered_at is None)

    @property
    def weakest(self) -> tuple[InjectLine, ...]:
        """The injects that did not get all points, the worst first."""
        short = [line for line in self.injects if line.answered_at and line.points < line.most]
        return tuple(sorted(short, key=lambda line: line.points / line.most))


def tabletop_page(report: TabletopReport) -> str:
    """Return the page of a tabletop exercise as HTML."""
    return render("tabletop.html", Clock(report.heading.time_zone), report=report)
