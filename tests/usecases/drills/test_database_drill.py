"""Drills load dumps into throwaway servers, check them, and leave nothing."""

import json
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from standfast.cli import main
from standfast.errors import ExitStatus
from standfast.usecases.drills import database_load
from standfast.usecases.drills.check_result import CheckResult, CheckState
from standfast.usecases.drills.outcome import DrillOutcome
from standfast.usecases.drills.restore_drill import run_drill
from standfast.usecases.drills.throwaway.server_process import find_isolation
from standfast.usecases.health.check_results import Verdict
from standfast.usecases.health.installation_check import check_installation
from tests.servers.postgres import Postgres
from tests.usecases.backup_installation import furnish, identity, installation_at
from tests.usecases.drills.database_installation import (
    CHECK,
    NEWEST,
    SET,
    SOURCE,
    TABLES,
    backed_up,
    drills_folder,
    without_network_namespace,
    working_folders,
)

pytestmark = pytest.mark.xdist_group("databases")
MILLISECOND = timedelta(milliseconds=1)
PROBE = """
[[services.crm.checks]]
kind = "command"
command = ["{programs}/psql", "-d", "{database}", "-c", "SELECT count(*) FROM customers"]
"""
UNPROVEN = (
    "ALTER TABLE calls ADD CONSTRAINT positive CHECK (id > 1) NOT VALID",
    # The index of a partitioned table is invalid until each partition has one.
    "CREATE TABLE months (month int) PARTITION BY RANGE (month)",
    "CREATE TABLE january PARTITION OF months FOR VALUES FROM (1) TO (2)",
    "CREATE INDEX of_months ON ONLY months (month)",
)


@pytest.fixture
def database(postgres_server: Postgres) -> Iterator[str]:
    with postgres_server.database() as name:
        postgres_server.execute(*TABLES, database=name)
        yield name


@pytest.fixture
def drills() -> Iterator[Path]:
    with drills_folder() as folder:
        yield folder


def drilled(config_file: Path, *, keep: bool = False) -> DrillOutcome:
    with installation_at(config_file) as installation:
        return run_drill(installation, SET, identity(config_file.parent), keep=keep)


def result_of(outcome: DrillOutcome, start: str) -> CheckResult:
    (found,) = (check for check in outcome.checks if check.name.startswith(start))
    return found


def test_drill_loads_checks_and_destroys_a_dump(
    tmp_path: Path, drills: Path, postgres_server: Postgres, database: str
) -> None:
    more = CHECK + PROBE.replace("{programs}", str(postgres_server.programs))
    outcome = drilled(backed_up(tmp_path, drills, postgres_server, database, more))
    assert outcome.exit_status is ExitStatus.DONE, outcome.as_json()
    states = {check.name: (check.level, check.state) for check in outcome.checks}
    assert states[f"load of crm-server/{database}.dump"] == ("structure", "passed")
    assert states["load of crm-server/globals.sql"] == ("structure", "passed")
    assert states[f"constraints of crm-server/{database}"] == ("structure", "passed")
    assert states[f"database crm-server/{database}"] == ("content", "passed")
    assert states["command psql"] == ("service", "passed")
    isolation = "skipped" if find_isolation().gap else "passed"
    assert states["network isolation of crm-server"] == ("isolation", isolation)
    (service,) = outcome.services
    assert service.rpo_basis == "last_change"
    assert service.rpo_actual_ms is not None
    assert abs(service.rpo_actual_ms - (outcome.declared_at - NEWEST) / MILLISECOND) <= 1
    assert outcome.target.is_gone
    assert [path.name for path in drills.iterdir()] == ["reports"]
    assert working_folders(drills) == []
    assert outcome.report is not None
    report = json.loads(outcome.report.read_text())["report"]
    assert {check["level"] for check in report["checks"]} >= {"files", "structure", "content"}


def test_missing_isolation_is_named_in_the_report(
    tmp_path: Path,
    drills: Path,
    postgres_server: Postgres,
    database: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    isolation = without_network_namespace("no namespaces")
    monkeypatch.setattr(database_load, "find_isolation", lambda: isolation)
    outcome = drilled(backed_up(tmp_path, drills, postgres_server, database))
    assert outcome.report is not None
    checks = json.loads(outcome.report.read_text())["report"]["checks"]
    (found,) = (check for check in checks if check["name"].startswith("network isolation"))
    assert (found["state"], found["reason"]) == ("skipped", "missing: no namespaces")


UNEXPECTED = (
    ("customers = 2", "customers = 3", "table customers has 2 rows"),
    ("calls = 3", "cars = 3", "table cars does not exist"),
    ("sum(id) = 6", "sum(id) = 7", "assertion 1 is false"),
    ("SELECT max(changed_at)", "SELECT min(name)", "no time"),
)


def test_unexpected_content_fails_the_drill(
    tmp_path: Path, drills: Path, postgres_server: Postgres, database: str
) -> None:
    more = CHECK
    for old, new, _ in UNEXPECTED:
        more = more.replace(old, new)
    outcome = drilled(backed_up(tmp_path, drills, postgres_server, database, more))
    assert outcome.exit_status is ExitStatus.FAILED
    found = result_of(outcome, "database crm-server").reason
    assert [reason for _, _, reason in UNEXPECTED if reason not in found] == []
    assert outcome.rto_ms is None


def test_unproven_structure_is_a_gap(
    tmp_path: Path, drills: Path, postgres_server: Postgres, database: str
) -> None:
    postgres_server.execute(*UNPROVEN, database=database)
    outcome = drilled(backed_up(tmp_path, drills, postgres_server, database))
    found = result_of(outcome, "constraints of crm-server")
    reason = "1 constraint is NOT VALID and 1 index is invalid"
    assert (found.state, found.reason) == (CheckState.SKIPPED, reason)
    assert outcome.report is not None
    gaps = json.loads(outcome.report.read_text())["report"]["gaps"]
    (gap,) = (gap for gap in gaps if reason in gap["gap"])
    assert gap["owner"] == "Head of operations"


def test_row_without_parent_fails_the_load(
    tmp_path: Path, drills: Path, postgres_server: Postgres, database: str
) -> None:
    orphan = "INSERT INTO calls VALUES (0, 9)"
    postgres_server.execute("SET session_replication_role = replica", orphan, database=database)
    outcome = drilled(backed_up(tmp_path, drills, postgres_server, database))
    assert outcome.exit_status is ExitStatus.FAILED
    found = result_of(outcome, f"load of crm-server/{database}")
    assert (found.state, found.reason) == (CheckState.FAILED, "1 statement was refused")
    assert "calls_customer_fkey" in found.output
    assert outcome.rto_ms is None


def test_dump_of_newer_server_leaves_rto_unmeasured(
    tmp_path: Path, drills: Path, postgres_server: Postgres, database: str
) -> None:
    config_file = backed_up(tmp_path, drills, postgres_server, database)
    programs = imitated_programs(tmp_path / "programs", installed=90, dumped=91)
    config_file.write_text(
        config_file.read_text().replace(str(postgres_server.programs), str(programs))
    )
    named: dict[str, list[Path]] = {}  # reason: the files restored until then
    with installation_at(config_file) as installation:
        outcome = run_drill(
            *(installation, SET, identity(tmp_path)),
            report_missing=lambda _, reason: named.update({reason: [*drills.rglob("*.dump")]}),
        )
    assert outcome.exit_status is ExitStatus.PARTIAL
    found = result_of(outcome, "load of crm-server")
    assert named == {found.reason: []}
    assert found.state is CheckState.SKIPPED
    assert "postgresql-91" in found.reason
    assert result_of(outcome, "hash of every file").state is CheckState.PASSED
    assert not outcome.services[0].is_checked


@pytest.mark.parametrize("subject", [SET, "crm"], ids=["set", "service"])
def test_command_names_a_newer_dump(
    tmp_path: Path,
    drills: Path,
    postgres_server: Postgres,
    database: str,
    subject: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config_file = backed_up(tmp_path, drills, postgres_server, database)
    programs = imitated_programs(tmp_path / "programs", installed=90, dumped=91)
    config_file.write_text(
        config_file.read_text().replace(str(postgres_server.programs), str(programs))
    )
    monkeypatch.setenv("STANDFAST_CONFIG", str(config_file))
    main(["drill", "run", subject, "--identity", str(identity(tmp_path))])
    lines = capsys.readouterr().err.splitlines()
    (line,) = (line for line in lines if line.startswith("crm-server: "))
    assert "Install the package postgresql-91" in line


def imitated_programs(folder: Path, *, installed: int, dumped: int) -> Path:
    """Write server programs that know only their version and that of a dump."""
    folder.mkdir()
    for name in ("initdb", "postgres", "pg_restore", "psql"):
        said = f"postgres (PostgreSQL) {installed}.1"
        if name == "pg_restore":
            said = f";     Dumped from database version: {dumped}.1"
        (folder / name).write_text(f"#!/bin/sh\necho '{said}'\n")
        (folder / name).chmod(0o755)
    return folder


def test_check_names_missing_server_programs(
    tmp_path: Path, drills: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = SOURCE.replace("{host}", str(tmp_path)).replace("{programs}", str(tmp_path))
    unattended = f'[drills]\nfolder = "{drills}"\nidentity = "file:offline/custodian.txt"\n'
    config_file = furnish(tmp_path, source + unattended)
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    checks = check_installation(config_file, env={}).checks
    (found,) = (check for check in checks if check.part == "drills" and check.what_to_do)
    assert found.verdict is Verdict.WARN
    assert "crm-server" in found.found
    assert "Install the package postgresql" in found.found


def test_drill_changes_nothing_in_the_live_server(
    tmp_path: Path, drills: Path, postgres_server: Postgres, database: str
) -> None:
    config_file = backed_up(tmp_path, drills, postgres_server, database)
    sessions = "SELECT sessions FROM pg_stat_database WHERE datname = current_database()"
    postgres_server.execute("UPDATE customers SET name = 'live'", database=database)
    before = postgres_server.rows(sessions, database=database)
    assert drilled(config_file).exit_status is ExitStatus.DONE
    # The drill opened no connection to the source; the only new session is that of this test.
    assert postgres_server.rows(sessions, database=database)[0][0] <= before[0][0] + 1
    names = postgres_server.rows("SELECT DISTINCT name FROM customers", database=database)
    assert names == [("live",)]


def test_kept_tree_has_no_server(
    tmp_path: Path, drills: Path, postgres_server: Postgres, database: str
) -> None:
    outcome = drilled(backed_up(tmp_path, drills, postgres_server, database), keep=True)
    assert outcome.target.is_kept
    assert working_folders(drills) == []
    assert [path.name for path in outcome.target.folder.iterdir()] == ["tree"]
