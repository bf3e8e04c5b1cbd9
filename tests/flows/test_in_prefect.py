"""Flows in a real Prefect equal their operations; no personal data."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flows.prefect_server import environment, is_healthy, start
from standfast.usecases.incidents import lifecycle as incident
from tests.flows.installations import (
    furnish_with_incidents,
    is_over,
    open_exercise,
    plain_environment,
    processes_naming,
    ways,
)
from tests.servers import wait_until
from tests.usecases.backup_installation import installation_at

pytestmark = pytest.mark.xdist_group("prefect")

# In one process: each import of Prefect costs a second, each first call another.
RUN_THEM = """
import asyncio, json, sys
from pathlib import Path
config, incident = sys.argv[1:]
from flows import site
from flows.roles import ROLES
from flows.daily_verification import daily_verification
from flows.deployments import deployments
from flows.flow_states import refer_to_incident
from flows.repository_retention import keep_repository
from flows.watch import keep_watch
from flows.nightly_backup import nightly_backup
from flows.incident_response import respond_to_incident
from flows.drills import restore_drill
from flows.drills import service_drill
from flows.drills import surprise_drill
from flows.warm_up_flow import warm_up
from contextlib import ExitStack
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolUpdate
from prefect.flow_engine import run_flow
from prefect.states import Running, Scheduled
from standfast.config import load
from standfast.usecases.setup.installation_opening import open_installation
from standfast.usecases.core.run_record import recorded

def seen(state):
    return [state.type.value, state.name, state.message]

stack = ExitStack()  # without the heartbeat, whose last sleep costs a second a flow
stack.enter_context(temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}))
states = {"warm-up": seen(warm_up(config, return_state=True))}
with open_installation(Path(config), env={}) as place:
    states["runners"] = [e.action for e in place.ledger.timeline(incident) if "runner" in e.action]
states |= {"backup": seen(nightly_backup(config, "main", return_state=True))}
opened = open_installation(Path(config), env={})
with opened as place, recorded(place, "backup", "main", "direct") as run:
    states["under way"] = seen(nightly_backup(config, "main", return_state=True))
    run.ends("done", {})
states["verify"] = seen(daily_verification(config, return_state=True))
states["read"] = seen(daily_verification(config, read=True, return_state=True))
states["drill"] = seen(restore_drill(config, "main", compares=True, return_state=True))
states["service drill"] = seen(service_drill(config, "crm", return_state=True))
states["surprise drill"] = seen(surprise_drill(config, return_state=True))
states["respond"] = seen(respond_to_incident(config, incident, return_state=True))
Path(config).parent.joinpath("crm.db").rename(Path(config).parent / "moved.db")
states["partial"] = seen(nightly_backup(config, "main", return_state=True))
states["unknown set"] = seen(nightly_backup(config, "mian", return_state=True))
states["watch"] = seen(keep_watch(config, return_state=True))
states["keep"] = seen(keep_repository(config, return_state=True))
ledger = Path(config).parent / "ledger.db"
ledger.rename(ledger.with_suffix(".away"))
states["without ledger"] = seen(nightly_backup(config, "main", return_state=True))
states["verify without ledger"] = seen(daily_verification(config, return_state=True))
ledger.with_suffix(".away").rename(ledger)
settings = load(Path(config))
with_console = settings.serve.model_copy(update={"console": "https://desk.example.com/"})
refer_to_incident(settings.model_copy(update={"serve": with_console}), "inc-2026-0099")
registered = [
    [one.flow_name, one.name, one.entrypoint, [str(s.schedule.cron) for s in one.schedules or []],
     one.parameters, str(one.concurrency_options)]
    for one in deployments(Path(config), settings)
]
with get_client(sync_client=True) as client:
    artifacts = [[one.key, one.type, one.data, one.description] for one in client.read_artifacts()]
    names = sorted({one.name for one in client.read_flow_runs()})
    again = {"config": config, "set_name": "main"}
    crashed = client.create_flow_run(nightly_backup, parameters=again)
    for state in (Running(), Running(), Running(), Scheduled()):  # it crashed three times
        client.set_flow_run_state(crashed.id, state, force=True)
    crashed = client.read_flow_run(crashed.id)
    states["fourth start"] = seen(run_flow(nightly_backup, crashed, again, return_type="state"))
async def limits_of_site():
    found = []
    async with get_client() as client:
        for chosen in (2, None):
            await site.prepare(client, settings, ROLES["worker"])
            queues = {one.name: one for one in await client.read_work_queues(site.POOL)}
            limits = {name: one.concurrency_limit for name, one in queues.items()}
            pool = await client.read_work_pool(site.POOL)
            found.append({"pool": pool.concurrency_limit, **limits})
            if chosen:
                await client.update_work_queue(queues["host:host-1"].id, concurrency_limit=chosen)
                await client.update_work_queue(queues["response"].id, concurrency_limit=chosen)
                update = WorkPoolUpdate(concurrency_limit=chosen)
                await client.update_work_pool(site.POOL, update)
    return found

limits = asyncio.run(limits_of_site())
print(json.dumps({"states": states, "registered": registered, "artifacts": artifacts,
                  "names": names, "limits": limits}))
"""
SCHEDULE = """
[drills.schedule]
set.main = "0 5 * * 0"
service.crm = "0 4 1 * *"
"""
PERSONAL = [b"agent01", b"call-1.wav", b"Customer 7", b"the customer rang", b"s3cr3t-token"]


@dataclass(frozen=True)
class Ran:
    """Results of the flows."""

    config_file: Path
    incident: str
    states: dict[str, list[str]]
    registered: list[list[Any]]
    artifacts: list[list[Any]]
    names: list[str]
    limits: list[dict[str, int | None]]
    everything_stored: bytes
    said: str


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Run every flow once against a server of its own, then end that."""
    folder = tmp_path_factory.mktemp("prefect")
    config_file = furnish_with_incidents(folder, SCHEDULE)
    with installation_at(config_file) as installation:
        incident_id = open_exercise(installation)
    home = folder / "home"
    base = plain_environment({"SCIM_TOKEN": "s3cr3t-token"})
    server = start(home, base)
    try:
        done = subprocess.run(
            [sys.executable, "-c", RUN_THEM, str(config_file), incident_id],
            env=environment(home, server.url, base, server.secret),
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        server.end()
    wait_until(lambda: not processes_naming(str(home)), "Prefect has ended")
    assert not is_healthy(server.url)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    stored = b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())
    return Ran(
        config_file=config_file,
        incident=incident_id,
        states=found["states"],
        registered=found["registered"],
        artifacts=found["artifacts"],
        names=found["names"],
        limits=found["limits"],
        everything_stored=stored,
        said=done.stderr,
    )


def test_each_flow_equals_its_operation(ran: Ran) -> None:
    with installation_at(ran.config_file) as installation:
        second, _, first = installation.ledger.runs.all("backup")
        *_, drill = installation.ledger.runs.all("drill", "main")
        (service_drill,) = installation.ledger.runs.all("drill", "service.crm")
        assert (first.state, first.way) == ("done", "prefect")
        assert (drill.state, drill.way) == ("done", "prefect")
        assert drill.summary["differences"] == 0
        assert (service_drill.state, service_drill.way) == ("done", "prefect")
        assert second.state == "partial"
        assert ways(installation, ran.incident) == ["prefect"]
        assert is_over(installation, ran.incident)
        assert not incident.has_work(installation, ran.incident)
        assert installation.ledger.audit.verify().is_whole
    assert ran.states["backup"][0] == "COMPLETED"
    assert first.id in ran.states["backup"][2]
    assert ran.states["drill"][0] == ran.states["respond"][0] == "COMPLETED"


def test_name_of_each_run_states_its_work(ran: Ran) -> None:
    assert ran.names == [
        "daily-verification",
        "keep-repository",
        "keep-watch",
        "nightly-backup main",
        "nightly-backup mian",
        f"respond-to-incident {ran.incident}",
        "restore-drill main",
        "service-drill crm",
        "surprise-drill",
        "warm-up",
    ]


def test_warming_call_continues_no_incident(ran: Ran) -> None:
    state, _, line = ran.states["warm-up"]
    assert (state, line.startswith("warm, at event ")) == ("COMPLETED", True)
    assert ran.states["runners"] == []


def test_a_partial_outcome_shows_as_partial(ran: Ran) -> None:
    assert ran.states["partial"][:2] == ["COMPLETED", "Partial"]
    assert "1 not read" in ran.states["partial"][2]


def test_second_start_of_a_set_is_no_failure(ran: Ran) -> None:
    kind, name, message = ran.states["under way"]
    assert (kind, name) == ("COMPLETED", "Under way")
    assert "backup of main" in message
    with installation_at(ran.config_file) as installation:
        assert "prefect" not in [run.way for run in installation.ledger.runs.all("backup")[1:2]]


def test_backup_that_crashed_three_times_fails(ran: Ran) -> None:
    kind, _, message = ran.states["fourth start"]
    assert (kind, "crashed 3 times" in message) == ("FAILED", True)
    with installation_at(ran.config_file) as installation:
        assert len(installation.ledger.runs.all("backup")) == 3  # those of the other tests


def test_a_verification_shows_what_it_looked_at(ran: Ran) -> None:
    for name in ("verify", "read"):
        assert ran.states[name][0] == "COMPLETED"
        assert "1 points" in ran.states[name][2]
        assert "0 errors" in ran.states[name][2]
    assert " 0 bytes read" in ran.states["verify"][2]
    assert " 0 bytes read" not in ran.states["read"][2]
    with installation_at(ran.config_file) as installation:
        assert [run.way for run in installation.ledger.runs.all("verify")] == ["prefect", "prefect"]


def test_backup_and_verification_work_without_a_ledger(ran: Ran) -> None:
    for name, counted in (
        ("without ledger", "host-1/0000000003"),
        ("verify without ledger", "3 points"),
    ):
        assert ran.states[name][:2] == ["COMPLETED", "Partial"]
        assert counted in ran.states[name][2]
        assert "not in the ledger: ledger " in ran.states[name][2]


def test_progress_is_an_artifact_of_counts(ran: Ran) -> None:
    shown = [one for one in ran.artifacts if one[0] == "backup-main"]
    assert shown
    assert {one[1] for one in shown} == {"progress"}
    assert {one[2] for one in shown} == {100.0}
    assert all("files" in one[3] or one[3] == "done at once" for one in shown)


def test_drill_report_is_an_artifact_without_content(ran: Ran) -> None:
    shown = {one[0]: one[2] for one in ran.artifacts if one[1] == "markdown"}
    with installation_at(ran.config_file) as installation:
        drills = {run.subject: run.summary for run in installation.ledger.runs.all("drill")}
    for key, subject, command in (
        ("drill-report-main", "main", "drill report main"),
        ("drill-report-crm", "service.crm", "drill report crm"),
    ):
        assert drills[subject]["report"] in shown[key]  # the digest of the signed report
        assert command in shown[key]
    assert f"standfast incident status {ran.incident}" in shown[f"incident-{ran.incident}"]


def test_incident_links_to_its_console_page(ran: Ran) -> None:
    ((kind, text, description),) = [
        one[1:] for one in ran.artifacts if one[0] == "incident-inc-2026-0099"
    ]
    page = "https://desk.example.com/console/inc-2026-0099"
    assert (kind, text) == ("markdown", f"[inc-2026-0099]({page})")
    assert "standfast incident status inc-2026-0099" in description


def test_a_failure_shows_with_our_words(ran: Ran) -> None:
    kind, _, message = ran.states["unknown set"]
    assert kind == "FAILED"
    assert "backup set 'mian'" in message


def test_watch_shows_a_missed_set(ran: Ran) -> None:
    assert ran.states["watch"][:2] == ["COMPLETED", "Partial"]  # `other` was never backed up
    assert "1 sets missed" in ran.states["watch"][2]


def test_missing_keeper_key_names_its_creator(ran: Ran) -> None:
    kind, _, message = ran.states["keep"]
    assert kind == "FAILED"
    assert "keeper's key" in message


def test_limits_that_an_operator_set_remain(ran: Ran) -> None:
    """The site is prepared, its limits are changed, and it is prepared again."""
    created, kept = ran.limits
    assert (created["host:host-1"], created["response"], created["pool"]) == (5, None, None)
    assert (kept["host:host-1"], kept["response"], kept["pool"]) == (2, 2, 2)


def test_prefect_stores_nothing_secret_or_personal(ran: Ran) -> None:
    assert ran.incident.encode() in ran.everything_stored  # it is the right place to look
    assert [word for word in PERSONAL if word in ran.everything_stored] == []
    assert [word for word in PERSONAL if word.decode() in ran.said] == []


def test_no_result_is_persisted(ran: Ran) -> None:
    assert not list((ran.config_file.parent / "home" / "storage").glob("*"))


def test_runs_of_a_set_never_overlap(ran: Ran) -> None:
    by_name = {(flow, name): rest for flow, name, *rest in ran.registered}
    assert set(by_name) == {
        ("keep-watch", "host-1"),
        ("daily-verification", "host-1.look"),
        ("respond-to-incident", "host-1"),
        ("nightly-backup", "host-1.main"),
        ("nightly-backup", "host-1.other"),
        ("restore-drill", "host-1.main"),
        ("service-drill", "host-1.service.crm"),
    }
    entrypoint, crons, parameters, options = by_name["nightly-backup", "host-1.main"]
    assert entrypoint == "flows.nightly_backup.nightly_backup"
    assert crons == ["30 2 * * *"]
    assert parameters == {"config": str(ran.config_file), "set_name": "main"}
    assert "CANCEL_NEW" in options
    assert by_name["respond-to-incident", "host-1"][1] == []
