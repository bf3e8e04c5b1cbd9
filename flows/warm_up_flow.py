"""Flow that only reads, to load modules before the first response.

The first call of a flow in a process loads as much code as the import of Prefect. Therefore the
thread that supervises Prefect calls this flow once, so that the first response starts faster.
"""

from prefect import flow
from prefect.client.schemas.objects import State

from flows.flow_states import run_to_state
from standfast.errors import ExitStatus
from standfast.usecases.core.installation import Installation


@flow(
    name="warm-up",
    flow_run_name="warm-up",
    persist_result=False,
    validate_parameters=False,
)
def warm_up(config: str) -> State[None]:
    """Open the installation and read one row of its database."""

    def work(installation: Installation) -> tuple[ExitStatus, str]:
        return ExitStatus.DONE, f"warm, at event {installation.ledger.newest_event()}"

    return run_to_state(config, work)
