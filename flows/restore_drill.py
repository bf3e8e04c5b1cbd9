"""Flow of an unattended restore drill: one set, configured identity.

The identity is the private key that opens the backups.
"""

from prefect import flow, task
from prefect.client.schemas.objects import State

from flows.flow_states import as_flow, refer_to_drill_report, run_to_state
from standfast.errors import ExitStatus
from standfast.usecases.core.installation import Installation
from standfast.usecases.drills.restore_drill import run_drill


@flow(
    name="restore-drill",
    flow_run_name="restore-drill {set_name}",
    persist_result=False,
    validate_parameters=False,
)
def restore_drill(config: str, set_name: str, compares: bool = False) -> State[None]:
    """Drill one set with the identity of `drills.identity`.

    With `compares`, the restored data is compared with the live source, which must not change
    meanwhile.
    """
    return as_flow(drill(config, set_name, compares, return_state=True))


@task(name="drill", task_run_name="drill {set_name}", persist_result=False)
def drill(config: str, set_name: str, compares: bool) -> State[None]:
    """Restore, check, measure, destroy, report."""

    def work(installation: Installation) -> tuple[ExitStatus, str]:
        outcome = run_drill(installation, set_name, None, way="prefect", compares=compares)
        refer_to_drill_report(set_name, outcome.report, outcome.report_digest)
        files = outcome.restored.files if outcome.restored else 0
        usable = "never usable" if outcome.has_failed else "RTO not measured"
        if outcome.rto_ms is not None:
            usable = f"usable after {outcome.rto_ms} ms"
        lost = "unknown" if outcome.rpo_ms is None else f"{outcome.rpo_ms} ms"
        return outcome.exit_status, (
            f"run {outcome.run}: {outcome.point.name}, {files} files, {usable}, "
            f"RPO {lost} from {outcome.rpo_basis}, "
            f"{len(outcome.skipped)} checks skipped"
        )

    return run_to_state(config, work)
