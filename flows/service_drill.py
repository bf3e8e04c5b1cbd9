"""Flow of an unattended drill of a service, with configured identity.

The identity is the private key that opens the backups.
"""

from prefect import flow, task
from prefect.client.schemas.objects import State

from flows.flow_states import as_flow, refer_to_drill_report, run_to_state
from standfast.errors import ExitStatus
from standfast.usecases.core.installation import Installation
from standfast.usecases.drills.service_drill import drill_services


@flow(
    name="service-drill",
    flow_run_name="service-drill {service}",
    persist_result=False,
    validate_parameters=False,
)
def service_drill(config: str, service: str) -> State[None]:
    """Drill a service with all services that it depends on."""
    return as_flow(drill(config, service, return_state=True))


@task(name="drill-service", task_run_name="drill {service}", persist_result=False)
def drill(config: str, service: str) -> State[None]:
    """Drill the service; return the state that Prefect shows."""

    def work(installation: Installation) -> tuple[ExitStatus, str]:
        outcome = drill_services(installation, [service], None, way="prefect")
        refer_to_drill_report(service, outcome.report, outcome.report_digest)
        usable = "not usable or not measured"
        if outcome.rto_ms is not None:
            usable = f"usable after {outcome.rto_ms} ms"
        return outcome.exit_status, f"run {outcome.run}: {len(outcome.drills)} sets, {usable}"

    return run_to_state(config, work)
