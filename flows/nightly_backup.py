"""Flow of one nightly backup: retries, and restarts after a crash.

The run is retried, with growing pauses, only if the store of the backups does not answer. If
another backup of the set is in progress, the run ends in the state "Under way", which is not a
failure. If several hosts share one Prefect, Prefect starts a crashed run again (`site.py`), at most
`MOST_STARTS` times in all. If the process of a run was killed after the backup had succeeded, and
before Prefect recorded this, the backup is not repeated.
"""

from datetime import datetime

from prefect import flow, task
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.runtime import flow_run
from prefect.states import Failed

from flows.backup_progress import progress_shown
from flows.flow_states import as_flow, run_to_state
from standfast.errors import ExitStatus, StandfastError
from standfast.ledger.runs.run_record import RunRecord
from standfast.usecases.backups.backup_run import (
    NIGHTLY_PAUSES,
    expected_files,
    good_run_since,
    run_backup,
)
from standfast.usecases.core.installation import Installation

MOST_STARTS = 3


@flow(
    name="nightly-backup",
    flow_run_name="nightly-backup {set_name}",
    persist_result=False,
    validate_parameters=False,
)
def nightly_backup(config: str, set_name: str) -> State[None]:
    """Back up one set; `config` is the path of the configuration."""
    starts = flow_run.run_count or 1
    if starts > MOST_STARTS:
        return Failed(message=f"{set_name}: it crashed {starts - 1} times. See the worker's log.")
    first_start = _first_start() if starts > 1 else None
    return as_flow(back_up(config, set_name, first_start, return_state=True))


def _first_start() -> datetime | None:
    """Return the time of the first start of this run, which Prefect restarted."""
    context = FlowRunContext.get()
    return context.flow_run.start_time if context and context.flow_run else None


@task(name="back-up", task_run_name="back up {set_name}", persist_result=False)
def back_up(config: str, set_name: str, first_start: datetime | None) -> State[None]:
    """Make one recovery point (backup), unless an earlier start made it.

    `first_start` is the time of the first start if Prefect restarted the run, otherwise None.
    """

    def work(installation: Installation) -> tuple[ExitStatus, str]:
        if first_start and (earlier := _earlier_success(installation, set_name, first_start)):
            status = ExitStatus.DONE if earlier.state == "done" else ExitStatus.PARTIAL
            return status, f"run {earlier.id} had ended before its process was killed"
        with progress_shown(set_name, expected_files(installation, set_name)) as progress:
            outcome = run_backup(installation, set_name, "prefect", progress, pauses=NIGHTLY_PAUSES)
        result = outcome.result
        unrecorded = (
            f"; not in the ledger: {outcome.ledger_problem}" if outcome.ledger_problem else ""
        )
        return outcome.exit_status, (
            f"run {outcome.run}: {result.point}, {result.files} files, "
            f"{result.bytes_new} new bytes, {result.unread_total} not read, "
            f"{len(outcome.jumps)} far more than usual{unrecorded}"
        )

    return run_to_state(config, work, needs_ledger=False)


def _earlier_success(
    installation: Installation, set_name: str, since: datetime
) -> RunRecord | None:
    """Return the successful run of an earlier start; None without a ledger."""
    try:
        return good_run_since(installation, set_name, since)
    except StandfastError:
        return None  # unknown; a second backup does no harm
