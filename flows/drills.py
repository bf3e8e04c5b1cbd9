"""Flows of unattended drills: of one set, of a service, by surprise.

A drill is a test restore. A service is something that the organisation offers, such as telephony,
with the backup sets that it needs. The flows use the configured identity, the private key that
opens the backups. A surprise drill restores a random service at a random moment; both are derived
from a recorded seed.
"""

from prefect import flow, task
from prefect.client.schemas.objects import State

from flows.flow_states import as_flow, refer_to_drill_report, run_to_state
from standfast.errors import ExitStatus
from standfast.usecases.core.installation import Installation
from standfast.usecases.drills.restore_drill import run_drill
from standfast.usecases.drills.service_drill import drill_services
from standfast.usecases.drills.surprise_drill import drill_by_surprise


@flow(
    name="restore-drill",
    flow_run_name="restore-drill {set_name}",
    persist_result=False,
    validate_parameters=False,
)
def restore_drill(config: str, set_name: str, compares: bool = False) -> State[None]:
    """Drill one backup set with the identity of `drills.identity`.

    With `compares`, the restored data is compared with the live source, which must not change
    meanwhile.
    """
    return as_flow(drill_set(config, set_name, compares, return_state=True))


@task(name="drill", task_run_name="drill {set_name}", persist_result=False)
def drill_set(config: str, set_name: str, compares: bool) -> State[None]:
    """Drill the set; return the state that Prefect shows."""

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


@flow(
    name="service-drill",
    flow_run_name="service-drill {service}",
    persist_result=False,
    validate_parameters=False,
)
def service_drill(config: str, service: str) -> State[None]:
    """Drill a service with all services that it depends on."""
    return as_flow(drill_service(config, service, return_state=True))


@task(name="drill-service", task_run_name="drill {service}", persist_result=False)
def drill_service(config: str, service: str) -> State[None]:
    """Drill the service; return the state that Prefect shows."""

    def work(installation: Installation) -> tuple[ExitStatus, str]:
        outcome = drill_services(installation, [service], None, way="prefect")
        refer_to_drill_report(service, outcome.report, outcome.report_digest)
        usable = "not usable or not measured"
        if outcome.rto_ms is not None:
            usable = f"usable after {outcome.rto_ms} ms"
        return outcome.exit_status, f"run {outcome.run}: {len(outcome.drills)} sets, {usable}"

    return run_to_state(config, work)


@flow(
    name="surprise-drill",
    flow_run_name="surprise-drill",
    persist_result=False,
    validate_parameters=False,
)
def surprise_drill(config: str) -> State[None]:
    """Drill the randomly chosen service if its moment has come."""
    return as_flow(drill_if_due(config, return_state=True))


@task(name="drill-by-surprise", persist_result=False)
def drill_if_due(config: str) -> State[None]:
    """Drill if it is due; return the state that Prefect shows."""

    def work(installation: Installation) -> tuple[ExitStatus, str]:
        outcome = drill_by_surprise(installation, "prefect")
        if outcome is None:
            return ExitStatus.DONE, "no surprise drill is due"
        refer_to_drill_report(outcome.run, outcome.report, outcome.report_digest)
        return outcome.exit_status, f"run {outcome.run}: {len(outcome.drills)} sets"

    return run_to_state(config, work)
