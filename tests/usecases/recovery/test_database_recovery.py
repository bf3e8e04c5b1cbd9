"""Recoveries of PostgreSQL databases into a running server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from standfast.errors import ExitStatus
from standfast.records import StepState
from standfast.usecases.backups.backup_run import run_backup
from standfast.usecases.core.installation import Installation
from standfast.usecases.incidents import lifecycle
from standfast.usecases.incidents.outcome import Outcome
from standfast.usecases.recovery.recovery_plan import plan_recovery
from standfast.usecases.recovery.recovery_status import recovery_status
from tests.servers.postgres import Postgres
from tests.usecases.backup_installation import furnish, identity, installation_at
from tests.usecases.drills.database_installation import CHECK, SOURCE, TABLES
from tests.usecases.installations import approve_as, enrol_people, undo_approved
from tests.usecases.recovery.recovery_installation import PLAYBOOK, opened

pytestmark = pytest.mark.xdist_group("databases")
NAMES = "SELECT name FROM customers ORDER BY id"
AFTER = [("Ünal",), ("O'Hara",)]


def with_database(folder: Path, server: Postgres, database: str, more: str = CHECK) -> Path:
    """Back a database up and damage it; return the configuration file."""
    server.execute(*TABLES, database=database)
    source = SOURCE.replace("{host}", str(server.socket_folder))
    source = source.replace("{programs}", str(server.programs))
    settings = f"""
[drills]
identity = "file:{identity(folder)}"

[playbooks]
folder = "playbooks"

[backup.sets.servers.recovery.crm-server]
into = "crm-server"
"""
    config_file = furnish(folder, (source + settings + more).replace("{database}", database))
    (folder / "playbooks").mkdir()
    (folder / "playbooks" / "bring-back.yaml").write_text(PLAYBOOK)
    with installation_at(config_file) as installation:
        run_backup(installation, "servers", "direct")
        enrol_people(installation)
    server.execute("UPDATE customers SET name = 'encrypted'", database=database)
    return config_file


@pytest.fixture
def database(postgres_server: Postgres) -> Iterator[str]:
    """A database; afterwards it and all that a recovery renamed are dropped."""
    with postgres_server.database() as name:
        yield name
        for (other,) in beside(postgres_server, name):
            postgres_server.execute(f'DROP DATABASE "{other}" WITH (FORCE)')


def beside(server: Postgres, database: str) -> list[tuple[str]]:
    sql = f"SELECT datname FROM pg_database WHERE datname LIKE '{database}\\_%' ORDER BY 1"
    return server.rows(sql, database="postgres")


def recovered(installation: Installation) -> tuple[str, Outcome]:
    case = opened(installation)
    approve_as(installation, case, "recover", "lee")
    return case, lifecycle.advance(installation, case, "direct")


def test_database_is_loaded_and_old_one_kept(
    tmp_path: Path, postgres_server: Postgres, database: str
) -> None:
    with installation_at(with_database(tmp_path, postgres_server, database)) as installation:
        case, outcome = recovered(installation)
        assert outcome.exit_status is ExitStatus.DONE, outcome
        assert postgres_server.rows(NAMES, database=database) == AFTER
        ((aside,),) = beside(postgres_server, database)
        assert "before" in aside
        assert postgres_server.rows(NAMES, database=aside) == [("encrypted",)] * 2
        status = recovery_status(installation, case)
        assert status.sets[0].set_aside == (aside,)
        assert "usable" in status.sets[0].clocks_ms
        assert status.services[0].is_met


def test_existing_database_needs_a_second_person(
    tmp_path: Path, postgres_server: Postgres, database: str
) -> None:
    with installation_at(with_database(tmp_path, postgres_server, database)) as installation:
        (planned,) = plan_recovery(installation, "crm", "newest").sets["servers"].databases
        assert planned.has_data
        assert planned.size_bytes > 0
        case = opened(installation)
        state = installation.ledger.incidents.state(case)
        assert state.steps["recover"].state is StepState.ASKING
        assert beside(postgres_server, database) == []


def test_undo_returns_the_old_database(
    tmp_path: Path, postgres_server: Postgres, database: str
) -> None:
    with installation_at(with_database(tmp_path, postgres_server, database)) as installation:
        case, _ = recovered(installation)
        undo_approved(installation, case)
        lifecycle.advance(installation, case, "direct")
        assert postgres_server.rows(NAMES, database=database) == [("encrypted",)] * 2
        ((withdrawn,),) = beside(postgres_server, database)
        assert postgres_server.rows(NAMES, database=withdrawn) == AFTER


def test_failed_check_returns_the_old_database(
    tmp_path: Path, postgres_server: Postgres, database: str
) -> None:
    more = CHECK.replace("sum(id) = 6", "sum(id) = 7")
    with installation_at(with_database(tmp_path, postgres_server, database, more)) as installation:
        _, outcome = recovered(installation)
        assert outcome.exit_status is ExitStatus.FAILED
        assert postgres_server.rows(NAMES, database=database) == [("encrypted",)] * 2


def test_missing_database_needs_no_second_person(
    tmp_path: Path, postgres_server: Postgres, database: str
) -> None:
    config_file = with_database(tmp_path, postgres_server, database)
    postgres_server.execute(f"DROP DATABASE {database}")
    with installation_at(config_file) as installation:
        case = opened(installation)
        assert lifecycle.look(installation, case).exit_status is ExitStatus.DONE
        assert postgres_server.rows(NAMES, database=database) == AFTER
        assert beside(postgres_server, database) == []


def test_database_that_appeared_later_is_kept(
    tmp_path: Path, postgres_server: Postgres, database: str
) -> None:
    config_file = with_database(tmp_path, postgres_server, database)
    with installation_at(config_file) as installation:
        case = opened(installation)
        postgres_server.execute(
            f"DROP DATABASE {database} WITH (FORCE)", f"CREATE DATABASE {database}"
        )
        postgres_server.execute("CREATE TABLE fresh (id INT)", database=database)
        approve_as(installation, case, "recover", "lee")
        outcome = lifecycle.advance(installation, case, "direct")
        assert outcome.exit_status is ExitStatus.FAILED
        assert postgres_server.rows("SELECT count(*) FROM fresh", database=database) == [(0,)]
