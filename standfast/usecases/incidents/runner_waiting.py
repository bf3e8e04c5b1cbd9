"""Longest time that a runner waits for work that is due later.

A runner is a process that executes an incident: a command, `standfast serve` or a Prefect worker.
"""

from datetime import datetime, timedelta

from standfast import retry_rules
from standfast.playbook.actions.notices_send import SEND
from standfast.playbook.run_state import State
from standfast.playbook.status.next_step import summarise_status
from standfast.records import StepState
from standfast.usecases.core.additional_steps import additional_step_verb

DIRECT = "direct"  # the runner is part of a command, and a person waits for its end


def longest_wait(state: State, way: str) -> timedelta:
    """Return a runner's longest wait; `way` is the kind of runner.

    The wait of a command (`way` is DIRECT) is shorter if `waits_only_for_notices` returns True.
    """
    is_short = way == DIRECT and waits_only_for_notices(state)
    return retry_rules.LONGEST_WAIT_FOR_PERSON if is_short else retry_rules.LONGEST_WAIT


def waits_only_for_notices(state: State) -> bool:
    """Return whether people must act and only retries of notices remain.

    A notice is a message to the people that an incident concerns. If only its retries remain, a
    command waits only briefly, because `serve` or the next command retries the messages. Return
    False while the outcome of a message is unknown and must be looked up, and while any other
    action runs, such as a lock.
    """
    actions = [(state.playbook.step(view.step).action, view) for view in state.steps.values()]
    actions += [(additional_step_verb(view.step), view) for view in state.extra]
    is_only_notices = all(
        action == SEND and not view.settling and not view.counts.submitting
        for action, view in actions
        if view.state is StepState.RUNNING
    )
    return is_only_notices and summarise_status(state).waits_for_people


def is_worth_waiting(
    state: State, next_due: datetime | None, now: datetime, longest: timedelta
) -> bool:
    """Return whether work of the incident is due within `longest`.

    The work is the next act on a target, at `next_due`, or the end of a waiting step.
    """
    due = [
        view.due_at
        for view in state.steps.values()
        if view.state is StepState.WAITING and not state.is_stopped_or_closed
    ]
    return any(is_soon(moment, now, longest) for moment in (next_due, *due))


def is_soon(moment: datetime | None, now: datetime, longest: timedelta | None = None) -> bool:
    """Return whether this moment is near enough for a runner to wait."""
    return moment is not None and moment - now <= (longest or retry_rules.LONGEST_WAIT)
