"""One Prefect for several hosts: its work pool, queues and automations.

Rules
- These hosts are a site. A worker is the process on a host that executes the runs which Prefect
  assigns to it.
- The queue `host:NAME` has the backups and other scheduled runs of one host. Any worker may take a
  run from the queue `response` (the work on an incident). Only a machine for drills (test restores)
  takes a run from the queue `drill`. The flow uses the configuration of the host that takes the
  run.
- Missing pools, queues and automations are created. Existing ones are never changed, so limits that
  operators set remain.
- A run without a heartbeat for a minute is marked as crashed, because its host may have died. A
  crashed backup starts again on its host; a lock prevents two backups of one backup set at once. A
  run that was assigned and did not begin within three minutes is assigned again.
- If the queue of a host is not ready for five minutes, another host checks the heartbeats of the
  workers. The state of the queue does not prove that a worker is down: after an outage of Redis,
  Prefect may show the queue of a running worker as not ready.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar
from uuid import UUID

from prefect.client.orchestration import PrefectClient, SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, RunDeployment
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.exceptions import ObjectAlreadyExists
from prefect.workers.process import ProcessWorker

from flows.roles import Role
from standfast.config import Config
from standfast.usecases.alarms.missing_workers import LIMIT

T = TypeVar("T")

POOL = "standfast"
RESPONSE_QUEUE = "response"
DRILL_QUEUE = "drill"
_HOST_QUEUE = "host:"
_BACKUPS_AT_ONCE = 5  # backups that run at the same time on one host; each is a process
_SILENT = timedelta(seconds=60)
_PENDING = timedelta(minutes=3)  # a busy host needs up to a minute to start a process
_BACKUP_FLOW = "nightly-backup"  # the flow's name
_ENDED = ("Completed", "Failed", "Crashed", "Cancelled")
_WAITING = ("Suspended", "Paused", "Cancelling", "AwaitingRetry", "Scheduled")
_PAGE = 200  # the largest number of rows that Prefect returns at once


def host_queue(config: Config) -> str:
    """Return the name of the queue for the runs of this host."""
    return f"{_HOST_QUEUE}{config.backup.writer}"


def queues(config: Config, role: Role) -> list[str]:
    """Return the queues from which a process with this role takes runs."""
    return [DRILL_QUEUE] if role.only_drills else [host_queue(config), RESPONSE_QUEUE]


def worker(config: Config, role: Role) -> ProcessWorker:
    """Return the worker of this host; each run is a process.

    The worker's name begins with the name of the host, which `workers_last_seen` reads.
    """
    return ProcessWorker(
        work_pool_name=POOL,
        work_queues=queues(config, role),
        name=f"{config.backup.writer}{' drills' if role.only_drills else ''} {os.getpid()}",
        create_pool_if_not_found=False,
        heartbeat_interval_seconds=10,
    )


async def prepare(client: PrefectClient, config: Config, role: Role) -> None:
    """Create the missing pool, queues and automations."""
    with suppress(ObjectAlreadyExists):
        template = ProcessWorker.get_default_base_job_template()
        pool = WorkPoolCreate(name=POOL, type="process", base_job_template=template)
        await client.create_work_pool(pool)
    for queue in queues(config, role):
        limit = _BACKUPS_AT_ONCE if queue == host_queue(config) else None
        with suppress(ObjectAlreadyExists):
            await client.create_work_queue(queue, work_pool_name=POOL, concurrency_limit=limit)
    for automation in (
        _missing_event(
            "standfast: silent runs are crashed",
            after="heartbeat",
            expected=("heartbeat", *_ENDED, *_WAITING),
            within=_SILENT,
            action=_change(StateType.CRASHED, "no heartbeat for a minute"),
        ),
        _missing_event(
            "standfast: runs that do not begin are assigned again",
            after="Pending",
            expected=("Running", "Scheduled", *_ENDED),
            within=_PENDING,
            action=_change(StateType.SCHEDULED, "it did not begin"),
        ),
        _restart_of_crashed_backups(),
    ):
        await _create(client, automation)


async def check_silent_workers(client: PrefectClient, deployment: UUID) -> None:
    """Create the automation that runs this deployment if a host is silent."""
    await _create(
        client,
        AutomationCore(
            name="standfast: silent hosts are checked",
            trigger=EventTrigger(
                posture=Posture.Reactive,
                match={
                    "prefect.resource.id": "prefect.work-queue.*",
                    "prefect.resource.name": f"{_HOST_QUEUE}*",
                },
                match_related={
                    "prefect.resource.role": "work-pool",
                    "prefect.resource.name": POOL,
                },
                for_each={"prefect.resource.id"},
                expect={"prefect.work-queue.not-ready"},
                threshold=1,
                within=timedelta(0),
            ),
            actions=[
                RunDeployment(
                    source="selected",
                    deployment_id=deployment,
                    parameters=None,
                    job_variables=None,
                    schedule_after=LIMIT,
                )
            ],
        ),
    )


def workers_last_seen(client: SyncPrefectClient) -> dict[str, datetime]:
    """Return the last heartbeat of each host with a queue.

    For a host without a worker, return the time at which its queue was created.
    """
    created = {
        queue.name.removeprefix(_HOST_QUEUE): queue.created
        for queue in _pages(partial(client.read_work_queues, POOL))
        if queue.name.startswith(_HOST_QUEUE) and queue.created is not None
    }
    seen = dict[str, datetime]()
    for row in _pages(partial(client.read_workers_for_work_pool, POOL)):  # newest heartbeat first
        if row.last_heartbeat_time is not None:
            seen.setdefault(row.name.rpartition(" ")[0], row.last_heartbeat_time)
        if seen.keys() >= created.keys():
            break  # the remaining rows are older: earlier workers of these hosts
    return {host: seen.get(host, at) for host, at in created.items()}


def _pages(read: Callable[..., Sequence[T]]) -> Iterator[T]:
    offset = 0
    while page := read(limit=_PAGE, offset=offset):
        yield from page
        offset += len(page)


async def _create(client: PrefectClient, automation: AutomationCore) -> None:
    if not await client.read_automations_by_name(automation.name):
        await client.create_automation(automation)


def _missing_event(
    name: str,
    *,
    after: str,
    expected: Iterable[str],
    within: timedelta,
    action: ChangeFlowRunState,
) -> AutomationCore:
    trigger = EventTrigger(
        posture=Posture.Proactive,
        match={"prefect.resource.id": "prefect.flow-run.*"},
        for_each={"prefect.resource.id"},
        after={f"prefect.flow-run.{after}"},
        expect={f"prefect.flow-run.{event}" for event in expected},
        threshold=1,
        within=within,
    )
    return AutomationCore(name=name, trigger=trigger, actions=[action])


def _restart_of_crashed_backups() -> AutomationCore:
    return AutomationCore(
        name="standfast: crashed nights start again",
        trigger=EventTrigger(
            posture=Posture.Reactive,
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related={
                "prefect.resource.role": "flow",
                "prefect.resource.name": _BACKUP_FLOW,
            },
            for_each={"prefect.resource.id"},
            expect={"prefect.flow-run.Crashed"},
            threshold=1,
            within=timedelta(0),
        ),
        actions=[_change(StateType.SCHEDULED, "starts again")],
    )


def _change(state: StateType, message: str) -> ChangeFlowRunState:
    return ChangeFlowRunState(name=None, state=state, message=message, force=False)
