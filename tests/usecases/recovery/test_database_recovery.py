"""Recoveries of databases into a running server."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from standfast.errors import ExitStatus
from standfast.records import StepState
from standfast.usecases.approvals import step_retry
from standfast.usecases.backups.database_restore import Request, restore_into
from standfast.usecases.core.installation import Installation
from standfast.usecases.incidents import lifecycle
from standfast.usecases.incidents.outcome import Outcome
from standfast.usecases.recovery.recovery_plan import plan_recovery
from standfast.usecases.recovery.recovery_status import recovery_status
from tests.servers.mariadb import Mariadb
from tests.servers.postgres import Postgres
from tests.usecases.backup_installation import identity, installation_at
from tests.usecases.drills.database_installation import CHECK
from tests.usecases.installations import approve_as, undo_approved
from tests.usecases.recovery.live_database import (
    AFTER,
    BEFORE,
    LiveDatabase,
    live_database,
    with_database,
)
from tests.usecases.recovery.recovery_installation import opened

pytestmark = pytest.mark.xdist_group("databases")
CODE = """SELECT table_name FROM information_schema.views WHERE table_schema = DATABASE() UNION ALL
SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = DATABASE() UNION ALL
SELECT routine_name FROM information_schema.routines WHERE routine_schema = DATABASE() UNION ALL
SELECT event_name FROM information_schema.events WHERE event_schema = DATABASE()"""


@pytest.fixture(params=["postgres_server", "mariadb_server"])
def live(request: pytest.FixtureRequest) -> Iterator[LiveDatabase]:
    """A database on each kind of server."""
    with live_database(request.getfixturevalue(request.param)) as database:
        yield database


@pytest.fixture
def on_mariadb(mariadb_server: Mariadb) -> Iterator[LiveDatabase]:
    """A database with a view, a trigger, a procedure and an event."""
    with live_database(mariadb_server) as database:
        yield database


def recovered(installation: Installation) -> tuple[str, Outcome]:
    case = opened(installation)
    approve_as(installation, case, "recover", "lee")
    return case, lifecycle.advance(installation, case, "direct")


def assert_is_loaded(installation: Installation, case: str, live: LiveDatabase) -> None:
    """Assert that the recovered database serves and the damaged one was kept."""
    assert live.names() == AFTER
    (aside,) = live.beside()
    assert "before" in aside
    assert live.names(aside) == BEFORE
    status = recovery_status(installation, case)
    assert status.sets[0].set_aside == (aside,)
    assert "usable" in status.sets[0].clocks_ms
    assert status.services[0].is_met


def assert_is_returned(live: LiveDatabase) -> None:
    """Assert that the damaged database is back and the recovered one was kept."""
    assert live.names() == BEFORE
    (withdrawn,) = live.beside()
    assert live.names(withdrawn) == AFTER


def test_database_is_loaded_and_undo_returns_the_old(
    tmp_path: Path, postgres_server: Postgres
) -> None:
    with (
        live_database(postgres_server) as live,
        installation_at(with_database(tmp_path, live)) as installation,
    ):
        case, outcome = recovered(installation)
        assert outcome.exit_status is ExitStatus.DONE, outcome
        assert_is_loaded(installation, case, live)
        undo_approved(installation, case)
        lifecycle.advance(installation, case, "direct")
        assert_is_returned(live)


def test_existing_database_needs_a_second_person(tmp_path: Path, live: LiveDatabase) -> None:
    with installation_at(with_database(tmp_path, live)) as installation:
        (planned,) = plan_recovery(installation, "crm", "newest").sets["servers"].databases
        assert planned.has_data
        assert planned.size_bytes > 0
        case = opened(installation)
        state = installation.ledger.incidents.state(case)
        assert state.steps["recover"].state is StepState.ASKING
        assert live.beside() == []


def test_failed_check_returns_the_old_database(tmp_path: Path, live: LiveDatabase) -> None:
    more = CHECK.replace("sum(id) = 6", "sum(id) = 7")
    with installation_at(with_database(tmp_path, live, more)) as installation:
        _, outcome = recovered(installation)
        assert outcome.exit_status is ExitStatus.FAILED
        assert live.names() == BEFORE


@pytest.mark.parametrize("existed", [False, True])
def test_undo_returns_a_missing_or_empty_database(
    tmp_path: Path, live: LiveDatabase, existed: bool
) -> None:
    config_file = with_database(tmp_path, live)
    live.drop()
    if existed:
        live.create()
    with installation_at(config_file) as installation:
        case = opened(installation)
        # An incident without a database that would be replaced needs no second person.
        assert lifecycle.look(installation, case).exit_status is ExitStatus.DONE
        assert live.names() == AFTER
        if not existed:
            assert live.beside() == []
        undo_approved(installation, case)
        lifecycle.advance(installation, case, "direct")
        (withdrawn,) = live.beside()
        assert "recovered" in withdrawn
        assert live.names(withdrawn) == AFTER
        assert live.exists() is existed
        if existed:
            live.execute("CREATE TABLE customers (id INT)")  # it is empty


def programs_that_edit_the_dump(folder: Path, edit: str) -> Path:
    """Write client programs, of which the dump program edits its output."""
    dump = Path(shutil.which("mariadb-dump") or "")
    folder.mkdir()
    (folder / "mariadb").symlink_to(dump.with_name("mariadb"))
    (folder / dump.name).write_text(f"#!/bin/sh\n{dump} \"$@\" | LC_ALL=C sed '{edit}'\n")
    (folder / dump.name).chmod(0o755)
    return folder


@pytest.mark.parametrize("version", ["99.1.0-MariaDB", "8.0.36"])
def test_dump_of_newer_server_or_mysql_is_refused(
    tmp_path: Path, on_mariadb: LiveDatabase, version: str
) -> None:
    live = on_mariadb
    edit = rf"s/^\(-- Server version\s*\).*/\1{version}/"
    programs = programs_that_edit_the_dump(tmp_path / "programs", edit)
    with installation_at(with_database(tmp_path, live, programs=programs)) as installation:
        assert "the dump is" in plan_recovery(installation, "crm", "newest").refused["servers"]
        case = opened(installation)
        assert lifecycle.look(installation, case).exit_status is ExitStatus.FAILED
        assert live.names() == BEFORE
        assert live.beside() == []


def test_dump_of_newer_postgresql_is_refused(tmp_path: Path, postgres_server: Postgres) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for program in postgres_server.programs.iterdir():
        (programs / program.name).symlink_to(program)
    (programs / "pg_restore").unlink()
    restore, edit = (
        postgres_server.programs / "pg_restore",
        "s/(from database version: )[0-9]*/\\191/",
    )
    (programs / "pg_restore").write_text(
        f'#!/bin/sh\ncase "$*" in *--list*) {restore} "$@" | sed -E "{edit}";;\n'
        f'*) exec {restore} "$@";; esac\n'
    )
    (programs / "pg_restore").chmod(0o755)
    with (
        live_database(postgres_server) as live,
        installation_at(with_database(tmp_path, live, programs=programs)) as installation,
    ):
        assert "version 91" in plan_recovery(installation, "crm", "newest").refused["servers"]
        case = opened(installation)
        assert lifecycle.look(installation, case).exit_status is ExitStatus.FAILED
        assert (live.names(), live.beside()) == (BEFORE, [])


def test_missing_role_is_restored_before_a_retry(tmp_path: Path, postgres_server: Postgres) -> None:
    owner, _ = postgres_server.role()
    with live_database(postgres_server) as live:
        live.execute(f"ALTER TABLE calls OWNER TO {owner}")
        config_file = with_database(tmp_path, live)
        live.execute("ALTER TABLE calls OWNER TO postgres", f"DROP ROLE {owner}")
        with installation_at(config_file) as installation:
            case, outcome = recovered(installation)
            assert outcome.exit_status is ExitStatus.FAILED
            roles = "crm-server/globals.sql"
            assert roles in recovery_status(installation, case).sets[0].reason
            assert live.names() == BEFORE
            request = Request(
                point="latest", into="crm-server", patterns=(roles,), has_globals=True
            )
            restored = restore_into(installation, request, identity(tmp_path))
            assert [dump.path for dump in restored.dumps] == [roles]
            assert restored.exit_status is ExitStatus.DONE
            assert live.names() == BEFORE
            step_retry.retry(installation, case, "recover", by="dana")
            assert lifecycle.advance(installation, case, "direct").exit_status is ExitStatus.DONE
            assert live.names() == AFTER
        owned = "SELECT tableowner FROM pg_tables WHERE tablename = 'calls'"
        assert live.column(owned) == [owner]
        password = f"SELECT rolpassword IS NULL FROM pg_authid WHERE rolname = '{owner}'"
        assert live.column(password) == ["True"]
    postgres_server.execute(f"DROP ROLE {owner}")


def test_refused_dump_leaves_the_old_database(tmp_path: Path, on_mariadb: LiveDatabase) -> None:
    # A routine of root, in a form that the plan does not find: the server refuses it.
    edit = "$ s/^/ CREATE DEFINER=root@localhost PROCEDURE p() SELECT 1;\\n/"
    programs = programs_that_edit_the_dump(tmp_path / "programs", edit)
    with installation_at(with_database(tmp_path, on_mariadb, programs=programs)) as installation:
        code = on_mariadb.column(CODE)
        case, outcome = recovered(installation)
        assert outcome.exit_status is ExitStatus.FAILED
        assert "1227" in recovery_status(installation, case).sets[0].reason
        assert on_mariadb.names() == BEFORE
        assert on_mariadb.column(CODE) == code
        (incomplete,) = on_mariadb.beside()
        assert "incomplete" in incomplete


@pytest.mark.long
def test_retry_ends_a_failed_return(tmp_path: Path, on_mariadb: LiveDatabase) -> None:
    # The check fails once, and adds a routine that a move cannot keep.
    live, script, mark = on_mariadb, tmp_path / "check", tmp_path / "mark"
    late = "SET character_set_client = gbk; CREATE PROCEDURE late() SELECT 1"
    client = f"mariadb --no-defaults -uroot --socket=$MYSQL_UNIX_PORT {live.name}"
    script.write_text(
        f"#!/bin/sh\ntest -e {mark} && exit 0\ntouch {mark}\necho '{late}' | {client}\nexit 1\n"
    )
    script.chmod(0o755)
    more = f'{CHECK}\n[[services.crm.checks]]\nkind = "command"\ncommand = ["{script}"]\n'
    with installation_at(with_database(tmp_path, live, more)) as installation:
        code = live.column(CODE)
        case, outcome = recovered(installation)
        assert outcome.exit_status is ExitStatus.FAILED
        assert "late" in recovery_status(installation, case).sets[0].reason
        live.execute("DROP PROCEDURE late")
        step_retry.retry(installation, case, "recover", by="dana")
        assert lifecycle.advance(installation, case, "direct").exit_status is ExitStatus.DONE
        assert live.names() == AFTER
        (aside,) = [name for name in live.beside() if "_before_" in name]
        assert live.names(aside) == BEFORE
        undo_approved(installation, case)
        lifecycle.advance(installation, case, "direct")
        assert (live.names(), live.column(CODE)) == (BEFORE, code)


def test_database_that_appeared_later_is_kept(tmp_path: Path, live: LiveDatabase) -> None:
    with installation_at(with_database(tmp_path, live)) as installation:
        case = opened(installation)
        live.drop()
        live.create()
        live.execute("CREATE TABLE fresh (id INT)")
        approve_as(installation, case, "recover", "lee")
        outcome = lifecycle.advance(installation, case, "direct")
        assert outcome.exit_status is ExitStatus.FAILED
        assert live.column("SELECT count(*) FROM fresh") == ["0"]


@contextmanager
def another_program(live: LiveDatabase) -> Iterator[list[int]]:
    """Run a program that creates its table and adds rows; yield the rows."""
    written, has_ended = list[int](), threading.Event()

    def write() -> None:
        while not has_ended.is_set():
            number = 1000 + len(written)
            with suppress(AssertionError, psycopg.Error):  # the statement failed
                live.execute(
                    "CREATE TABLE IF NOT EXISTS customers (id INT PRIMARY KEY, name TEXT)",
                    f"INSERT INTO customers (id, name) VALUES ({number}, 'new')",
                )
                written.append(number)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield written
    finally:
        has_ended.set()
        thread.join()


def ids(live: LiveDatabase, database: str) -> list[str]:
    """Return the ids of the customers; an incomplete database may have none."""
    with suppress(AssertionError, psycopg.Error):
        return live.column("SELECT id FROM customers", database)
    return []


@pytest.mark.long
def test_rows_of_a_running_program_are_kept(tmp_path: Path, live: LiveDatabase) -> None:
    with installation_at(with_database(tmp_path, live)) as installation:
        case = opened(installation)
        approve_as(installation, case, "recover", "lee")
        with another_program(live) as written:
            outcome = lifecycle.advance(installation, case, "direct")
        is_done = outcome.exit_status is ExitStatus.DONE
        assert live.names()[:2] == (AFTER if is_done else BEFORE), outcome
        kept = {row for name in (live.name, *live.beside()) for row in ids(live, name)}
        assert kept >= {str(number) for number in written}
        if not is_done:
            step_retry.retry(installation, case, "recover", by="dana")
            assert lifecycle.advance(installation, case, "direct").exit_status is ExitStatus.DONE
            assert live.names() == AFTER


def test_mariadb_code_rests_until_the_undo(tmp_path: Path, on_mariadb: LiveDatabase) -> None:
    live = on_mariadb
    with installation_at(with_database(tmp_path, live)) as installation:
        code = live.column(CODE)
        live.execute("DROP EVENT nightly")
        case, outcome = recovered(installation)
        assert outcome.exit_status is ExitStatus.DONE, outcome
        assert_is_loaded(installation, case, live)
        assert live.column(CODE) == code
        assert live.column(CODE, *live.beside()) == []
        undo_approved(installation, case)
        lifecycle.advance(installation, case, "direct")
        assert_is_returned(live)
        assert live.column(CODE) == [name for name in code if name != "nightly"]
        assert live.column("SELECT * FROM names") == BEFORE


def test_mariadb_foreign_key_from_outside_is_refused(
    tmp_path: Path, on_mariadb: LiveDatabase, mariadb_server: Mariadb
) -> None:
    config_file = with_database(tmp_path, on_mariadb)
    key = f"FOREIGN KEY (id) REFERENCES {on_mariadb.name}.customers (id)"
    with mariadb_server.database() as other, installation_at(config_file) as installation:
        mariadb_server.execute(f"CREATE TABLE notes (id INT PRIMARY KEY, {key})", database=other)
        refused = plan_recovery(installation, "crm", "newest").refused
        mariadb_server.execute("DROP TABLE notes", database=other)
    assert other in refused["servers"]
