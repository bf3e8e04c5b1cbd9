"""Nightly runs in a real Prefect: no overlap, retries, visible progress."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from backup.archiver.upload_cache.database import lock_cache
from flows.prefect_server import PrefectServer, environment, start, stop
from standfast.usecases.backups.backup_run import NIGHTLY_PAUSES, run_backup
from standfast.usecases.backups.folder_restore import restore
from standfast.usecases.core.installation import Installation
from tests.flows.installations import furnish_with_incidents, plain_environment, processes_naming
from tests.servers import wait_until
from tests.usecases.backup_installation import change, identity, installation_at

pytestmark = pytest.mark.xdist_group("prefect")
ENTRYPOINT = "flows.nightly_backup.nightly_backup"
PATIENCE_SECONDS = 240  # a runner on a busy machine takes half a minute for a run

# The flow as it is, in this process, before a store that does what a test needs.
RUN_IT = """
import json, sys, time
from datetime import timedelta
from functools import partial
from pathlib import Path
from backup.archiver import walk
from backup.errors import StoreUnavailable
from backup.stores.directory import DirectoryStore
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from flows import nightly_backup as flow
from standfast.usecases.backups import backup_run as use_case

config, refusals, patience = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])

def artifacts():
    with get_client(sync_client=True) as client:
        return {one.id: one.data for one in client.read_artifacts() if one.key == "backup-main"}

earlier = artifacts()

def shown():
    return [data for id, data in artifacts().items() if id not in earlier]

class Store(DirectoryStore):
    refusals, under_way = refusals, []

    def _put(self, name, data):
        if Store.refusals:
            Store.refusals -= 1
            raise StoreUnavailable("the store does not answer; try again")
        # With patience, nothing is stored until it is seen that something is under way.
        deadline = time.monotonic() + patience
        while not Store.under_way and time.monotonic() < deadline:
            Store.under_way = shown()
            time.sleep(0.05)
        super()._put(name, data)

walk.PROGRESS_INTERVAL = timedelta(0)  # a small place is read in a moment
slept = []
use_case.writing_vault_of = lambda place: Store(Path(config).parent / "vault")
flow.run_backup = partial(flow.run_backup, sleep=slept.append)
flow.progress_shown = partial(flow.progress_shown, every_seconds=0.1)
with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
    state = flow.nightly_backup(config, "main", return_state=True)
print(json.dumps({
    "state": [state.type.value, state.name, state.message], "slept": slept,
    "under way": Store.under_way, "in the end": shown(),
}))
"""


@dataclass(frozen=True)
class Prefect:
    """A real server, and what its clients are started with."""

    server: PrefectServer
    env: dict[str, str]

    def ask(self, path: str, **sent: Any) -> Any:
        """Request the API with its secret; repeat while it is busy."""
        request = urllib.request.Request(
            f"{self.server.url}/{path}",
            data=json.dumps(sent).encode() if sent else None,
            headers={
                "Content-Type": "application/json",
                "Authorization": f"Basic {b64encode(self.server.secret.encode()).decode()}",
            },
        )
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                if error.code != HTTPStatus.SERVICE_UNAVAILABLE or time.monotonic() > deadline:
                    raise
            time.sleep(0.2)

    def state_of(self, run: str) -> str:
        return str(self.ask(f"flow_runs/{run}")["state_type"])

    def waits_for(self, run: str, *states: str) -> None:
        wait_until(
            lambda: self.state_of(run) in states,
            f"the run is one of {states}",
            seconds=PATIENCE_SECONDS,
        )


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prefect]:
    home = tmp_path_factory.mktemp("prefect") / "home"
    base = plain_environment({"SCIM_TOKEN": "unused", "PREFECT_RUNNER_POLL_FREQUENCY": "1"})
    server = start(home, base, seconds=PATIENCE_SECONDS)
    try:
        yield Prefect(server, environment(home, server.url, base, server.secret))
    finally:
        server.end()
    wait_until(lambda: not processes_naming(str(home)), "Prefect has ended")


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    """An installation with one backup of each set, so no run is late."""
    found = furnish_with_incidents(tmp_path)
    with installation_at(found) as installation:
        for name in installation.config.backup.sets:
            run_backup(installation, name, "direct")
    change(tmp_path)
    return found


def run_flow(
    prefect: Prefect, config_file: Path, *, refusals: int = 0, patience: float = 0
) -> dict[str, Any]:
    """Run the nightly flow with a store that refuses some calls first."""
    done = subprocess.run(
        [sys.executable, "-c", RUN_IT, str(config_file), str(refusals), str(patience)],
        env=prefect.env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def check_restored(installation: Installation, out: Path) -> None:
    """The newest point has what was changed since the first."""
    restore(installation, "host-1/latest", out, identity(out.parent), set_name="main")
    assert (out / "recordings/notes.txt").read_text() == "the customer rang three times\n"
    assert not (out / "recordings/2026/call-2.wav").exists()


def test_prefect_changes_need_the_secret(
    prefect: Prefect,
) -> None:
    """Otherwise any local user or web page could run commands through it."""
    for path in ("deployments/filter", "flow_runs/", "block_documents/filter"):
        for secret in ("", "standfast:x"):
            request = urllib.request.Request(f"{prefect.server.url}/{path}", data=b"{}")
            request.add_header("Content-Type", "application/json")
            if secret:
                request.add_header("Authorization", f"Basic {b64encode(secret.encode()).decode()}")
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(request, timeout=60)
            assert refused.value.code == HTTPStatus.UNAUTHORIZED
            refused.value.close()
    assert prefect.ask("deployments/filter", limit=1) is not None


def test_prefect_shows_progress_before_the_end(
    prefect: Prefect, config_file: Path, tmp_path: Path
) -> None:
    found = run_flow(prefect, config_file, patience=PATIENCE_SECONDS)
    assert found["state"][0] == "COMPLETED"
    assert found["slept"] == []
    (under_way,) = found["under way"]
    assert 0 <= under_way < 100
    assert found["in the end"] == [100.0]
    with installation_at(config_file) as installation:
        check_restored(installation, tmp_path / "out")


def test_backup_waits_for_an_absent_store(
    prefect: Prefect, config_file: Path, tmp_path: Path
) -> None:
    pauses = [pause.total_seconds() for pause in NIGHTLY_PAUSES]
    gives_up = run_flow(prefect, config_file, refusals=len(pauses) + 1)
    assert gives_up["slept"] == pauses
    kind, _, message = gives_up["state"]
    assert (kind, "the store does not answer" in message) == ("FAILED", True)

    comes_back = run_flow(prefect, config_file, refusals=len(pauses))
    assert comes_back["slept"] == pauses
    assert comes_back["state"][0] == "COMPLETED"
    with installation_at(config_file) as installation:
        runs = installation.ledger.runs.all("backup")
        assert [run.state for run in runs if run.way == "prefect"] == ["done", "failed"]
        check_restored(installation, tmp_path / "out")


@pytest.mark.long
def test_overlapping_run_is_cancelled_without_failure(
    prefect: Prefect, config_file: Path, tmp_path: Path
) -> None:
    with (tmp_path / "runner.log").open("wb") as log:
        runner = subprocess.Popen(
            [sys.executable, "-m", "flows.deployments", str(config_file), str(os.getpid())],
            env=prefect.env,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        deployments: list[str] = []

        def is_registered() -> bool:
            assert runner.poll() is None, (tmp_path / "runner.log").read_text()[-2000:]
            deployments[:] = [
                str(one["id"])
                for one in prefect.ask("deployments/filter", limit=50)
                if (one["name"], one["entrypoint"]) == ("host-1.main", ENTRYPOINT)
            ]
            return bool(deployments)

        wait_until(is_registered, "the set is registered", seconds=PATIENCE_SECONDS)

        def begin() -> str:
            path = f"deployments/{deployments[0]}/create_flow_run"
            asked = {"state": {"type": "SCHEDULED"}, "idempotency_key": uuid.uuid4().hex}
            return str(prefect.ask(path, **asked)["id"])

        with installation_at(config_file) as installation:

            def begun() -> list[str]:
                runs = installation.ledger.runs.all("backup")
                return [run.state for run in runs if run.way == "prefect"]

            with lock_cache(installation.config.backup.send_log):  # as another set does
                first = begin()
                wait_until(
                    lambda: begun() != [], "the first is under way", seconds=PATIENCE_SECONDS
                )
                before = begun()
                second = begin()
                prefect.waits_for(second, "CANCELLED", "CRASHED", "FAILED", "COMPLETED")
                assert prefect.state_of(second) == "CANCELLED"
                assert prefect.state_of(first) == "RUNNING"
                assert begun() == before, "the second did nothing"
            prefect.waits_for(first, "COMPLETED", "CRASHED", "FAILED", "CANCELLED")
            assert prefect.state_of(first) == "COMPLETED"
            assert begun() == ["done"]
            check_restored(installation, tmp_path / "out")
    finally:
        stop(runner.pid)
        runner.wait()
