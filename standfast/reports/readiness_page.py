"""Page of the readiness for a breach: verdicts, areas, checklist."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from standfast.plurals import counted
from standfast.reports.chart_layout import recovery_plots, score_plot
from standfast.reports.html_page import Clock, render
from standfast.reports.report_records import DayScore, DrillLine, Heading

READY, RISK, NOT_THERE, NOT_READY = "ok", "warn", "lacking", "fail"


@dataclass(frozen=True, kw_only=True)
class PartLine:
    """The result of checking one part of the installation."""

    part: str
    verdict: str  # READY, RISK, NOT_THERE or NOT_READY
    found: str
    what_to_do: str  # with commands in backticks


@dataclass(frozen=True, kw_only=True)
class AreaLine:
    """The checked parts that answer one question."""

    question: str
    parts: tuple[PartLine, ...]

    def count(self, verdict: str) -> int:
        return sum(part.verdict == verdict for part in self.parts)

    @property
    def answer(self) -> str:
        """The answer in a few words."""
        if failed := self.count(NOT_READY):
            return f"No: {counted(failed, 'error')}"
        if absent := self.count(NOT_THERE):
            return f"No: {absent} not set up"
        risks = self.count(RISK)
        return f"Yes, with {counted(risks, 'risk')}" if risks else "Yes"


@dataclass(frozen=True, kw_only=True)
class ChecklistLine:
    """One point of the auditors' checklist."""

    title: str
    state: str  # "measured", "attested", "risk", "open" or "failed"
    measured: str  # the results of the program's checks, in words
    attested: str  # a person's signed statement about the point, in words
    what_to_do: str


@dataclass(frozen=True, kw_only=True)
class ReadinessReport:
    """The content of the readiness page."""

    heading: Heading
    answer: str
    next_step: str
    score: int  # from 0 to 100
    areas: tuple[AreaLine, ...]
    checklist: tuple[ChecklistLine, ...] = ()
    drills: tuple[DrillLine, ...] = ()
    trend: tuple[DayScore, ...] = ()  # oldest first
    changes: Mapping[str, int] = field(default_factory=dict)  # points gained or lost, by score row

    def count(self, verdict: str) -> int:
        return sum(area.count(verdict) for area in self.areas)


def readiness_page(report: ReadinessReport) -> str:
    """Return the page as HTML."""
    return render(
        "readiness.html",
        Clock(report.heading.time_zone),
        report=report,
        plots=recovery_plots(report.drills),
        trend=score_plot(report.trend) if len(report.trend) > 1 else None,
        words={READY: "ok", RISK: "risk", NOT_THERE: "not set up", NOT_READY: "error"},
    )
