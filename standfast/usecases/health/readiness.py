"""Could this place take a breach tonight? Every part tried, and what only practice keeps alive.

Owns the questions, and which parts answer each. Leaves trying parts to `checks`, and what has an
age to `practice`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
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
    PartLine,
    ReadinessReport,
    readiness_page,
)
from standfast.usecases.core.installation import Installation
from standfast.usecases.health import recency_checks
from standfast.usecases.health.check_results import Check, Report, Verdict
from standfast.usecases.reports.backup_and_drill_results import drill_lines
from standfast.usecases.reports.result_pages import heading

_WORST_FIRST = (NOT_READY, NOT_THERE, RISK, READY)

QUESTIONS: Mapping[str, tuple[str, ...]] = {
    "Would it all come back?": (
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
    "Can an intruder be shut out?": ("accounts", recency_checks.LEAVERS, recency_checks.FACTORS),
    "Would the traces be kept?": ("evidence", recency_checks.LOGS),
    "Can everybody be told?": ("senders", "audiences", "notices"),
    "Would somebody decide, and in time?": ("people", "roles", "deadlines"),
    "Is there a plan that was tried?": ("playbooks", recency_checks.EXERCISES),
    "Would it be noticed, and carried on?": ("triggers", "serve"),
    "Does this program stand on sound ground?": (
        "configuration",
        "user",
        "ledger",
        "disks",
        "folders",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Readiness:
    """Every part under the question that it answers, in the order of `QUESTIONS`."""

    checks: Report

    @property
    def by_question(self) -> dict[str, list[Check]]:
        """Give the parts of each question: what is to mend first, and what nobody set up."""
        return {
            question: sorted(
                (one for one in self.checks.checks if one.part in parts),
                key=lambda one: (_WORST_FIRST.index(_stands(one)), parts.index(one.part)),
            )
            for question, parts in QUESTIONS.items()
        }

    @property
    def answer(self) -> str:
        """Answer the one question in a sentence."""
        failed, absent = self.count(NOT_READY), self.count(NOT_THERE)
        risks = self.count(RISK)
        found = {
            counted(failed, "error"): failed,
            f"{counted(absent, 'part')} not set up": absent,
            counted(risks, "risk"): risks,
        }
        told = ", ".join(text for text, number in found.items() if number)
        if failed or absent:
            return f"No: {told}."
        return f"Yes, with {told}." if risks else "Yes."

    def count(self, standing: str) -> int:
        """How many parts stand like this."""
        return sum(_stands(check) == standing for check in self.checks.checks)

    @property
    def next_step(self) -> str:
        """Say what to do first."""
        for standing in (NOT_READY, NOT_THERE, RISK):
            for parts in self.by_question.values():
                for one in parts:
                    if _stands(one) == standing:
                        about = f"{one.part}: {one.found}"
                        return f"{one.what_to_do} ({about})" if one.what_to_do else about
        return "Nothing to do now."

    @property
    def exit_status(self) -> ExitStatus:
        """DONE with risks, too; PARTIAL when a part fails or is not set up, DAMAGED with damage."""
        if any(check.is_damage for check in self.checks.checks):
            return ExitStatus.DAMAGED
        is_short = self.count(NOT_READY) or self.count(NOT_THERE)
        return ExitStatus.PARTIAL if is_short else ExitStatus.DONE

    def as_json(self) -> JsonObject:
        """Give all of it for `--json`."""
        return {
            "answer": self.answer,
            "next_step": self.next_step,
            "questions": [
                {"question": question, "checks": [one.as_json() for one in parts]}
                for question, parts in self.by_question.items()
            ],
            **{verdict.value: self.checks.count(verdict) for verdict in Verdict},
            "not_set_up": self.count(NOT_THERE),
            "exit_status": int(self.exit_status),
        }


def readiness(installation: Installation, tried: Report) -> Readiness:
    """Say whether the place could take a breach, from what `check_place` tried."""
    return Readiness(checks=Report(checks=(*tried.checks, *recency_checks.practice(installation))))


def write_readiness_page(installation: Installation, seen: Readiness, out: Path) -> Path:
    """Write the page; the same page again replaces the one that is there."""
    return write_page(readiness_page(_report(installation, seen)), out)


def _report(installation: Installation, seen: Readiness) -> ReadinessReport:
    return ReadinessReport(
        heading=heading(installation),
        answer=seen.answer,
        next_step=seen.next_step,
        areas=tuple(
            AreaLine(question=question, parts=tuple(map(_part, parts)))
            for question, parts in seen.by_question.items()
            if parts
        ),
        drills=drill_lines(installation),
    )


def _part(check: Check) -> PartLine:
    return PartLine(
        part=check.part,
        verdict=_stands(check),
        found=check.found,
        what_to_do=check.what_to_do,
    )


def _stands(check: Check) -> str:
    return NOT_THERE if check.is_lacking else check.verdict.value
