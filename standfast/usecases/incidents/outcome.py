"""Outcome of an incident's run, with the exit status of its worst trouble.

Rules
- The exit status shows what the caller must do next. Damage and errors come first, then failed
  containment (such as an account that could not be locked), then waiting for people.
- An incident waits for nobody if it is closed, or if it is stopped and everything is restored.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from standfast.errors import ExitStatus
from standfast.playbook.engine import current_state
from standfast.playbook.run_state import State
from standfast.playbook.status.next_step import StatusSummary
from standfast.playbook.status.unstarted_work import is_restored
from standfast.records import Mode, StepState

_UNSUCCESSFUL = frozenset({StepState.FAILED, StepState.PARTIAL, StepState.REFUSED})


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The state of an incident after the process that ran it has returned."""

    incident: str
    state: State
    summary: StatusSummary
    troubles: tuple[str, ...] = ()  # refusals and errors that stopped a part of the work
    trouble_status: ExitStatus = ExitStatus.REFUSED  # status of the most serious trouble
    # PARTIAL or FAILED if the undo that was just requested restored only some targets, or none.
    undo_result: StepState | None = None

    @property
    def unfinished(self) -> tuple[str, ...]:
        """The steps that have not begun or not ended, in the playbook's order."""
        begun = {view.step: view for view in (*self.state.steps.values(), *self.state.extra)}
        names = dict.fromkeys([*(step.name for step in self.state.playbook.steps), *begun])
        return tuple(name for name in names if name not in begun or not begun[name].state.is_final)

    @property
    def unsuccessful_steps(self) -> dict[str, StepState]:
        """The failed, partial or refused steps and their state, in order."""
        views = (*self.state.steps.values(), *self.state.extra)
        ends = {view.step: current_state(view) for view in views}
        return {name: end for name, end in ends.items() if end in _UNSUCCESSFUL}

    @property
    def _has_failed(self) -> bool:
        """Return whether the undo failed, or a step failed and is not accepted."""
        return self.undo_result is StepState.FAILED or any(
            current_state(view) is StepState.FAILED and not view.is_accepted
            for view in (*self.state.steps.values(), *self.state.extra)
        )

    @property
    def _is_at_rest(self) -> bool:
        """Return whether the incident is closed, or stopped and fully restored."""
        return self.state.is_closed or (self.state.is_stopped_or_closed and is_restored(self.state))

    @property
    def exit_status(self) -> ExitStatus:
        """The exit status; failures come before waiting for people."""
        if self.troubles:
            return self.trouble_status
        if not (self.summary.is_over or self._is_at_rest):
            # A failed containment must not look like an open question.
            return ExitStatus.FAILED if self._has_failed else ExitStatus.WAITS_FOR_PEOPLE
        if self.summary.is_failed or self.undo_result is StepState.FAILED:
            return ExitStatus.FAILED
        is_partial = self.summary.is_partial or self.undo_result is StepState.PARTIAL
        is_partial |= (
            self.state.is_closed and self.state.mode is not Mode.PLAN and bool(self.unfinished)
        )
        return ExitStatus.PARTIAL if is_partial else ExitStatus.DONE


def most_serious_status(found: Iterable[ExitStatus]) -> ExitStatus:
    """Return the most serious status: damage, then errors, then refusals."""
    statuses = set(found)
    for status in (ExitStatus.DAMAGED, ExitStatus.FAILED, ExitStatus.USAGE):
        if status in statuses:
            return status
    return ExitStatus.REFUSED
