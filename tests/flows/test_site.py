"""Hosts with one Prefect run their own backups; killed ones restart."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from backup.archiver.upload_cache.database import lock_cache
from flows.deployments import deployments
from flows.prefect_server import PrefectServer, start
from flows.roles import ROLES
from standfast.config import load
from standfast.errors import ExitStatus
from standfast.usecases.backups.backup_run import run_backup
from standfast.usecases.backups.recovery_point_contents import list_points
from tests.cli.desk import ENTRY
from tests.flows.installations import (
    furnish_with_incidents,
    plain_environment,
    processes_naming,
)
from tests.flows.test_backups_in_prefect import Prefect
from tests.servers import wait_until
from tests.servers.prefect_site import running_site
from tests.usecases.backup_installation import furnish, installation_at

PATIENCE_SECONDS = 240
DRILLS = '[drills.schedule]\nset.main = "0 5 * * 0"\n'


def join_site(config_file: Path, url: str) -> None:
    with config_file.open("a") as file:
        file.write(f'\n[serve]\nprefect = "{url}"\n')


def deployed(prefect: Prefect) -> dict[tuple[str, str], str]:
    """Map the name and queue of each deployment to its id."""
    found = prefect.ask("deployments/filter", limit=200)
    return {(one["name"], one["work_queue_name"]): one["id"] for one in found}


def begin(prefect: Prefect, deployment: str, **parameters: object) -> str:
    sent = {"state": {"type": "SCHEDULED"}, "parameters": parameters}
    return str(prefect.ask(f"deployments/{deployment}/create_flow_run", **sent)["id"])


@contextmanager
def working(config_file: Path, prefect: Prefect) -> Iterator[subprocess.Popen[bytes]]:
    """Run `standfast worker`; kill every process of this host at the end."""
    with (config_file.parent / "worker.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", ENTRY, "worker", "-c", str(config_file)],
            env=prefect.env,
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pid in processes_naming(str(config_file.parent)):
            os.kill(pid, signal.SIGKILL)


def test_shared_work_names_no_configuration(tmp_path: Path) -> None:
    config_file = furnish_with_incidents(tmp_path, DRILLS)
    join_site(config_file, "http://127.0.0.1:9/api")
    config = load(config_file)

    def placed(role: str) -> dict[str, tuple[str | None, bool]]:
        return {
            f"{one.flow_name}/{one.name}": (one.work_queue_name, bool(one.parameters["config"]))
            for one in deployments(config_file, config, ROLES[role])
        }

    assert placed("drills") == {"restore-drill/site.main": ("drill", False)}
    own = placed("worker")
    assert own.pop("respond-to-incident/site") == ("response", False)
    assert own.pop("keep-watch/site") == ("response", False)
    assert {*own} >= {"nightly-backup/host-1.main", "nightly-backup/host-1.other"}
    assert {*own.values()} == {("host:host-1", True)}
    assert placed("all")["restore-drill/host-1.main"] == ("host:host-1", True)
    assert placed("api") == placed("respond") == placed("watch") == {}


def test_worker_needs_the_prefect_of_a_site(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ENTRY, "worker", "-c", str(furnish(tmp_path))],
        env=plain_environment(),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, "serve.prefect" in done.stderr) == (ExitStatus.USAGE, True)


@pytest.mark.long
@pytest.mark.xdist_group("prefect")
def test_killed_backup_starts_again_on_its_host(tmp_path: Path) -> None:
    server = start(tmp_path / "prefect", plain_environment(), seconds=PATIENCE_SECONDS)
    secrets = {"PREFECT_API_AUTH_STRING": server.secret, "SCIM_TOKEN": "unused"}
    prefect = Prefect(server, plain_environment(secrets))
    with ExitStack() as site:
        site.callback(server.end)
        hosts = {}
        for writer in ("host-1", "host-2"):
            folder = tmp_path / writer
            folder.mkdir()
            hosts[writer] = furnish(folder, writer=writer)
            join_site(hosts[writer], server.url)
            with installation_at(hosts[writer]) as installation:
                for name in installation.config.backup.sets:
                    run_backup(installation, name, "direct")  # no backup is missed
        for config_file in hosts.values():
            site.enter_context(working(config_file, prefect))
        deployments = [("host-1.main", "host:host-1"), ("host-2.main", "host:host-2")]
        deployments.append(("host-2.other", "host:host-2"))
        wait_until(
            lambda: {*deployed(prefect)} >= {*deployments},
            "both hosts have registered",
            seconds=PATIENCE_SECONDS,
        )
        found = deployed(prefect)
        with installation_at(hosts["host-2"]) as installation:

            def nightly(name: str) -> list[str]:
                runs = installation.ledger.runs.all("backup", name)
                return [run.state for run in runs if run.way == "prefect"]

            with lock_cache(installation.config.backup.send_log):  # as another set does
                runs = [begin(prefect, found[name]) for name in deployments]
                wait_until(
                    lambda: nightly("main") == ["running"], "it runs", seconds=PATIENCE_SECONDS
                )
                (pid, *_) = processes_naming(f"PREFECT__FLOW_RUN_ID={runs[1]}")
                os.kill(pid, signal.SIGKILL)
            for run in runs:
                prefect.waits_for(run, "COMPLETED")
            assert sorted(nightly("main")) == ["done", "failed"]
            assert nightly("other") == ["done"]
            # As the automation does if a process dies before it reports its success to Prefect.
            again = {"type": "SCHEDULED", "name": "Scheduled"}
            prefect.ask(f"flow_runs/{runs[2]}/set_state", state=again, force=True)
            wait_until(
                lambda: prefect.ask(f"flow_runs/{runs[2]}")["run_count"] == 2,
                "it starts again",
                seconds=PATIENCE_SECONDS,
            )
            prefect.waits_for(runs[2], "COMPLETED")
            assert nightly("other") == ["done"]


@pytest.mark.long
@pytest.mark.xdist_group("prefect")
def test_silent_host_is_noticed_by_another(tmp_path: Path) -> None:
    """Prefect detects it sooner here, and its last heartbeat is moved back."""
    services = "PREFECT_SERVER_SERVICES_FOREMAN_"
    times = {"LOOP_SECONDS": "1", "WORK_QUEUE_LAST_POLLED_TIMEOUT_SECONDS": "10"}
    shortened = {services + name: value for name, value in times.items()}
    home = tmp_path / "prefect"
    server = start(home, plain_environment(shortened), seconds=PATIENCE_SECONDS)
    secrets = {"PREFECT_API_AUTH_STRING": server.secret, "SCIM_TOKEN": "unused"}
    prefect = Prefect(server, plain_environment(secrets))
    hosts = {}
    for writer in ("host-1", "host-2"):
        folder = tmp_path / writer
        folder.mkdir()
        hosts[writer] = furnish(folder, writer=writer)
        join_site(hosts[writer], server.url)
        with installation_at(hosts[writer]) as installation:
            for name in installation.config.backup.sets:
                run_backup(installation, name, "direct")  # no backup is missed

    def is_ready(queue: str) -> bool:
        found = prefect.ask("work_queues/filter", limit=9)
        return (queue, "READY") in [(one["name"], one["status"]) for one in found]

    with ExitStack() as site:
        site.callback(server.end)
        with working(hosts["host-2"], prefect):
            wait_until(lambda: is_ready("host:host-2"), "it works", seconds=PATIENCE_SECONDS)
        site.enter_context(working(hosts["host-1"], prefect))
        wait_until(lambda: is_ready("host:host-1"), "it works", seconds=PATIENCE_SECONDS)
        with sqlite3.connect(home / "prefect.db", timeout=60) as database:
            database.execute(
                "UPDATE worker SET last_heartbeat_time = datetime('now', '-6 minutes')"
                " WHERE name LIKE 'host-2 %'"
            )
        checks: list[str] = []

        def is_planned() -> bool:
            found = prefect.ask(
                "flow_runs/filter", deployments={"name": {"any_": ["site"]}}, limit=9
            )
            checks[:] = [run["id"] for run in found]
            return bool(checks)

        wait_until(is_planned, "the automation starts a check", seconds=PATIENCE_SECONDS)
        now = {"type": "SCHEDULED", "name": "Scheduled"}
        prefect.ask(f"flow_runs/{checks[0]}/set_state", state=now, force=True)
        prefect.waits_for(checks[0], "COMPLETED")
        with installation_at(hosts["host-1"]) as installation:
            alarms = installation.ledger.runs.all("alarm")
            assert [run.subject for run in alarms if run.subject.startswith("worker.")] == [
                "worker.host-2"
            ]


@pytest.mark.long
@pytest.mark.xdist_group("prefect")
def test_host_catches_up_through_the_site(tmp_path: Path) -> None:
    """Each set is new, so that its backup is missed."""
    with running_site(tmp_path) as site, ExitStack() as work:
        secrets = {"PREFECT_API_AUTH_STRING": site.secret, "SCIM_TOKEN": "unused"}
        server = PrefectServer(url=site.url, pid=0, secret=site.secret)
        (tmp_path / "host-1").mkdir()
        config_file = furnish(tmp_path / "host-1")
        join_site(config_file, site.url)
        work.enter_context(working(config_file, Prefect(server, plain_environment(secrets))))
        with installation_at(config_file) as installation:
            runs = installation.ledger.runs
            wait_until(
                lambda: [run.state for run in runs.all("backup")] == ["done", "done"],
                "both sets are backed up",
                seconds=2 * PATIENCE_SECONDS,
            )
            assert {run.way for run in runs.all("backup")} == {"prefect"}
            assert len(list_points(installation).points) == 2
