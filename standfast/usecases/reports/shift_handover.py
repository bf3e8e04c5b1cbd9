"""A change of shift and the end of an incident, written from the ledger at any moment.

Rules
- Both pages are made of what stands in the ledger when they are asked for: nobody has to have kept
  notes, and nothing is read outside.
- Whoever is touched is masked; an act without a known end is named by its effect, so that it can be
  settled, and `incident status --targets` says who it is, for the timeline to note.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from standfast.ledger.audit.auditor import AuditEvent
from standfast.playbook.actions.accounts_lock import LOCK
from standfast.playbook.actions.accounts_prove_locked import PROVE
from standfast.playbook.actions.notices_send import SEND
from standfast.playbook.engine import is_pending, standing_state, tally
from standfast.playbook.run_state import State
from standfast.playbook.status.next_step import asked_of_a_person
from standfast.playbook.status.obstacles import blocked, came_to
from standfast.playbook.status.progress import waits_for_a_person
from standfast.plurals import counted
from standfast.records import EffectState, StepState
from standfast.reports.handover_pages import (
    AfterAction,
    ClockLine,
    Figure,
    HandoverReport,
    OpenStep,
    Unknown,
    after_action_page,
    handover_page,
)
from standfast.reports.html_page import write_page
from standfast.reports.name_masking import mask_target
from standfast.reports.report_records import IncidentReport
from standfast.usecases.core.installation import Installation
from standfast.usecases.incidents.lifecycle import look, open_work
from standfast.usecases.reports.result_pages import incident_report
from standfast.usecases.reports.timeline import titles_of

_QUESTIONS = (
    "What was seen first, by whom, and how long before the incident was opened?",
    "How did the intruder come in, and is that way shut?",
    "What helped, and should stay as it is?",
    "What held us up: a decision, a person who could not be reached, a tool, the playbook?",
    "Which customers, colleagues or authorities still wait for an answer, and from whom?",
    "What do we change, who does it, and by when?",
)


def hand_over(installation: Installation, incident_id: str) -> HandoverReport:
    """Say what whoever takes the incident over must know. UsageError when there is none."""
    report = incident_report(installation, incident_id, is_verified=False)
    state = look(installation, incident_id).state
    titles = titles_of(state)
    unknown = [
        one
        for one in installation.ledger.effects.of_incident(incident_id)
        if one.state is EffectState.UNKNOWN
    ]
    return HandoverReport(
        report=report,
        open_steps=tuple(_open_steps(state)) if report.is_open else (),
        clocks=tuple(sorted(_clocks(installation, state, titles), key=lambda clock: clock.at))
        if report.is_open
        else (),
        unknowns=tuple(
            Unknown(
                effect=one.token[:8],
                step=titles.get(one.step, one.step),
                who=mask_target(one.target),
                reason=one.reason,
                is_message=one.verb == SEND,
            )
            for one in unknown
        ),
        people=tuple(_people(installation.ledger.timeline(incident_id))),
        is_carried=state.is_carried,
    )


def after_action(installation: Installation, incident_id: str) -> AfterAction:
    """Draft the review of an incident, open or closed. UsageError when there is none."""
    report = incident_report(installation, incident_id, is_verified=False)
    events = installation.ledger.timeline(incident_id)
    state = installation.ledger.incidents.state(incident_id)
    return AfterAction(
        report=report,
        figures=tuple(_figures(report, events)),
        otherwise=tuple(_otherwise(state, events)),
        questions=_QUESTIONS,
    )


def write_handover(handed: HandoverReport, out: Path) -> Path:
    """Write the page of a hand-over; the same again replaces the one that is there."""
    return write_page(handover_page(handed), out)


def write_after_action(draft: AfterAction, out: Path) -> Path:
    """Write the draft of a review; the same again replaces the one that is there."""
    return write_page(after_action_page(draft), out)


def _open_steps(state: State) -> Iterator[OpenStep]:
    causes = {cause.step: cause for cause in reversed(blocked(state))}
    views = [
        (step.name, None if is_pending(step, state) else state.steps[step.name])
        for step in state.playbook.steps
    ]
    titles = titles_of(state)
    for name, view in [*views, *((view.step, view) for view in state.extra)]:
        if view is not None and view.state.is_final and not view.counts.under_way:
            continue
        cause = causes.get(name)
        if view is None:
            todo = f"{cause.by} holds it up: {cause.why}. {cause.what_to_do}" if cause else ""
        elif waits_for_a_person(state, view):
            todo = asked_of_a_person(state, view)
        else:
            todo = tally(view.counts) if view.counts.total else ""
        yield OpenStep(
            step=name,
            title=titles[name],
            state="not reached" if view is None else view.state.value,
            who=_who(state, name),
            what_to_do=todo,
        )


def _who(state: State, name: str) -> str:
    step = next((step for step in state.playbook.steps if step.name == name), None)
    if step is None:
        return ""
    approvers = step.approval.roles if step.approval else ()
    return " or ".join(step.by or step.roles or approvers)


def _clocks(
    installation: Installation, state: State, titles: dict[str, str]
) -> Iterator[ClockLine]:
    for view in (*state.steps.values(), *state.extra):
        title = titles[view.step]
        if view.state is StepState.WAITING and view.due_at:
            yield ClockLine(what=f"“{title}” is over", at=view.due_at)
        if view.state is StepState.ASKING and view.escalates_at:
            yield ClockLine(
                what=f"“{title}” was not approved: the next people are paged", at=view.escalates_at
            )
        if view.opens_at:
            yield ClockLine(what=f"“{title}” begins on one person's word", at=view.opens_at)
    work = open_work(installation, state, installation.clock())
    if work.next_due is not None:
        yield ClockLine(what="acts that wait for their time go on", at=work.next_due)


def _people(events: Sequence[AuditEvent]) -> Iterator[str]:
    """Give who said or did anything, in the order in which they came in."""
    actors = dict.fromkeys(event.actor for event in events)
    return (actor for actor in actors if not actor.startswith(("ledger", "runner:")))


def _figures(report: IncidentReport, events: Sequence[AuditEvent]) -> Iterator[Figure]:
    opened = report.opened_at
    for what, verb in (
        ("from opening to the first lock", LOCK),
        ("from opening to the first proof", PROVE),
        ("from opening to the first notice", SEND),
    ):
        if at := _first_done(events, verb):
            yield Figure(what=what, value=at - opened)
    for what, action in (
        ("from opening to the first approval asked", "approval.asked"),
        ("from opening to the first approval", "approval.approve"),
    ):
        found = [event.at for event in events if event.action == action]
        if found:
            yield Figure(what=what, value=found[0] - opened)
    if report.closed_at is not None:
        yield Figure(what="from opening to closing", value=report.closed_at - opened)


def _first_done(events: Sequence[AuditEvent], verb: str) -> datetime | None:
    for event in events:
        results = event.detail.get("results")
        is_done = isinstance(results, dict) and results.get("done")
        if event.action == "attempt.ended" and event.detail.get("verb") == verb and is_done:
            return event.at
    return None


def _otherwise(state: State, events: Sequence[AuditEvent]) -> Iterator[str]:
    """Say what the ledger shows that a clean run does not."""
    titles = titles_of(state)
    for view in (*state.steps.values(), *state.extra):
        if standing_state(view) in (StepState.PARTIAL, StepState.FAILED, StepState.REFUSED):
            yield f"“{titles[view.step]}” is {came_to(view)}"
        elif not view.state.is_final:
            yield f"“{titles[view.step]}” is not at its end ({view.state})"
    for step in state.playbook.steps:
        if is_pending(step, state):
            yield f"“{step.title}” was not reached"
    told = {
        "approval.rejected": "an approval did not count",
        "word.rejected": "what somebody said did not count",
        "approval.escalated": "nobody had answered, and the next people were paged",
        "approval.opened": "a step ran on one person's word, who broke its glass",
        "attempts.lapsed": "a runner died or a call took too long",
        "effects.retried": "what had failed was tried again",
        "step.accepted": "a step that was not wholly done was let go on",
        "incident.stopped": "everything was stopped",
    }
    counts = Counter(event.action for event in events if event.action in told)
    for action, what in told.items():
        if counts[action]:
            yield f"{counted(counts[action], 'time')}: {what}"
