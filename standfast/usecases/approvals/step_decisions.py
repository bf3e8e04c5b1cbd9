"""Decisions about steps: approve, refuse, answer, accept, retry, settle.

Undo is in `incidents/effect_undo.py`.

Rules
- An approver signs in here: the passphrase derives the key, and the key signs the digest of the
  plan.
- A signature covers what was shown: if the plan has changed since, nothing is signed.
- A decision changes the ledger only; a runner executes the consequences.
- If a step names roles, only a signed-in person with one of them answers it, accepts it, retries it
  or settles its effects; a rejected attempt is in the timeline. If it names none, or if an exercise
  plays a role that nobody has, the user of this command may, and the timeline records that user.
- A failed message of a notice that was corrected since is not retried, because its text is wrong;
  nor is a message that an individual one replaced.
- A step that an approver refused is planned again as a new round, which needs signatures of its
  own.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from standfast.errors import ApprovalRefused, Refused, StandfastError, UsageError
from standfast.ledger.approvals.decisions import APPROVE, REFUSE
from standfast.ledger.approvals.two_person_rule import Question
from standfast.ledger.effects.effect_rows import EffectRow
from standfast.ledger.effects.unknown_outcomes import in_doubt, unknown_outcomes_of_step
from standfast.ledger.messages.sent_messages import first_message, individual_messages
from standfast.people.passphrase_keys import Credential, sign_in
from standfast.playbook.actions import ACTIONS
from standfast.playbook.actions.notices_send import SEND
from standfast.playbook.answer_dependencies import answers_behind
from standfast.playbook.parser.input_values import read_answer
from standfast.playbook.run_state import State, StepView
from standfast.playbook.status.unstarted_work import Left, not_begun
from standfast.plurals import counted
from standfast.records import Observed, StepState
from standfast.suggestions import nearest_name_hint
from standfast.usecases.approvals.exercise_roles import is_role_played
from standfast.usecases.core.additional_steps import additional_step_title, additional_step_verb
from standfast.usecases.core.installation import Installation
from standfast.usecases.incidents.lifecycle import expand_step, refuse_closed
from standfast.usecases.notices.correction_history import newest_correction

_SETTLED_AT_ONCE = 1000
_FEWEST_SHOWN = 8  # characters of a digest; a shorter prefix may match by chance


@dataclass(frozen=True, kw_only=True)
class RetryResult:
    """The result of a retry."""

    count: int  # effects, and steps without an effect
    left: tuple[str, ...]  # steps that only other people may retry
    corrected: tuple[str, ...]  # steps whose corrected notices are not sent again
    not_begun: tuple[Left, ...] = ()  # steps that did not fail and are still to run
    is_stopped: bool = False


@dataclass(frozen=True, kw_only=True)
class Settled:
    """The result of settling effects."""

    count: int  # effects
    left: int  # effects of the step that may still happen


@dataclass(frozen=True, kw_only=True)
class SignedDecision:
    """A request about a step, and a person's signature under the decision."""

    asked: Question
    signature: str


@dataclass(frozen=True, kw_only=True)
class SignableDecision:
    """The data that an approval of a step would sign."""

    step: str
    title: str
    digest: str
    planned: int  # targets to be reached
    left_out: int  # named targets that would not be reached, each with a reason
    tells: str  # the notice and its audience; "" for other steps
    is_irreversible: bool


def signing_key(installation: Installation, name: str, passphrase: str) -> Ed25519PrivateKey:
    """Return a person's key; raise ApprovalRefused for a wrong passphrase."""
    person = installation.ledger.people.get(name)
    return sign_in(name, passphrase, Credential(public_key=person.public_key, salt=person.salt))


def authenticated_person(installation: Installation, name: str, passphrase: str) -> str:
    """Return the name of a person that signs in.

    Raise ApprovalRefused for a wrong passphrase or a removed person.
    """
    # Derive the key first: the time that it takes must not reveal who was removed.
    signing_key(installation, name, passphrase)
    if objection := installation.ledger.people.objection(name, (), installation.clock()):
        raise ApprovalRefused(objection)  # removed, or a key that somebody wrote into the database
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
    """Sign an approval or a refusal of a step.

    Without a step name, the only waiting step is meant.

    Sign with the passphrase, or by `passkey`: the assertion of one of the person's passkeys for
    exactly this request. `as_shown` is the digest that the person was shown, or a prefix of it.
    Raise ApprovalRefused if the plan has changed since, UsageError for a prefix that is too short.
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
    asked = installation.ledger.decisions.decide(
        incident_id,
        signed.asked.step,
        person_name,
        decision,
        signed.signature,
        installation.clock(),
    )
    with suppress(StandfastError):  # the decision is stored; the next signing reports the error
        installation.ledger.audit.sign_head(installation.clock())
    return asked


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

    The errors are those of `decide`.

    The assertion of a passkey is verified where the decision is recorded.
    """
    refuse_closed(installation, incident_id)
    if 0 < len(as_shown) < _FEWEST_SHOWN:
        raise UsageError(
            f"digest {as_shown!r}: too short. Give at least {_FEWEST_SHOWN} characters of the "
            "digest that was shown to you."
        )
    step = _waiting_step(installation, incident_id, step)
    key = None if passkey else signing_key(installation, person_name, passphrase)
    asked = installation.ledger.decisions.question(incident_id, step)
    if as_shown and not asked.digest.startswith(as_shown.lower()):
        raise ApprovalRefused(
            f"step {step!r} of {incident_id}: the plan has changed since it was shown; nothing was "
            f"signed. Its digest is now {asked.digest[:16]}. Read `standfast incident status "
            f"{incident_id} --targets`, then approve with --digest {asked.digest[:16]}."
        )
    signature = key.sign(asked.message(person_name, decision)).hex() if key else passkey
    return SignedDecision(asked=asked, signature=signature)


def signable_decisions(
    installation: Installation, incident_id: str, step: str | None
) -> SignableDecision:
    """Return the data that an approval of a step would sign.

    Without a step name, the only waiting step is meant.
    """
    refuse_closed(installation, incident_id)
    name = _waiting_step(installation, incident_id, step)
    asked = installation.ledger.decisions.question(incident_id, name)
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
        notice = installation.ledger.incidents.notice(incident_id, name, asked.round)
        tells = f"{notice.template} to {notice.audience}"
    return SignableDecision(
        step=name,
        title=definition.title if definition else additional_step_title(name),
        digest=asked.digest,
        planned=view.counts.planned,
        left_out=view.counts.refused,
        tells=tells,
        is_irreversible=ACTIONS[verb].is_irreversible,
    )


def answer(
    installation: Installation,
    incident_id: str,
    step: str,
    text: str,
    *,
    by: str | None = None,
    again: bool = False,
) -> tuple[StepView, ...]:
    """Answer a decision or report on a manual step.

    With `again`, correct an earlier answer.

    Return the steps that began because of a corrected answer and are not undone. `by`, here and
    below, is the name of a person that signed in (`authenticated_person`). Raise ApprovalRefused if
    the step names roles and the person has none of them, or nobody signed in.
    """
    refuse_closed(installation, incident_id)
    state = installation.ledger.incidents.state(incident_id)
    _refuse_unknown(step, [candidate.name for candidate in state.playbook.steps], incident_id)
    asked = state.playbook.step(step)
    actor = speaker(installation, state, step, by)
    text_answer, decisions = read_answer(asked, text), installation.ledger.decisions
    if not again:
        decisions.answer(incident_id, step, text_answer, actor, installation.clock())
        return ()
    if step in state.steps and state.steps[step].answer == text_answer:
        raise UsageError(f"step {step!r} of {incident_id}: it has this answer already.")
    decisions.answer_again(incident_id, step, text_answer, actor, installation.clock())
    # Read the state after the answer: steps that began meanwhile are included.
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
    """Yield the unfinished individual notices of these steps.

    They replace messages of the steps.
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
    """Accept an incomplete step, so that the steps that need it continue."""
    refuse_closed(installation, incident_id)
    state = installation.ledger.incidents.state(incident_id)
    _refuse_unknown(step, _all_steps(state), incident_id)
    actor = speaker(installation, state, step, by)
    installation.ledger.decisions.accept(incident_id, step, actor, installation.clock())


def retry(
    installation: Installation, incident_id: str, step: str | None = None, *, by: str | None = None
) -> RetryResult:
    """Plan failed work again.

    This is failed effects, and steps that had no effect or were refused.

    Without a name, retry all steps that `by` may decide about; the result names the others. Raise
    Refused for a notice that was corrected since; without a name, skip it and name it.
    """
    refuse_closed(installation, incident_id)
    state = installation.ledger.incidents.state(incident_id)
    if step is not None:
        _refuse_unknown(step, _all_steps(state), incident_id)
    count, not_allowed, corrected = 0, list[str](), list[str]()
    replaced = _replaced_messages(installation, incident_id)
    with closing(installation.outside(installation.ledger.incidents.get(incident_id))) as outside:
        for name, view in _retryable(state):
            if step not in (None, name):
                continue
            try:
                # A step that waits for approval can only have failed pages: everybody may send them
                # again.
                is_asking = view.state is StepState.ASKING
                actor = (
                    (by or installation.actor)
                    if is_asking
                    else speaker(installation, state, name, by)
                )
            except ApprovalRefused:
                if step is not None:
                    raise
                not_allowed.append(name)
                continue
            has_failed = view.counts.failed and not is_asking
            if has_failed and (newer := newest_correction(installation, incident_id, name)):
                if step is not None:
                    raise Refused(
                        f"{name}: {newer} corrects it, so its text is not sent again. Notify the "
                        "remaining recipients individually: `standfast notice held "
                        f"{incident_id}` lists them."
                    )
                corrected.append(name)
                continue
            count += installation.ledger.attempts.retry(
                incident_id, name, actor, installation.clock(), but=replaced
            )
            has_nothing = view.state is StepState.FAILED and not view.counts.total
            if name in state.steps and (has_nothing or view.state is StepState.REFUSED):
                expand_step(installation, state, outside, name, view.round + 1)
                count += 1
    return RetryResult(
        count=count,
        left=tuple(not_allowed),
        corrected=tuple(corrected),
        not_begun=not_begun(state),
        is_stopped=state.is_halted,
    )


def _replaced_messages(installation: Installation, incident_id: str) -> list[str]:
    """Return the tokens of messages that an individual notice replaces.

    They are not sent.
    """
    refused = installation.ledger.steps.refused(incident_id)
    return [
        str(row.details["settles"])
        for row in individual_messages(installation.ledger.effects, incident_id)
        if "settles" in row.details and (row.step, row.round) not in refused
    ]


def _all_steps(state: State) -> list[str]:
    return [*(step.name for step in state.playbook.steps), *(view.step for view in state.extra)]


def _refuse_unknown(step: str, known: Sequence[str], incident_id: str) -> None:
    if step not in known:
        raise UsageError(
            f"step {step!r}: unknown in {incident_id}; its steps are: {', '.join(known)}"
            f"{nearest_name_hint(step, known)}"
        )


def _retryable(state: State) -> Iterator[tuple[str, StepView]]:
    """Yield each step with work to retry, or with pages that may have failed."""
    for view in (*state.steps.values(), *state.extra):
        is_over = view.state in (StepState.FAILED, StepState.REFUSED)
        if is_over or view.counts.failed or view.state is StepState.ASKING:
            yield view.step, view


def speaker(installation: Installation, state: State, step_name: str, by: str | None) -> str:
    """Return the decider of a step.

    Raise ApprovalRefused for a person without a required role.

    Raise ApprovalRefused without a required role.
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
                else f"nobody here has the role: `standfast people add NAME --role {roles[0]}` "
                "enrols a person, who may decide at once on the first day, and later after a day"
            )
            raise ApprovalRefused(
                f"step {step_name!r} of {state.incident}: only {' or '.join(roles)} may decide; "
                f"{what_to_do}"
            )
        return installation.actor
    if objection := installation.ledger.people.objection(by, roles, installation.clock()):
        installation.ledger.decisions.reject(
            state.incident, step_name, by, objection, installation.clock()
        )
        raise ApprovalRefused(objection)
    return by


def settle(
    installation: Installation,
    incident_id: str,
    token: str,
    *,
    happened: bool,
    by: str | None = None,
) -> None:
    """Record whether an unknown effect happened, as a person knows it."""
    rows = in_doubt(installation.ledger.effects, incident_id, token)
    if len(rows) != 1:
        raise UsageError(
            f"{counted(len(rows), 'unknown effect')} of {incident_id} with a token that begins "
            f"with {token!r}. "
            f"List them with `standfast incident status {incident_id} --targets`."
        )
    if not (happened or rows[0].is_parked):
        raise Refused(
            f"effect {rows[0].token[:8]} of {incident_id}: it may still happen and is looked up "
            "again automatically. Settle it as not happened only if it cannot be looked up."
        )
    _settle(
        installation,
        installation.ledger.incidents.state(incident_id),
        rows,
        happened=happened,
        by=by,
    )


def settle_step(
    installation: Installation,
    incident_id: str,
    step: str,
    *,
    happened: bool,
    by: str | None = None,
) -> Settled:
    """Record whether all unknown effects of a step happened."""
    state = installation.ledger.incidents.state(incident_id)
    _refuse_unknown(step, _all_steps(state), incident_id)
    unknown = unknown_outcomes_of_step(installation.ledger.effects, incident_id, step)
    if not unknown:
        raise UsageError(f"step {step!r} of {incident_id}: no unknown effect. Nothing to settle.")
    rows = [row for row in unknown if happened or row.is_parked]
    if not rows:
        raise Refused(
            f"step {step!r} of {incident_id}: {counted(len(unknown), 'unknown effect')} may still "
            "happen and are looked up again automatically. Settle them as not happened only if "
            "they cannot be looked up."
        )
    _settle(installation, state, rows, happened=happened, by=by)
    return Settled(count=len(rows), left=len(unknown) - len(rows))


def _settle(
    installation: Installation,
    state: State,
    rows: Sequence[EffectRow],
    *,
    happened: bool,
    by: str | None,
) -> None:
    """Record a person's statement about effects of one step."""
    actor = speaker(installation, state, rows[0].step, by)
    reason = f"settled by a person: it {'happened' if happened else 'did not happen'}"
    seen = [(row, Observed(target=row.target, happened=happened, reason=reason)) for row in rows]
    for start in range(0, len(seen), _SETTLED_AT_ONCE):
        page = seen[start : start + _SETTLED_AT_ONCE]
        installation.ledger.unknown_outcomes.settle(
            state.incident, page, actor, installation.clock()
        )


def _waiting_step(installation: Installation, incident_id: str, step: str | None) -> str:
    """Return the named step, or else the only one that waits for approval."""
    state: State = installation.ledger.incidents.state(incident_id)
    if step is not None:
        _refuse_unknown(step, _all_steps(state), incident_id)
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
