"""Prefect deployments of a role of `serve`: schedules without overlaps.

The module runs as a process with the arguments CONFIG PARENT [ROLE]. PARENT is the process id of
`standfast serve`. The role is the part of the scheduled work that this process does. A set is a
backup set. The ledger is the database that records each backup. The watchdog is a flow that finds
work that stopped without a message.

Rules
- Each set has its own deployment, with its own schedule and its own row in Prefect's user
  interface. Two runs of one deployment never overlap: the later one is cancelled.
- A backup that was missed while nothing ran is started once, when this process starts. The ledger
  decides which backups were missed: Prefect knows only the runs that it scheduled.
- The vault (the encrypted backups) is verified without a private key each day, if this host can
  read it.
- If several hosts share one Prefect (a site), workers take the runs from a work pool (`site.py`). A
  run that any host may take has no path of a configuration: the worker uses the configuration of
  its host.
- Unattended drills (test restores) are scheduled only if `drills.identity` is set. A retention run
  is scheduled only if `backup.keeping.schedule` is set, because the keeper, which expires backups,
  may be another machine.
"""

import asyncio
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import RunnerDeployment
from prefect.runner import Runner
from prefect.schedules import Cron
from prefect.types.entrypoint import EntrypointType

from flows import site
from flows.daily_verification import daily_verification
from flows.drills import restore_drill, service_drill, surprise_drill
from flows.error_boundary import in_installation
from flows.incident_response import respond_to_incident
from flows.nightly_backup import nightly_backup
from flows.repository_retention import keep_repository
from flows.roles import EVERYTHING, Role, role_named
from flows.watch import keep_watch
from standfast.config import Config
from standfast.config_file import VARIABLE
from standfast.records import timestamp
from standfast.usecases.backups.backup_run import set_age
from standfast.usecases.backups.maintenance_schedule import ScheduledTask, scheduled_tasks
from standfast.usecases.core.installation import Installation
from standfast.usecases.core.run_record import SERVICE_SUBJECT, SURPRISE_SUBJECT
from standfast.usecases.drills.surprise_drill import LOOK_MINUTES

WATCH_SCHEDULE = "*/10 * * * *"

_PARENT_SECONDS = 1.0
_SHARED = "site"  # takes the place of the host in names of runs for any host
_ONE_AT_A_TIME = ConcurrencyLimitConfig(
    limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW
)


@dataclass(frozen=True, kw_only=True)
class _Deployments:
    """The deployments of one configuration, for this host or for a site."""

    path: str
    config: Config
    is_shared_drill: bool  # any drill machine of the site may take a drill

    def all(self, role: Role) -> Iterator[RunnerDeployment]:
        zone, host = self.config.organisation.time_zone, self.config.backup.writer
        for task in scheduled_tasks(self.config):
            if task.kind in role.task_kinds:
                yield self._of_task(task, (task.schedule, zone))
        if not role.backs_up:
            return
        yield self.deployment(keep_watch, host, {}, (WATCH_SCHEDULE, zone))
        if self.config.serve.prefect is not None:
            yield self.deployment(keep_watch, _SHARED, {}, None, site.RESPONSE_QUEUE)
        yield self._of_responses(host)
        for name, settings in self.config.backup.sets.items():
            at = (settings.schedule, settings.time_zone or zone)
            yield self.deployment(
                nightly_backup, backup_name(self.config, name), {"set_name": name}, at
            )

    def _of_responses(self, host: str) -> RunnerDeployment:
        if self.config.serve.prefect is None:
            return self.deployment(respond_to_incident, host, {}, None)
        return self.deployment(respond_to_incident, _SHARED, {}, None, site.RESPONSE_QUEUE)

    def _of_task(self, task: ScheduledTask, at: tuple[str, str]) -> RunnerDeployment:
        host = self.config.backup.writer
        match task.kind:
            case "keep":
                return self.deployment(keep_repository, host, {}, at)
            case "drill" if task.subject == SURPRISE_SUBJECT:
                looks = (f"*/{LOOK_MINUTES} * * * *", at[1])
                return self._of_drill(surprise_drill, "", {}, looks)
            case "drill" if task.subject.startswith(SERVICE_SUBJECT):
                service = task.subject.removeprefix(SERVICE_SUBJECT)
                return self._of_drill(service_drill, task.subject, {"service": service}, at)
            case "drill":
                return self._of_drill(restore_drill, task.subject, {"set_name": task.subject}, at)
            case _:
                reading: dict[str, str | bool] = {"read": task.kind == "read"}
                return self.deployment(daily_verification, f"{host}.{task.kind}", reading, at)

    def _of_drill(
        self,
        wrapped: Flow[Any, Any],
        subject: str,
        parameters: dict[str, str | bool],
        at: tuple[str, str],
    ) -> RunnerDeployment:
        prefix = _SHARED if self.is_shared_drill else self.config.backup.writer
        queue = site.DRILL_QUEUE if self.is_shared_drill else None
        return self.deployment(
            wrapped, ".".join(filter(None, (prefix, subject))), parameters, at, queue
        )

    def deployment(
        self,
        wrapped: Flow[Any, Any],
        name: str,
        parameters: Mapping[str, str | bool],
        at: tuple[str, str] | None,
        shared_queue: str | None = None,
    ) -> RunnerDeployment:
        is_site = self.config.serve.prefect is not None
        deployment = wrapped.to_deployment(
            name,
            schedules=[Cron(at[0], timezone=at[1])] if at else [],
            parameters={"config": "" if shared_queue else self.path, **parameters},
            concurrency_limit=_ONE_AT_A_TIME if at else None,
            # With the path of the file as the entry point, Python would search for modules first in
            # `flows/`.
            entrypoint_type=EntrypointType.MODULE_PATH,
            work_pool_name=site.POOL if is_site else None,
            work_queue_name=(shared_queue or site.host_queue(self.config)) if is_site else None,
        )
        if not isinstance(deployment, RunnerDeployment):
            raise TypeError("to_deployment gave a coroutine: it was called from an event loop")
        return deployment


def deployments(
    config_file: Path, config: Config, role: Role = EVERYTHING
) -> list[RunnerDeployment]:
    """Return the deployments of a role, named after this host."""
    is_shared_drill = config.serve.prefect is not None and role.only_drills
    path = str(config_file.absolute())
    found = _Deployments(path=path, config=config, is_shared_drill=is_shared_drill)
    return list(found.all(role))


def backup_name(config: Config, set_name: str) -> str:
    """Return the name of the deployment of a set's nightly backup."""
    return f"{config.backup.writer}.{set_name}"


def missed_backups(installation: Installation) -> dict[str, datetime]:
    """Return the due time of the missed backup of each set that has one."""
    ages = [set_age(installation, name) for name in installation.config.backup.sets]
    return {age.set_name: age.due_at for age in ages if age.is_missed}


async def run_by_schedule(
    config: Config,
    registered: Sequence[RunnerDeployment],
    missed: Mapping[str, datetime],
    role: Role,
) -> None:
    """Register the deployments, start missed backups, then run by schedule.

    The function does not return.
    """
    async with get_client() as client:
        register: Callable[[RunnerDeployment], Awaitable[UUID]] = RunnerDeployment.aapply
        start: Callable[[], Awaitable[None]]
        if config.serve.prefect is None:
            runner = Runner(name=f"standfast-{config.backup.writer}", pause_on_shutdown=False)
            register, start = runner.aadd_deployment, runner.start
        else:
            await site.prepare(client, config, role)
            start = site.worker(config, role).start
        ids = {
            (deployment.flow_name, deployment.name): await register(deployment)
            for deployment in registered
        }
        if shared := ids.get((keep_watch.name, _SHARED)):
            await site.check_silent_workers(client, shared)
        for name, due in missed.items():
            await client.create_flow_run_from_deployment(
                ids[nightly_backup.name, backup_name(config, name)],
                idempotency_key=f"catch-up {backup_name(config, name)} {timestamp(due)}",
            )
    await start()


def main(config: str, parent: str, role_name: str | None = None) -> int:
    """Run by schedule until this process or its parent ends."""
    _end_with(int(parent))
    role = role_named(role_name)
    settings, missed = in_installation(
        config,
        lambda installation: (
            installation.config,
            missed_backups(installation) if role.backs_up else {},
        ),
    )
    os.environ[VARIABLE] = config  # the runs of a shared queue read it
    registered = deployments(Path(config), settings, role)
    asyncio.run(run_by_schedule(settings, registered, missed, role))
    return os.EX_OK


def _end_with(parent: int) -> None:
    """End this process when `serve` ends; the next `serve` starts its own.

    `parent` is the process id of `serve`. It is an argument, because `serve` may end while this
    process still loads Prefect. A running backup is another process and continues to its end.
    """

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(_PARENT_SECONDS)
        os._exit(os.EX_OK)

    threading.Thread(target=look, name="parent", daemon=True).start()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
