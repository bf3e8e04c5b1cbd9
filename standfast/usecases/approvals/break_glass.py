"""Break-glass approvals: one person alone approves containment.

Containment means the steps of an incident that stop an intruder, for example the lock of accounts.
`ledger.approvals` decides who may approve alone, and when the step begins.

Rules
- Only containment that can be undone is allowed: steps that lock accounts or preserve data. A later
  refusal could not take back a message that was sent, or close an account that was unlocked.
- All enrolled people (with a passphrase or passkey in the ledger, the database of incidents) are
  notified before the approval takes effect, also the people whose accounts would be locked.
- A quiet incident is hidden from most people. About it, only people with a role that may see it are
  notified, except the people whose accounts would be locked.
- If the process dies before the approval is recorded, the notification is a false alarm and no step
  begins.
- The mail server must accept at least one message to another human. Otherwise nobody could refuse
  the step, and the approval is not allowed.
- In an exercise, which runs against simulators, nobody is notified.
- After the step, another person reviews the approval, and signs for or against it. The incident
  cannot be closed before this review.
"""

from contextlib import closing
from dataclasses import dataclass

from standfast.errors import ApprovalRefused, UsageError
from standfast.ledger.approvals.decisions import BREAK_GLASS
from standfast.ledger.approvals.two_person_rule import BREAK_GLASS_DELAY, Question
from standfast.local_time import minute
from standfast.playbook.actions import ACTIONS
from standfast.playbook.actions.action import Carrier
from standfast.playbook.run_state import State
from standfast.plurals import counted
from standfast.records import EffectState, Json, Mode
from standfast.usecases.approvals.step_decisions import signed_decision
from standfast.usecases.core.installation import Installation
from standfast.usecases.core.run_record import recorded
from standfast.usecases.core.staff_messages import notify_each
from standfast.usecases.incidents.approval_escalation import people_to_notify
from standfast.usecases.incidents.step_expansion import is_irreversible

_TEMPLATE = "glass-broken"
_RUN = "page"


@dataclass(frozen=True, kw_only=True)
class BreakGlassResult:
    """The approved step, and a message for the approver."""

    question: Question
    message: str  # for the approver: the start of the step, and the number of people notified


def break_glass(
    installation: Installation,
    incident_id: str,
    step: str | None,
    person: str,
    passphrase: str,
    *,
    because: str,
    as_shown: str = "",
) -> BreakGlassResult:
    """Notify the enrolled people; approve a step, which begins after a delay.

    The delay is `BREAK_GLASS_DELAY`. If somebody refuses the step before its end, the step does not
    begin.

    Raise ApprovalRefused if the step or the person is not allowed, if the step has a break-glass
    approval already, or if nobody else was notified. Raise UsageError if the reason is empty.
    """
    if not because.strip():
        raise UsageError(
            "reason: missing. Add --break-glass WHY; everybody who is notified reads the reason."
        )
    signed = signed_decision(
        installation, incident_id, step, person, passphrase, decision=BREAK_GLASS, as_shown=as_shown
    )
    question, state = signed.question, installation.ledger.incidents.state(incident_id)
    _refuse_unfit(installation, state, question, person)
    notification = (
        ""
        if state.mode is Mode.EXERCISE
        else _notify_approvers(installation, state, question, person, because)
    )
    updated_question = installation.ledger.decisions.decide(
        incident_id,
        question.step,
        person,
        BREAK_GLASS,
        signed.signature,
        installation.clock(),
        because=because,
    )
    if updated_question.opens_at is None:
        return BreakGlassResult(
            question=updated_question, message="The step now has all approvals that it needs."
        )
    at = minute(updated_question.opens_at, installation.config.organisation.time_zone)
    return BreakGlassResult(
        question=updated_question,
        message=f"{notification}The step begins at {at}, unless somebody refuses it.",
    )


def _refuse_unfit(
    installation: Installation, state: State, question: Question, person: str
) -> None:
    if not installation.config.approvals.break_glass:
        raise ApprovalRefused(
            "break-glass: `approvals.break_glass` is false in standfast.toml. Ask an approver: "
            f"`standfast incident status {state.incident}` names them."
        )
    if not _is_containment(installation, state, question):
        raise ApprovalRefused(
            f"step {question.step!r} of {state.incident}: break-glass is only for containment that "
            "can be undone. Wait for its approvals."
        )
    if question.opens_at is not None:
        at = minute(question.opens_at, installation.config.organisation.time_zone)
        raise ApprovalRefused(
            f"step {question.step!r}: it already has a break-glass approval. "
            f"The step begins at {at}."
        )
    if objection := installation.ledger.decisions.objection(
        state.incident, person, (), installation.clock(), as_what=BREAK_GLASS
    ):
        raise ApprovalRefused(objection)
    people = installation.ledger.people
    if people.counted_once([*people_to_notify(installation, state), people.get(person)]) < 2:
        raise ApprovalRefused(
            f"step {question.step!r} of {state.incident}: nobody else could refuse it, so one "
            "person cannot begin it alone. Enrol somebody with the owner's key."
        )


def _is_containment(installation: Installation, state: State, question: Question) -> bool:
    """Return whether the step is containment that can be undone."""
    step = next(
        (candidate for candidate in state.playbook.steps if candidate.name == question.step), None
    )
    if step is None or step.action is None or is_irreversible(step):
        return False  # steps that people added to the incident unlock accounts or notify people
    if ACTIONS[step.action].carrier is not Carrier.PROCEDURES:
        return True
    rows = installation.ledger.effects.of_round(
        question.incident, question.step, question.round, step.action
    )
    with closing(
        installation.adapters_for(installation.ledger.incidents.get(question.incident))
    ) as adapters:
        connectors = {row.connector for row in rows}
        return not any(adapters.procedure(name).is_irreversible for name in connectors)


def _notify_approvers(
    installation: Installation, state: State, question: Question, person: str, because: str
) -> str:
    """Notify everybody except `person`; return the number notified, in words.

    People who enrolled one another count as one human, because one human could have enrolled
    several names. Such people are notified last. Raise ApprovalRefused if no message to another
    human was accepted.
    """
    ledger = installation.ledger.people
    breaker = ledger.get(person)
    others = [p for p in people_to_notify(installation, state) if p.name != person]
    humans = [other for other in others if ledger.counted_once((breaker, other)) == 2]
    connected = [other for other in others if other not in humans]
    step = state.playbook.step(question.step)
    at = minute(
        installation.clock() + BREAK_GLASS_DELAY, installation.config.organisation.time_zone
    )
    values: dict[str, Json] = {
        "incident_id": state.incident,
        "step": step.title,
        "person": person,
        "because": because,
        "begins_at": at,
        "command": (
            f"standfast incident approve {state.incident} {question.step} --refuse --as NAME"
        ),
    }
    with recorded(installation, _RUN, f"glass.{state.incident}.{question.step}", "direct") as run:
        counts, problem = notify_each(installation, _TEMPLATE, values, humans, run.token)
        reached = counts[EffectState.DONE]
        summary: dict[str, Json] = {"people": len(humans)}
        summary |= {outcome.value: count for outcome, count in sorted(counts.items())}
        run.ends(
            "raised" if reached else "failed", summary | ({"problem": problem} if problem else {})
        )
    if not reached:
        cause = problem or "the mail server accepted no message"
        raise ApprovalRefused(
            f"step {question.step!r} of {state.incident}: nobody else was notified: {cause}. "
            "Repair the mail server or set another notices.sender, then run the command again. Or "
            "enrol an approver with the owner's key: the new approver can approve immediately."
        )
    if connected:
        also, _ = notify_each(installation, _TEMPLATE, values, connected, f"{run.token}.connected")
        reached += also[EffectState.DONE]
    return f"{counted(reached, 'person was', 'people were')} notified. "
