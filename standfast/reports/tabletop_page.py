"""What a tabletop exercise came to, as records and as a page."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from standfast.reports.html_page import Clock, render
from standfast.reports.report_records import ChainLine, Heading


@dataclass(frozen=True, kw_only=True)
class InjectLine:
    """One inject of a tabletop exercise: what was asked, answered, and missed."""

    title: str
    minute: int  # planned, from the start
    text: str
    ask: str
    asked_at: datetime | None  # None: not reached
    answered_at: datetime | None
    answer: str
    points: int
    most: int
    met: tuple[str, ...] = ()
    missed: tuple[str, ...] = ()
    because: str = ""  # what is said of the answer that was chosen
    best: str = ""  # the best one, of a choice


@dataclass(frozen=True, kw_only=True)
class TabletopReport:
    """What a tabletop exercise came to."""

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
        """What to work on: answered for less than all points, the worst first."""
        short = [one for one in self.injects if one.answered_at and one.points < one.most]
        return tuple(sorted(short, key=lambda one: one.points / one.most))


def tabletop_page(report: TabletopReport) -> str:
    """Give the page of a tabletop exercise as HTML."""
    return render("tabletop.html", Clock(report.heading.time_zone), report=report)
