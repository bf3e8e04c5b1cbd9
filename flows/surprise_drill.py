"""Flow of surprise drills: runs the drill when its random moment comes.

A seed, which is recorded, determines the service and the moment.
"""

from prefect import flow, task
from prefect.client.schemas.objects import State

from flows.flow_states import as_flow, refer_to_drill_report, run_to_state
from standfast.errors import ExitStatus
from standfast.usecases.core.installation import Installation
from standfast.usecases.drills.surprise_drill import drill_by_surprise


@flow(
    name="surprise-drill",
    flow_run_name="surprise-drill",
    persist_result=False,
    validate_parameters=False,
)
def surprise_drill(config: str) -> State[None]:
    """Drill the drawn service if its moment has come."""
    return as_flow(drill(config, return_state=True))


@task(name="drill-by-surprise", persist_result=False)
def drill(config: str) -> State[None]:
    """Drill if it is due; return the state that Prefect shows."""

    def work(installation: Installation) -> tuple[ExitStatus, str]:
        outcome = drill_by_surprise(installation, "prefect")
        if outcome is None:
            return ExitStatus.DONE, "no surprise drill is due"
        refer_to_drill_report(outcome.run, outcome.report, outcome.report_digest)
        return outcome.exit_status, f"run {outcome.run}: {len(outcome.drills)} sets"

    return run_to_state(config, work)
