"""Requests of an open incident to one person, for a page of the console.

A request asks for an answer, an approval, or the report of manual work. The console is the web
interface of Standfast.

Rules
- The order is questions, then approvals, then manual steps, each in the order of the playbook (the
  file that describes the response).
- A request is shown to everybody who may see the incident. A person who may not decide, or has
  decided already, reads the reason.
- Targets, such as accounts to be locked, are named only on request. The audit log records the
  person's access.
"""

from collections.abc import Iterator
from dataclasses import replace

from standfast.errors import UsageError
from standfast.ledger.approvals import decisions
from standfast.ledger.approvals.two_person_rule import Question
from standfast.local_time import minute
from standfast.playbook.actions import ACTIONS
from standfast.playbook.model import Step, StepKind
from standfast.playbook.rendering.step_labels import paragraphs
from standfast.playbook.run_state import State, StepView
from standfast.playbook.status.person_tasks import urgency
from standfast.playbook.status.progress import in_playbook, waits_for_a_person
from standfast.records import Mode, StepState
from standfast.reports.console_pages import APPROVE, DECIDE, REPORT, DecisionLine, Words
from standfast.usecases.approvals.step_decisions import signable_decisions
from standfast.usecases.core.additional_steps import additional_step_verb
from standfast.usecases.core.installation import Installation
from standfast.usecases.incidents.result_summary import targets
from standfast.usecases.notices.preview import planned_words
from standfast.webauthn import challenge_for, encoded

MOST_NAMES = 200


def pending_requests(
    installation: Installation, incident_id: str, person: str
) -> tuple[DecisionLine, ...]:
    """Return the requests of an incident, for the console page of `person`.

    An incident that is closed, or only a plan, has no requests.
    """
    state = installation.ledger.incidents.state(incident_id)
    if state.mode is Mode.PLAN or state.is_closed:
        return ()
    if state.is_stopped_or_closed:  # a stopped incident continues only its undos
        state = replace(state, steps={}, extra=tuple(view for view in state.extra if view.is_undo))
    return tuple(_asked(installation, state, person))


def is_report(installation: Installation, incident_id: str, step: str) -> bool:
    """Return whether the step is manual work, which a person reports as done."""
    steps = installation.ledger.incidents.state(incident_id).playbook.steps
    return any(candidate.name == step and candidate.kind is StepKind.MANUAL for candidate in steps)


def with_target_names(
    installation: Installation, incident_id: str, person: str, line: DecisionLine
) -> DecisionLine:
    """Name the targets of a waiting step, and record the access.

    The recipients of a notice are not named: the person signs its text and its number of
    recipients.
    """
    if line.does != APPROVE or line.tells:
        return line
    rows = targets(replace(installation, actor=person), incident_id)
    planned = [row.target for row in rows if row.step == line.step and row.state == "planned"]
    more = [f"and {len(planned) - MOST_NAMES:,} more"] if len(planned) > MOST_NAMES else []
    return replace(line, names=(*planned[:MOST_NAMES], *more))


def _asked(installation: Installation, state: State, person: str) -> Iterator[DecisionLine]:
    steps = {step.name: step for step in state.playbook.steps}
    views = (*in_playbook(state), *state.extra)
    for view in sorted(views, key=lambda view: urgency(state, view)):
        if not waits_for_a_person(state, view) or view.is_paused:
            continue
        step = steps.get(view.step)
        if view.state is StepState.PROMPTED and step is not None:
            yield _question(installation, step, person)
        elif view.state is StepState.ASKING:
            try:
                yield _approval(installation, state, step, view, person)
            except UsageError:
                continue  # somebody decided after the state was read


def _question(installation: Installation, step: Step, person: str) -> DecisionLine:
    is_decision = step.kind is StepKind.DECIDE
    return DecisionLine(
        step=step.name,
        title=step.title,
        does=DECIDE if is_decision else REPORT,
        text=tuple(paragraphs(step.question if is_decision else step.instructions)),
        who=" or ".join(step.roles),
        obstacle=installation.ledger.people.objection(person, step.roles, installation.clock()),
        facts=step.facts,
        options=step.options,
    )


def _approval(
    installation: Installation, state: State, step: Step | None, view: StepView, person: str
) -> DecisionLine:
    incident = state.incident
    asked = installation.ledger.decisions.question(incident, view.step)
    shown = signable_decisions(installation, incident, view.step)
    objection = installation.ledger.decisions.objection(
        incident, person, asked.roles, installation.clock()
    )
    verb = (step.action if step else None) or additional_step_verb(view.step)
    text = [step.approval.reason] if step and step.approval and step.approval.reason else []
    if asked.opens_at is not None:
        at = minute(asked.opens_at, installation.config.organisation.time_zone)
        text.insert(0, f"It begins at {at} by break-glass, unless somebody refuses it.")
    return DecisionLine(
        step=shown.step,
        title=shown.title,
        does=APPROVE,
        text=tuple(text),
        who=" or ".join(asked.roles),
        obstacle=objection,
        may_refuse=not objection or _may_object(installation, asked, person),
        digest=shown.digest,
        reaches=shown.planned,
        target=ACTIONS[verb].targets.removesuffix("s"),
        left_out=shown.left_out,
        is_irreversible=shown.is_irreversible,
        tells=shown.tells,
        details=shown.details,
        given=asked.given,
        needed=asked.needed,
        challenges={
            decision: encoded(challenge_for(asked.message(person, decision)))
            for decision in (decisions.APPROVE, decisions.REFUSE)
        },
        words=_notice_texts(installation, incident, view.step) if shown.tells else (),
    )


def _may_object(installation: Installation, asked: Question, person: str) -> bool:
    """Return whether a person may refuse a step approved by break-glass.

    A break-glass approval is the approval of one person alone. To refuse it, a person needs no role
    of the step.
    """
    if asked.opens_at is None:
        return False
    return not installation.ledger.decisions.objection(
        asked.incident, person, (), installation.clock(), as_what=decisions.OBJECT
    )


def _notice_texts(installation: Installation, incident_id: str, step: str) -> tuple[Words, ...]:
    """Return a notice's texts, first the text in the main language."""
    own = installation.config.organisation.languages[0]
    messages = planned_words(installation, incident_id, step).messages
    return tuple(
        Words(language=message.language, subject=message.subject, text=message.text)
        for message in sorted(messages, key=lambda message: message.language != own)
    )
