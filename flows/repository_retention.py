"""Flow of the keeper: one retention run of the repository.

The keeper is the machine with the key that permits the expiry of recovery points (restorable
backups). A pack is a container of backup content.
"""

from prefect import flow, task
from prefect.client.schemas.objects import State

from flows.flow_states import as_flow, run_to_state
from standfast.errors import ExitStatus
from standfast.usecases.backups.retention import run_retention
from standfast.usecases.core.installation import Installation


@flow(
    name="keep-repository",
    flow_run_name="keep-repository",
    persist_result=False,
    validate_parameters=False,
)
def keep_repository(config: str) -> State[None]:
    """Expire recovery points and delete packs that no point needs.

    A run that would expire more than a fifth of the points is refused.
    """
    return as_flow(apply_retention(config, return_state=True))


@task(name="keep", task_run_name="keep", persist_result=False)
def apply_retention(config: str) -> State[None]:
    """Run retention once."""

    def work(installation: Installation) -> tuple[ExitStatus, str]:
        outcome = run_retention(installation, way="prefect")
        result = outcome.result
        return outcome.exit_status, (
            f"run {outcome.run}: {len(result.expired)} points expired, {len(result.marked)} packs "
            f"marked, {len(result.removed)} removed ({result.freed_bytes} bytes), "
            f"{len(result.locked)} still locked, {len(result.extended)} locks extended, "
            f"{len(result.problems)} problems"
        )

    return run_to_state(config, work)
