"""Runs of the response in Prefect, as an operator starts them.

Rules
- `kept` keeps one run for each host in the queue `response`, until its `with` block ends.
- While Prefect or Redis does not respond, no run is started. The incident continues nevertheless:
  `standfast serve --role respond` of each host works on it.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import httpx
from prefect.client.base import ServerType
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.client.schemas.objects import StateType, WorkerStatus
from prefect.exceptions import ObjectNotFound

from flows.site import POOL
from tests.servers.prefect_site import PrefectSite

_DEPLOYMENT = "respond-to-incident/site"
_PAUSE_SECONDS = 5.0
_ACTIVE = {StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING}


@dataclass(frozen=True, kw_only=True)
class ResponseRuns:
    """The runs of one incident in the Prefect of a site."""

    site: PrefectSite
    hosts: int

    def has_workers(self) -> bool:
        """Return whether every host has a worker that is online in Prefect."""
        with self._client() as client, suppress(httpx.HTTPError, ObjectNotFound):
            client.read_deployment_by_name(_DEPLOYMENT)
            workers = client.read_workers_for_work_pool(POOL)
            live = [worker for worker in workers if worker.status is WorkerStatus.ONLINE]
            return len(live) >= self.hosts
        return False

    @contextmanager
    def kept(self, incident: str) -> Iterator[None]:
        """Keep one run for each host until the block ends."""
        stop = threading.Event()
        thread = threading.Thread(target=self._keep, args=(incident, stop), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def states(self) -> Counter[StateType]:
        """Return the number of runs by state."""
        with self._client() as client:
            deployment = client.read_deployment_by_name(_DEPLOYMENT)
            found = client.read_flow_runs(
                deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment.id]))
            )
        return Counter(run.state_type for run in found if run.state_type is not None)

    def _keep(self, incident: str, stop: threading.Event) -> None:
        while not stop.wait(_PAUSE_SECONDS):
            with suppress(httpx.HTTPError):
                states = self.states()
                missing = self.hosts - sum(states[state] for state in _ACTIVE)
                with self._client() as client:
                    deployment = client.read_deployment_by_name(_DEPLOYMENT)
                    for _ in range(missing):
                        client.create_flow_run_from_deployment(
                            deployment.id, parameters={"config": "", "incident": incident}
                        )

    def _client(self) -> SyncPrefectClient:
        return SyncPrefectClient(
            self.site.url, auth_string=self.site.secret, server_type=ServerType.SERVER
        )
