"""Outcome of an incident's run, with the exit status of the command.

Rules
- The exit status shows what the caller must do next. If several statuses apply, damage and errors
  take precedence over failed containment (such as an account that could not be locked), and failed
  containment takes precedence over waiting for people.
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
    # Result of the undo that was just requested: PARTIAL if it restored some targets, FAILED if it
    # restored none, None if it restored all or no undo was requested.
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
        """Return whether the undo failed, or a failed step was not accepted.

        A person can accept the failure of a step, so that later steps run.
        """
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
        """The exit status of the command, by the precedence of this module."""
        if self.troubles:
            return self.trouble_status
        if not (self.summary.is_over or self._is_at_rest):
            # Report a failed containment even if other steps still wait for people.
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
