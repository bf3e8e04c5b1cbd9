"""Page of one drill or recovery: milestones, objectives, gaps, clauses.

A drill is a test restore. A milestone is the end of one of its phases. A gap is something that
recovery lacks. A clause is a requirement of a standard.
"""

from dataclasses import dataclass
from datetime import datetime

from standfast.reports import report_sentences
from standfast.reports.chart_layout import recovery_plots, time_axis
from standfast.reports.html_page import Clock, render
from standfast.reports.report_records import DrillLine, Heading, Measure, StepLine


@dataclass(frozen=True, kw_only=True)
class SetLine:
    """One backup set of a drill or recovery, with its milestones."""

    name: str
    result: str
    point: str
    detail: str  # what was restored, or the reason why it was not
    steps: tuple[StepLine, ...]  # one for each milestone that was reached


@dataclass(frozen=True, kw_only=True)
class CheckLine:
    """One check of a set."""

    set_name: str
    name: str
    level: str  # what a passed check proves, such as "content"
    state: str  # "passed", "failed", "skipped"
    reason: str


@dataclass(frozen=True, kw_only=True)
class GapLine:
    """One gap, with its owner and dates."""

    text: str
    owner: str
    since: datetime
    due: datetime
    is_overdue: bool


@dataclass(frozen=True, kw_only=True)
class ClauseLine:
    """One clause, and the statements of the report that support it."""

    name: str
    topic: str
    statements: tuple[str, ...]  # empty if the report has none


@dataclass(frozen=True, kw_only=True)
class RecoveryReport:
    """The content of the page."""

    heading: Heading
    kind: str  # "drill" or "recovery"
    subject: str
    result: str
    notes: tuple[str, ...]  # short facts below the title
    declared_at: datetime
    measures: tuple[tuple[Measure, str], ...]  # with the owner of the service
    sets: tuple[SetLine, ...]
    checks: tuple[CheckLine, ...]
    gaps: tuple[GapLine, ...]
    drills: tuple[DrillLine, ...]  # all drills until now, for plots of RTO and RPO
    clauses: tuple[ClauseLine, ...]
    number: int
    digest: str  # SHA-256 of the signed report
    previous: str  # SHA-256 of the report before it
    key: str  # public key of the signature, in hex

    def state_count(self, state: str) -> int:
        """Return the number of checks in a state."""
        return sum(check.state == state for check in self.checks)

    @property
    def skipped(self) -> tuple[CheckLine, ...]:
        return tuple(check for check in self.checks if check.state == "skipped")


def recovery_report_page(report: RecoveryReport) -> str:
    """Return the page as HTML."""
    end = report.heading.written_at
    services = {measure.service for measure, _ in report.measures}
    return render(
        "recovery_report.html",
        Clock(report.heading.time_zone),
        report=report,
        plots=[plot for plot in recovery_plots(report.drills) if plot.service in services],
        axes=[(part, time_axis(part.steps, report.declared_at, end)) for part in report.sets],
        step_time=lambda step: report_sentences.step_time(step, end),
    )
