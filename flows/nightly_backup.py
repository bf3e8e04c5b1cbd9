"""Flow of one nightly backup, of one set.

The run is retried, with growing pauses, only if the store does not answer. If another backup of the
set is in progress, the run ends in a state that says so and is not a failure. With the Prefect of a
site, a crashed backup starts again (`site.py`), `MOST_STARTS` times in all.
"""

from prefect import flow, task
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Failed

from flows.backup_progress import progress_shown
from flows.flow_states import as_flow, run_to_state
from standfast.errors import ExitStatus
from standfast.usecases.backups.backup_run import NIGHTLY_PAUSES, expected_files, run_backup
from standfast.usecases.core.installation import Installation

MOST_STARTS = 3


@flow(
    name="nightly-backup",
    flow_run_name="nightly-backup {set_name}",
    persist_result=False,
    validate_parameters=False,
)
def nightly_backup(config: str, set_name: str) -> State[None]:
    """Back up one set of the configuration at a path."""
    starts = flow_run.run_count or 1
    if starts > MOST_STARTS:
        return Failed(message=f"{set_name}: it crashed {starts - 1} times. See the worker's log.")
    return as_flow(back_up(config, set_name, return_state=True))


@task(name="back-up", task_run_name="back up {set_name}", persist_result=False)
def back_up(config: str, set_name: str) -> State[None]:
    """Make one recovery point."""

    def work(installation: Installation) -> tuple[ExitStatus, str]:
        with progress_shown(set_name, expected_files(installation, set_name)) as progress:
            outcome = run_backup(installation, set_name, "prefect", progress, pauses=NIGHTLY_PAUSES)
        result = outcome.result
        unrecorded = f"; not in the ledger: {outcome.unrecorded}" if outcome.unrecorded else ""
        return outcome.exit_status, (
            f"run {outcome.run}: {result.point}, {result.files} files, "
            f"{result.bytes_new} new bytes, {result.unread_total} not read, "
            f"{len(outcome.jumps)} far more than usual{unrecorded}"
        )

    return run_to_state(config, work, needs_ledger=False)
