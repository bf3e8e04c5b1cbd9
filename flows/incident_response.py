"""Flow that runs one incident until it needs a person or ends.

A change of a single account is not a task of Prefect. The ledger (the database of the installation)
records each change, and a task would add milliseconds to it.
"""

from prefect import flow
from prefect.client.schemas.objects import State

from flows.flow_states import refer_to_incident, run_to_state
from flows.response_claim import claimed_response
from standfast.errors import ExitStatus
from standfast.usecases.core.installation import Installation
from standfast.usecases.incidents.lifecycle import advance


@flow(
    name="respond-to-incident",
    flow_run_name="respond-to-incident {incident}",
    persist_result=False,
    validate_parameters=False,
)
def respond_to_incident(config: str, incident: str) -> State[None]:
    """Run an incident; any number of flows may do so at once."""

    def work(installation: Installation) -> tuple[ExitStatus, str]:
        with claimed_response(incident):
            outcome = advance(installation, incident, "prefect")
        refer_to_incident(installation.config, incident)
        steps = outcome.state.playbook.steps
        return outcome.exit_status, (
            f"{incident}: {len(outcome.state.steps)} of {len(steps)} steps begun"
        )

    return run_to_state(config, work)
