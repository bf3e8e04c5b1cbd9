"""Readiness for a breach: its questions, and the overall answer.

The checks of the installation are grouped by questions (`QUESTIONS`). The score has a row for each
question, and for each point of the checklist that auditors ask for.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from standfast.errors import ExitStatus
from standfast.plurals import counted
from standfast.records import JsonObject
from standfast.reports.html_page import write_page
from standfast.reports.readiness_page import (
    NOT_READY,
    NOT_THERE,
    READY,
    RISK,
    AreaLine,
    ChecklistLine,
    PartLine,
    ReadinessReport,
    readiness_page,
)
from standfast.reports.report_records import DayScore
from standfast.usecases.continuity.attestations import current_attestations, today_of
from standfast.usecases.core.installation import Installation
from standfast.usecases.health import recency_checks
from standfast.usecases.health.check_results import Check, Report, Verdict
from standfast.usecases.health.checklist import ChecklistRow, checklist
from standfast.usecases.health.readiness_score import ScoreRow, score_rows, total
from standfast.usecases.health.readiness_trend import RecordedScore, changed_rows, recorded_scores
from standfast.usecases.reports.backup_and_drill_results import drill_lines
from standfast.usecases.reports.result_pages import heading

_WORST_FIRST = (NOT_READY, NOT_THERE, RISK, READY)

QUESTIONS: Mapping[str, tuple[str, ...]] = {
    "Would everything be restored?": (
        "backup",
        "backup sets",
        recency_checks.RECOVERY_POINTS,
        recency_checks.DRILLS,
        "services",
        "drills",
        "keys",
        "recovery",
        "custodians",
    ),
    "Can an intruder be locked out?": ("accounts", recency_checks.LEAVERS, recency_checks.FACTORS),
    "Would the evidence be preserved?": ("evidence", recency_checks.LOGS),
    "Can everybody be notified?": ("senders", "audiences", "notices"),
    "Would somebody decide, and in time?": ("people", "roles", "deadlines"),
    "Is there a tested plan?": (
        "playbooks",
        recency_checks.EXERCISES,
        recency_checks.CALENDAR,
        recency_checks.ATTESTATIONS,
    ),
    "Would a breach be noticed and handled?": ("triggers", "serve"),
    "Does Standfast itself work?": ("configuration", "user", "ledger", "disks", "folders"),
}


@dataclass(frozen=True, kw_only=True)
class Readiness:
    """The results of all checks, the checklist and earlier scores."""

    checks: Report
    checklist: tuple[ChecklistRow, ...] = ()
    today: date
    earlier: tuple[RecordedScore, ...] = ()  # scores of earlier days, oldest first

    @property
    def by_question(self) -> dict[str, list[Check]]:
        """The results for each question, most urgent first."""
        return {
            question: sorted(
                (check for check in self.checks.checks if check.part in parts),
                key=lambda check: (_WORST_FIRST.index(_readiness(check)), parts.index(check.part)),
            )
            for question, parts in QUESTIONS.items()
        }

    @property
    def answer(self) -> str:
        """The overall answer, in one sentence."""
        failed, absent = self.count(NOT_READY), self.count(NOT_THERE)
        risks = self.count(RISK)
        found = {
            counted(failed, "error"): failed,
            f"{counted(absent, 'part')} not set up": absent,
            counted(risks, "risk"): risks,
        }
        summary = ", ".join(text for text, number in found.items() if number)
        if failed or absent:
            return f"No: {summary}."
        return f"Yes, with {summary}." if risks else "Yes."

    def count(self, state: str) -> int:
        """Return the number of parts in this state."""
        return sum(_readiness(check) == state for check in self.checks.checks)

    @property
    def next_step(self) -> str:
        """The most urgent action."""
        for state in (NOT_READY, NOT_THERE, RISK):
            for parts in self.by_question.values():
                for check in parts:
                    if _readiness(check) == state:
                        about = f"{check.part}: {check.found}"
                        return f"{check.what_to_do} ({about})" if check.what_to_do else about
        return "Nothing to do now."

    @property
    def score(self) -> tuple[ScoreRow, ...]:
        """The rows of the score, the greatest possible gain first."""
        worst = {
            question: _readiness(parts[0]) if parts else NOT_THERE
            for question, parts in self.by_question.items()
        }
        return score_rows(worst, self.checklist)

    @property
    def trend(self) -> tuple[DayScore, ...]:
        """The recorded scores of earlier days and the present score, oldest first."""
        now = DayScore(day=self.today, score=total(self.score))
        return (*(DayScore(day=then.day, score=then.score) for then in self.earlier), now)

    @property
    def changes(self) -> dict[str, int]:
        """The points that each row won or lost since the last recorded score."""
        return changed_rows(self.score, self.earlier[-1].points) if self.earlier else {}

    @property
    def exit_status(self) -> ExitStatus:
        """DAMAGED for damage, PARTIAL for a failed or missing part, else DONE."""
        if any(check.is_damage for check in self.checks.checks):
            return ExitStatus.DAMAGED
        is_short = self.count(NOT_READY) or self.count(NOT_THERE)
        return ExitStatus.PARTIAL if is_short else ExitStatus.DONE

    def as_json(self) -> JsonObject:
        """Return the JSON form."""
        return {
            "answer": self.answer,
            "next_step": self.next_step,
            "questions": [
                {"question": question, "checks": [check.as_json() for check in parts]}
                for question, parts in self.by_question.items()
            ],
            "score": total(self.score),
            "score_rows": [row.as_json() for row in self.score],
            "trend": [{"day": then.day.isoformat(), "score": then.score} for then in self.trend],
            "changes": [{"row": row, "points": points} for row, points in self.changes.items()],
            "checklist": [row.as_json() for row in self.checklist],
            **{verdict.value: self.checks.count(verdict) for verdict in Verdict},
            "not_set_up": self.count(NOT_THERE),
            "exit_status": int(self.exit_status),
        }


def readiness(installation: Installation, checked: Report) -> Readiness:
    """Return the readiness from the results of `check_installation`."""
    checks = (*checked.checks, *recency_checks.practice(installation))
    attested, today = current_attestations(installation), today_of(installation)
    return Readiness(
        checks=Report(checks=checks),
        checklist=tuple(checklist(checks, attested, today)),
        today=today,
        earlier=tuple(then for then in recorded_scores(installation) if then.day < today),
    )


def write_readiness_page(installation: Installation, seen: Readiness, out: Path) -> Path:
    """Write the readiness page; replace an earlier page."""
    return write_page(readiness_page(_report(installation, seen)), out)


def _report(installation: Installation, seen: Readiness) -> ReadinessReport:
    return ReadinessReport(
        heading=heading(installation),
        answer=seen.answer,
        next_step=seen.next_step,
        score=total(seen.score),
        areas=tuple(
            AreaLine(question=question, parts=tuple(map(_part, parts)))
            for question, parts in seen.by_question.items()
            if parts
        ),
        checklist=tuple(
            ChecklistLine(
                title=row.title,
                state=row.state.value,
                measured=row.measured,
                attested=row.attested,
                what_to_do=row.what_to_do,
            )
            for row in seen.checklist
        ),
        drills=drill_lines(installation),
        trend=seen.trend,
        changes=seen.changes,
    )


def _part(check: Check) -> PartLine:
    return PartLine(
        part=check.part, verdict=_readiness(check), found=check.found, what_to_do=check.what_to_do
    )


def _readiness(check: Check) -> str:
    return NOT_THERE if check.is_lacking else check.verdict.value
