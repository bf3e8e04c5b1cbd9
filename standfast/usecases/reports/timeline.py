"""Timeline of an incident in sentences, and its decisions.

Rules
- Acts on single targets, such as one locked account, are omitted. `incident status --timeline`
  lists them.
- The answer to a question of the playbook is shown only if it is one of the given options. Other
  answers are free text, which may contain personal data.
- The reasons that people gave for a break-glass approval (by one person alone) and for access to
  evidence are shown.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from standfast.ledger.audit.auditor import AuditEvent
from standfast.playbook.model import StepKind
from standfast.playbook.run_state import State
from standfast.plurals import counted
from standfast.reports.report_records import Decision, EventLine
from standfast.reports.report_sentences import duration
from standfast.usecases.core.additional_steps import additional_step_title

_SUBJECTS = "incidents, alerts or steps"


def event_lines(state: State, events: Sequence[AuditEvent]) -> Iterator[EventLine]:
    """Yield the events of the timeline that an HTML page shows, in order."""
    titles = titles_of(state)
    for event in events:
        text = _event_text(event, titles)
        if text:
            actor = "Standfast" if event.actor.startswith(("ledger", "runner:")) else event.actor
            yield EventLine(at=event.at, actor=actor, action=text)


def _event_text(event: AuditEvent, titles: Mapping[str, str]) -> str:
    """Return an event in words; "" for an event that is not shown."""
    detail = event.detail
    step = f"“{titles.get(str(detail.get('step')), str(detail.get('step')))}”"
    match event.action:
        case "incident.opened":
            return "opened it, signed in" if detail.get("signed_in") else "opened it"
        case "incident.stopped":
            return "stopped it"
        case "incident.resumed":
            return "resumed it"
        case "incident.closed":
            return "closed it"
        case "incident.reopened":
            return "reopened it"
        case "trigger.repeated":
            return "the same trigger fired again, and its message was added to it"
        case "trigger.joined":
            more = counted(int(detail.get("targets", 0)), "target")
            return f"the message of a trigger with the same subject was added to it, with {more}"
        case "incident.extended":
            added = counted(int(detail.get("targets", 0)), "account")
            return f"added {added}{', signed in' if detail.get('signed_in') else ''}"
        case "runner.started":
            return f"started to run it ({detail.get('way')})"
        case "step.begun":
            waits = detail.get("needs_approvals")
            after = f", waits for {counted(int(waits), 'approval')}" if waits else ""
            return f"planned {step}: {counted(int(detail.get('effects', 0)), 'target')}{after}"
        case "step.prompted":
            return f"asked a person about {step}"
        case "step.waits":
            return f"began to wait: {step}"
        case "step.answered":
            return f"{'corrected the answer to' if detail.get('again') else 'answered'} {step}"
        case "step.accepted":
            return f"accepted {step} although it was not fully done"
        case "step.finished":
            return f"{step} is {detail.get('state')}"
        case "approval.asked":
            return f"paged {counted(int(detail.get('people', 0)), 'person', 'people')} about {step}"
        case "approval.escalated":
            people = counted(int(detail.get("people", 0)), "person", "people")
            return f"nobody answered: paged {people} more about {step}"
        case "approval.approve" | "approval.refuse":
            verb = "approved" if event.action.endswith("approve") else "refused"
            verb = f"reviewed the break-glass run, and {verb}" if detail.get("is_review") else verb
            return f"{verb} {step}, plan {str(detail.get('digest'))[:16]}"
        case "approval.break-glass":
            return (
                f"gave a break-glass approval for {step}, plan {str(detail.get('digest'))[:16]}: "
                f"{detail.get('because')}"
            )
        case "approval.opened":
            return f"nobody refused {step}: it began by break-glass"
        case "word.rejected":
            return f"a decision about {step} did not count: {detail.get('why')}"
        case "approval.rejected":
            return f"an approval of {step} did not count: {detail.get('why')}"
        case "call-out.began":
            subjects = counted(int(detail.get("covers", 0)), "incident, alert or step", _SUBJECTS)
            return f"began a call-out about {subjects}"
        case "call-out.paging":
            return f"began to page {detail.get('person')} by {detail.get('sender') or 'mail'}"
        case "call-out.paged":
            sender = detail.get("sender") or "mail"
            return f"paged {detail.get('person')} by {sender}: {detail.get('state')}"
        case "call-out.acknowledged":
            late = " late, after it had ended unanswered" if detail.get("is_late") else ""
            return f"acknowledged the call-out{late}"
        case "call-out.unanswered":
            return f"nobody acknowledged the call-out after {detail.get('pages')} pages"
        case "call-out.over":
            return "ended the call-out: nothing is left that needs a person"
        case "incident.noted":
            files = int(detail.get("files", 0))
            sealed = f", with {counted(files, 'sealed file')}" if files else ""
            return f"added note {detail.get('number')}{sealed}"
        case "affected.listed":
            people = counted(int(detail.get("people", 0)), "affected person", "affected people")
            instead = ", instead of the earlier lists" if detail.get("replaces") else ""
            return f"listed {people} (list {detail.get('number')}){instead}"
        case "affected.viewed":
            return "read the list of affected people by name"
        case "evidence.exported":
            how = "masked" if detail.get("is_masked") else f"in clear: {detail.get('reason')}"
            return f"exported the evidence, {how}"
        case "evidence.reviewed":
            how = "masked" if detail.get("is_masked") else f"in clear: {detail.get('reason')}"
            return f"reviewed the frozen logs, {how}"
        case "evidence.opening":
            item = f"item {detail.get('item')} of {detail.get('folder')}"
            return f"began to open {item} of the evidence: {detail.get('reason')}"
        case "evidence.opened":
            return f"opened item {detail.get('item')} of {detail.get('folder')}"
        case "evidence.held":
            return f"placed a legal hold on the evidence: {detail.get('reason')}"
        case "evidence.hold_released":
            return f"released the legal hold of the evidence: {detail.get('reason')}"
        case "evidence.disposal_requested":
            return f"requested the disposal of the evidence: {detail.get('reason')}"
        case "evidence.disposal_approved":
            return f"approved the disposal that {detail.get('requested_by')} requested"
        case "evidence.disposal_withdrawn":
            return f"withdrew the disposal that {detail.get('requested_by')} requested"
        case "evidence.disposal_begun":
            return f"began to dispose of the evidence: {detail.get('folder')}"
        case "evidence.disposed":
            return f"disposed of the evidence: {', '.join(detail.get('custody', {}))}"
        case "evidence.stamped":
            names = ", ".join(detail.get("custody", {}))
            return (
                f"received a time stamp for {names}: {detail.get('stamped_at')}, "
                f"{detail.get('authority')}"
            )
        case "recovery.restoring":
            return f"began to restore set {detail.get('set')} from {detail.get('point')}"
        case "recovery.progress":
            count = f"{detail.get('objects')} of {detail.get('of')}"
            return f"restored {count} objects to {detail.get('path')}"
        case "recovery.replaced":
            return f"replaced the data at {detail.get('path')}"
        case "recovery.loaded":
            return f"replaced database {detail.get('database')}"
        case "recovery.moved":
            return f"moved database {detail.get('old')} to {detail.get('new')}"
        case "recovery.returned":
            where = detail.get("path") or f"database {detail.get('database')}"
            return f"put the previous data back: {where}"
        case "paper.listed":
            return f"listed {counted(int(detail.get('count', 0)), 'item')} from paper"
        case "paper.entered":
            return f"entered item {detail.get('number')} from paper"
        case "recovery.done":
            return f"recovered set {detail.get('set')}: {_objectives(detail)}"
        case "attempts.lapsed":
            effects = counted(int(detail.get("effects", 0)), "effect")
            return f"{effects} of a runner that ended: outcome unknown"
        case "effects.retried":
            retried = int(detail.get("count", 0))
            planned = counted(retried, "failed effect") if retried else "the step"
            return f"planned {planned} again"
        case _:
            return ""


def _objectives(detail: Mapping[str, Any]) -> str:
    """Return RTO and RPO of a recovered set."""
    values = [
        f"{name} {'not measured' if value is None else duration(timedelta(milliseconds=value))}"
        for name, value in (("RTO", detail.get("rto_ms")), ("RPO", detail.get("rpo_ms")))
    ]
    return ", ".join(values)


def titles_of(state: State) -> dict[str, str]:
    """Return the title of every step, including steps that people added."""
    titles = {step.name: step.title for step in state.playbook.steps}
    return titles | {
        view.step: f"{additional_step_title(view.step)} ({view.step})" for view in state.extra
    }


def decisions(state: State, events: Sequence[AuditEvent]) -> Iterator[Decision]:
    """Yield the decisions of people, in order."""
    kinds = {step.name: step.kind for step in state.playbook.steps}
    titles = titles_of(state)
    texts = {
        "approval.approve": "approved",
        "approval.refuse": "refused",
        "approval.break-glass": "gave a break-glass approval for",
        "step.accepted": "accepted although not fully done",
    }
    for event in events:
        step = str(event.detail.get("step", ""))
        text = texts.get(event.action)
        if event.action == "step.answered":
            view = state.steps.get(step)
            is_choice = kinds.get(step) is StepKind.DECIDE and view and view.answer
            text = f"answered {view.answer} to" if view and is_choice else "reported on"
            if view and int(event.detail.get("round", 1)) < view.round:
                text = "gave an answer, corrected since, to"
        if text:
            yield Decision(
                step=titles.get(step, step), person=event.actor, action=text, at=event.at
            )
