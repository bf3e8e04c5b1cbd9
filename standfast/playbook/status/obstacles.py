"""Obstacles that keep a step from beginning, and how to remove them.

Each has the command that a person types.

Owns the reading of a state that stands still. Leaves the rules of progress to `engine`.

Rules
- Each pending step that waits in vain is named with every step that is the cause.
- Counts and names of steps only; no personal data.
"""

from dataclasses import dataclass, replace

from standfast.playbook.actions.notices_send import SEND
from standfast.playbook.engine import (
    are_needs_met,
    is_met,
    is_pending,
    is_wanted,
    standing_state,
    tally,
)
from standfast.playbook.run_state import State, StepView
from standfast.playbook.step_graph import in_order
from standfast.plurals import counted
from standfast.records import StepState


@dataclass(frozen=True, kw_only=True)
class Blocked:
    """A pending step that does not begin until a person acts on `by`."""

    step: str
    by: str  # the step that is the cause; the step itself when its condition cannot be evaluated
    why: str
    what_to_do: str  # by a person, with the command to type


def blocked(state: State) -> list[Blocked]:
    """Return the pending steps that wait in vain, each with all its causes."""
    causes: dict[str, list[Blocked]] = {}
    for step in in_order(state.playbook):
        if not is_pending(step, state):
            continue
        found: dict[str, Blocked] = {}
        for need in step.needs:
            needed = state.playbook.step(need)
            if is_pending(needed, state):
                for cause in causes.get(need, []):
                    found[cause.by] = replace(cause, step=step.name)
                continue
            view = state.steps[need]
            if view.state.is_final and not is_met(step, needed, view):
                found[need] = Blocked(
                    step=step.name, by=need, why=came_to(view), what_to_do=_mend(view, state)
                )
        if not found and are_needs_met(step, state):
            try:
                is_wanted(step, state)
            except ValueError as error:
                found[step.name] = Blocked(
                    step=step.name,
                    by=step.name,
                    why=f"its condition cannot be evaluated: {error}",
                    what_to_do=f"Read the condition of `{step.name}`; do its work by hand.",
                )
        causes[step.name] = list(found.values())
    return [cause for step in state.playbook.steps for cause in causes.get(step.name, [])]


def came_to(view: StepView) -> str:
    """Return a short result of a step, as in `487 of 500 done, 13 failed`.

    The text begins with the state: `partial: 487 of 500 done, 13 failed`.
    """
    state = standing_state(view)
    if state is StepState.REFUSED:
        return "refused by an approver"
    return f"{state}: {tally(view.counts)}" if view.counts.total else str(state)


def as_whom(state: State, step_name: str) -> str:
    """Return the further arguments of a command about a step.

    It needs a sign-in where the step names roles.
    """
    step = next((step for step in state.playbook.steps if step.name == step_name), None)
    has_roles = step and (step.roles or (step.approval and step.approval.roles))
    return " --as PERSON" if has_roles else ""


def letter_instructions(state: State, view: StepView) -> str:
    """Describe the first action for unknown outcomes of a notice.

    A written letter waits for the post.

    Empty for another step. Which of them are letters is sealed: whoever has not opened them cannot
    say how many there are, and `--targets` names each.
    """
    speaker = as_whom(state, view.step)
    posted = f"`standfast notice posted {state.incident} {view.step}{speaker}`"
    if view.letters:
        letters = f"{counted(view.letters, 'letter')} to be posted, in {view.letters_in}"
        others = "For the others: " if view.counts.unknown > view.letters else ""
        return f"{letters}: print and post them, then {posted}. {others}"
    step = next((step for step in state.playbook.steps if step.name == view.step), None)
    if not view.counts.unknown or step is None or step.action != SEND:
        return ""
    return f"If letters were written: print and post them, then {posted}. For the others: "


def _mend(view: StepView, state: State) -> str:
    """Say what a person can do about a finished step that holds others up."""
    speaker = as_whom(state, view.step)
    retry = f"`standfast incident retry {state.incident} {view.step}{speaker}`"
    go_on = f"`standfast incident accept {state.incident} {view.step}{speaker}`"
    if view.state is StepState.REFUSED:
        return f"Talk to the approver; then ask again: {retry}, or continue without it: {go_on}."
    show = f"`standfast incident status {state.incident} --targets`"
    if view.counts.unknown:
        settle = f"`standfast incident settle {state.incident} EFFECT yes|no{speaker}`"
        if view.counts.unknown > 1:
            settle += f", or all with `--step {view.step}` instead of EFFECT"
        see = f"Show the unknown outcomes: {show}, and settle them: {settle}; "
        return f"{letter_instructions(state, view)}{see}or continue without them: {go_on}."
    if view.counts.refused and not view.counts.failed:
        # What a rule refused is refused again: to retry it changes nothing.
        return f"See the reasons: {show}; fix them by hand, then continue: {go_on}."
    if not view.counts.done:
        return f"Retry it: {retry}, or do it by hand and continue without it: {go_on}."
    return f"Retry the rest: {retry}, or continue without it: {go_on}."
