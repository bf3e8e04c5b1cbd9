"""The flow of the watch: dead runs marked, missed nights named, people told, incidents carried on.

What is sealed on its machine and not time-stamped yet is, too.

`serve` watches by itself every few seconds; this one is for the eye, and for installations whose
runners are spread over many machines.
"""

from prefect import flow
from prefect.client.schemas.objects import State

from flows.flow_states import told
from standfast.errors import ExitStatus
from standfast.usecases.core.installation import Installation
from standfast.usecases.evidence.time_stamps import stamp_pending
from standfast.usecases.health import watchdog


@flow(name="keep-watch", persist_result=False, validate_parameters=False)
def keep_watch(config: str) -> State[None]:
    """Look at everything once."""

    def work(installation: Installation) -> tuple[ExitStatus, str]:
        outcome = watchdog.keep_watch(installation, "prefect")
        stamped = [*stamp_pending(installation)]
        return outcome.exit_status, (
            f"{len(outcome.carried_on)} incidents carried on, {len(outcome.died)} dead runs, "
            f"{len(outcome.missed)} sets missed, {len(outcome.stale)} too old, "
            f"{len(outcome.notified)} alarms told, {len(outcome.troubles)} troubles, "
            f"{sum(one.stamp is not None for one in stamped)} of {len(stamped)} seals stamped, "
            f"head {outcome.head}"
        )

    return told(config, work)
