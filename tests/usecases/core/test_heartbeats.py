"""Heartbeats of backups and drills, received by a monitor on loopback."""

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from standfast.config import load
from standfast.errors import ConfigurationError, ExitStatus, StandfastError
from standfast.usecases.backups.backup_run import run_backup
from standfast.usecases.core.installation import Installation
from standfast.usecases.drills.restore_drill import run_drill
from standfast.usecases.drills.service_drill import drill_services
from standfast.usecases.health.check_results import Verdict
from standfast.usecases.health.installation_check import check_installation
from tests.servers.over_http import Answering, listening
from tests.usecases.backup_installation import SERVICE, furnish, identity, installation_at

SETTINGS = """
[heartbeats]
backup = { main = "file:heartbeat" }
drill = { main = "file:heartbeat", "service.crm" = "file:heartbeat-service" }
"""


@contextmanager
def monitor(folder: Path, *, status: int = 200) -> Iterator[list[str]]:
    """Serve a monitor; write its secret URL for the installation."""
    paths: list[str] = []

    class Monitor(Answering):
        def do_POST(self) -> None:
            paths.append(self.path)
            self.answer(status)

    with listening(Monitor) as port:
        set_url(folder, f"http://127.0.0.1:{port}/ping/s3cr3t")
        yield paths


def set_url(folder: Path, url: str) -> None:
    for name, secret in (("heartbeat", url), ("heartbeat-service", f"{url}-service")):
        (folder / name).write_text(secret)
        (folder / name).chmod(0o600)


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    with installation_at(furnish(tmp_path, SERVICE + SETTINGS)) as found:
        yield found


def test_whole_backup_and_drill_are_successes(installation: Installation, tmp_path: Path) -> None:
    with monitor(tmp_path) as paths:
        assert run_backup(installation, "main", "direct").exit_status is ExitStatus.DONE
        run_backup(installation, "other", "direct")  # this set has no heartbeat
        assert paths == ["/ping/s3cr3t/start", "/ping/s3cr3t"]
        run_drill(installation, "main", identity(tmp_path))
    assert paths[2:] == ["/ping/s3cr3t/start", "/ping/s3cr3t"]


def test_failed_drills_of_set_and_service_are_failures(
    installation: Installation, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(tmp_path / "crm.db")) as crm, crm:
        crm.execute("DELETE FROM customers WHERE id > 5")  # fewer than the check expects
    run_backup(installation, "main", "direct")
    with monitor(tmp_path) as paths:
        outcome = run_drill(installation, "main", identity(tmp_path))
        assert outcome.exit_status is ExitStatus.FAILED
        assert paths == ["/ping/s3cr3t/start", "/ping/s3cr3t/fail"]
        service = drill_services(installation, ["crm"], identity(tmp_path))
        assert service.exit_status is ExitStatus.FAILED
    assert paths[2:] == [
        "/ping/s3cr3t-service/start",
        "/ping/s3cr3t/start",
        "/ping/s3cr3t/fail",
        "/ping/s3cr3t-service/fail",
    ]


def test_drill_of_a_service_is_a_success(installation: Installation, tmp_path: Path) -> None:
    run_backup(installation, "main", "direct")
    with monitor(tmp_path) as paths:
        outcome = drill_services(installation, ["crm"], identity(tmp_path))
    assert outcome.exit_status is ExitStatus.DONE
    assert paths == [
        "/ping/s3cr3t-service/start",
        "/ping/s3cr3t/start",  # its set is drilled too
        "/ping/s3cr3t",
        "/ping/s3cr3t-service",
    ]


def test_partial_backup_is_a_failure(installation: Installation, tmp_path: Path) -> None:
    (tmp_path / "crm.db").unlink()
    with monitor(tmp_path) as paths:
        assert run_backup(installation, "main", "direct").exit_status is ExitStatus.PARTIAL
    assert paths == ["/ping/s3cr3t/start", "/ping/s3cr3t/fail"]


def test_failed_backup_is_a_failure(installation: Installation, tmp_path: Path) -> None:
    (tmp_path / "vault").rename(tmp_path / "elsewhere")
    with monitor(tmp_path) as paths, pytest.raises(StandfastError):
        run_backup(installation, "main", "direct")
    assert paths == ["/ping/s3cr3t/start", "/ping/s3cr3t/fail"]


def test_backup_without_its_ledger_has_heartbeats(
    installation: Installation, tmp_path: Path
) -> None:
    (tmp_path / "ledger.db").write_bytes(b"no database")
    with monitor(tmp_path) as paths:
        assert run_backup(installation, "main", "direct").ledger_problem
    assert paths[0] == "/ping/s3cr3t/start"
    assert len(paths) == 2


@pytest.mark.parametrize("status", [404, 500])
def test_refused_heartbeat_fails_nothing_and_is_recorded(
    installation: Installation, tmp_path: Path, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    with monitor(tmp_path, status=status), caplog.at_level(logging.WARNING):
        assert run_backup(installation, "main", "direct").exit_status is ExitStatus.DONE
    (run,) = installation.ledger.runs.all("backup", "main")
    assert str(status) in run.summary["heartbeat_problem"]
    assert "heartbeat of backup main" in caplog.text
    assert "s3cr3t" not in caplog.text


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/s3cr3t", "not a web address: s3cr3t"])
def test_unreachable_monitor_fails_nothing(
    installation: Installation, tmp_path: Path, caplog: pytest.LogCaptureFixture, url: str
) -> None:
    set_url(tmp_path, url)
    assert run_backup(installation, "main", "direct").exit_status is ExitStatus.DONE
    (run,) = installation.ledger.runs.all("backup", "main")
    assert run.summary["heartbeat_problem"]
    assert "s3cr3t" not in caplog.text + str(run.summary)


def test_check_names_an_unreadable_url(tmp_path: Path) -> None:
    config_file = furnish(tmp_path, SERVICE + SETTINGS)
    checks = check_installation(config_file, env={}).checks
    failed = [check.found for check in checks if check.part == "heartbeats"]
    assert [text.partition(":")[0] for text in failed] == [
        "backup main",
        "drill main",
        "drill service.crm",
    ]
    set_url(tmp_path, "https://monitor.example.com/ping/s3cr3t")
    checks = check_installation(config_file, env={}).checks
    (found,) = [check for check in checks if check.part == "heartbeats"]
    assert found.verdict is Verdict.OK


@pytest.mark.parametrize("kind", ["backup", "drill"])
def test_unknown_set_is_refused(tmp_path: Path, kind: str) -> None:
    config_file = furnish(tmp_path, f'[heartbeats]\n{kind} = {{ mian = "file:heartbeat" }}\n')
    with pytest.raises(ConfigurationError):
        load(config_file)
