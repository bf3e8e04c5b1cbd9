"""The timeline of an incident in sentences, and the decisions in it.

Rules
- Single acts are left out: `incident status --timeline` lists them.
- What people wrote in their own words stays in the ledger; only a choice among options is shown.
"""

from collections.abc import Iterator, Mapping, Sequence

from standfast.ledger.audit.auditor import AuditEvent
from standfast.playbook.model import StepKind
from standfast.playbook.run_state import State
from standfast.plurals import counted
from standfast.reports.report_records import Decision, EventLine
from standfast.usecases.core.additional_steps import additional_step_title


def event_lines(state: State, events: Sequence[AuditEvent]) -> Iterator[EventLine]:
    """Say each event that a reader wants to know of, in order."""
    titles = titles_of(state)
    for event in events:
        what = _words(event, titles)
        if what:
            actor = "Standfast" if event.actor.startswith(("ledger", "runner:")) else event.actor
            yield EventLine(at=event.at, actor=actor, what=what)


def _words(event: AuditEvent, titles: Mapping[str, str]) -> str:
    """Say an event; nothing for the single acts, which `incident status --timeline` lists."""
    detail = event.detail
    step = f"“{titles.get(str(detail.get('step')), str(detail.get('step')))}”"
    match event.action:
        case "incident.opened":
            return "opened it, signed in" if detail.get("signed_in") else "opened it"
        case "incident.stopped":
            return "stopped it"
        case "incident.resumed":
            return "let it go on"
        case "incident.closed":
            return "closed it"
        case "incident.reopened":
            return "opened it again"
        case "trigger.repeated":
            return "the same trigger came again and joined it"
        case "trigger.joined":
            more = counted(int(detail.get("targets", 0)), "target")
            return f"a trigger about the same joined it with {more} more"
        case "runner.started":
            return f"began to carry it out ({detail.get('way')})"
        case "step.begun":
            waits = detail.get("needs_approvals")
            after = f", waits for {counted(int(waits), 'approval')}" if waits else ""
            return f"planned {step}: {counted(int(detail.get('effects', 0)), 'target')}{after}"
        case "step.prompted":
            return f"put {step} before a person"
        case "step.waits":
            return f"waits: {step}"
        case "step.answered":
            return f"{'corrected the answer to' if detail.get('again') else 'answered'} {step}"
        case "step.accepted":
            return f"let {step} go on as it was"
        case "step.finished":
            return f"{step} is {detail.get('state')}"
        case "approval.asked":
            return f"paged {counted(int(detail.get('people', 0)), 'person', 'people')} about {step}"
        case "approval.escalated":
            people = counted(int(detail.get("people", 0)), "person", "people")
            return f"nobody had answered: paged {people} more about {step}"
        case "approval.approve" | "approval.refuse":
            said = "approved" if event.action.endswith("approve") else "refused"
            said = f"looked at what was done alone, and {said}" if detail.get("is_review") else said
            return f"{said} {step}, plan {str(detail.get('digest'))[:16]}"
        case "approval.break-glass":
            return (
                f"broke the glass of {step}, plan {str(detail.get('digest'))[:16]}: "
                f"{detail.get('because')}"
            )
        case "approval.opened":
            return f"nobody had refused {step}: it began on one person's word"
        case "word.rejected":
            return f"what was said about {step} did not count: {detail.get('why')}"
        case "approval.rejected":
            return f"an approval of {step} did not count: {detail.get('why')}"
        case "evidence.exported":
            how = "masked" if detail.get("is_masked") else f"in clear: {detail.get('reason')}"
            return f"wrote the evidence for others, {how}"
        case "evidence.stamped":
            names = ", ".join(detail.get("custody", {}))
            return (
                f"had {names} time-stamped: {detail.get('stamped_at')}, {detail.get('authority')}"
            )
        case "attempts.lapsed":
            return (
                f"{counted(int(detail.get('effects', 0)), 'act')} left behind by a runner: unknown"
            )
        case "effects.retried":
            return f"planned {counted(int(detail.get('count', 0)), 'failed act')} again"
        case _:
            return ""


def titles_of(state: State) -> dict[str, str]:
    """Give the title of every step, also of those that people asked for beside the playbook."""
    titles = {step.name: step.title for step in state.playbook.steps}
    return titles | {
        view.step: f"{additional_step_title(view.step)} ({view.step})" for view in state.extra
    }


def decisions(state: State, events: Sequence[AuditEvent]) -> Iterator[Decision]:
    """Give what people decided, in order."""
    kinds = {step.name: step.kind for step in state.playbook.steps}
    titles = titles_of(state)
    said = {
        "approval.approve": "approved",
        "approval.refuse": "refused",
        "approval.break-glass": "broke the glass of",
        "step.accepted": "let it go on as it was",
    }
    for event in events:
        step = str(event.detail.get("step", ""))
        what = said.get(event.action)
        if event.action == "step.answered":
            view = state.steps.get(step)
            is_choice = kinds.get(step) is StepKind.DECIDE and view and view.answer
            what = f"answered {view.answer} to" if view and is_choice else "reported on"
            if view and int(event.detail.get("round", 1)) < view.round:
                what = "gave an answer, corrected since, to"
        if what:
            yield Decision(step=titles.get(step, step), person=event.actor, what=what, at=event.at)
