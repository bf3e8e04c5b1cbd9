"""Next moves in a run of a playbook: needs, stuck steps, rounds, results.

    moves = next_moves(state, now)   # [Expand(step="lock", round=1), Prompt(step="ask", round=1)]

A move is a change of one step, such as its start or its end. The ledger (the database of incidents)
stores the state, the use-cases carry out the moves, and `status` describes the state in words. This
module does no I/O and reads no clock.

An effect is one act of a step on one target, such as the lock of one account. A round is one
planning of a step: a step is planned again, for example, for targets that are added later.

Rules
- `next_moves` depends only on its arguments, and returns the moves in the order of the playbook. A
  move names the step and its round, so that the repetition of a move changes nothing.
- `needs` are the steps that must have ended before a step begins. A need is met if the needed step
  is done or skipped, if it is partial and its `on_partial` is `go_on`, or if it has ended and a
  person accepted its result. A need that is also in `after` is met too if the needed step failed or
  is stuck. A running step is stuck if it made no progress for a minute. A step that an approver
  refused meets no need.
- A notice (a message to the people concerned) without an approval is sent only after the steps in
  its `needs` and `after` that lock accounts are completely done, or after a person accepted their
  result. Otherwise an intruder might read the notice in a mailbox that is not locked.
- The result of a step is computed from the present state of its effects. So if an effect is
  recorded as done after its step has ended, the result of the step improves without a move.
- While the outcome of an effect is unknown and will be looked up again (`settling`), its step is
  running. If the outcome can never be looked up, the step is partial and not failed, because the
  effect may have happened.
- A condition that cannot be evaluated blocks its step, which is neither skipped nor carried out.
- A corrected answer starts a new round of its step. A later step that was skipped because of the
  earlier answer is checked again in a further round. A later step that has begun continues.
- In a stopped incident only undos have moves (an undo restores targets to their prior state). An
  incident that is closed, or only planned, has no moves.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

from standfast.playbook import expressions
from standfast.playbook.actions.accounts_lock import LOCK
from standfast.playbook.actions.notices_send import SEND
from standfast.playbook.answer_dependencies import ASKS, answers_behind
from standfast.playbook.model import OnPartial, Step, StepKind
from standfast.playbook.rendering.step_labels import condition
from standfast.playbook.run_state import Counts, State, StepView
from standfast.playbook.step_graph import all_needs
from standfast.records import Json, JsonObject, Mode, StepState, utc

PATIENCE = timedelta(minutes=1)  # time without progress after which a running step is stuck


@dataclass(frozen=True, kw_only=True)
class _StepMove:
    step: str
    round: int


class Expand(_StepMove):
    """Plan the effects of the step, which then asks for approvals or runs."""


class Ask(_StepMove):
    """Page the approvers that were not paged about this round yet."""


class Open(_StepMove):
    """Run a step after its break-glass approval, if nobody refused in time.

    A break-glass approval is the approval of one person alone; it is valid after a waiting time.
    """


class Prompt(_StepMove):
    """Show the instructions or the question to a person."""


@dataclass(frozen=True, kw_only=True)
class Escalate(_StepMove):
    """Page the next escalation level, because nobody answered in time."""

    level: int


@dataclass(frozen=True, kw_only=True)
class Wake(_StepMove):
    """Start a step that waits until `due_at`."""

    due_at: datetime


@dataclass(frozen=True, kw_only=True)
class Finish(_StepMove):
    """End the round in a final state; a skipped step ends without a start."""

    state: StepState
    reason: str  # for people; counts and rules, no personal data


Move: TypeAlias = Expand | Ask | Escalate | Open | Prompt | Wake | Finish


def next_moves(state: State, now: datetime) -> list[Move]:
    """Return every move that can be made now, in the order of the playbook.

    Moves of steps outside the playbook, such as undos, come last. After an empty list, there is no
    move until an effect, an answer, an approval or the time changes the state. The playbook must
    have passed `validation`.
    """
    now = utc(now)
    if state.is_closed or state.mode is Mode.PLAN:
        return []
    if state.is_stopped_or_closed:
        undos = (_carry_on(None, view, now) for view in state.extra if view.is_undo)
        return [move for move in undos if move is not None]
    moves: list[Move | None] = []
    for step in state.playbook.steps:
        view = state.steps.get(step.name)
        if view is None:
            moves.append(_begin(step, state, now, round_=1))
        elif is_overtaken(step, state):
            moves.append(_begin_again(step, state, now))
        elif may_widen(step, state, now):
            moves.append(Expand(step=step.name, round=view.round + 1))
        else:
            moves.append(_carry_on(step, view, now))
    moves.extend(_carry_on(state.playbook.step(v.step), v, now) for v in state.earlier)
    moves.extend(_carry_on(None, view, now) for view in state.extra)
    return [move for move in moves if move is not None]


def is_behind(step: Step, state: State) -> bool:
    """Return whether targets were added that a begun step does not cover.

    Return False for a question, which is not asked again, and for a skipped or refused step.
    """
    view = state.steps.get(step.name)
    return (
        view is not None
        and step.kind is StepKind.DO
        and view.joined < state.joined
        and view.state not in (StepState.SKIPPED, StepState.REFUSED)
    )


def is_pending(step: Step, state: State) -> bool:
    """Return whether the step is neither begun nor skipped yet."""
    return step.name not in state.steps or is_overtaken(step, state)


def is_overtaken(step: Step, state: State) -> bool:
    """Return whether the answer that skipped the step was corrected since."""
    view = state.steps.get(step.name)
    if view is None or view.state is not StepState.SKIPPED:
        return False
    return view.round < _round_by_answers(step, state)


def _round_by_answers(step: Step, state: State) -> int:
    """Return the round that a skipped step must have.

    Each correction of an answer on which the step depends requires one more round.
    """
    asked = (state.steps.get(name) for name in answers_behind(state.playbook, step))
    return 1 + sum(view.round - 1 for view in asked if view is not None)


def _begin_again(step: Step, state: State, now: datetime) -> Move | None:
    """Return the move that checks a skipped step again after a correction.

    Return None while a direct or indirect need of one of these kinds has not ended: a question on
    which the step depends, or a step that itself depends on an answer. Any other need delays the
    check only if it is a direct need.
    """
    asked = answers_behind(state.playbook, step)
    for name in all_needs(state.playbook)[step.name]:
        needed = state.playbook.step(name)
        hangs_on_answers = name in asked or answers_behind(state.playbook, needed)
        is_through = not is_pending(needed, state) and state.steps[name].state.is_final
        if hangs_on_answers and not is_through:
            return None
    return _begin(step, state, now, round_=_round_by_answers(step, state))


def may_widen(step: Step, state: State, now: datetime | None = None) -> bool:
    """Return whether a further round of a step for added targets may begin.

    The needed steps begin their further rounds first. While a round waits for approval, no further
    round begins, because an approver always signs the newest round.
    """
    if not is_behind(step, state):
        return False
    are_needs_wide = not any(is_behind(state.playbook.step(need), state) for need in step.needs)
    is_asking = state.steps[step.name].state is StepState.ASKING
    return not is_asking and are_needs_wide and are_needs_met(step, state, now)


def namespace(state: State) -> JsonObject:
    """Return the names that expressions use: `inputs`, `answers` and `steps`.

    A skipped question has the answer null. A question without an answer yet is missing from
    `answers`, so an expression that names its answer fails.
    """
    answers: dict[str, Json] = {}
    steps: dict[str, Json] = {}
    for step in state.playbook.steps:
        view = state.steps.get(step.name)
        counts = view.counts if view else Counts()
        steps[step.name] = {
            "state": str(current_state(view)) if view else "pending",
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
        # In Python the text "no" is true: a text must never start a step.
        raise ValueError("a condition must be true or false. Compare the text with a value.")
    return value


def are_needs_met(step: Step, state: State, now: datetime | None = None) -> bool:
    """Return whether all needs of the step are met.

    Without `now`, a stuck step is treated as running: it does not meet a need in `after`.
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

    A notice is not stuck if a person paused it, or if it waits for the result of its canary (its
    first few messages).
    """
    if view.state is not StepState.RUNNING or view.moved_at is None:
        return False
    is_held = view.is_paused or view.after_canary > 0
    return not is_held and now - view.moved_at >= PATIENCE


def is_met(step: Step, needed: Step, view: StepView) -> bool:
    """Return whether one need of the step, `needed`, is met."""
    if not view.state.is_final:
        return False
    if view.is_accepted:
        return True
    reached = current_state(view)
    if waits_for_lock(step, needed):
        return reached in (StepState.DONE, StepState.SKIPPED)
    if needed.name in step.after:
        return reached is not StepState.REFUSED
    if reached is StepState.PARTIAL:
        return needed.on_partial is OnPartial.GO_ON
    return reached in (StepState.DONE, StepState.SKIPPED)


def waits_for_lock(step: Step, needed: Step) -> bool:
    """Return whether the step is an unapproved notice that needs a lock."""
    is_notice = step.action == SEND and step.approval is None
    return is_notice and needed.action == LOCK


def current_state(view: StepView) -> StepState:
    """Return the state of a step; recompute a partial or failed result.

    A result can improve after the end of the step, when an outcome becomes known.
    """
    if view.state in (StepState.PARTIAL, StepState.FAILED) and view.counts.total:
        return outcome(view) or view.state
    return view.state


def outcome(view: StepView) -> StepState | None:
    """Return the result of all effects of a step; None if one has no result."""
    counts = view.counts
    if counts.under_way or min(view.settling, counts.unknown):
        return None
    if counts.done == counts.total:
        return StepState.DONE
    return StepState.PARTIAL if counts.done or counts.unknown else StepState.FAILED


def is_approved(step: Step | None, view: StepView) -> bool:
    """Return whether a step that waits for approval has all signatures."""
    by_playbook = step.approval.count if step and step.approval else 0
    return view.approvals >= max(view.approvals_needed, by_playbook, 1)


def tally(counts: Counts) -> str:
    """Describe how many targets are done, and the states of the others."""
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
        return None  # `status.obstacles` reports the condition
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
    """Return the move of a begun step; `step` is None outside the playbook."""
    match view.state:
        case StepState.ASKING if view.is_refused:
            return _finish(view, StepState.REFUSED, "an approver refused it")
        case StepState.ASKING if view.counts.total and not is_approved(step, view):
            if view.opens_at is not None and view.opens_at <= now:
                return Open(step=view.step, round=view.round)
            if not view.is_asked:
                return Ask(step=view.step, round=view.round)
            is_late = view.escalates_at is not None and view.escalates_at <= now
            next_level = Escalate(step=view.step, round=view.round, level=view.level + 1)
            return next_level if is_late else None
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
        # A step without targets needs no approval, and it has not failed.
        return _finish(view, StepState.DONE, "no targets")
    return _finish(view, reached, tally(view.counts))


def _finish(view: StepView, state: StepState, reason: str) -> Finish:
    return Finish(step=view.step, round=view.round, state=state, reason=reason)
