"""Drills compare row counts with the dump, and with the last good drill."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from standfast.errors import ExitStatus
from standfast.usecases.backups.backup_run import run_backup
from standfast.usecases.drills.check_result import CheckState
from standfast.usecases.drills.outcome import DrillOutcome
from standfast.usecases.drills.restore_drill import run_drill
from tests.servers.postgres import Postgres
from tests.usecases.backup_installation import identity, installation_at
from tests.usecases.drills.database_installation import (
    CHECK,
    SET,
    TABLES,
    backed_up,
    drills_folder,
    unexpected,
)

pytestmark = pytest.mark.xdist_group("databases")
COMPARED = CHECK.replace(
    "{ customers = 2, calls = 3 }", "{ calls = 0 }\nmaximum_loss_percent = 10"
).replace('assertions = ["SELECT sum(id) = 6 FROM calls"]\n', "")
ONE = "host-1/0000000001"
# A load refreshes materialized views after the rows.
LOSES_A_ROW = (
    """CREATE FUNCTION lose() RETURNS int LANGUAGE sql AS
    'DELETE FROM public.calls WHERE id = 3; SELECT 1'""",
    "CREATE MATERIALIZED VIEW loses AS SELECT lose()",
    "INSERT INTO calls VALUES (3, 2)",
)
ODD = '"Odd ""notes"""'
ODD_ROWS = (
    f"CREATE TABLE {ODD} (text TEXT)",
    rf"INSERT INTO {ODD} VALUES (E'one\nline'), (E'\\.'), ('COPY x FROM stdin;'), (NULL)",
    "CREATE TABLE nothing ()",
)


@pytest.fixture
def database(postgres_server: Postgres) -> Iterator[str]:
    with postgres_server.database() as name:
        postgres_server.execute(*TABLES, database=name)
        yield name


@pytest.fixture
def config_file(tmp_path: Path, postgres_server: Postgres, database: str) -> Iterator[Path]:
    with drills_folder() as drills:
        yield backed_up(tmp_path, drills, postgres_server, database, COMPARED)


def drilled(config_file: Path, point: str = "latest") -> DrillOutcome:
    with installation_at(config_file) as installation:
        return run_drill(installation, SET, identity(config_file.parent), point)


def back_up(config_file: Path) -> None:
    with installation_at(config_file) as installation:
        run_backup(installation, SET, "direct")


def test_lost_rows_fail_the_next_drill(
    config_file: Path, postgres_server: Postgres, database: str
) -> None:
    first = drilled(config_file)
    assert first.exit_status is ExitStatus.DONE, first.as_json()
    rows = {name: count for check in first.checks for name, count in check.rows.items()}
    assert rows == {f"crm-server/{database}/calls": 3}
    postgres_server.execute("DELETE FROM calls WHERE id = 3", database=database)
    back_up(config_file)
    for _ in range(2):  # a failed drill does not become the reference of the next one
        outcome = drilled(config_file)
        assert outcome.exit_status is ExitStatus.FAILED
        (reason,) = (check.reason for check in outcome.checks if check.reason.startswith("table"))
        assert reason == "table calls has 2 rows, the last good drill had 3"


def test_more_rows_are_the_new_measure(
    config_file: Path, postgres_server: Postgres, database: str
) -> None:
    drilled(config_file)
    postgres_server.execute("INSERT INTO calls VALUES (4, 1), (5, 1)", database=database)
    back_up(config_file)
    assert drilled(config_file).exit_status is ExitStatus.DONE
    assert drilled(config_file, ONE).exit_status is ExitStatus.DONE, "an older point has fewer"
    postgres_server.execute("DELETE FROM calls WHERE id > 3", database=database)
    back_up(config_file)
    assert drilled(config_file).exit_status is ExitStatus.FAILED


def test_every_row_of_the_dump_is_counted(
    config_file: Path, postgres_server: Postgres, database: str
) -> None:
    postgres_server.execute(*ODD_ROWS, database=database)
    back_up(config_file)
    outcome = drilled(config_file)
    assert outcome.exit_status is ExitStatus.DONE, unexpected(outcome)
    found = {check.name: check for check in outcome.checks}[f"rows of crm-server/{database}"]
    assert found.reason == "9 rows in 4 tables"


def test_row_that_the_load_loses_fails_the_drill(
    config_file: Path, postgres_server: Postgres, database: str
) -> None:
    postgres_server.execute(*LOSES_A_ROW, database=database)
    back_up(config_file)
    outcome = drilled(config_file)
    assert outcome.exit_status is ExitStatus.FAILED
    found = {check.name: check for check in outcome.checks}[f"rows of crm-server/{database}"]
    assert found.state is CheckState.FAILED
    assert found.reason == "table public.calls has 2 rows, the dump has 3"
