"""Flow of the watchdog: dead runs, missed backups, alarms, incidents.

The watchdog finds work that stopped without a message. The flow also requests the missing time
stamps of this machine's evidence. `standfast serve` makes the same checks without Prefect; the flow
shows them in Prefect. If several hosts share one Prefect, the flow also checks the heartbeat of
each host's worker (the process that executes runs).
"""

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State

from flows import site
from flows.flow_states import run_to_state
from standfast.errors import ExitStatus
from standfast.usecases.alarms.missing_workers import notify_of_missing_workers
from standfast.usecases.alarms.notification import Alarm
from standfast.usecases.core.installation import Installation
from standfast.usecases.evidence.time_stamp_requests import stamp_pending
from standfast.usecases.health import watchdog


@flow(
    name="keep-watch",
    flow_run_name="keep-watch",
    persist_result=False,
    validate_parameters=False,
)
def keep_watch(config: str) -> State[None]:
    """Run each check of the watchdog once."""

    def work(installation: Installation) -> tuple[ExitStatus, str]:
        outcome = watchdog.keep_watch(installation, "prefect")
        stamped = [*stamp_pending(installation)]
        sent = [*outcome.notified, *_check_workers(installation)]
        return outcome.exit_status, (
            f"{len(outcome.resumed)} incidents resumed, {len(outcome.died)} dead runs, "
            f"{len(outcome.missed)} sets missed, {len(outcome.stale)} too old, "
            f"{len(sent)} alarms sent, {len(outcome.troubles)} troubles, "
            f"{sum(result.stamp is not None for result in stamped)} of {len(stamped)} seals "
            f"stamped, head {outcome.head}"
        )

    return run_to_state(config, work)


def _check_workers(installation: Installation) -> list[Alarm]:
    if installation.config.serve.prefect is None:
        return []
    with get_client(sync_client=True) as client:
        seen = site.workers_last_seen(client)
    return notify_of_missing_workers(installation, seen, "prefect")
