"""Decisions of signed-in people: approve, refuse, answer, accept.

A step is one part of an incident's playbook, the file that describes the response. An effect is one
act of a step on one target, such as the lock of one account. `effect_settlement` settles effects
with an unknown outcome, `step_retry` retries failed effects, and `incidents/effect_undo.py` undoes
effects.

Rules
- An approver signs in with a passphrase, from which this module derives the approver's key. The key
  signs the digest of the plan (the exact targets and settings of the step).
- If the plan has changed since the approver read it, nothing is signed.
- A decision changes only the ledger (the database of incidents). A runner, a process that executes
  incidents, carries out the consequences.
- If a step names roles, only a signed-in person with one of these roles decides about the step. The
  ledger records a rejected attempt.
- If a step names no roles, the user of the command may decide, and the ledger records that user.
  The same applies in an exercise, which uses simulators, if nobody has the roles of the step.
- `by` is the name of a person that signed in (`authenticated_person`).
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from standfast.errors import ApprovalRefused, StandfastError, UsageError
from standfast.ledger.approvals.decisions import APPROVE, REFUSE
from standfast.ledger.approvals.two_person_rule import Question
from standfast.ledger.messages.sent_messages import first_message, individual_messages
from standfast.local_time import minute
from standfast.people.passphrase_keys import Credential, sign_in
from standfast.playbook.actions import ACTIONS
from standfast.playbook.actions.notices_send import SEND
from standfast.playbook.actions.service_recover import RECOVER
from standfast.playbook.answer_dependencies import answers_behind
from standfast.playbook.parser.input_values import read_answer
from standfast.playbook.run_state import State, StepView
from standfast.records import StepState
from standfast.suggestions import nearest_name_hint
from standfast.usecases.approvals.exercise_roles import is_role_played
from standfast.usecases.core.additional_steps import additional_step_title, additional_step_verb
from standfast.usecases.core.installation import Installation
from standfast.usecases.incidents.lifecycle import refuse_closed
from standfast.usecases.recovery.set_plan import SetPlan

_FEWEST_SHOWN = 8  # characters of a digest; a shorter prefix may match by chance


@dataclass(frozen=True, kw_only=True)
class SignedDecision:
    """A request for a decision about a step, with a person's signature."""

    question: Question
    signature: str


@dataclass(frozen=True, kw_only=True)
class SignableDecision:
    """The data that an approval of a step would sign."""

    step: str
    title: str
    digest: str
    planned: int  # number of targets that the step reaches
    left_out: int  # number of targets that the step would refuse, each with a reason
    tells: str  # name of the notice and of its list of recipients; "" for other steps
    is_irreversible: bool
    details: tuple[str, ...] = ()  # of a recovery: each recovery point, and the data at each target


def signing_key(installation: Installation, name: str, passphrase: str) -> Ed25519PrivateKey:
    """Return a person's key; raise ApprovalRefused for a wrong passphrase."""
    person = installation.ledger.people.get(name)
    return sign_in(name, passphrase, Credential(public_key=person.public_key, salt=person.salt))


def authenticated_person(installation: Installation, name: str, passphrase: str) -> str:
    """Return the name of a person that signs in.

    Raise ApprovalRefused for a wrong passphrase and for a person that was removed.
    """
    # Derive the key first: the response time must not reveal that a person was removed.
    signing_key(installation, name, passphrase)
    if objection := installation.ledger.people.objection(name, (), installation.clock()):
        # The person was removed, or the key was written into the database without an enrolment.
        raise ApprovalRefused(objection)
    return name


def decide(
    installation: Installation,
    incident_id: str,
    step: str | None,
    person_name: str,
    passphrase: str,
    *,
    approves: bool = True,
    as_shown: str = "",
    passkey: str = "",
) -> Question:
    """Sign an approval or a refusal of a step, or of the only waiting step.

    The signature is made with the key of the passphrase. Alternatively, `passkey` is the WebAuthn
    assertion of one of the person's passkeys for exactly this request. `as_shown` is the digest
    that the person read, or its first characters. Raise ApprovalRefused if the plan has changed
    since, and UsageError if `as_shown` is too short.
    """
    decision = APPROVE if approves else REFUSE
    signed = signed_decision(
        installation,
        incident_id,
        step,
        person_name,
        passphrase,
        decision=decision,
        as_shown=as_shown,
        passkey=passkey,
    )
    question = installation.ledger.decisions.decide(
        incident_id,
        signed.question.step,
        person_name,
        decision,
        signed.signature,
        installation.clock(),
    )
    with suppress(StandfastError):  # the decision is stored; a later `sign_head` reports the error
        installation.ledger.audit.sign_head(installation.clock())
    return question


def signed_decision(
    installation: Installation,
    incident_id: str,
    step: str | None,
    person_name: str,
    passphrase: str,
    *,
    decision: str,
    as_shown: str,
    passkey: str = "",
) -> SignedDecision:
    """Sign a decision about a step without recording it.

    The parameters and errors are those of `decide`. The assertion of a passkey is verified later,
    when the decision is recorded.
    """
    refuse_closed(installation, incident_id)
    if 0 < len(as_shown) < _FEWEST_SHOWN:
        raise UsageError(
            f"digest {as_shown!r}: too short. Give at least {_FEWEST_SHOWN} characters of the "
            "digest that was shown to you."
        )
    step = _waiting_step(installation, incident_id, step)
    key = None if passkey else signing_key(installation, person_name, passphrase)
    question = installation.ledger.decisions.question(incident_id, step)
    if as_shown and not question.digest.startswith(as_shown.lower()):
        raise ApprovalRefused(
            f"step {step!r} of {incident_id}: the plan has changed since it was shown; nothing was "
            f"signed. Its digest is now {question.digest[:16]}. Read `standfast incident status "
            f"{incident_id} --targets`, then approve with --digest {question.digest[:16]}."
        )
    signature = key.sign(question.message(person_name, decision)).hex() if key else passkey
    return SignedDecision(question=question, signature=signature)


def signable_decisions(
    installation: Installation, incident_id: str, step: str | None
) -> SignableDecision:
    """Return the data to be signed for a step, or for the only waiting step."""
    refuse_closed(installation, incident_id)
    name = _waiting_step(installation, incident_id, step)
    question = installation.ledger.decisions.question(incident_id, name)
    state = installation.ledger.incidents.state(incident_id)
    view = state.steps.get(name) or next(
        candidate for candidate in state.extra if candidate.step == name
    )
    definition = next(
        (candidate for candidate in state.playbook.steps if candidate.name == name), None
    )
    verb = (definition.action if definition else additional_step_verb(name)) or ""
    tells = ""
    if verb == SEND:
        notice = installation.ledger.incidents.notice(incident_id, name, question.round)
        tells = f"{notice.template} to {notice.audience}"
    return SignableDecision(
        step=name,
        title=definition.title if definition else additional_step_title(name),
        digest=question.digest,
        planned=view.counts.planned,
        left_out=view.counts.refused,
        tells=tells,
        is_irreversible=ACTIONS[verb].is_irreversible,
        details=tuple(_recovery_details(installation, incident_id, name, question.round))
        if verb == RECOVER
        else (),
    )


def _recovery_details(
    installation: Installation, incident_id: str, step: str, round_: int
) -> Iterator[str]:
    zone = installation.config.organisation.time_zone
    for row in installation.ledger.effects.of_round(incident_id, step, round_, RECOVER):
        plan = SetPlan.of_effect(row.details, incident_id)
        if plan is None:
            continue
        set_name = row.as_order().target
        point = f"{plan.point} of {minute(plan.point_time, zone)}"
        yield f"Set {set_name} is restored from {point}: {plan.evidence}."
        if not plan.is_complete:
            yield f"Set {set_name}: the backup is INCOMPLETE; its sources were not read completely."
        for target in plan.everything:
            later = f"The data there is set aside as {Path(target.later_name).name}."
            yield f"Target {target.place}: {later if target.has_data else 'it is empty.'}"


def answer(
    installation: Installation,
    incident_id: str,
    step: str,
    text: str,
    *,
    by: str | None = None,
    is_correction: bool = False,
) -> tuple[StepView, ...]:
    """Answer a question, report manual work, or correct an earlier answer.

    If an answer is corrected, return the steps that had begun because of the former answer; these
    steps are not undone. Otherwise return (). Raise ApprovalRefused if the step names roles, and
    nobody signed in or the person has none of these roles.
    """
    refuse_closed(installation, incident_id)
    state = installation.ledger.incidents.state(incident_id)
    refuse_unknown_step(step, [candidate.name for candidate in state.playbook.steps], incident_id)
    asking_step = state.playbook.step(step)
    actor = decision_actor(installation, state, step, by)
    text_answer, decisions = read_answer(asking_step, text), installation.ledger.decisions
    if not is_correction:
        decisions.answer(incident_id, step, text_answer, actor, installation.clock())
        return ()
    if step in state.steps and state.steps[step].answer == text_answer:
        raise UsageError(f"step {step!r} of {incident_id}: it already has this answer.")
    decisions.answer_again(incident_id, step, text_answer, actor, installation.clock())
    # Read the state after the correction, so that all steps that began before it are included.
    after = installation.ledger.incidents.state(incident_id)
    dependent = [
        candidate.name
        for candidate in after.playbook.steps
        if step in answers_behind(after.playbook, candidate)
    ]
    views = (after.steps.get(name) for name in dependent)
    begun = [view for view in views if view and view.state is not StepState.SKIPPED]
    return (*begun, *_individual_notices(installation, after, dependent))


def _individual_notices(
    installation: Installation, state: State, steps: Sequence[str]
) -> Iterator[StepView]:
    """Yield unfinished individual notices that replace messages of `steps`.

    An individual notice is a message to one recipient about whom a person had to decide, or whom
    the message of the step did not reach.
    """
    effects = installation.ledger.effects
    names = {
        row.step
        for row in individual_messages(effects, state.incident)
        if first_message(effects, row).step in steps
    }
    return (view for view in state.extra if view.step in names and not view.state.is_final)


def accept(
    installation: Installation, incident_id: str, step: str, *, by: str | None = None
) -> None:
    """Accept an incomplete step, so that steps that depend on it continue."""
    refuse_closed(installation, incident_id)
    state = installation.ledger.incidents.state(incident_id)
    refuse_unknown_step(step, step_names(state), incident_id)
    actor = decision_actor(installation, state, step, by)
    installation.ledger.decisions.accept(incident_id, step, actor, installation.clock())


def step_names(state: State) -> list[str]:
    return [*(step.name for step in state.playbook.steps), *(view.step for view in state.extra)]


def refuse_unknown_step(step: str, known: Sequence[str], incident_id: str) -> None:
    if step not in known:
        raise UsageError(
            f"step {step!r}: unknown in {incident_id}; its steps are: {', '.join(known)}"
            f"{nearest_name_hint(step, known)}"
        )


def decision_actor(installation: Installation, state: State, step_name: str, by: str | None) -> str:
    """Return the actor of a decision about a step.

    Raise ApprovalRefused if the step names roles, and nobody signed in or the person has none of
    these roles.
    """
    step = next((step for step in state.playbook.steps if step.name == step_name), None)
    roles = step.roles if step else ()
    if not roles:
        roles = installation.ledger.decisions.roles(state.incident, step_name)
    if by is None:
        if roles and not is_role_played(installation, state.mode, roles):
            holders = installation.ledger.people.all(roles)
            what_to_do = (
                "sign in with --as PERSON"
                if holders
                else f"nobody has the role: `standfast people add NAME --role {roles[0]}` enrols "
                "a person, who may decide after one day, or immediately on the first day "
                "of an installation"
            )
            raise ApprovalRefused(
                f"step {step_name!r} of {state.incident}: it needs a person with the role "
                f"{' or '.join(roles)}; {what_to_do}"
            )
        return installation.actor
    if objection := installation.ledger.people.objection(by, roles, installation.clock()):
        installation.ledger.decisions.reject(
            state.incident, step_name, by, objection, installation.clock()
        )
        raise ApprovalRefused(objection)
    return by


def _waiting_step(installation: Installation, incident_id: str, step: str | None) -> str:
    """Return the named step, or the only step that waits for approval."""
    state: State = installation.ledger.incidents.state(incident_id)
    if step is not None:
        refuse_unknown_step(step, step_names(state), incident_id)
        return step
    views = (*state.steps.values(), *state.extra)
    asking = [view.step for view in views if view.state is StepState.ASKING]
    if len(asking) != 1:
        raise UsageError(
            f"{len(asking)} steps of {incident_id} wait for approval: {', '.join(asking)}. Name "
            "one."
            if asking
            else f"{incident_id}: no step waits for approval. See `standfast incident status "
            f"{incident_id}`."
        )
    return asking[0]
