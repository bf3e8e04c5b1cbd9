"""Work of an incident that has not begun; next step of a stopped incident.

Rules
- The state is read without a clock. So the abort window of a notice (the time between its approval
  and the first message) may still delay the work that is named here.
- The texts have only counts and names of steps, and no personal data.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from standfast.playbook.actions import ACTIONS
from standfast.playbook.actions.accounts_lock import UNLOCK
from standfast.playbook.actions.action import Action
from standfast.playbook.actions.notices_send import SEND
from standfast.playbook.engine import are_needs_met, is_behind, is_pending, is_wanted
from standfast.playbook.model import Step, StepKind
from standfast.playbook.run_state import State
from standfast.records import JsonObject, Mode, StepState


@dataclass(frozen=True, kw_only=True)
class UnstartedStep:
    """One step that begins, or continues, when the incident is resumed."""

    step: str
    is_notice: bool
    planned: int  # planned targets; 0 for a step that has not begun
    targets: str  # noun: accounts, recipients

    def __str__(self) -> str:
        if not self.planned:
            return f"`{self.step}` (starts)"
        return f"`{self.step}` ({self.planned:,} {self.targets})"

    def as_json(self) -> JsonObject:
        """Return the step as JSON, for the option `--json`."""
        return {"step": self.step, "planned": self.planned, "targets": self.targets}


def not_begun(state: State) -> tuple[UnstartedStep, ...]:
    """Return the steps with work to begin, in the order of the playbook.

    Steps outside the playbook come last. If the incident is stopped, all these steps begin when it
    is resumed.
    """
    found = []
    for step in state.playbook.steps:
        action = ACTIONS.get(step.action or "")
        if step.kind is not StepKind.DO or action is None:
            continue
        view = state.steps.get(step.name)
        planned = view.counts.planned if view and view.state is StepState.RUNNING else 0
        if planned or _would_begin(step, state):
            found.append(_unstarted_step(step.name, action, planned))
    for view in state.extra:
        if view.state is StepState.RUNNING and view.counts.planned:
            verb = UNLOCK if view.is_undo else SEND
            found.append(_unstarted_step(view.step, ACTIONS[verb], view.counts.planned))
    return tuple(found)


def _is_to_be_undone(state: State) -> bool:
    """Return whether a step made changes that an undo can reverse."""
    return any(
        view.counts.done and ACTIONS[step.action].undo
        for step in state.playbook.steps
        if step.action and (view := state.steps.get(step.name))
    )


def is_restored(state: State) -> bool:
    """Return whether undos have ended and left no target unrestored."""
    undos = [view for view in state.extra if view.is_undo]
    return bool(undos) and all(view.state.is_final for view in undos) and not state.unrestored_count


def next_step_when_stopped(state: State) -> str:
    """Return the next step of a stopped incident if no undo is in progress."""
    if is_restored(state):
        close = f"`standfast incident close {state.incident}{signed(state)}`"
        text = f"Stopped, and all its changes are undone. Close it: {close}."
    elif any(is_behind(step, state) for step in state.playbook.steps):
        text = (
            "Stopped. Targets were added since, and nothing was done to them. Show them: "
            f"`standfast incident status {state.incident} --targets`."
        )
    elif _is_to_be_undone(state):
        undo = f"`standfast incident undo {state.incident} --all{signed(state)}`"
        text = f"Stopped. Undo its changes: {undo}."
    else:
        text = "Stopped."
    left = not_begun(state)
    acts = f", which runs {join_in_sentence(map(str, left))}" if left else ""
    give_up = "".join(
        f" Cancel only that notice: `standfast notice stop {state.incident} {step.step}`."
        for step in left
        if step.is_notice and step.planned
    )
    resume = f"`standfast incident resume {state.incident}{signed(state)}`"
    return f"{text} Resume it: {resume}{acts}.{give_up}"


def signed(state: State) -> str:
    """Return the option ` --as PERSON` for a live incident, else ""."""
    return " --as PERSON" if state.mode is Mode.LIVE else ""


def join_in_sentence(parts: Iterable[str]) -> str:
    """Join one or more parts as a list in a sentence."""
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last


def _unstarted_step(step: str, action: Action, planned: int) -> UnstartedStep:
    is_notice = action.verb == SEND
    return UnstartedStep(step=step, is_notice=is_notice, planned=planned, targets=action.targets)


def _would_begin(step: Step, state: State) -> bool:
    if is_behind(step, state):
        return True
    try:
        return is_pending(step, state) and are_needs_met(step, state) and is_wanted(step, state)
    except ValueError:
        return False  # a condition that cannot be evaluated blocks the step
