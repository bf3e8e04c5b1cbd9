"""The pages of a change of shift and of the end: the hand-over, and the draft of the review.

Owns their records, and both forms of each: a page that prints, and JSON. Leaves gathering to
`standfast/usecases/reports/shift_handover.py`.

Rules
- What is open comes before what happened: whoever takes over reads the first half page.
- What nobody knows is named, one by one, each with the effect to settle.
- The draft of the review states what the ledger shows and asks what it cannot know; it judges
  nobody, and nothing in it was made up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from standfast.records import Json, JsonObject, timestamp
from standfast.reports import report_sentences
from standfast.reports.html_page import Clock, render
from standfast.reports.report_records import Decision, Duties, IncidentReport, StepLine


@dataclass(frozen=True, kw_only=True)
class OpenStep:
    """A step that somebody or something still has to do."""

    step: str
    title: str
    state: str  # as people say it
    who: str  # roles, or who carries it out; empty when it is anybody's
    what_to_do: str  # commands stand between backticks; empty when it goes on by itself


@dataclass(frozen=True, kw_only=True)
class ClockLine:
    """Something that happens at a moment, whether anybody looks or not."""

    what: str
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Unknown:
    """One act that may or may not have happened."""

    effect: str  # its name, as `incident settle` takes it
    step: str
    who: str  # masked
    reason: str
    is_message: bool = False


@dataclass(frozen=True, kw_only=True)
class HandoverReport:
    """What whoever takes an incident over must know."""

    report: IncidentReport
    open_steps: tuple[OpenStep, ...]
    clocks: tuple[ClockLine, ...]  # the next first
    unknowns: tuple[Unknown, ...]
    people: tuple[str, ...]  # who said or did anything in it so far
    is_carried: bool = True  # a runner lives: what waits for its time goes on by itself

    def as_json(self) -> JsonObject:
        """Give it for `--json`."""
        return {
            **_who_and_what(self.report),
            "next_step": self.report.next_step,
            "open": [
                {
                    "step": one.step,
                    "title": one.title,
                    "state": one.state,
                    "who": one.who,
                    "what_to_do": one.what_to_do,
                }
                for one in self.open_steps
            ],
            "is_carried": self.is_carried,
            "clocks": [{"what": one.what, "at": timestamp(one.at)} for one in self.clocks],
            "duties": _duties(self.report.duties),
            "unknown": [
                {
                    "effect": one.effect,
                    "step": one.step,
                    "who": one.who,
                    "reason": one.reason,
                }
                for one in self.unknowns
            ],
            "steps": [_step(one) for one in self.report.steps],
            "decisions": [_decision(one) for one in self.report.decisions],
            "people": list(self.people),
        }


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measure of how it went."""

    what: str
    value: timedelta


@dataclass(frozen=True, kw_only=True)
class AfterAction:
    """The draft of the review: facts, and the questions that only people can answer."""

    report: IncidentReport
    figures: tuple[Figure, ...]
    otherwise: tuple[str, ...]  # what did not go as the playbook has it
    questions: tuple[str, ...]

    def as_json(self) -> JsonObject:
        """Give it for `--json`."""
        return {
            **_who_and_what(self.report),
            "figures": [
                {"what": one.what, "seconds": round(one.value.total_seconds())}
                for one in self.figures
            ],
            "duties": _duties(self.report.duties),
            "steps": [_step(one) for one in self.report.steps],
            "decisions": [_decision(one) for one in self.report.decisions],
            "otherwise": list(self.otherwise),
            "timeline": [
                {"at": timestamp(one.at), "actor": one.actor, "what": one.what}
                for one in self.report.events
            ],
            "questions": list(self.questions),
        }


def handover_page(handed: HandoverReport) -> str:
    """Give the page of a hand-over as HTML."""
    return _page("handover.html", handed.report, handed=handed)


def after_action_page(draft: AfterAction) -> str:
    """Give the draft of the review as HTML, with room to write."""
    return _page("after_action.html", draft.report, draft=draft)


def _page(template: str, report: IncidentReport, **more: object) -> str:
    clock = Clock(report.heading.time_zone)
    paragraph = report_sentences.what_happened(report, clock.long(report.opened_at))
    return render(template, clock, report=report, paragraph=paragraph, **more)


def _who_and_what(report: IncidentReport) -> dict[str, Json]:
    return {
        "incident": report.incident,
        "scenario": report.scenario,
        "title": report.title,
        "mode": report.mode.value,
        "is_open": report.is_open,
        "is_stopped": report.is_halted,
        "opened_at": timestamp(report.opened_at),
        "opened_by": report.opened_by,
        "closed_at": timestamp(report.closed_at) if report.closed_at else None,
        "written_at": timestamp(report.heading.written_at),
        "what_happened": report_sentences.what_happened(report, timestamp(report.opened_at)),
    }


def _duties(owed: Duties | None) -> Json:
    if owed is None:
        return None
    return {
        "missed": owed.missed,
        "next_due": timestamp(owed.next_due) if owed.next_due else None,
        "clocks": [
            {
                "to": one.to,
                "rule": one.rule,
                "standing": one.standing,
                "due": timestamp(one.due) if one.due else None,
                "is_earliest": one.is_earliest,
            }
            for one in owed.lines
        ],
        "questions": list(owed.questions),
        "not_started": owed.not_started,
        "trouble": owed.trouble,
    }


def _step(one: StepLine) -> JsonObject:
    return {
        "step": one.name,
        "title": one.title,
        "state": one.state.value if one.state else "not reached",
        "counts": {state.value: count for state, count in one.counts.items()},
        "reasons": _reasons(one),
        "outcome": one.outcome,
    }


def _reasons(one: StepLine) -> Sequence[Json]:
    return [
        {"state": reason.state.value, "count": reason.count, "reason": reason.text}
        for reason in one.reasons
    ]


def _decision(one: Decision) -> JsonObject:
    return {
        "at": timestamp(one.at),
        "person": one.person,
        "what": one.what,
        "step": one.step,
    }
