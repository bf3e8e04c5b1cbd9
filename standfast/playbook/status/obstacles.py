"""Obstacles that prevent the start of a step, with the command for each.

An example is a failed step that a later step needs: a person retries the failed step, or accepts
its result.

Rules
- Each pending step that cannot begin is named, with every step that blocks it. If targets were
  added after a step began, the step is named too while it cannot begin for these targets.
- The texts have counts and names of steps only, no personal data.
"""

from dataclasses import dataclass, replace

from standfast.playbook.actions.notices_send import SEND
from standfast.playbook.engine import (
    are_needs_met,
    current_state,
    is_behind,
    is_met,
    is_pending,
    is_wanted,
    tally,
)
from standfast.playbook.model import Step
from standfast.playbook.run_state import State, StepView
from standfast.playbook.step_graph import in_order
from standfast.plurals import counted
from standfast.records import StepState


@dataclass(frozen=True, kw_only=True)
class Blocked:
    """A step that does not begin until a person acts on the step `by`."""

    step: str
    by: str  # the blocking step; the step itself if its condition cannot be evaluated
    why: str
    what_to_do: str  # for a person, with the command


def blocked(state: State) -> list[Blocked]:
    """Return the steps that cannot begin, each with all its causes."""
    causes: dict[str, list[Blocked]] = {}
    for step in in_order(state.playbook):
        if not _is_to_begin(step, state):
            continue
        found: dict[str, Blocked] = {}
        for need in step.needs:
            needed = state.playbook.step(need)
            if _is_to_begin(needed, state):
                for cause in causes.get(need, []):
                    found[cause.by] = replace(cause, step=step.name)
                continue
            view = state.steps[need]
            if view.state.is_final and not is_met(step, needed, view):
                found[need] = Blocked(
                    step=step.name,
                    by=need,
                    why=describe_state(view),
                    what_to_do=_remedy(view, state),
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


def _is_to_begin(step: Step, state: State) -> bool:
    return is_pending(step, state) or is_behind(step, state)


def describe_state(view: StepView) -> str:
    """Return the result of a step: `partial: 487 of 500 done, 13 failed`."""
    state = current_state(view)
    if state is StepState.REFUSED:
        return "refused by an approver"
    return f"{state}: {tally(view.counts)}" if view.counts.total else str(state)


def as_whom(state: State, step_name: str) -> str:
    """Return the option ` --as PERSON` for a step with roles, else ""."""
    step = next((step for step in state.playbook.steps if step.name == step_name), None)
    has_roles = step and (step.roles or (step.approval and step.approval.roles))
    return " --as PERSON" if has_roles else ""


def letter_instructions(state: State, view: StepView) -> str:
    """Describe how to post the letters of a notice; return "" for other steps.

    The ledger (the database of incidents) encrypts the channel of a message, so the number of
    letters may be unknown here.
    """
    speaker = as_whom(state, view.step)
    posted = f"`standfast notice posted {state.incident} {view.step}{speaker}`"
    if view.letters:
        letters = f"{counted(view.letters, 'letter')} to be posted, in {view.letters_in}"
        others = "For the other recipients: " if view.counts.unknown > view.letters else ""
        return f"{letters}: print and post them, then {posted}. {others}"
    step = next((step for step in state.playbook.steps if step.name == view.step), None)
    if not view.counts.unknown or step is None or step.action != SEND:
        return ""
    return (
        f"If letters were written: print and post them, then {posted}. For the other recipients: "
    )


def _remedy(view: StepView, state: State) -> str:
    """Describe how to continue although a finished step blocks others."""
    speaker = as_whom(state, view.step)
    retry = f"`standfast incident retry {state.incident} {view.step}{speaker}`"
    accept = f"`standfast incident accept {state.incident} {view.step}{speaker}`"
    if view.state is StepState.REFUSED:
        return f"Talk to the approver; then ask again: {retry}, or continue without it: {accept}."
    show = f"`standfast incident status {state.incident} --targets`"
    if view.counts.unknown:
        settle = f"`standfast incident settle {state.incident} EFFECT yes|no{speaker}`"
        if view.counts.unknown > 1:
            settle += f", or all with `--step {view.step}` instead of EFFECT"
        see = f"Show the unknown outcomes: {show}, and settle them: {settle}; "
        return f"{letter_instructions(state, view)}{see}or continue without them: {accept}."
    if view.counts.refused and not view.counts.failed:
        # A retry of targets that a rule refused changes nothing: the rule refuses them again.
        return f"See the reasons: {show}; fix them by hand, then continue: {accept}."
    if not view.counts.done:
        return f"Retry it: {retry}, or do it by hand and continue without it: {accept}."
    return f"Retry the rest: {retry}, or continue without it: {accept}."
