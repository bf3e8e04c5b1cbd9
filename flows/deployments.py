"""Process of the deployments of a role; arguments: CONFIG PARENT [ROLE].

Rules
- Each set has its own deployment, with its own schedule and display. Two runs of one deployment
  never overlap: the later one is cancelled.
- A night that was missed while nothing ran is caught up once at the start. The ledger decides
  which: Prefect knows only the runs that it scheduled.
- The vault is verified without a key each day, if this host can read it.
- Unattended drills are scheduled only with `drills.identity`, and the keeper only with
  `backup.keeping.schedule`: the keeper runs on another machine.
"""

import asyncio
import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import RunnerDeployment
from prefect.runner import Runner
from prefect.schedules import Cron
from prefect.types.entrypoint import EntrypointType

from flows.daily_verification import daily_verification
from flows.error_boundary import in_installation
from flows.incident_response import respond_to_incident
from flows.nightly_backup import nightly_backup
from flows.repository_retention import keep_repository
from flows.restore_drill import restore_drill
from flows.roles import EVERYTHING, Role, role_named
from flows.service_drill import service_drill
from flows.surprise_drill import surprise_drill
from flows.watch import keep_watch
from standfast.config import Config
from standfast.records import timestamp
from standfast.usecases.backups.backup_run import set_age
from standfast.usecases.backups.maintenance_schedule import ScheduledTask, scheduled_tasks
from standfast.usecases.core.installation import Installation
from standfast.usecases.core.run_record import SERVICE_SUBJECT, SURPRISE_SUBJECT
from standfast.usecases.drills.surprise_drill import LOOK_MINUTES

WATCH_SCHEDULE = "*/10 * * * *"

_PARENT_SECONDS = 1.0
_ONE_AT_A_TIME = ConcurrencyLimitConfig(
    limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW
)


def deployments(
    config_file: Path, config: Config, role: Role = EVERYTHING
) -> list[RunnerDeployment]:
    """Return the deployments of a role, named after this host.

    Hosts share a server.
    """
    zone, host = config.organisation.time_zone, config.backup.writer
    path = str(config_file.absolute())
    found = [
        _task_deployment(task, host, path, (task.schedule, zone))
        for task in scheduled_tasks(config)
        if task.kind in role.task_kinds
    ]
    if role.responds:
        found += [
            _deployment(keep_watch, host, {"config": path}, (WATCH_SCHEDULE, zone)),
            _deployment(respond_to_incident, host, {"config": path}, None),
        ]
    for name, settings in config.backup.sets.items() if role.backs_up else ():
        parameters = {"config": path, "set_name": name}
        at = (settings.schedule, settings.time_zone or zone)
        found.append(_deployment(nightly_backup, backup_name(config, name), parameters, at))
    return found


def _task_deployment(
    task: ScheduledTask, host: str, path: str, at: tuple[str, str]
) -> RunnerDeployment:
    match task.kind:
        case "keep":
            return _deployment(keep_repository, host, {"config": path}, at)
        case "drill" if task.subject == SURPRISE_SUBJECT:
            looks = (f"*/{LOOK_MINUTES} * * * *", at[1])
            return _deployment(surprise_drill, host, {"config": path}, looks)
        case "drill" if task.subject.startswith(SERVICE_SUBJECT):
            service = task.subject.removeprefix(SERVICE_SUBJECT)
            of_service: dict[str, str | bool] = {"config": path, "service": service}
            return _deployment(service_drill, f"{host}.{task.subject}", of_service, at)
        case "drill":
            parameters: dict[str, str | bool] = {"config": path, "set_name": task.subject}
            return _deployment(restore_drill, f"{host}.{task.subject}", parameters, at)
        case _:
            reading: dict[str, str | bool] = {"config": path, "read": task.kind == "read"}
            return _deployment(daily_verification, f"{host}.{task.kind}", reading, at)


def backup_name(config: Config, set_name: str) -> str:
    """Return the name of the deployment of a set's nightly backup."""
    return f"{config.backup.writer}.{set_name}"


def missed_nights(installation: Installation) -> dict[str, datetime]:
    """Return the sets with a missed scheduled backup, and its due time."""
    ages = [set_age(installation, name) for name in installation.config.backup.sets]
    return {age.set_name: age.due_at for age in ages if age.is_missed}


async def run_by_schedule(
    config: Config, registered: Sequence[RunnerDeployment], missed: Mapping[str, datetime]
) -> None:
    """Register the deployments, catch up missed runs, then run by schedule.

    It ends only with its process.
    """
    runner = Runner(name=f"standfast-{config.backup.writer}", pause_on_shutdown=False)
    ids = {
        (deployment.flow_name, deployment.name): await runner.aadd_deployment(deployment)
        for deployment in registered
    }
    async with get_client() as client:
        for name, due in missed.items():
            await client.create_flow_run_from_deployment(
                ids[nightly_backup.name, backup_name(config, name)],
                idempotency_key=f"catch-up {name} {timestamp(due)}",
            )
    await runner.start()


def _deployment(
    wrapped: Flow[Any, Any],
    name: str,
    parameters: Mapping[str, str | bool],
    at: tuple[str, str] | None,
) -> RunnerDeployment:
    deployment = wrapped.to_deployment(
        name,
        schedules=[Cron(at[0], timezone=at[1])] if at else [],
        parameters=dict(parameters),
        concurrency_limit=_ONE_AT_A_TIME if at else None,
        # A path to the file would put `flows/` itself first on the module path.
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    if not isinstance(deployment, RunnerDeployment):
        raise TypeError("to_deployment gave a coroutine: it was called from an event loop")
    return deployment


def main(config: str, parent: str, role_name: str | None = None) -> int:
    """Run by schedule until this process or its parent ends."""
    _end_with(int(parent))
    role = role_named(role_name)
    settings, missed = in_installation(
        config,
        lambda installation: (
            installation.config,
            missed_nights(installation) if role.backs_up else {},
        ),
    )
    registered = deployments(Path(config), settings, role)
    asyncio.run(run_by_schedule(settings, registered, missed))
    return os.EX_OK


def _end_with(parent: int) -> None:
    """End this process when `serve` ends; the next `serve` starts its own.

    `serve` may have ended while this process still loaded Prefect, so its number is an argument. A
    running backup has a process of its own and finishes.
    """

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(_PARENT_SECONDS)
        os._exit(os.EX_OK)

    threading.Thread(target=look, name="parent", daemon=True).start()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
