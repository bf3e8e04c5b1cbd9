"""States that Prefect shows for outcomes.

A failure is a state with a message, not an exception: Prefect would write the pickled exception to
its disk, and the traceback to its log.
"""

from collections.abc import Callable
from typing import Any

from prefect import get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.error_boundary import FlowFailed, FlowInProgress, in_installation
from standfast.errors import EXIT_STATUS_MEANING, ExitStatus
from standfast.usecases.core.installation import Installation

_NOT_A_FAILURE = frozenset({ExitStatus.PARTIAL, ExitStatus.WAITS_FOR_PEOPLE})


def run_to_state(
    config: str,
    work: Callable[[Installation], tuple[ExitStatus, str]],
    *,
    needs_ledger: bool = True,
) -> State[None]:
    """Run `work` and return the state that Prefect shows; raise nothing.

    `work` returns the exit status and a line with ids and counts only, which is logged as well.
    """
    try:
        status, line = in_installation(config, work, needs_ledger=needs_ledger)
    except FlowInProgress as error:
        return Completed(message=str(error), name="Under way")
    except FlowFailed as error:
        return Failed(message=str(error))
    get_run_logger().info("%s", line)
    if status is ExitStatus.DONE:
        return Completed(message=line)
    name = EXIT_STATUS_MEANING[status].partition(":")[0].capitalize()
    return (Completed if status in _NOT_A_FAILURE else Failed)(message=line, name=name)


def as_flow(state: State[Any]) -> State[None]:
    """Return the state of the only task; Prefect shows "1/1 states failed"."""
    return State(type=state.type, name=state.name, message=state.message)
