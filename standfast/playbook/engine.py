"""Next moves in a run of a playbook, computed from facts.

Without a clock, a disk or a person.

Owns the rules of progress. Leaves keeping the facts to the ledger, carrying moves out to
operations, and the words for the operator to `standing`.

Rules
- `next_moves` is a function of its arguments alone, in the order of the file; asked twice, it says
  the same twice. A move names (step, round), so that applying it twice changes once.
- A need is met by a step that is done or skipped; by a partial one whose `on_partial` is `go_on`;
  and by any finished one of which a person said "go on". Where it stands in `after`, a failed one
  meets it too, and one that is stuck: it runs, and for a minute nothing more of it was done. One
  that an approver refused does not: a person said no.
- A notice that nobody approves is sent only after the locks that it names, in `needs` or in
  `after`, are wholly done, or a person accepted what they came to: the mailbox of whoever is not
  locked out may be among its readers.
- What a step came to is read from its effects as they are now: a late receipt betters a step that
  was already finished, and no move is needed for it.
- An effect that is unknown and will be looked up again (`settling`) keeps its step running. One
  that nobody can tell makes the step partial, never failed: it may have happened.
- A condition that cannot be evaluated blocks its step. It is neither skipped nor carried out.
- An answer that a person corrected is a round of its own. What was skipped by the earlier one is
  looked at again, as a round as late as there were corrections; what had begun goes on.
- Halted: only undos move. Closed, or in plan mode: no moves at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeAlias

from standfast.playbook import expressions
from standfast.playbook.actions.accounts_lock import LOCK
from standfast.playbook.actions.notices_send import SEND
from standfast.playbook.answer_dependencies import ASKS, answers_behind
from standfast.playbook.model import OnPartial, Step, StepKind
from standfast.playbook.rendering.step_labels import condition
from standfast.playbook.run_state import Counts, State, StepView
from standfast.playbook.step_graph import behind
from standfast.records import Json, JsonObject, Mode, Proof, StepState, utc

PATIENCE = timedelta(minutes=1)  # of what comes `after` a step, with one of which nothing gets on


@dataclass(frozen=True, kw_only=True)
class Expand:
    """Plan the step's effects; it then asks for approvals or runs."""

    step: str
    round: int


@dataclass(frozen=True, kw_only=True)
class Ask:
    """Page the approvers that have not been paged for this round yet."""

    step: str
    round: int


@dataclass(frozen=True, kw_only=True)
class Escalate:
    """Page the next people: the paged ones have not answered in time."""

    step: str
    round: int
    rung: int


@dataclass(frozen=True, kw_only=True)
class Open:
    """Run the step without further approvals after a break-glass approval.

    Only if nobody has refused the step.
    """

    step: str
    round: int


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """Put the instructions or the question before a person."""

    step: str
    round: int


@dataclass(frozen=True, kw_only=True)
class Wake:
    """Let the step wait until `due_at`."""

    step: str
    round: int
    due_at: datetime


@dataclass(frozen=True, kw_only=True)
class Finish:
    """Close the round in a final state.

    A skipped step is closed without ever being opened.
    """

    step: str
    round: int
    state: StepState
    reason: str  # for people; counts and rules, no personal data


Move: TypeAlias = Expand | Ask | Escalate | Open | Prompt | Wake | Finish


def next_moves(state: State, now: datetime) -> list[Move]:
    """Return every move that can be made now.

    The order is that of the file, with extra steps last.

    An empty list means: nothing to do until an effect, an answer, an approval or the clock changes
    something. Expects a playbook that `check` found sound.
    """
    now = utc(now)
    if state.is_closed or state.mode is Mode.PLAN:
        return []
    if state.is_halted:
        undos = (_carry_on(None, view, now) for view in state.extra if view.is_undo)
        return [move for move in undos if move is not None]
    moves: list[Move | None] = []
    for step in state.playbook.steps:
        view = state.steps.get(step.name)
        if view is None:
            moves.append(_begin(step, state, now, round_=1))
        elif is_overtaken(step, state):
            moves.append(_begin_again(step, state, now))
        elif is_behind(step, state) and _may_widen(step, state, now):
            moves.append(Expand(step=step.name, round=view.round + 1))
        else:
            moves.append(_carry_on(step, view, now))
    moves.extend(_carry_on(state.playbook.step(v.step), v, now) for v in state.earlier)
    moves.extend(_carry_on(None, view, now) for view in state.extra)
    return [move for move in moves if move is not None]


def merged(rounds: Sequence[StepView]) -> StepView:
    """Return one view of all rounds of a step, in order.

    It is the latest view, with the targets of each round.

    What an approver refused, and what was asked again since, does not count.
    """
    latest = rounds[-1]
    counted = [view for view in rounds if view.state is not StepState.REFUSED]
    if latest.state is StepState.REFUSED or len(counted) < 2:
        return latest
    short = [view for view in counted if view.counts.done < view.counts.total]
    return replace(
        latest,
        counts=Counts(
            **{
                name: sum(getattr(view.counts, name) for view in counted)
                for name in Counts.__dataclass_fields__
            }
        ),
        settling=sum(view.settling for view in counted),
        after_canary=sum(view.after_canary for view in counted),
        proof=Proof.weakest(view.proof for view in counted if view.counts.done),
        is_paused=any(view.is_paused for view in counted),
        is_accepted=bool(short) and all(view.is_accepted for view in short),
        is_unreviewed=any(view.is_unreviewed for view in counted),
    )


def is_behind(step: Step, state: State) -> bool:
    """Return whether a begun step does not cover targets added since.

    The targets were added to the incident.

    What a person does or decides is not asked again, and what was not wanted stays unwanted.
    """
    view = state.steps.get(step.name)
    return (
        view is not None
        and step.kind is StepKind.DO
        and view.joined < state.joined
        and view.state not in (StepState.SKIPPED, StepState.REFUSED)
    )


def is_pending(step: Step, state: State) -> bool:
    """Is it still to be begun, or to be left out?"""
    return step.name not in state.steps or is_overtaken(step, state)


def is_overtaken(step: Step, state: State) -> bool:
    """Was it skipped by an answer that was corrected since?"""
    view = state.steps.get(step.name)
    if view is None or view.state is not StepState.SKIPPED:
        return False
    return view.round < _round_by_answers(step, state)


def _round_by_answers(step: Step, state: State) -> int:
    """Return the round in which a skipped step heeds every correction."""
    asked = (state.steps.get(name) for name in answers_behind(state.playbook, step))
    return 1 + sum(view.round - 1 for view in asked if view is not None)


def _begin_again(step: Step, state: State, now: datetime) -> Move | None:
    """Check a skipped step again after all earlier work on answers is done.

    Only earlier steps that depend on answers are checked here. The other earlier steps delay it
    under the usual rules.
    """
    asked = answers_behind(state.playbook, step)
    for name in behind(state.playbook)[step.name]:
        needed = state.playbook.step(name)
        hangs_on_answers = name in asked or answers_behind(state.playbook, needed)
        is_through = not is_pending(needed, state) and state.steps[name].state.is_final
        if hangs_on_answers and not is_through:
            return None
    return _begin(step, state, now, round_=_round_by_answers(step, state))


def _may_widen(step: Step, state: State, now: datetime) -> bool:
    """Return whether a further round may begin.

    It may not before the steps that it needs have had theirs.

    A round that asks for approval is not overtaken: what is signed is the newest.
    """
    view = state.steps[step.name]
    are_needs_wide = not any(is_behind(state.playbook.step(need), state) for need in step.needs)
    is_asking = view.state is StepState.ASKING
    return not is_asking and are_needs_wide and are_needs_met(step, state, now)


def namespace(state: State) -> JsonObject:
    """Return the names that expressions see: `inputs`, `answers` and `steps`.

    A step that was skipped has the answer null. One that was not answered yet has none, so that
    naming it is an error.
    """
    answers: dict[str, Json] = {}
    steps: dict[str, Json] = {}
    for step in state.playbook.steps:
        view = state.steps.get(step.name)
        counts = view.counts if view else Counts()
        steps[step.name] = {
            "state": str(standing_state(view)) if view else "pending",
            "done": counts.done,
            "failed": counts.failed,
            "unknown": counts.unknown,
            "refused": counts.refused,
        }
        if view and view.state.is_final and step.kind in ASKS:
            answers[step.name] = view.answer
    return {"inputs": state.inputs, "answers": answers, "steps": steps}


def is_wanted(step: Step, state: State) -> bool:
    """Evaluate the step's condition.

    Raise ValueError if the result is not true or false.
    """
    if step.when is None:
        return True
    value = expressions.parse(step.when).evaluate(namespace(state))
    if not isinstance(value, bool):
        # "no" is a text, and a text counts as true in Python: it must never start a step.
        raise ValueError("a condition must be true or false; compare the text with something")
    return value


def are_needs_met(step: Step, state: State, now: datetime | None = None) -> bool:
    """May the step begin, as far as other steps are concerned?

    Without `now`, what is stuck is waited for like everything that runs.
    """
    for need in step.needs:
        needed = state.playbook.step(need)
        if is_pending(needed, state):
            return False
        view = state.steps[need]
        may_be_stuck = need in step.after and not waits_for_lock(step, needed)
        if not is_met(step, needed, view) and not (
            may_be_stuck and now is not None and _is_stuck(view, now)
        ):
            return False
    return True


def _is_stuck(view: StepView, now: datetime) -> bool:
    """Return whether a running step made no progress for `PATIENCE`.

    Later steps wait at most that long. A notice that a person paused, or whose canary has no
    result yet, is held on purpose and is not stuck.
    """
    if view.state is not StepState.RUNNING or view.moved_at is None:
        return False
    is_held = view.is_paused or view.after_canary > 0
    return not is_held and now - view.moved_at >= PATIENCE


def is_met(step: Step, needed: Step, view: StepView) -> bool:
    """Return whether `needed`, a need or predecessor, lets the step begin."""
    if not view.state.is_final:
        return False
    if view.is_accepted:
        return True
    reached = standing_state(view)
    if waits_for_lock(step, needed):
        return reached in (StepState.DONE, StepState.SKIPPED)
    if needed.name in step.after:
        return reached is not StepState.REFUSED
    if reached is StepState.PARTIAL:
        return needed.on_partial is OnPartial.GO_ON
    return reached in (StepState.DONE, StepState.SKIPPED)


def waits_for_lock(step: Step, needed: Step) -> bool:
    """Return whether an unapproved notice depends on the outcome of a lock."""
    is_notice = step.action == SEND and step.approval is None
    return is_notice and needed.action == LOCK


def standing_state(view: StepView) -> StepState:
    """Return the state, improved by effects that became known later.

    They became known after the step had finished.
    """
    if view.state in (StepState.PARTIAL, StepState.FAILED) and view.counts.total:
        return outcome(view) or view.state
    return view.state


def outcome(view: StepView) -> StepState | None:
    """Return the result of the effects.

    Return None while one of them is in progress or has to be looked up.
    """
    counts = view.counts
    if counts.under_way or min(view.settling, counts.unknown):
        return None
    if counts.done == counts.total:
        return StepState.DONE
    return StepState.PARTIAL if counts.done or counts.unknown else StepState.FAILED


def is_approved(step: Step | None, view: StepView) -> bool:
    """Return whether an asking step has the signatures that it needs.

    It needs at least one; otherwise it would not ask.
    """
    by_playbook = step.approval.count if step and step.approval else 0
    return view.approvals >= max(view.approvals_needed, by_playbook, 1)


def tally(counts: Counts) -> str:
    """Say how many of the targets are done, and where the others stand."""
    others = {
        "failed": counts.failed,
        "refused": counts.refused,
        "unknown": counts.unknown,
        "under way": counts.submitting,
        "not begun": counts.planned,
    }
    parts = [f"{number} {name}" for name, number in others.items() if number]
    return ", ".join([f"{counts.done} of {counts.total} done", *parts])


def _begin(step: Step, state: State, now: datetime, *, round_: int) -> Move | None:
    if not are_needs_met(step, state, now):
        return None
    try:
        wanted = is_wanted(step, state)
    except ValueError:
        return None  # `obstacles` says so
    if not wanted:
        reason = f"not needed: only if {condition(step.when or '')}"
        return Finish(step=step.name, round=round_, state=StepState.SKIPPED, reason=reason)
    match step.kind:
        case StepKind.DO:
            return Expand(step=step.name, round=round_)
        case StepKind.MANUAL | StepKind.DECIDE:
            return Prompt(step=step.name, round=round_)
        case StepKind.WAIT:
            due_at = now + timedelta(seconds=step.wait_seconds)
            return Wake(step=step.name, round=round_, due_at=due_at)


def _carry_on(step: Step | None, view: StepView, now: datetime) -> Move | None:
    """Return the move of a step that has begun.

    `step` is None for a step outside the playbook.
    """
    match view.state:
        case StepState.ASKING if view.is_refused:
            return _finish(view, StepState.REFUSED, "an approver said no")
        case StepState.ASKING if view.counts.total and not is_approved(step, view):
            if view.opens_at is not None and view.opens_at <= now:
                return Open(step=view.step, round=view.round)
            if not view.asked:
                return Ask(step=view.step, round=view.round)
            is_late = view.escalates_at is not None and view.escalates_at <= now
            next_rung = Escalate(step=view.step, round=view.round, rung=view.rung + 1)
            return next_rung if is_late else None
        case StepState.ASKING | StepState.RUNNING:
            return _settle(view)
        case StepState.PROMPTED if view.answer is not None:
            return _finish(view, StepState.DONE, "answered")
        case StepState.WAITING if view.due_at is not None and view.due_at <= now:
            return _finish(view, StepState.DONE, "the time is over")
    return None


def _settle(view: StepView) -> Finish | None:
    reached = outcome(view)
    if reached is None:
        return None
    if not view.counts.total:
        # Nobody is woken for an approval of nothing, and nothing is not a failure.
        return _finish(view, StepState.DONE, "no targets")
    return _finish(view, reached, tally(view.counts))


def _finish(view: StepView, state: StepState, reason: str) -> Finish:
    return Finish(step=view.step, round=view.round, state=state, reason=reason)
