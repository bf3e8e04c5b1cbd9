"""Drills load MariaDB dumps into throwaway servers and check them."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from standfast.errors import ExitStatus
from standfast.usecases.drills.check_result import CheckState
from standfast.usecases.drills.outcome import DrillOutcome
from standfast.usecases.drills.restore_drill import run_drill
from standfast.usecases.health.check_results import Verdict
from standfast.usecases.health.installation_check import check_installation
from tests.servers.mariadb import Mariadb
from tests.usecases.backup_installation import furnish, identity, installation_at
from tests.usecases.drills.database_installation import (
    CHECK,
    MARIADB_SOURCE,
    SET,
    TABLES,
    backed_up,
    drills_folder,
    unexpected,
    working_folders,
)

pytestmark = pytest.mark.xdist_group("databases")
PROBE = """
[[services.crm.checks]]
kind = "command"
command = ["sh", "-c", "mariadb -S $MYSQL_UNIX_PORT -u $MYSQL_USER {database} -e 'SELECT 1'"]
"""
ODD_ROWS = (
    "CREATE TABLE `odd ``notes` (text TEXT) WITH SYSTEM VERSIONING",
    r"INSERT INTO `odd ``notes` VALUES ('one\nline'), ('INSERT INTO `x` VALUES'), ('a);'), (NULL)",
    "DELETE FROM `odd ``notes` WHERE text = 'a);'",  # its history is in the dump
)
_ORPHAN = ("SET foreign_key_checks = 0; INSERT INTO calls VALUES (0, 9)",)


@pytest.fixture
def database(mariadb_server: Mariadb) -> Iterator[str]:
    with mariadb_server.database() as name:
        mariadb_server.execute(*TABLES, database=name)
        yield name


@pytest.fixture
def drills() -> Iterator[Path]:
    with drills_folder() as folder:
        yield folder


def drilled(config_file: Path) -> DrillOutcome:
    with installation_at(config_file) as installation:
        return run_drill(installation, SET, identity(config_file.parent))


def test_drill_checks_a_dump_without_the_live_server(
    tmp_path: Path, drills: Path, mariadb_server: Mariadb, database: str
) -> None:
    mariadb_server.execute("CREATE ROLE clerks_of_drill")
    mariadb_server.execute(*ODD_ROWS, database=database)
    try:
        config_file = backed_up(tmp_path, drills, mariadb_server, database, CHECK + PROBE)
    finally:
        mariadb_server.execute("DROP ROLE clerks_of_drill")
    mariadb_server.execute("UPDATE customers SET name = 'live'", database=database)
    before = mariadb_server.log.read_bytes()
    assert b"name = 'live'" in before
    outcome = drilled(config_file)
    assert mariadb_server.log.read_bytes() == before, "the drill opened no connection to it"
    names = mariadb_server.rows("SELECT DISTINCT name FROM customers", database=database)
    assert names == [["live"]]
    assert outcome.exit_status is ExitStatus.DONE, unexpected(outcome)
    states = {check.name: (check.level, check.state) for check in outcome.checks}
    assert states[f"load of crm-server/{database}.sql"] == ("structure", "passed")
    assert states["load of crm-server/users.grants"] == ("structure", "passed")
    assert states[f"constraints of crm-server/{database}"] == ("structure", "passed")
    assert states[f"rows of crm-server/{database}"] == ("content", "passed"), unexpected(outcome)
    reasons = {check.name: check.reason for check in outcome.checks}
    assert reasons[f"rows of crm-server/{database}"] == "9 rows in 3 tables"
    assert states[f"database crm-server/{database}"] == ("content", "passed")
    assert states["command sh"] == ("service", "passed")
    assert outcome.services[0].rpo_basis == "last_change"
    assert [path.name for path in drills.iterdir()] == ["reports"]
    assert working_folders(drills) == []


def test_row_without_parent_fails_the_drill(
    tmp_path: Path, drills: Path, mariadb_server: Mariadb, database: str
) -> None:
    mariadb_server.execute(*_ORPHAN, database=database)
    outcome = drilled(backed_up(tmp_path, drills, mariadb_server, database))
    assert outcome.exit_status is ExitStatus.FAILED
    found = {check.name: check for check in outcome.checks}[f"constraints of crm-server/{database}"]
    assert found.state is CheckState.FAILED
    assert "1 row violates" in found.reason


def test_dump_of_newer_server_is_not_checked(
    tmp_path: Path,
    drills: Path,
    mariadb_server: Mariadb,
    database: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config_file = backed_up(tmp_path, drills, mariadb_server, database)
    older = tmp_path / "programs"
    older.mkdir()
    (older / "mariadbd").write_text("#!/bin/sh\necho 'Ver 5.5.1-MariaDB'\n")
    (older / "mariadbd").chmod(0o755)
    monkeypatch.setenv("PATH", f"{older}:{Path(shutil.which('mariadb') or '').parent}:/usr/bin")
    outcome = drilled(config_file)
    assert outcome.exit_status is ExitStatus.PARTIAL
    found = {check.name: check for check in outcome.checks}["load of crm-server"]
    assert found.state is CheckState.SKIPPED
    assert "Install mariadb-server" in found.reason


def test_check_names_missing_server_programs(
    tmp_path: Path, drills: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = MARIADB_SOURCE.replace("{host}", "/no/such.sock").replace("{database}", "crm")
    unattended = f'[drills]\nfolder = "{drills}"\nidentity = "file:offline/custodian.txt"\n'
    config_file = furnish(tmp_path, source + unattended)
    monkeypatch.setenv("PATH", str(tmp_path))
    checks = check_installation(config_file, env={}).checks
    (found,) = (check for check in checks if check.part == "drills" and check.what_to_do)
    assert found.verdict is Verdict.WARN
    assert "mariadb-server" in found.found
