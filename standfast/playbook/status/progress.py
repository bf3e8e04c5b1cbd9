"""Progress of the steps: running, waiting for a person, interrupted.

A runner is a process that executes incidents. An effect is one act of a step on one target.

Rules
- A step is interrupted if it has work left and no runner works on the incident.
- In a stopped incident only an undo (which restores targets to their prior state) is carried out,
  so only an undo can be interrupted.
- An effect that waits for an approval, a timer that has not ended and a paused notice are not
  interrupted.
"""

from collections.abc import Iterator

from standfast.playbook.actions.notices_send import SEND
from standfast.playbook.engine import are_needs_met, is_approved, is_pending, may_widen
from standfast.playbook.model import Playbook, Step
from standfast.playbook.run_state import State, StepView
from standfast.playbook.status.obstacles import Blocked
from standfast.records import Mode, StepState


def in_playbook(state: State) -> list[StepView]:
    """Return the steps that began, in the order of the playbook."""
    found = (state.steps.get(step.name) for step in state.playbook.steps)
    return [view for view in found if view is not None]


def every_view(state: State) -> list[StepView]:
    """Return the steps that began; steps outside the playbook come last."""
    return [*in_playbook(state), *state.extra]


def step_of(playbook: Playbook, view: StepView) -> Step | None:
    """Return the step's definition; None for a step outside the playbook."""
    return next((step for step in playbook.steps if step.name == view.step), None)


def is_under_way(view: StepView) -> bool:
    """Return whether effects of the step may still run without a person."""
    if view.state in (StepState.ASKING, StepState.REFUSED, StepState.SKIPPED):
        return False
    return view.counts.under_way > 0 or min(view.settling, view.counts.unknown) > 0


def waits_for_a_person(state: State, view: StepView) -> bool:
    """Return whether the step waits for a person."""
    if view.is_paused:
        return view.counts.under_way > 0
    if view.state is StepState.ASKING:
        return view.counts.total > 0 and not is_approved(step_of(state.playbook, view), view)
    return view.state is StepState.PROMPTED and view.answer is None


def is_notice(state: State, view: StepView) -> bool:
    """Return whether the step sends messages."""
    step = step_of(state.playbook, view)
    return not view.is_undo if step is None else step.action == SEND


def can_begin(state: State, causes: list[Blocked]) -> Iterator[Step]:
    """Yield the steps that a runner can begin now, also for added targets."""
    stuck = {cause.by for cause in causes}
    for step in state.playbook.steps:
        is_next = is_pending(step, state) and are_needs_met(step, state) and step.name not in stuck
        if is_next or may_widen(step, state):
            yield step


def interrupted(state: State) -> list[StepView]:
    """Return the steps that no runner continues; notices last."""
    if state.has_runner or state.is_closed or state.mode is Mode.PLAN:
        return []
    found = [
        view
        for view in every_view(state)
        if is_under_way(view)
        and not view.is_paused
        and (view.is_undo or not state.is_stopped_or_closed)
    ]
    return sorted(found, key=lambda view: is_notice(state, view))
