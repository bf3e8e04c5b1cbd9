"""PostgreSQL databases, from a running server to the repository and back."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest

from backup.errors import Damaged, SourceFailed, TargetFailed, UnsafePath
from backup.records import BackupResult
from backup.sources import Found
from backup.sources.postgresql.dump_source import PostgresqlSource
from backup.sources.postgresql.server import PostgresqlServer
from backup.targets import TargetResult
from backup.targets.postgresql import PostgresqlTarget
from tests.backup.programs_twin import wrapped
from tests.backup.site import Site
from tests.servers.postgres import Postgres

pytestmark = pytest.mark.xdist_group("postgresql")

SCHEMA = (
    "CREATE TABLE customers (id int PRIMARY KEY, name text, photo bytea)",
    """INSERT INTO customers SELECT n, 'Ünal ' || n, decode(md5(n::text), 'hex')
    FROM generate_series(1, 20000) n""",
    "CREATE INDEX ON customers (name)",
    "CREATE VIEW names AS SELECT name FROM customers",
    "CREATE TABLE calls (id serial PRIMARY KEY, customer int REFERENCES customers, at timestamptz)",
    """INSERT INTO calls (customer, at) SELECT n, '2026-01-02 03:04:05.678901+00'
    FROM generate_series(1, 500) n""",
)
CUSTOMERS = "SELECT id, name, photo FROM customers ORDER BY id"
CALLS = "SELECT id, customer, at FROM calls ORDER BY id"


@pytest.fixture
def crm(postgres_server: Postgres) -> Iterator[str]:
    with postgres_server.database() as name:
        postgres_server.execute(*SCHEMA, database=name)
        yield name


@pytest.fixture
def spare(postgres_server: Postgres) -> Iterator[str]:
    """The name of a new database, which is dropped afterwards."""
    with ExitStack() as stack:
        name = stack.enter_context(postgres_server.database())
        postgres_server.execute(
            f"DROP DATABASE {name}",
        )
        yield name
        postgres_server.execute(f"DROP DATABASE IF EXISTS {name}", f"CREATE DATABASE {name}")


def server(postgres: Postgres, user: str = "postgres", **more: Any) -> PostgresqlServer:
    given: dict[str, Any] = {
        "host": str(postgres.socket_folder),
        "user": user,
        "programs": postgres.programs,
    }
    return PostgresqlServer(**(given | more))


def reader(postgres: Postgres, *rights: str) -> tuple[PostgresqlServer, str]:
    """Yield a server with the role of docs/sources.md, and the password."""
    name, password = postgres.role()
    for right in rights or ("pg_read_all_data",):
        postgres.execute(f"GRANT {right} TO {name}")
    return server(postgres, name, password=lambda: password), password


def restored(site: Site, postgres: Postgres, path: str, into: str, **more: Any) -> TargetResult:
    repository = site.repository()
    point = repository.resolve("latest")
    original = path.rpartition("/")[2].removesuffix(".dump")
    return PostgresqlTarget(server(postgres), site.clock).restore(
        into, original, lambda: repository.stream(point, path), **more
    )


def test_database_is_restored_row_for_row(
    site: Site, postgres_server: Postgres, crm: str, spare: str
) -> None:
    as_reader, _ = reader(postgres_server)
    result = site.back_up(PostgresqlSource("crm", as_reader, [crm]))
    assert (result.complete, result.files) == (True, 2)
    taken = restored(site, postgres_server, f"crm/{crm}.dump", spare)
    assert (taken.problems_total, taken.kept_as) == (0, None)
    for query in (CUSTOMERS, CALLS, "SELECT count(*) FROM names"):
        before = postgres_server.rows(query, database=crm)
        assert postgres_server.rows(query, database=spare) == before
    # The restored sequence continues at its value.
    postgres_server.execute("INSERT INTO calls (customer) VALUES (1)", database=spare)
    assert postgres_server.rows("SELECT max(id) FROM calls", database=spare) == [(501,)]


def test_a_changed_row_costs_little(site: Site, postgres_server: Postgres, crm: str) -> None:
    source = PostgresqlSource("crm", server(postgres_server), [crm])
    first = site.back_up(source)
    postgres_server.execute("UPDATE calls SET customer = 2 WHERE id = 250", database=crm)
    second = site.back_up(source)
    assert second.bytes_read > 500_000
    assert second.bytes_new < first.bytes_new / 2


def test_every_database_is_backed_up_unless_excluded(
    site: Site, postgres_server: Postgres, crm: str
) -> None:
    strange = f'{crm}/a "b" %41'
    quoted = strange.replace('"', '""')
    postgres_server.execute(f'CREATE DATABASE "{quoted}"')
    try:
        postgres_server.execute("CREATE TABLE t AS SELECT 7 AS n", database=strange)
        source = PostgresqlSource("all", server(postgres_server), exclude_databases=["postgres"])
        assert site.back_up(source).complete
        repository = site.repository()
        names = [entry.path.decode() for entry in repository.entries(repository.resolve("latest"))]
        file_name = f"all/{crm}%2Fa %22b%22 %2541.dump"
        assert {"all/globals.sql", f"all/{crm}.dump", file_name} <= set(names)
        assert "all/postgres.dump" not in names
        postgres_server.execute(f'DROP DATABASE "{quoted}"')
        point = repository.resolve("latest")
        PostgresqlTarget(server(postgres_server), site.clock).restore(
            strange, strange, lambda: repository.stream(point, file_name.encode())
        )
        assert postgres_server.rows("SELECT n FROM t", database=strange) == [(7,)]
    finally:
        postgres_server.execute(f'DROP DATABASE IF EXISTS "{quoted}"')


def test_dump_is_of_one_moment_during_writes(
    site: Site, postgres_server: Postgres, crm: str, spare: str
) -> None:
    postgres_server.execute(
        "CREATE TABLE accounts AS SELECT n AS id, 100 AS amount FROM generate_series(1, 2) n",
        database=crm,
    )
    has_ended = threading.Event()

    def move_money() -> None:
        with psycopg.connect(postgres_server.url(crm, driver="")) as connection:
            while not has_ended.is_set():
                connection.execute("UPDATE accounts SET amount = amount - 1 WHERE id = 1")
                connection.execute("UPDATE accounts SET amount = amount + 1 WHERE id = 2")
                connection.execute("INSERT INTO calls (customer) VALUES (1)")
                connection.commit()

    writer = threading.Thread(target=move_money)
    writer.start()
    try:
        assert site.back_up(PostgresqlSource("crm", server(postgres_server), [crm])).complete
    finally:
        has_ended.set()
        writer.join()
    restored(site, postgres_server, f"crm/{crm}.dump", spare)
    assert postgres_server.rows("SELECT sum(amount) FROM accounts", database=spare) == [(200,)]
    ((moved,),) = postgres_server.rows(
        "SELECT 100 - amount FROM accounts WHERE id = 1", database=spare
    )
    ((told,),) = postgres_server.rows("SELECT count(*) - 500 FROM calls", database=spare)
    assert moved == told


def test_nothing_on_disk_and_no_password_argument(
    tmp_path: Path, site: Site, postgres_server: Postgres, crm: str
) -> None:
    as_reader, password = reader(postgres_server)
    noted = tmp_path / "noted"
    script = f'printf "%s\\n" "$0 $*" >> {noted}; exec "$REAL" "$@"'
    names = ("psql", "pg_dump", "pg_dumpall")
    programs = wrapped(tmp_path / "bin", postgres_server.programs, dict.fromkeys(names, script))
    as_reader = server(
        postgres_server, as_reader.user, password=as_reader.password, programs=programs
    )
    source = PostgresqlSource("crm", as_reader, [crm])
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with source.opened(scratch, site.clock) as opened:
        for found in opened.scan():
            if isinstance(found, Found) and found.kind == "file":
                with opened.read(found) as content:
                    buffer = memoryview(bytearray(100_000))
                    while content.readinto(buffer):
                        assert list(scratch.iterdir()) == []
    arguments = noted.read_text()
    assert "pg_dumpall --globals-only" in arguments
    assert "--format=custom --compress=0" in arguments
    assert password not in arguments
    assert password not in repr(source.server)


def test_missing_right_fails_only_its_source(
    tmp_path: Path, site: Site, postgres_server: Postgres, crm: str
) -> None:
    postgres_server.execute("CREATE TABLE hidden (n int)", database=crm)
    as_stranger, password = reader(postgres_server, "pg_monitor")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "note.txt").write_text("kept")
    source = PostgresqlSource("crm", as_stranger, [crm])
    result = site.back_up(source, tmp_path / "tree")
    assert not result.complete
    problems = {item.path: item.reason for item in result.unread}
    assert "permission denied for table" in problems[f"crm/{crm}.dump"]
    assert "source crm: 1 of 2 dumps failed" in problems["crm"]
    assert password not in str(problems)
    site.restore("latest", tmp_path / "out")
    assert (tmp_path / "out" / "files1" / "note.txt").read_text() == "kept"
    assert not (tmp_path / "out" / "crm" / f"{crm}.dump").exists()
    found = source.obstacles(tmp_path)
    assert [one.prevents for one in found] == [True]
    assert "may not fully read 4 relations" in found[0].problem
    assert PostgresqlSource("crm", reader(postgres_server)[0], [crm]).obstacles(tmp_path) == []


def test_secured_rows_and_objects_are_reported_before(
    tmp_path: Path, site: Site, postgres_server: Postgres, crm: str
) -> None:
    as_reader, _ = reader(postgres_server)
    source = PostgresqlSource("crm", as_reader, [crm])
    postgres_server.execute("ALTER TABLE calls ENABLE ROW LEVEL SECURITY", database=crm)
    assert ["public.calls" in one.problem for one in source.obstacles(tmp_path)] == [True]
    assert not site.back_up(source).complete
    postgres_server.execute(f"ALTER ROLE {as_reader.user} BYPASSRLS")
    assert source.obstacles(tmp_path) == []
    assert site.back_up(source).complete
    postgres_server.execute("SELECT lo_from_bytea(0, 'voice')", database=crm)
    assert ["1 large objects" in one.problem for one in source.obstacles(tmp_path)] == [True]


def test_interrupted_dump_is_discarded(
    tmp_path: Path, site: Site, postgres_server: Postgres, crm: str
) -> None:
    script = """case "$*" in *--version*) exec "$REAL" "$@";; esac
    head -c 300000 /dev/zero; echo 'pg_dump: error: the server went away' >&2; exit 1"""
    programs = wrapped(tmp_path / "bin", postgres_server.programs, {"pg_dump": script})
    result = site.back_up(
        PostgresqlSource("crm", server(postgres_server, programs=programs), [crm])
    )
    problems = {item.path: item.reason for item in result.unread}
    assert problems[f"crm/{crm}.dump"].endswith(
        "ended with 1: pg_dump: error: the server went away"
    )
    repository = site.repository()
    left = [entry.text for entry in repository.entries(repository.resolve("latest"))]
    assert left == ["crm", "crm/globals.sql"]


def test_interrupted_role_dump_is_discarded(
    tmp_path: Path, site: Site, postgres_server: Postgres, crm: str
) -> None:
    script = """case "$*" in *--version*) exec "$REAL" "$@";; esac
    "$REAL" "$@" | head -n 20"""
    programs = wrapped(tmp_path / "bin", postgres_server.programs, {"pg_dumpall": script})
    result = site.back_up(
        PostgresqlSource("crm", server(postgres_server, programs=programs), [crm])
    )
    problems = {item.path: item.reason for item in result.unread}
    assert "breaks off before the end" in problems["crm/globals.sql"]


@pytest.mark.parametrize(
    ("scripts", "message"),
    [
        (
            {"pg_dump": 'echo "pg_dump (PostgreSQL) 9.6.24"'},
            "of version 9 and the server of version",
        ),
        ({"pg_dump": 'chmod -x "$0"; exit 1'}, "pg_dump ended with 1"),
    ],
)
def test_incompatible_program_says_what_to_install(
    tmp_path: Path,
    site: Site,
    postgres_server: Postgres,
    crm: str,
    scripts: dict[str, str],
    message: str,
) -> None:
    programs = wrapped(tmp_path / "bin", postgres_server.programs, scripts)
    source = PostgresqlSource("crm", server(postgres_server, programs=programs), [crm])
    with pytest.raises(SourceFailed, match=message), source.opened(tmp_path, site.clock):
        pass


def test_missing_program_and_silent_server_are_named(
    tmp_path: Path, site: Site, postgres_server: Postgres
) -> None:
    (tmp_path / "empty").mkdir()
    without = server(postgres_server, programs=tmp_path / "empty")
    with (
        pytest.raises(SourceFailed, match="Install the package postgresql-client"),
        PostgresqlSource("crm", without).opened(tmp_path, site.clock),
    ):
        pass
    nowhere = server(postgres_server, host=str(tmp_path))
    with (
        pytest.raises(SourceFailed, match=r"crm: .* 2"),
        PostgresqlSource("crm", nowhere).opened(tmp_path, site.clock),
    ):
        pass


def backed_up(site: Site, postgres: Postgres, database: str) -> BackupResult:
    result = site.back_up(PostgresqlSource("crm", server(postgres), [database]))
    assert result.complete
    return result


def test_nonempty_database_is_refused_unchanged(
    site: Site, postgres_server: Postgres, crm: str
) -> None:
    backed_up(site, postgres_server, crm)
    postgres_server.execute("DELETE FROM calls", database=crm)
    with pytest.raises(UnsafePath, match=f"{crm} is not empty"):
        restored(site, postgres_server, f"crm/{crm}.dump", crm)
    assert postgres_server.rows("SELECT count(*) FROM calls", database=crm) == [(0,)]


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TYPE mood AS ENUM ('calm')",
        "CREATE DOMAIN number AS int",
        "CREATE PUBLICATION changes FOR ALL TABLES",
        "CREATE TEXT SEARCH CONFIGURATION words (COPY = simple)",
    ],
)
def test_database_without_tables_may_be_nonempty(
    site: Site, postgres_server: Postgres, crm: str, spare: str, statement: str
) -> None:
    backed_up(site, postgres_server, crm)
    postgres_server.execute(f"CREATE DATABASE {spare} TEMPLATE template0")
    postgres_server.execute(statement, database=spare)
    with pytest.raises(UnsafePath, match=f"{spare} is not empty"):
        restored(site, postgres_server, f"crm/{crm}.dump", spare)
    assert postgres_server.rows("SELECT to_regclass('calls')", database=spare) == [(None,)]
    assert restored(site, postgres_server, f"crm/{crm}.dump", spare, replace=True).problems == ()
    assert postgres_server.rows(CALLS, database=spare) == postgres_server.rows(CALLS, database=crm)


def test_template_database_is_restored_as_template(
    site: Site, postgres_server: Postgres, crm: str
) -> None:
    is_template = f"SELECT datistemplate FROM pg_database WHERE datname = '{crm}'"
    try:
        postgres_server.execute(f"ALTER DATABASE {crm} IS_TEMPLATE true")
        source = PostgresqlSource("crm", server(postgres_server))
        assert site.back_up(source).complete
        repository = site.repository()
        names = {entry.text for entry in repository.entries(repository.resolve("latest"))}
        assert f"crm/{crm}.dump" in names
        assert not names & {"crm/template0.dump", "crm/template1.dump"}
        postgres_server.execute("DELETE FROM calls", database=crm)
        taken = restored(site, postgres_server, f"crm/{crm}.dump", crm, replace=True)
        assert (taken.problems_total, taken.kept_as) == (0, None)
        assert postgres_server.rows("SELECT count(*) FROM calls", database=crm) == [(500,)]
        assert postgres_server.rows(is_template, database="postgres") == [(True,)]
        assert len(named_like(postgres_server, crm)) == 1
    finally:
        postgres_server.execute(f"ALTER DATABASE {crm} IS_TEMPLATE false")


def test_database_in_use_is_replaced_with_its_settings(
    site: Site, postgres_server: Postgres, crm: str
) -> None:
    postgres_server.execute(f"ALTER DATABASE {crm} SET work_mem = '7MB'")
    backed_up(site, postgres_server, crm)
    postgres_server.execute("DROP TABLE calls", "CREATE TABLE newer (n int)", database=crm)
    with psycopg.connect(postgres_server.url(crm, driver="")):
        taken = restored(site, postgres_server, f"crm/{crm}.dump", crm, replace=True)
    assert (taken.problems_total, taken.kept_as) == (0, None)
    assert postgres_server.rows("SELECT count(*) FROM calls", database=crm) == [(500,)]
    assert postgres_server.rows("SELECT to_regclass('newer')", database=crm) == [(None,)]
    assert postgres_server.rows("SHOW work_mem", database=crm) == [("7MB",)]
    assert len(named_like(postgres_server, crm)) == 1


def named_like(postgres: Postgres, name: str) -> list[str]:
    query = f"SELECT datname FROM pg_database WHERE datname LIKE '{name[:40]}%' ORDER BY 1"
    return [str(row[0]) for row in postgres.rows(query, database="postgres")]


def test_old_database_returns_if_the_vault_is_damaged(
    site: Site, postgres_server: Postgres, crm: str
) -> None:
    backed_up(site, postgres_server, crm)
    repository = site.repository()
    point = repository.resolve("latest")

    def damaged() -> Iterator[bytes]:
        yield next(iter(repository.stream(point, f"crm/{crm}.dump")))
        raise Damaged("a pack is not what was written")

    target = PostgresqlTarget(server(postgres_server), site.clock)
    before = postgres_server.rows(CUSTOMERS, database=crm)
    with pytest.raises(Damaged):
        target.restore(crm, crm, damaged, replace=True)
    assert postgres_server.rows(CUSTOMERS, database=crm) == before
    assert named_like(postgres_server, crm) == [crm]


@pytest.mark.parametrize("lines", ["", "\npg_restore: warning: "])
def test_row_cannot_hide_a_failed_load(
    site: Site, postgres_server: Postgres, crm: str, lines: str
) -> None:
    imitation = f"{lines}errors ignored on restore: 0".replace("\n", "' || chr(10) || '")
    function = "CREATE OR REPLACE FUNCTION fits(text) RETURNS bool LANGUAGE sql"
    postgres_server.execute(
        f"{function} AS 'SELECT true'",
        "CREATE TABLE notes (note text CHECK (fits(note)))",
        f"INSERT INTO notes VALUES ('kim error: ' || '{imitation}')",
        f"{function} AS 'SELECT false'",
        database=crm,
    )
    backed_up(site, postgres_server, crm)
    taken = restored(site, postgres_server, f"crm/{crm}.dump", crm, replace=True)
    assert taken.problems_total == 1
    assert not any("kim" in problem for problem in taken.problems)
    assert taken.kept_as is not None, "the previous database is the only one with the row"
    assert postgres_server.rows("SELECT count(*) FROM notes", database=taken.kept_as) == [(1,)]
    postgres_server.execute(f"DROP DATABASE {taken.kept_as}")


def test_missing_role_is_counted_and_rows_are_restored(
    site: Site, postgres_server: Postgres, crm: str
) -> None:
    owner, _ = postgres_server.role()
    postgres_server.execute(f"ALTER TABLE calls OWNER TO {owner}", database=crm)
    backed_up(site, postgres_server, crm)
    postgres_server.execute("ALTER TABLE calls OWNER TO postgres", database=crm)
    postgres_server.execute(f"DROP ROLE {owner}")
    taken = restored(site, postgres_server, f"crm/{crm}.dump", crm, replace=True)
    assert taken.problems_total >= 1
    assert f'role "{owner}" does not exist' in taken.problems[0]
    assert taken.kept_as is not None
    assert postgres_server.rows("SELECT count(*) FROM calls", database=crm) == [(500,)]
    assert postgres_server.rows("SELECT count(*) FROM calls", database=taken.kept_as) == [(500,)]
    postgres_server.execute(f"DROP DATABASE {taken.kept_as}")


def test_roles_are_restored_with_included_passwords(
    site: Site, postgres_server: Postgres, crm: str
) -> None:
    clerk, password = postgres_server.role("CREATEDB")
    site.back_up(PostgresqlSource("crm", server(postgres_server), [crm], role_passwords=True))
    postgres_server.execute(f"DROP ROLE {clerk}")
    repository = site.repository()
    point = repository.resolve("latest")
    taken = PostgresqlTarget(server(postgres_server), site.clock).restore_globals(
        lambda: repository.stream(point, "crm/globals.sql")
    )
    assert taken.problems == ()
    as_clerk = server(postgres_server, clerk, password=lambda: password)
    assert as_clerk.value("SELECT rolcreatedb FROM pg_roles WHERE rolname = current_user") == "t"


def test_invalid_dump_leaves_no_database(site: Site, postgres_server: Postgres, spare: str) -> None:
    target = PostgresqlTarget(server(postgres_server), site.clock)
    with pytest.raises(TargetFailed, match=f"into database {spare} failed"):
        target.restore(spare, spare, lambda: iter([b"not a dump" * 1000]))
    assert named_like(postgres_server, spare) == []
