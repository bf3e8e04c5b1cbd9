"""A flow that only looks: the first call in a process loads as much again as importing Prefect did.

It carries nothing on and tells nobody: the thread that calls it is the one that keeps Prefect.
"""

from prefect import flow
from prefect.client.schemas.objects import State

from flows.flow_states import told
from standfast.errors import ExitStatus
from standfast.usecases.core.installation import Installation


@flow(name="warm-up", persist_result=False, validate_parameters=False)
def warm_up(config: str) -> State[None]:
    """Open the place and read one row of its ledger."""

    def work(installation: Installation) -> tuple[ExitStatus, str]:
        return ExitStatus.DONE, f"warm, at event {installation.ledger.newest_event()}"

    return told(config, work)
