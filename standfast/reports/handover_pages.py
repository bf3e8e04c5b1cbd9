"""Pages of a shift handover and of an after-action review, and their JSON.

`standfast/usecases/reports/shift_handover.py` collects the data.

Rules
- Open work comes before past events, because people of the next shift may read only the beginning.
- An effect is a change of one target, such as one locked account. Effects with an unknown outcome
  are listed one by one, so that a person can find out and record the outcome.
- The draft of the review contains the facts that the ledger (the installation's database) has, and
  asks people for other facts. It contains no judgement and no assumption.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from standfast.records import Json, JsonObject, timestamp
from standfast.reports import report_sentences
from standfast.reports.html_page import Clock, render
from standfast.reports.report_records import Decision, IncidentObligations, IncidentReport, StepLine


@dataclass(frozen=True, kw_only=True)
class OpenStep:
    """A step that is not finished."""

    step: str
    title: str
    state: str  # in words
    who: str  # roles, or "" for anybody
    what_to_do: str  # with commands in backticks; "" if it continues automatically


@dataclass(frozen=True, kw_only=True)
class ClockLine:
    """An event that will happen at a known time, such as the end of a wait."""

    event: str
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Unknown:
    """One effect with an unknown outcome."""

    effect: str  # beginning of the effect's token (its id), for `incident settle`
    step: str
    who: str  # masked
    reason: str
    is_message: bool = False


@dataclass(frozen=True, kw_only=True)
class HandoverReport:
    """The content for the next shift."""

    report: IncidentReport
    open_steps: tuple[OpenStep, ...]
    clocks: tuple[ClockLine, ...]  # next first
    unknowns: tuple[Unknown, ...]
    people: tuple[str, ...]  # all people that have acted
    has_runner: bool = True  # True if a process executes the steps, so that they continue

    def as_json(self) -> JsonObject:
        """Return the JSON form."""
        return {
            **_incident_json(self.report),
            "next_step": self.report.next_step,
            "open": [
                {
                    "step": step.step,
                    "title": step.title,
                    "state": step.state,
                    "who": step.who,
                    "what_to_do": step.what_to_do,
                }
                for step in self.open_steps
            ],
            "has_runner": self.has_runner,
            "clocks": [{"what": clock.event, "at": timestamp(clock.at)} for clock in self.clocks],
            "obligations": _obligations(self.report.obligations),
            "unknown": [
                {
                    "effect": unknown.effect,
                    "step": unknown.step,
                    "who": unknown.who,
                    "reason": unknown.reason,
                }
                for unknown in self.unknowns
            ],
            "steps": [_step(step) for step in self.report.steps],
            "decisions": [_decision(decision) for decision in self.report.decisions],
            "people": list(self.people),
        }


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One duration of the incident, with its label."""

    label: str
    value: timedelta


@dataclass(frozen=True, kw_only=True)
class AfterAction:
    """The draft of the review: facts, and questions to people."""

    report: IncidentReport
    figures: tuple[Figure, ...]
    otherwise: tuple[str, ...]  # deviations from the playbook, such as failed or skipped steps
    questions: tuple[str, ...]

    def as_json(self) -> JsonObject:
        """Return the JSON form."""
        return {
            **_incident_json(self.report),
            "figures": [
                {"what": figure.label, "seconds": round(figure.value.total_seconds())}
                for figure in self.figures
            ],
            "obligations": _obligations(self.report.obligations),
            "steps": [_step(step) for step in self.report.steps],
            "decisions": [_decision(decision) for decision in self.report.decisions],
            "otherwise": list(self.otherwise),
            "timeline": [
                {"at": timestamp(event.at), "actor": event.actor, "what": event.action}
                for event in self.report.events
            ],
            "questions": list(self.questions),
        }


def handover_page(handed: HandoverReport) -> str:
    """Return the handover page as HTML."""
    return _page("handover.html", handed.report, handed=handed)


def after_action_page(draft: AfterAction) -> str:
    """Return the draft of the review as HTML, with space to write."""
    return _page("after_action.html", draft.report, draft=draft)


def _page(template: str, report: IncidentReport, **more: object) -> str:
    clock = Clock(report.heading.time_zone)
    paragraph = report_sentences.what_happened(report, clock.long(report.opened_at))
    return render(template, clock, report=report, paragraph=paragraph, **more)


def _incident_json(report: IncidentReport) -> dict[str, Json]:
    return {
        "incident": report.incident,
        "scenario": report.scenario,
        "title": report.title,
        "mode": report.mode.value,
        "is_open": report.is_open,
        "is_stopped": report.is_stopped,
        "opened_at": timestamp(report.opened_at),
        "opened_by": report.opened_by,
        "closed_at": timestamp(report.closed_at) if report.closed_at else None,
        "written_at": timestamp(report.heading.written_at),
        "what_happened": report_sentences.what_happened(report, timestamp(report.opened_at)),
    }


def _obligations(owed: IncidentObligations | None) -> Json:
    if owed is None:
        return None
    return {
        "missed": owed.missed,
        "next_due": timestamp(owed.next_due) if owed.next_due else None,
        "clocks": [
            {
                "to": line.to,
                "rule": line.rule,
                "state": line.state,
                "due": timestamp(line.due) if line.due else None,
                "is_earliest": line.is_earliest,
            }
            for line in owed.lines
        ],
        "questions": list(owed.questions),
        "not_started": owed.not_started,
        "trouble": owed.trouble,
    }


def _step(step: StepLine) -> JsonObject:
    return {
        "step": step.name,
        "title": step.title,
        "state": step.state.value if step.state else "not reached",
        "counts": {state.value: count for state, count in step.counts.items()},
        "reasons": _reasons(step),
        "outcome": step.outcome,
    }


def _reasons(step: StepLine) -> Sequence[Json]:
    return [
        {"state": reason.state.value, "count": reason.count, "reason": reason.text}
        for reason in step.reasons
    ]


def _decision(decision: Decision) -> JsonObject:
    return {
        "at": timestamp(decision.at),
        "person": decision.person,
        "what": decision.action,
        "step": decision.step,
    }
