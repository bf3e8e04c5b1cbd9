"""Content of a shift handover and a review: deviations, questions.

The handover page informs the next shift about an open incident. The review compares the incident
with the plan after its end. The ledger is the installation's database.

Rules
- Both pages are created from the ledger at the time of the request. No other system is read. Notes
  of people are not shown.
- Names of affected people are masked. If the outcome of an act (such as locking an account) is
  unknown, the page has the id of the act, its token. With this token, a person can record the
  outcome. `incident status --targets` shows the account or recipient, and records this access.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from standfast.ledger.audit.auditor import AuditEvent
from standfast.playbook.actions.accounts_lock import LOCK
from standfast.playbook.actions.accounts_prove_locked import PROVE
from standfast.playbook.actions.notices_send import SEND
from standfast.playbook.engine import current_state, is_pending, tally
from standfast.playbook.run_state import State
from standfast.playbook.status.obstacles import blocked, describe_state
from standfast.playbook.status.person_tasks import describe_task
from standfast.playbook.status.progress import waits_for_a_person
from standfast.plurals import counted
from standfast.records import EffectState, Proof, StepState
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
    "How did the intruder get in, and is that way closed?",
    "What helped, and should stay as it is?",
    "What held us up: a decision, a person who could not be reached, a tool, the playbook?",
    "Which customers, colleagues or authorities still wait for an answer, and from whom?",
    "What do we change, who does it, and by when?",
)


def hand_over(installation: Installation, incident_id: str) -> HandoverReport:
    """Return the content for the next shift; UsageError if unknown incident."""
    report = incident_report(installation, incident_id, must_verify=False)
    state = look(installation, incident_id).state
    titles = titles_of(state)
    unknown = [
        effect
        for effect in installation.ledger.effects.of_incident(incident_id)
        if effect.state is EffectState.UNKNOWN
    ]
    return HandoverReport(
        report=report,
        open_steps=tuple(_open_steps(state)) if report.is_open else (),
        clocks=tuple(sorted(_clocks(installation, state, titles), key=lambda clock: clock.at))
        if report.is_open
        else (),
        unknowns=tuple(
            Unknown(
                effect=effect.token[:8],
                step=titles.get(effect.step, effect.step),
                who=mask_target(effect.target),
                reason=effect.reason,
                is_message=effect.verb == SEND,
            )
            for effect in unknown
        ),
        people=tuple(_people(installation.ledger.timeline(incident_id))),
        has_runner=state.has_runner,
    )


def after_action(installation: Installation, incident_id: str) -> AfterAction:
    """Return the draft of a review; UsageError for an unknown incident."""
    report = incident_report(installation, incident_id, must_verify=False)
    events = installation.ledger.timeline(incident_id)
    state = installation.ledger.incidents.state(incident_id)
    return AfterAction(
        report=report,
        figures=tuple(_figures(report, events)),
        otherwise=tuple(_deviations(state, events)),
        questions=_QUESTIONS,
    )


def write_handover(handed: HandoverReport, out: Path) -> Path:
    """Write the handover page; replace an earlier page."""
    return write_page(handover_page(handed), out)


def write_after_action(draft: AfterAction, out: Path) -> Path:
    """Write the draft of the review; replace an earlier draft."""
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
            todo = f"{cause.by} blocks it: {cause.why}. {cause.what_to_do}" if cause else ""
        elif waits_for_a_person(state, view):
            todo = describe_task(state, view)
        else:
            todo = tally(view.counts) if view.counts.total else ""
        yield OpenStep(
            step=name,
            title=titles[name],
            state="not reached" if view is None else view.state.value,
            who=_responsible_roles(state, name),
            what_to_do=todo,
        )


def _responsible_roles(state: State, name: str) -> str:
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
            yield ClockLine(event=f"“{title}” ends", at=view.due_at)
        if view.state is StepState.ASKING and view.escalates_at:
            yield ClockLine(
                event=f"“{title}” without approval: the next people are paged", at=view.escalates_at
            )
        if view.opens_at:
            yield ClockLine(event=f"“{title}” begins by break-glass", at=view.opens_at)
    work = open_work(installation, state, installation.clock())
    if work.next_due is not None:
        yield ClockLine(event="scheduled actions continue", at=work.next_due)


def _people(events: Sequence[AuditEvent]) -> Iterator[str]:
    """Return the people that acted, in order of their first action."""
    actors = dict.fromkeys(event.actor for event in events)
    return (actor for actor in actors if not actor.startswith(("ledger", "runner:")))


def _figures(report: IncidentReport, events: Sequence[AuditEvent]) -> Iterator[Figure]:
    opened = report.opened_at
    proven = [account.proof for account in report.accounts if account.proof is not Proof.NONE]
    level = f" (at least: {Proof.weakest(proven).words})" if proven else ""
    for label, verb in (
        ("from opening to the first lock", LOCK),
        (f"from opening to the first proof{level}", PROVE),
        ("from opening to the first notice", SEND),
    ):
        if at := _first_done(events, verb):
            yield Figure(label=label, value=at - opened)
    for label, action in (
        ("from opening to the first request for approval", "approval.asked"),
        ("from opening to the first approval", "approval.approve"),
    ):
        found = [event.at for event in events if event.action == action]
        if found:
            yield Figure(label=label, value=found[0] - opened)
    if report.closed_at is not None:
        yield Figure(label="from opening to closing", value=report.closed_at - opened)


def _first_done(events: Sequence[AuditEvent], verb: str) -> datetime | None:
    for event in events:
        results = event.detail.get("results")
        is_done = isinstance(results, dict) and results.get("done")
        if event.action == "attempt.ended" and event.detail.get("verb") == verb and is_done:
            return event.at
    return None


def _deviations(state: State, events: Sequence[AuditEvent]) -> Iterator[str]:
    """Yield the deviations from the playbook, such as failed or skipped steps."""
    titles = titles_of(state)
    for view in (*state.steps.values(), *state.extra):
        if current_state(view) in (StepState.PARTIAL, StepState.FAILED, StepState.REFUSED):
            yield f"“{titles[view.step]}” is {describe_state(view)}"
        elif not view.state.is_final:
            yield f"“{titles[view.step]}” is not finished ({view.state})"
    for step in state.playbook.steps:
        if is_pending(step, state):
            yield f"“{step.title}” was not reached"
    texts = {
        "approval.rejected": "an approval did not count",
        "word.rejected": "a decision did not count",
        "approval.escalated": "nobody answered, and the next people were paged",
        "approval.opened": "a step ran by break-glass, approved by one person",
        "attempts.lapsed": "a runner ended or a call took too long",
        "effects.retried": "a failed action was retried",
        "step.accepted": "an incomplete step was accepted",
        "incident.stopped": "everything was stopped",
    }
    counts = Counter(event.action for event in events if event.action in texts)
    for action, text in texts.items():
        if counts[action]:
            yield f"{counted(counts[action], 'time')}: {text}"
