"""`serve` contains a breach without Prefect, and is cheap when idle."""

import json
import logging
import os
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from flows import prefect_supervisor as supervisor_module
from flows import serve_loop as serve_module
from flows.prefect_server import is_healthy
from flows.prefect_supervisor import PrefectSupervisor
from flows.serve_loop import Serving
from standfast.errors import StandfastError, Unavailable
from standfast.ledger.runs.run_store import LEASE
from standfast.records import EffectState
from standfast.usecases.backups.backup_run import run_backup
from standfast.usecases.backups.verification import verify
from standfast.usecases.core.installation import Installation
from standfast.usecases.health.watchdog import (
    NotifyFunction,
    ResumeFunction,
    WatchOutcome,
    resume_incidents,
)
from standfast.usecases.incidents import lifecycle
from tests.flows.installations import (
    furnish_with_incidents,
    is_over,
    open_exercise,
    plain_environment,
    processes_naming,
    said,
    serving,
    ways,
)
from tests.servers import START_SECONDS, free_port, wait_until
from tests.servers.smtp import SmtpServer
from tests.usecases.alarmed import MAIL
from tests.usecases.backup_installation import damage_a_pack, installation_at
from tests.usecases.installations import enrol_people

_ONE_MORE_DIRECTORY = """
[accounts.more]
kind = "scim"
url = "http://127.0.0.1:9/v2"
token = "env:MORE"
"""
TICKS = 4
ONE_ROW = "SELECT audit_event.sequence"
DUE = datetime(2026, 11, 26, 2, tzinfo=UTC)


@contextmanager
def serving_here(installation: Installation, config_file: Path) -> Iterator[Serving]:
    """Run the loop in a thread, without Prefect."""
    loop = Serving(installation=installation, config_file=config_file, prefect=None)
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        wait_until(
            lambda: bool(installation.ledger.runners.live(None, installation.clock())), "it serves"
        )
        yield loop
    finally:
        loop.stop.set()
        thread.join(START_SECONDS)
    assert not thread.is_alive()


def test_own_incident_begins_without_a_tick(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.serve_loop.TICK_SECONDS", 3600.0)
    config_file = furnish_with_incidents(tmp_path)
    with (
        installation_at(config_file) as installation,
        serving_here(installation, config_file) as loop,
    ):
        case = open_exercise(installation)
        loop.begin_work(case)
        wait_until(lambda: is_over(installation, case), "the exercise is over")
        assert ways(installation, case) == ["serve"]
        loop.stop.set()
        loop.begin_work(case)  # so that it need not sleep for its whole hour


def test_added_directory_is_locked_without_restart(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config_file = furnish_with_incidents(tmp_path)
    before = config_file.read_text()
    with installation_at(config_file) as installation, serving_here(installation, config_file):
        config_file.write_text(f"{before}{_ONE_MORE_DIRECTORY}")
        with installation_at(config_file) as now:
            case = open_exercise(now, "more:agent01")
        wait_until(lambda: is_over(installation, case), "the exercise is over")
        config_file.write_text("no configuration")
        left = open_exercise(installation)
        wait_until(lambda: is_over(installation, left), "a broken configuration keeps nobody in")
        (lock,) = installation.ledger.effects.of_incident(case)
        assert (lock.target, lock.state) == ("more:agent01", EffectState.DONE)
        assert (ways(installation, case), ways(installation, left)) == (["serve"], ["serve"])
    assert "incidents use the new one at once" in caplog.text
    assert "the previous configuration stays in use" in caplog.text


def test_incident_continues_without_prefect(tmp_path: Path) -> None:
    config_file = furnish_with_incidents(tmp_path)
    with serving(config_file) as process, installation_at(config_file) as installation:
        wait_until(
            lambda: bool(installation.ledger.runners.live(None, installation.clock())), "it serves"
        )
        case = open_exercise(installation)
        wait_until(lambda: is_over(installation, case), "the exercise is over")
        assert ways(installation, case) == ["serve"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(START_SECONDS) == 0
        assert installation.ledger.runners.live(None, installation.clock()) == []
        assert installation.ledger.audit.verify().is_whole
    wait_until(lambda: not processes_naming(str(tmp_path / "prefect")), "nothing is left running")
    assert "ended" in said(config_file)
    assert "Traceback" not in said(config_file)


@pytest.mark.long
@pytest.mark.xdist_group("prefect")
def test_a_response_goes_on_when_prefect_is_killed(tmp_path: Path) -> None:
    config_file = furnish_with_incidents(tmp_path)
    note = tmp_path / "prefect" / "server.json"
    with serving(config_file) as process, installation_at(config_file) as installation:
        runs = installation.ledger.runs
        wait_until(
            lambda: (
                {run.subject for run in runs.all("backup") if run.ended_at} == {"main", "other"}
            ),
            "missed backups are caught up",
            seconds=120,
        )
        # Once each, and by Prefect.
        assert sorted((run.subject, run.way) for run in runs.all("backup")) == [
            ("main", "prefect"),
            ("other", "prefect"),
        ]
        assert "Prefect answers" in said(config_file)
        case = open_exercise(installation)
        wait_until(lambda: is_over(installation, case), "the exercise is over")
        assert set(ways(installation, case)) <= {
            "prefect",
            "serve",
        }  # serve, where Prefect was too slow

        server = json.loads(note.read_text())
        os.killpg(server["pid"], signal.SIGKILL)
        wait_until(lambda: not is_healthy(server["url"]), "Prefect is dead")
        case = open_exercise(installation)
        wait_until(lambda: is_over(installation, case), "the exercise is over without Prefect")
        assert ways(installation, case) == ["serve"]
        process.send_signal(signal.SIGINT)
        assert process.wait(START_SECONDS) == 0
    wait_until(lambda: not processes_naming(str(tmp_path / "prefect")), "nothing is left running")


def test_missed_backup_runs_once_without_prefect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config_file = furnish_with_incidents(tmp_path)
    supervisor = PrefectSupervisor(
        config_file=config_file,
        home=tmp_path / "prefect",
        url=f"http://127.0.0.1:{free_port()}/api",
        env=plain_environment(),
    )
    with installation_at(config_file) as installation:
        supervisor.catch_up({"main": DUE})
        assert installation.ledger.runs.all("backup") == []  # it may still start
        monkeypatch.setattr(supervisor_module, "PATIENCE_SECONDS", 0.0)
        supervisor.catch_up({"main": DUE})
        supervisor.catch_up({"main": DUE})  # while the first is under way
        wait_until(
            lambda: any(run.ended_at for run in installation.ledger.runs.all("backup")),
            "it was run",
        )
        wait_until(lambda: not processes_naming(str(config_file)), "its process has ended")
        supervisor.catch_up({"main": DUE})  # as if it had failed
        supervisor.end()
        assert caplog.text.count("runs without it") == 1
        assert [
            (run.subject, run.state, run.way) for run in installation.ledger.runs.all("backup")
        ] == [("main", "done", "serve")]


def test_backup_due_during_another_runs_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config_file = furnish_with_incidents(tmp_path)
    supervisor = PrefectSupervisor(
        config_file=config_file,
        home=tmp_path / "prefect",
        url=f"http://127.0.0.1:{free_port()}/api",
        env=plain_environment(),
    )
    monkeypatch.setattr(supervisor_module, "PATIENCE_SECONDS", 0.0)
    next_due = DUE + timedelta(days=1)
    with installation_at(config_file) as installation:

        def ended() -> int:
            return sum(run.ended_at is not None for run in installation.ledger.runs.all("backup"))

        supervisor.catch_up({"main": DUE})
        supervisor.catch_up({"main": next_due})  # while the first is under way
        wait_until(lambda: not processes_naming(str(config_file)), "the first has ended")
        assert ended() == 1
        supervisor.catch_up({"main": next_due})
        wait_until(lambda: ended() == 2, "the second was run")
        supervisor.end()


def test_backup_that_prefect_skipped_runs_once(tmp_path: Path) -> None:
    config_file = furnish_with_incidents(tmp_path)
    supervisor = PrefectSupervisor(
        config_file=config_file,
        home=tmp_path / "prefect",
        url=None,
        env=plain_environment(),
    )  # Prefect was there a moment ago
    next_due = DUE + timedelta(days=1)
    with installation_at(config_file) as installation:

        def ended() -> list[str]:
            return [run.subject for run in installation.ledger.runs.all("backup") if run.ended_at]

        supervisor.catch_up({"main": DUE})
        supervisor.catch_up({"main": next_due})
        assert installation.ledger.runs.all("backup") == []  # Prefect may only be late
        supervisor.catch_up({"main": next_due})
        wait_until(lambda: ended() == ["main"], "it was run")
        for _ in range(2):  # as if it had failed
            supervisor.catch_up({"main": next_due})
        supervisor.end()
        assert len(installation.ledger.runs.all("backup")) == 1


STUCK = """
import logging, threading
class Stuck(logging.StreamHandler):
    def flush(self):
        threading.Event().wait()
logging.getLogger("prefect").addHandler(Stuck())
"""


def test_waiting_log_does_not_prevent_the_end(tmp_path: Path) -> None:
    config_file = furnish_with_incidents(
        tmp_path, f'[serve]\nprefect = "http://127.0.0.1:{free_port()}/api"\n'
    )
    with serving(config_file, before=STUCK) as process:
        wait_until(lambda: "serving as runner" in said(config_file), "it serves")
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: process.poll() is not None, "it has ended")
        assert process.returncode == 0
        assert said(config_file).rstrip().endswith("ended")


@pytest.mark.long
def test_killed_serve_leaves_incident_to_the_next(tmp_path: Path) -> None:
    config_file = furnish_with_incidents(tmp_path)
    with serving(config_file) as process, installation_at(config_file) as installation:
        wait_until(
            lambda: bool(installation.ledger.runners.live(None, installation.clock())), "it serves"
        )
        process.kill()
        process.wait()
        assert installation.ledger.runners.live(None, installation.clock()) == []
        case = open_exercise(installation)
        with serving_here(installation, config_file):
            wait_until(lambda: is_over(installation, case), "the next one goes on")
        for pid in processes_naming(str(tmp_path / "prefect")):
            os.kill(pid, signal.SIGKILL)  # what the killed one could not end


def _runners(folder: Path) -> set[int]:
    return {*processes_naming("flows.deployments")} & {*processes_naming(str(folder / "prefect"))}


@pytest.mark.long
@pytest.mark.xdist_group("prefect")
def test_prefect_of_a_killed_serve_is_reused(tmp_path: Path) -> None:
    config_file = furnish_with_incidents(tmp_path)
    note = tmp_path / "prefect" / "server.json"
    with serving(config_file) as process:
        wait_until(lambda: "Prefect answers" in said(config_file), "it is there", seconds=240)
        process.kill()  # while the runner of the backups still loads
        process.wait()
    before = json.loads(note.read_text())
    with serving(config_file) as process:
        wait_until(lambda: "Prefect answers" in said(config_file), "it is found", seconds=240)
        assert json.loads(note.read_text()) == before
        wait_until(lambda: len(_runners(tmp_path)) == 1, "one runner is left")
        process.send_signal(signal.SIGTERM)
        assert process.wait(START_SECONDS) == 0
    wait_until(lambda: not processes_naming(str(tmp_path / "prefect")), "nothing is left running")


def test_time_triggered_work_is_found_next_tick(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve_module, "LOOK_SECONDS", 0.3)
    config_file = furnish_with_incidents(tmp_path)
    gone_by = [timedelta()]
    with installation_at(config_file) as real:
        installation = replace(real, clock=lambda: real.clock() + gone_by[0])
        case = open_exercise(installation)
        installation.ledger.runners.register(case, "direct", installation.clock())
        with closing(sqlite3.connect(tmp_path / "ledger.db")) as intruder, intruder:
            intruder.execute("UPDATE runner SET host = 'elsewhere.invalid'")
        with serving_here(installation, config_file) as loop:
            wait_until(lambda: loop.is_quiet, "the first look is done")
            assert ways(installation, case) == ["direct"], "somebody else is at it"
            gone_by[0] = LEASE + LEASE.resolution  # and nothing was written
            wait_until(lambda: is_over(installation, case), "the silent runner was replaced")
            assert ways(installation, case) == ["direct", "serve"]


def test_idle_loop_reads_one_row_a_tick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOOK_SECONDS", "WATCH_SECONDS", "EXTEND_LEASE_SECONDS"):
        monkeypatch.setattr(serve_module, name, 3600.0)
    config_file = furnish_with_incidents(tmp_path)
    statements: list[str] = []  # of the loop, not of this thread

    def note(*given: Any) -> None:
        if threading.current_thread() is not threading.main_thread() and given[2] != "BEGIN":
            statements.append(given[2])

    def is_idle() -> bool:
        lately = statements[-TICKS:]
        return len(lately) == TICKS and all(text.startswith(ONE_ROW) for text in lately)

    with installation_at(config_file) as installation, serving_here(installation, config_file):
        event.listen(installation.ledger.database.engine, "before_cursor_execute", note)
        wait_until(is_idle, "the first watch and the first look are done")
        before = installation.ledger.newest_event()
        statements.clear()
        wait_until(lambda: len(statements) >= TICKS, "four ticks went by")
        asked = set(statements)
        assert installation.ledger.newest_event() == before  # every write would be an event
    (only,) = asked
    assert only.startswith(ONE_ROW)
    assert "LIMIT" in only


def test_failed_backup_is_a_warning_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config_file = furnish_with_incidents(tmp_path)
    (tmp_path / "scripts").rename(tmp_path / "gone")
    with (
        installation_at(config_file) as installation,
        serving_here(installation, config_file) as loop,
    ):
        wait_until(lambda: loop.is_quiet, "it has looked")
        with caplog.at_level(logging.INFO, "standfast.serve"):
            with installation_at(config_file) as other:  # as in a process of Prefect's runner
                run_backup(other, "main", "prefect")
                with pytest.raises(StandfastError) as failed:
                    run_backup(other, "other", "prefect")
            wait_until(lambda: "of other failed" in caplog.text, "it is logged")
    said = {
        record.getMessage(): record.levelno
        for record in caplog.records
        if "the backup of" in record.getMessage()
    }
    assert said == {
        "the backup of main is done": logging.INFO,
        f"the backup of other failed: {failed.value}": logging.WARNING,
    }


def test_incidents_do_not_wait_for_alarm_mail(tmp_path: Path, smtp_server: SmtpServer) -> None:
    config_file = furnish_with_incidents(tmp_path, MAIL.format(port=smtp_server.port))
    with installation_at(config_file) as installation:
        enrol_people(installation, "dana")
        run_backup(installation, "main", "direct")
        damage_a_pack(tmp_path)
        verify(installation, read=True)
        smtp_server.hold("data")
        with serving_here(installation, config_file) as loop:
            smtp_server.wait_for("data")
            case = open_exercise(installation)
            wait_until(lambda: is_over(installation, case), "the exercise is over")
            assert [mail.recipients for mail in smtp_server.delivered] == []
            smtp_server.release()
            wait_until(lambda: loop.is_quiet, "all is told")
        recipients = [mail.recipients for mail in smtp_server.delivered]
        assert recipients == [("dana@example.com",)]
        (alarm,) = installation.ledger.runs.all("alarm")
        assert (alarm.subject, alarm.state, alarm.way) == ("vault", "raised", "serve")


def test_stopped_incident_waits_for_resume(tmp_path: Path) -> None:
    config_file = furnish_with_incidents(tmp_path)
    with installation_at(config_file) as installation:
        case = open_exercise(installation)
        lifecycle.stop(installation, case, by="dana")
        with serving_here(installation, config_file) as loop:
            wait_until(lambda: loop.is_quiet, "it has looked")
            assert ways(installation, case) == []
            lifecycle.resume(installation, case, by="dana")
            wait_until(lambda: is_over(installation, case), "it goes on")


def test_temporarily_failing_ledger_is_awaited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config_file = furnish_with_incidents(tmp_path)
    failures: list[str] = []

    def fail_at_first(
        installation: Installation, way: str, resume: ResumeFunction
    ) -> tuple[list[str], list[str]]:
        if len(failures) < 3:
            failures.append("again")
            raise Unavailable("the ledger's PostgreSQL does not answer")
        return resume_incidents(installation, way, resume)

    monkeypatch.setattr(serve_module, "resume_incidents", fail_at_first)
    monkeypatch.setattr(serve_module, "keep_watch", _see_nothing)
    with installation_at(config_file) as installation:
        case = open_exercise(installation)
        with serving_here(installation, config_file):
            wait_until(lambda: is_over(installation, case), "it is carried on at last")
    assert len(failures) == 3


def _see_nothing(
    installation: Installation, way: str, resume: ResumeFunction, on_alarm: NotifyFunction
) -> WatchOutcome:
    return WatchOutcome(resumed=(), died=(), sets=(), troubles=(), head=0)


def test_stuck_incident_is_not_restarted_repeatedly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config_file = furnish_with_incidents(tmp_path)
    begun: list[str] = []

    def fail(installation: Installation, incident_id: str, way: str) -> None:
        begun.append(incident_id)
        raise Unavailable("the directory is gone")

    monkeypatch.setattr(serve_module, "advance", fail)
    with installation_at(config_file) as installation:
        case = open_exercise(installation)
        with serving_here(installation, config_file):
            wait_until(lambda: len(begun) >= 2, "it was begun twice")
            wait_until(lambda: len(begun) >= 3, "and, later, a third time")
    assert set(begun) == {case}
    assert len(begun) <= 4
