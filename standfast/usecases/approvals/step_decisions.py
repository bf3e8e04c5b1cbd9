"""What people say about an incident: approve, refuse, answer, accept, retry, settle.

Leaves taking acts back to `undoing`.

Rules
- Whoever approves signs in here: the passphrase makes the key, the key signs the plan's digest.
- What is signed is what was shown: of what is planned otherwise by now, nothing is signed.
- A word changes the ledger only; a runner carries out what follows from it.
- Where a step names roles, only who signed in and has one of them answers it, lets it go on,
  retries it or settles its effects; a try that does not count stands in the timeline. Where it
  names none, or an exercise plays a role that nobody has, whoever runs this may, and the timeline
  says who that was.
- What failed of a notice that was corrected since is not tried again: it would go out in the words
  that were wrong. Nor is what somebody is told apart in the place of.
- What an approver refused is asked again as a new round, with a plan of its own to be signed.
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
_FEWEST_SHOWN = 8  # characters of a digest: fewer are met by chance, and name nothing


@dataclass(frozen=True, kw_only=True)
class RetryResult:
    """What is tried again."""

    count: int  # effects, and steps that had come to none
    left: tuple[str, ...]  # steps that somebody else must speak for
    corrected: tuple[str, ...]  # steps of whose notices nothing goes out again
    not_begun: tuple[Left, ...] = ()  # what did not fail, and is still to be carried out
    is_stopped: bool = False


@dataclass(frozen=True, kw_only=True)
class Settled:
    """What a person settled at once."""

    count: int  # effects
    left: int  # of the same step, that may still happen


@dataclass(frozen=True, kw_only=True)
class SignedDecision:
    """What a person was asked about a step, and their signature under what they say."""

    asked: Question
    signature: str


@dataclass(frozen=True, kw_only=True)
class SignableDecision:
    """What an approval of a step would sign, for whoever is about to."""

    step: str
    title: str
    digest: str
    planned: int  # targets that it would reach
    left_out: int  # those that it names and would not, each with its reason
    tells: str  # the notice and its audience; empty where nobody is told
    is_irreversible: bool


def signing_key(installation: Installation, name: str, passphrase: str) -> Ed25519PrivateKey:
    """Give the key of a person; ApprovalRefused when the passphrase is not theirs."""
    person = installation.ledger.people.get(name)
    return sign_in(name, passphrase, Credential(public_key=person.public_key, salt=person.salt))


def authenticated_person(installation: Installation, name: str, passphrase: str) -> str:
    """Sign a person in; give the name. ApprovalRefused when the passphrase is not theirs."""
    # First, so that how long it takes tells nobody who was removed.
    signing_key(installation, name, passphrase)
    if why := installation.ledger.people.objection(name, (), installation.clock()):
        raise ApprovalRefused(why)  # removed, or a key that somebody wrote into the database
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
    """Sign an approval or a refusal of a step; with no step named, of the only one that asks.

    With the passphrase, or by `passkey`: what one of theirs said of exactly this. `as_shown` is the
    digest that the person was shown, or how it begins: ApprovalRefused when the step is planned
    otherwise by now, UsageError when that is too little of it.
    """
    decision = APPROVE if approves else REFUSE
    word = signed_decision(
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
        incident_id, word.asked.step, person_name, decision, word.signature, installation.clock()
    )
    with suppress(StandfastError):  # the decision is kept; the next signing reports what is wrong
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
    """Sign what a person says about a step, which it is not told yet; errors as above.

    What a passkey signed is looked at where it is told.
    """
    refuse_closed(installation, incident_id)
    if 0 < len(as_shown) < _FEWEST_SHOWN:
        raise UsageError(
            f"{as_shown!r} is too short to say what was shown to you; give at least "
            f"{_FEWEST_SHOWN} characters of its digest"
        )
    step = _asked_of(installation, incident_id, step)
    key = None if passkey else signing_key(installation, person_name, passphrase)
    asked = installation.ledger.decisions.question(incident_id, step)
    if as_shown and not asked.digest.startswith(as_shown.lower()):
        raise ApprovalRefused(
            f"step {step!r} of {incident_id} is not planned as it was shown to you; nothing was "
            f"signed. Its plan is now {asked.digest[:16]}: read `standfast incident status "
            f"{incident_id} --targets`, then approve with --digest {asked.digest[:16]}"
        )
    signature = key.sign(asked.message(person_name, decision)).hex() if key else passkey
    return SignedDecision(asked=asked, signature=signature)


def signable_decisions(
    installation: Installation, incident_id: str, step: str | None
) -> SignableDecision:
    """Say what an approval would sign now; with no step named, of the only one that asks."""
    refuse_closed(installation, incident_id)
    name = _asked_of(installation, incident_id, step)
    asked = installation.ledger.decisions.question(incident_id, name)
    state = installation.ledger.incidents.state(incident_id)
    view = state.steps.get(name) or next(one for one in state.extra if one.step == name)
    written = next((one for one in state.playbook.steps if one.name == name), None)
    verb = (written.action if written else additional_step_verb(name)) or ""
    tells = ""
    if verb == SEND:
        notice = installation.ledger.incidents.notice(incident_id, name, asked.round)
        tells = f"{notice.template} to {notice.audience}"
    return SignableDecision(
        step=name,
        title=written.title if written else additional_step_title(name),
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
    """Answer a decision or report on a manual step; with `again`, correct what was said.

    Gives the steps that had begun by an answer that is corrected, and are not taken back. `by`,
    here and below, is the name of a person who signed in (`authenticated_person`). ApprovalRefused
    where the step names roles and they have none of them, or nobody signed in.
    """
    refuse_closed(installation, incident_id)
    state = installation.ledger.incidents.state(incident_id)
    _refuse_unknown(step, [one.name for one in state.playbook.steps], incident_id)
    asked = state.playbook.step(step)
    who = speaker(installation, state, step, by)
    said, decisions = read_answer(asked, text), installation.ledger.decisions
    if not again:
        decisions.answer(incident_id, step, said, who, installation.clock())
        return ()
    if step in state.steps and state.steps[step].answer == said:
        raise UsageError(f"step {step!r} of {incident_id} is answered so already")
    decisions.answer_again(incident_id, step, said, who, installation.clock())
    after = installation.ledger.incidents.state(incident_id)  # what began meanwhile is named, too
    hang_on_it = [
        one.name for one in after.playbook.steps if step in answers_behind(after.playbook, one)
    ]
    views = (after.steps.get(name) for name in hang_on_it)
    begun = [view for view in views if view and view.state is not StepState.SKIPPED]
    return (*begun, *_telling_apart(installation, after, hang_on_it))


def _telling_apart(
    installation: Installation, state: State, steps: Sequence[str]
) -> Iterator[StepView]:
    """Give the steps that are still to tell somebody apart from the notices of these."""
    effects = installation.ledger.effects
    theirs = {
        row.step
        for row in individual_messages(effects, state.incident)
        if first_message(effects, row).step in steps
    }
    return (view for view in state.extra if view.step in theirs and not view.state.is_final)


def accept(
    installation: Installation, incident_id: str, step: str, *, by: str | None = None
) -> None:
    """Let what needs a step go on although the step was not wholly done."""
    refuse_closed(installation, incident_id)
    state = installation.ledger.incidents.state(incident_id)
    _refuse_unknown(step, _all_steps(state), incident_id)
    who = speaker(installation, state, step, by)
    installation.ledger.decisions.accept(incident_id, step, who, installation.clock())


def retry(
    installation: Installation, incident_id: str, step: str | None = None, *, by: str | None = None
) -> RetryResult:
    """Plan again what failed: effects one by one, and steps that came to no effect or to a no.

    With no step named, of all that `by` may speak for; the others are named in the result. Refused
    for a notice that was corrected since; with no step named, it is left as it is, and named.
    """
    refuse_closed(installation, incident_id)
    state = installation.ledger.incidents.state(incident_id)
    if step is not None:
        _refuse_unknown(step, _all_steps(state), incident_id)
    again, left, corrected = 0, list[str](), list[str]()
    apart = _told_apart(installation, incident_id)
    with closing(installation.outside(installation.ledger.incidents.get(incident_id))) as outside:
        for name, view in _retryable(state):
            if step not in (None, name):
                continue
            try:
                # Of a step that asks, only pages can have failed: nobody's right to send again.
                is_asking = view.state is StepState.ASKING
                who = (
                    (by or installation.actor)
                    if is_asking
                    else speaker(installation, state, name, by)
                )
            except ApprovalRefused:
                if step is not None:
                    raise
                left.append(name)
                continue
            has_failed = view.counts.failed and not is_asking  # of one that asks, only pages
            if has_failed and (newer := newest_correction(installation, incident_id, name)):
                if step is not None:
                    raise Refused(
                        f"{newer} corrects {name}, whose words go to nobody any more; `standfast "
                        f"notice held {incident_id}` lists whom they did not reach: tell them apart"
                    )
                corrected.append(name)
                continue
            again += installation.ledger.attempts.retry(
                incident_id, name, who, installation.clock(), but=apart
            )
            has_nothing = view.state is StepState.FAILED and not view.counts.total
            if name in state.steps and (has_nothing or view.state is StepState.REFUSED):
                expand_step(installation, state, outside, name, view.round + 1)
                again += 1
    return RetryResult(
        count=again,
        left=tuple(left),
        corrected=tuple(corrected),
        not_begun=not_begun(state),
        is_stopped=state.is_halted,
    )


def _told_apart(installation: Installation, incident_id: str) -> list[str]:
    """Give the messages in whose place somebody is told, which leave no more."""
    refused = installation.ledger.steps.refused(incident_id)
    return [
        str(row.details["settles"])
        for row in individual_messages(installation.ledger.effects, incident_id)
        if "settles" in row.details and (row.step, row.round) not in refused
    ]


def _all_steps(state: State) -> list[str]:
    return [*(one.name for one in state.playbook.steps), *(view.step for view in state.extra)]


def _refuse_unknown(step: str, known: Sequence[str], incident_id: str) -> None:
    if step not in known:
        raise UsageError(
            f"{incident_id} has no step {step!r}; its steps are: {', '.join(known)}"
            f"{nearest_name_hint(step, known)}"
        )


def _retryable(state: State) -> Iterator[tuple[str, StepView]]:
    """Give each step that has something to try again, or whose pages may have failed."""
    for view in (*state.steps.values(), *state.extra):
        is_over = view.state in (StepState.FAILED, StepState.REFUSED)
        if is_over or view.counts.failed or view.state is StepState.ASKING:
            yield view.step, view


def speaker(installation: Installation, state: State, step_name: str, by: str | None) -> str:
    """Give who speaks about a step; ApprovalRefused unless the roles that it names let them."""
    step = next((step for step in state.playbook.steps if step.name == step_name), None)
    roles = step.roles if step else ()
    if not roles:
        roles = installation.ledger.decisions.roles(state.incident, step_name)
    if by is None:
        if roles and not is_role_played(installation, state.mode, roles):
            there = installation.ledger.people.all(roles)
            what_to_do = (
                "sign in with --as PERSON"
                if there
                else f"nobody here is one: `standfast people add NAME --role {roles[0]}`, who may "
                "speak at once on the first day, and after a day later on"
            )
            raise ApprovalRefused(
                f"about step {step_name!r} of {state.incident} only {' or '.join(roles)} may say "
                f"something; {what_to_do}"
            )
        return installation.actor
    if why := installation.ledger.people.objection(by, roles, installation.clock()):
        installation.ledger.decisions.reject(
            state.incident, step_name, by, why, installation.clock()
        )
        raise ApprovalRefused(why)
    return by


def settle(
    installation: Installation,
    incident_id: str,
    token: str,
    *,
    happened: bool,
    by: str | None = None,
) -> None:
    """Say about an effect that nobody could look up whether it happened; it takes a person."""
    rows = in_doubt(installation.ledger.effects, incident_id, token)
    if len(rows) != 1:
        raise UsageError(
            f"{counted(len(rows), 'unknown effect')} of {incident_id} with a name that begins with "
            f"{token!r}; "
            f"`standfast incident status {incident_id} --targets` lists them"
        )
    if not (happened or rows[0].is_parked):
        raise Refused(
            f"effect {rows[0].token[:8]} of {incident_id} may still happen; it is looked up again "
            "by itself, and only what nobody can look up takes a person's no"
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
    """Say it about all effects of a step that nobody could look up."""
    state = installation.ledger.incidents.state(incident_id)
    _refuse_unknown(step, _all_steps(state), incident_id)
    there = unknown_outcomes_of_step(installation.ledger.effects, incident_id, step)
    if not there:
        raise UsageError(f"step {step!r} of {incident_id} has no unknown effect; nothing to settle")
    rows = [row for row in there if happened or row.is_parked]
    if not rows:
        raise Refused(
            f"{counted(len(there), 'unknown effect')} of step {step!r} of {incident_id} may still "
            "happen; they are looked up again by themselves, and only what nobody can look up "
            "takes a person's no"
        )
    _settle(installation, state, rows, happened=happened, by=by)
    return Settled(count=len(rows), left=len(there) - len(rows))


def _settle(
    installation: Installation,
    state: State,
    rows: Sequence[EffectRow],
    *,
    happened: bool,
    by: str | None,
) -> None:
    """Write what a person says of effects of one step."""
    who = speaker(installation, state, rows[0].step, by)
    reason = f"settled by a person: it {'happened' if happened else 'did not happen'}"
    seen = [(row, Observed(target=row.target, happened=happened, reason=reason)) for row in rows]
    for start in range(0, len(seen), _SETTLED_AT_ONCE):
        page = seen[start : start + _SETTLED_AT_ONCE]
        installation.ledger.unknown_outcomes.settle(state.incident, page, who, installation.clock())


def _asked_of(installation: Installation, incident_id: str, step: str | None) -> str:
    """Give the step that is meant: the one that is named, or else the only one that asks."""
    state: State = installation.ledger.incidents.state(incident_id)
    if step is not None:
        _refuse_unknown(step, _all_steps(state), incident_id)
        return step
    views = (*state.steps.values(), *state.extra)
    asking = [view.step for view in views if view.state is StepState.ASKING]
    if len(asking) != 1:
        raise UsageError(
            f"{len(asking)} steps of {incident_id} ask for approval: {', '.join(asking)}; name one"
            if asking
            else f"no step of {incident_id} asks for approval; `standfast incident status "
            f"{incident_id}` says what it waits for"
        )
    return asking[0]
