"""What an open incident asks of one person now, for whoever reads it on a page.

Owns gathering it. Leaves what comes of an answer to `decisions`, and the page to `reports`.

Rules
- The order is that of the one next step: questions, then approvals, then what is done by hand, each
  as the playbook has them.
- What is asked is shown to everybody who may look at the incident; whoever may not say it, or said
  it already, is told why.
- Nobody is named but to whoever asks for it, and that look is an event of theirs.
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
from standfast.playbook.status.next_step import urgency
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
    """Give what the incident asks of people now, as `person` sees it; nothing of a plan."""
    state = installation.ledger.incidents.state(incident_id)
    if state.mode is Mode.PLAN or state.is_closed:
        return ()
    if state.is_halted:  # only undos go on
        state = replace(state, steps={}, extra=tuple(one for one in state.extra if one.is_undo))
    return tuple(_asked(installation, state, person))


def is_report(installation: Installation, incident_id: str, step: str) -> bool:
    """Is the step one that a person does by hand, and not a question that decides?"""
    steps = installation.ledger.incidents.state(incident_id).playbook.steps
    return any(one.name == step and one.kind is StepKind.MANUAL for one in steps)


def named(
    installation: Installation, incident_id: str, person: str, line: DecisionLine
) -> DecisionLine:
    """Name the targets of a step that asks for approval, and note that this person looked.

    Of a notice nobody is named: its words and its number say what is signed.
    """
    if line.does != APPROVE or line.tells:
        return line
    rows = targets(replace(installation, actor=person), incident_id)
    there = [row.target for row in rows if row.step == line.step and row.state == "planned"]
    more = [f"and {len(there) - MOST_NAMES:,} more"] if len(there) > MOST_NAMES else []
    return replace(line, names=(*there[:MOST_NAMES], *more))


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
                continue  # somebody decided since the state was read


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
    why = installation.ledger.decisions.objection(
        incident, person, asked.roles, installation.clock()
    )
    verb = (step.action if step else None) or additional_step_verb(view.step)
    text = [step.approval.reason] if step and step.approval and step.approval.reason else []
    if asked.opens_at is not None:
        at = minute(asked.opens_at, installation.config.organisation.time_zone)
        text.insert(0, f"It begins at {at} on one person's word, unless somebody refuses it.")
    return DecisionLine(
        step=shown.step,
        title=shown.title,
        does=APPROVE,
        text=tuple(text),
        who=" or ".join(asked.roles),
        obstacle=why,
        may_refuse=not why or _may_object(installation, asked, person),
        digest=shown.digest,
        reaches=shown.planned,
        target=ACTIONS[verb].targets.removesuffix("s"),
        left_out=shown.left_out,
        is_irreversible=shown.is_irreversible,
        tells=shown.tells,
        given=asked.given,
        needed=asked.needed,
        challenges={
            said: encoded(challenge_for(asked.message(person, said)))
            for said in (decisions.APPROVE, decisions.REFUSE)
        },
        words=_words(installation, incident, view.step) if shown.tells else (),
    )


def _may_object(installation: Installation, asked: Question, person: str) -> bool:
    """Return whether a person who may not approve may refuse: what one person lets begin alone."""
    if asked.opens_at is None:
        return False
    return not installation.ledger.decisions.objection(
        asked.incident, person, (), installation.clock(), as_what=decisions.OBJECT
    )


def _words(installation: Installation, incident_id: str, step: str) -> tuple[Words, ...]:
    """Give a notice's words, those in the place's own language first."""
    own = installation.config.organisation.languages[0]
    messages = planned_words(installation, incident_id, step).messages
    return tuple(
        Words(language=one.language, subject=one.subject, text=one.text)
        for one in sorted(messages, key=lambda one: one.language != own)
    )
