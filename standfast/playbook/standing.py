"""Where an incident stands, in words: whether it is over, whom it waits for, the one next step.

Owns the sentence that the operator reads at 3 a.m. Leaves the rules of progress to `engine`.

Rules
- One next step, never a list: what holds other steps up comes first, then questions, then
  approvals, then what a person does by hand, then what only needs to be watched.
- A command is written out whenever the step is known, ready to be typed.
- Counts and names of steps only; no personal data.
"""

from dataclasses import dataclass

from standfast.playbook.engine import (
    Blocked,
    State,
    StepView,
    are_needs_met,
    blocked,
    came_to,
    is_approved,
    standing_state,
    tally,
)
from standfast.playbook.model import Playbook, Step, StepKind
from standfast.records import Mode, StepState, timestamp


@dataclass(frozen=True, kw_only=True)
class Standing:
    """The state of an incident as a person asks for it."""

    is_over: bool  # every step is final and no effect is under way
    is_busy: bool  # something will happen without a person: effects, a clock, a next move
    waits_for_people: bool  # something will not happen without one
    is_partial: bool  # targets of some finished step were not done
    is_failed: bool  # some finished step reached no target, or was refused
    next_step: str


def standing(state: State) -> Standing:
    """Say where the incident stands. Needs no clock: what the next move will be is not its affair.

    `is_busy` and `waits_for_people` may both be true: one branch runs while another one asks.
    """
    views = [*_in_playbook(state), *state.extra]
    reached = [standing_state(view) for view in views]
    causes = blocked(state)
    is_over = (
        all(step.name in state.steps for step in state.playbook.steps)
        and all(view.state.is_final for view in views)
        and not any(_is_under_way(view) for view in views)
    )
    waits = [view for view in views if _waits_for_a_person(state, view)]
    is_still = state.is_halted or state.mode is Mode.PLAN
    is_busy = not is_still and (
        any(_is_moving(state, view) for view in views)
        or any(
            step.name not in state.steps and are_needs_met(step, state)
            for step in state.playbook.steps
            if step.name not in {cause.by for cause in causes}
        )
    )
    return Standing(
        is_over=is_over,
        is_busy=is_busy,
        waits_for_people=not is_over and bool(waits or causes or is_still),
        is_partial=StepState.PARTIAL in reached,
        is_failed=StepState.FAILED in reached or StepState.REFUSED in reached,
        next_step=_next_step(state, causes, waits, is_over=is_over),
    )


def _next_step(state: State, causes: list[Blocked], waits: list[StepView], *, is_over: bool) -> str:
    if state.mode is Mode.PLAN:
        return "This is a plan: nothing was done. Open the incident to carry it out."
    if state.is_halted:
        return f"Stopped. To go on: `standfast incident resume {state.incident}`."
    if is_over:
        return _when_over(state)
    if causes:
        cause = causes[0]
        held_up = [other.step for other in causes if other.by == cause.by]
        return (
            f"`{cause.by}` holds up {_listed(held_up)} ({cause.why}). {cause.what_to_do}"
            if held_up != [cause.by]
            else f"`{cause.by}` cannot begin: {cause.why}. {cause.what_to_do}"
        )
    for view in sorted(waits, key=lambda view: _urgency(state, view)):
        return _asked_of_a_person(state, view)
    return _while_busy(state)


def _when_over(state: State) -> str:
    close = f"`standfast incident close {state.incident}`"
    short = [
        view
        for view in (*_in_playbook(state), *state.extra)
        if standing_state(view) in (StepState.PARTIAL, StepState.FAILED, StepState.REFUSED)
    ]
    if not short:
        return f"Everything is done. Close it: {close}."
    worst = min(short, key=lambda view: standing_state(view) is StepState.PARTIAL)
    show = f"`standfast incident status {state.incident} --targets`"
    again = f"`standfast incident retry {state.incident} {worst.step}`"
    told = f"Nothing is left to run, but `{worst.step}` is {came_to(worst)}. "
    if _is_worth_another_try(worst):
        return told + f"Try the rest again: {again}. See each one and why: {show}."
    return told + f"See each one and why: {show}; then close it: {close}."


def _is_worth_another_try(view: StepView) -> bool:
    """Did something fail that nobody has accepted? What a rule refused fails the same way again."""
    could_not_begin = standing_state(view) is StepState.FAILED and not view.counts.total
    return not view.is_accepted and (view.counts.failed > 0 or could_not_begin)


def _asked_of_a_person(state: State, view: StepView) -> str:
    step = _step_of(state.playbook, view)
    if view.state is StepState.PROMPTED and step:
        answer = f"standfast incident answer {state.incident} {step.name}"
        if step.kind is StepKind.DECIDE:
            return f"{step.question} Answer: `{answer} {' | '.join(step.options)}`."
        return f'By hand: {step.title}. When it is done: `{answer} "what came of it"`.'
    who = " or ".join(step.approval.roles) if step and step.approval else ""
    paged = "" if view.asked else ", who is being paged"
    approve = f"`standfast incident approve {state.incident} {view.step} --as PERSON`"
    return (
        f"`{view.step}` waits for the approval of {who or 'a second person'}{paged}; "
        f"they type: {approve}."
    )


def _while_busy(state: State) -> str:
    views = [*_in_playbook(state), *state.extra]
    for view in views:
        if _is_under_way(view):
            return f"Nothing to do now: `{view.step}` is running, {tally(view.counts)}."
    for view in views:
        if view.state is StepState.WAITING and view.due_at:
            return f"Nothing to do now: `{view.step}` waits until {timestamp(view.due_at)}."
    return (
        f"The next step begins when a runner picks up {state.incident}: a `standfast serve`, or "
        f"`standfast incident resume {state.incident}`."
    )


def _in_playbook(state: State) -> list[StepView]:
    found = (state.steps.get(step.name) for step in state.playbook.steps)
    return [view for view in found if view is not None]


def _step_of(playbook: Playbook, view: StepView) -> Step | None:
    return next((step for step in playbook.steps if step.name == view.step), None)


def _is_under_way(view: StepView) -> bool:
    """May effects still move by themselves? Those of a refused or unapproved step may not."""
    if view.state in (StepState.ASKING, StepState.REFUSED, StepState.SKIPPED):
        return False
    return view.counts.under_way > 0 or min(view.settling, view.counts.unknown) > 0


def _is_moving(state: State, view: StepView) -> bool:
    if view.state is StepState.ASKING:
        return is_approved(_step_of(state.playbook, view), view) or not view.asked
    if view.state is StepState.PROMPTED:
        return view.answer is not None
    return not view.state.is_final or _is_under_way(view)


def _waits_for_a_person(state: State, view: StepView) -> bool:
    if view.state is StepState.ASKING:
        return view.counts.total > 0 and not is_approved(_step_of(state.playbook, view), view)
    return view.state is StepState.PROMPTED and view.answer is None


def _urgency(state: State, view: StepView) -> int:
    """Questions first, since they decide what follows; then approvals, which are a moment's work;
    then what is done by hand, which may take days.
    """
    step = _step_of(state.playbook, view)
    if view.state is StepState.PROMPTED:
        return 0 if step and step.kind is StepKind.DECIDE else 2
    return 1


def _listed(names: list[str]) -> str:
    quoted = [f"`{name}`" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"
