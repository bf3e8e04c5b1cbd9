"""Attacks by the content of a backup on the machine that restores it.

Capability: the attacker controls a database server or a backup host, and so every byte of a dump.
They have no account on the machine that restores, which holds the custodian's identity.

What stays true when the dump is restored into a server:

- no program is started and no file is read on the machine that restores;
- no other database is written to than the one that the person named;
- of roles and users, either the statements that a dump program writes are executed, or none;
- the programs that are fed with the dump cannot read the identity.

What does not: inside the database server a dump is SQL with the rights of the user in the address.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from backup.errors import TargetFailed, UnexpectedStatement
from backup.sources.mariadb.server import MariadbServer
from backup.sources.postgresql.server import PostgresqlServer
from backup.system.landlock import is_supported
from backup.targets.mariadb import MariadbTarget
from backup.targets.postgresql import PostgresqlTarget
from standfast.errors import ExitStatus
from standfast.usecases.backups import backup_run
from standfast.usecases.backups.database_restore import (
    DatabaseRestoreOutcome,
    Request,
    restore_into,
)
from tests.backup.programs_twin import wrapped
from tests.servers.mariadb import Mariadb
from tests.servers.postgres import Postgres
from tests.usecases.backup_installation import NOW, furnish, identity, installation_at

pytestmark = pytest.mark.xdist_group("databases")

SET = """
[backup.sets.servers]

[[backup.sets.servers.sources]]
kind = "postgresql"
name = "crm"
host = "{host}"
user = "postgres"
databases = ["{database}"]
programs = "{programs}"
"""


@pytest.fixture
def database(postgres_server: Postgres) -> Iterator[str]:
    with postgres_server.database() as name:
        postgres_server.execute("CREATE TABLE t AS SELECT 7 AS n", database=name)
        yield name


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """The file that an attack makes when it succeeds."""
    return tmp_path / "mark"


def has_role(server: Postgres, name: str) -> bool:
    return bool(server.rows(f"SELECT FROM pg_roles WHERE rolname = '{name}'", database="postgres"))


def configure(tmp_path: Path, server: Postgres, database: str, scripts: dict[str, str]) -> Path:
    """Set up an installation with hostile or real database programs."""
    programs = wrapped(tmp_path / "bin", server.programs, scripts)
    more = SET.format(host=server.socket_folder, database=database, programs=programs)
    return furnish(tmp_path, more=more)


def restored(config_file: Path, database: str) -> DatabaseRestoreOutcome:
    """Restore the dump of a database, and roles, into the server it came from."""
    request = Request(
        point="latest",
        into="crm",
        set_name="servers",
        patterns=(f"crm/{database}.dump",),
        replaces=True,
        has_globals=True,
    )
    with installation_at(config_file) as installation:
        return restore_into(installation, request, identity(config_file.parent))


def test_shell_command_among_roles_never_runs(
    tmp_path: Path, postgres_server: Postgres, database: str, mark: Path
) -> None:
    # The attempt: pg_dumpall on the backup host adds a line to the roles.
    evil = f'printf "CREATE ROLE planted SUPERUSER;\\n\\\\\\\\! touch {mark}\\n"; exec "$REAL" "$@"'
    config_file = configure(tmp_path, postgres_server, database, {"pg_dumpall": evil})
    with installation_at(config_file) as installation:
        assert backup_run.run_backup(installation, "servers", "direct").result.complete

    outcome = restored(config_file, database)

    roles, dump = outcome.dumps
    assert roles.exit_status is ExitStatus.REFUSED
    assert dump.exit_status is ExitStatus.DONE
    assert not mark.exists()
    assert not has_role(postgres_server, "planted")


@pytest.mark.parametrize(
    "attempt",
    [
        r"\! touch {mark}",
        r"GRANT pg_monitor TO postgres \! touch {mark}",
        r"\o |touch {mark}",
        r"\restrict k" + "\n" + r"\unrestrict k" + "\n" + r"\! touch {mark}",
        r"\set x `touch {mark}`",
        "COMMENT ON ROLE postgres IS :'HOST';",
        "COPY (SELECT 1) TO PROGRAM 'touch {mark}';",
        "DO $$BEGIN COPY (SELECT 1) TO PROGRAM 'touch {mark}'; END$$;",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1';",
        "SELECT pg_read_file('/etc/passwd');",
        "/* GRANT */ DROP ROLE planted;",
        # Other ways to read quotes, behind which a command would hide.
        "SET standard_conforming_strings = off;\nCOMMENT ON ROLE a IS '\\';\n\\! touch {mark}\n';",
        "SET client_encoding = 'SJIS';",
        "COMMENT ON ROLE postgres IS 'a\\';\n\\! touch {mark}\n';",
        "COMMENT ON ROLE postgres IS 'not ended;\n\\! touch {mark}\n",
    ],
)
def test_other_statement_refuses_all_roles(
    tmp_path: Path, postgres_server: Postgres, mark: Path, attempt: str
) -> None:
    sql = "CREATE ROLE planted;\n" + attempt.replace("{mark}", str(mark)) + "\n"
    server = PostgresqlServer(
        host=str(postgres_server.socket_folder), user="postgres", programs=postgres_server.programs
    )
    with pytest.raises(UnexpectedStatement):
        PostgresqlTarget(server, lambda: NOW).restore_globals(lambda: iter([sql.encode()]))
    assert not mark.exists()
    assert not has_role(postgres_server, "planted")


def test_dump_writes_into_no_other_database(postgres_server: Postgres) -> None:
    # The attempt: a dump says that it is of a database that is there and is another one.
    programs, host = postgres_server.programs, str(postgres_server.socket_folder)
    server = PostgresqlServer(host=host, user="postgres", programs=programs)
    with postgres_server.database() as other, postgres_server.database() as fresh:
        postgres_server.execute("CREATE TABLE planted AS SELECT 1 AS n", database=other)
        dump = subprocess.run(
            [programs / "pg_dump", "-Fc", "-h", host, "-U", "postgres", other],
            capture_output=True,
            check=True,
        ).stdout
        postgres_server.execute("DROP TABLE planted", database=other)
        postgres_server.execute(f"DROP DATABASE {fresh}")
        taken = PostgresqlTarget(server, lambda: NOW).restore(fresh, fresh, lambda: iter([dump]))
        tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        assert postgres_server.rows(tables, database=other) == []
        assert postgres_server.rows(tables, database=fresh) == [("planted",)]
        assert taken.problems == ()


def test_names_like_commands_come_back_as_names(
    tmp_path: Path, postgres_server: Postgres, database: str, mark: Path
) -> None:
    name = f"it''s\n\\! touch {mark}\n;"
    postgres_server.execute(
        f'CREATE ROLE "{name}"', f"COMMENT ON ROLE \"{name}\" IS E'\\\\'';\\n\\\\! touch {mark}'"
    )
    query = "SELECT rolname, shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname ~ ';'"
    before = postgres_server.rows(query, database="postgres")
    config_file = configure(tmp_path, postgres_server, database, {})
    try:
        with installation_at(config_file) as installation:
            assert backup_run.run_backup(installation, "servers", "direct").result.complete
        postgres_server.execute(f'DROP ROLE "{name}"')
        assert restored(config_file, database).exit_status is ExitStatus.DONE
        assert postgres_server.rows(query, database="postgres") == before
    finally:
        postgres_server.execute(f'DROP ROLE IF EXISTS "{name}"')
    assert not mark.exists()


def test_psql_is_restricted_by_a_fresh_key(tmp_path: Path, postgres_server: Postgres) -> None:
    # The second line of defence: psql itself refuses commands, under a key that no dump knows.
    noted = tmp_path / "noted"
    script = (
        f"""case "$*" in *"-f -"*) tee -a {noted} | "$REAL" "$@";; *) exec "$REAL" "$@";; esac"""
    )
    programs = wrapped(tmp_path / "bin", postgres_server.programs, {"psql": script})
    server = PostgresqlServer(
        host=str(postgres_server.socket_folder), user="postgres", programs=programs
    )
    for _ in range(2):
        PostgresqlTarget(server, lambda: NOW).restore_globals(lambda: iter([b""]))
    first, second = (line for line in noted.read_text().splitlines() if "restrict" in line)
    assert first.startswith("\\restrict ")
    assert len(first) > len("\\restrict ") + 32
    assert first != second


def test_psql_without_restriction_is_refused(tmp_path: Path, postgres_server: Postgres) -> None:
    script = 'case "$*" in *--help*) "$REAL" "$@" | grep -v restrict;; *) exec "$REAL" "$@";; esac'
    programs = wrapped(tmp_path / "bin", postgres_server.programs, {"psql": script})
    server = PostgresqlServer(
        host=str(postgres_server.socket_folder), user="postgres", programs=programs
    )
    with pytest.raises(TargetFailed):
        PostgresqlTarget(server, lambda: NOW).restore_globals(
            lambda: iter([b"CREATE ROLE planted;\n"])
        )
    assert not has_role(postgres_server, "planted")


@pytest.mark.skipif(not is_supported(), reason="this kernel has no Landlock")
def test_programs_cannot_read_the_identity(
    tmp_path: Path, postgres_server: Postgres, database: str, mark: Path
) -> None:
    # The attempt: a fault in a database's program lets a dump run code in it after all.
    stolen = f'cat {identity(tmp_path)} {tmp_path}/keys/*/host.json >> {mark}; exec "$REAL" "$@"'
    scripts = dict.fromkeys(("psql", "pg_restore"), stolen)
    config_file = configure(tmp_path, postgres_server, database, scripts)
    with installation_at(config_file) as installation:
        assert backup_run.run_backup(installation, "servers", "direct").result.complete
    mark.write_bytes(b"")
    outcome = restored(config_file, database)
    assert outcome.exit_status is ExitStatus.DONE
    assert outcome.is_confined
    assert mark.read_bytes() == b""


@pytest.fixture
def shop(mariadb_server: Mariadb) -> Iterator[str]:
    with mariadb_server.database() as name:
        yield name


@pytest.fixture
def mariadb(mariadb_server: Mariadb, tmp_path: Path) -> MariadbTarget:
    scratch = tmp_path / "scratch"
    scratch.mkdir(mode=0o700)
    return MariadbTarget(MariadbServer(host=str(mariadb_server.socket), user="root"), scratch)


def test_dump_cannot_load_a_local_file(
    tmp_path: Path, mariadb_server: Mariadb, mariadb: MariadbTarget, shop: str
) -> None:
    (tmp_path / "identity.txt").write_text("AGE-SECRET-KEY-1\n")
    mariadb_server.execute("CREATE TABLE loot (line TEXT)", database="mysql")
    sql = f"LOAD DATA LOCAL INFILE '{tmp_path}/identity.txt' INTO TABLE mysql.loot;\n"
    try:
        with pytest.raises(TargetFailed):
            mariadb.restore(shop, shop, lambda: iter([sql.encode()]))
        assert mariadb_server.rows("SELECT * FROM loot") == []
    finally:
        mariadb_server.execute("DROP TABLE loot")


@pytest.mark.parametrize(
    "attempt",
    [
        r"\! touch {mark}",
        "system touch {mark}",
        r"SELECT 1 \! touch {mark}",
        "DELIMITER //\nsystem touch {mark}//",
        "tee {mark}\nSELECT 1;",
        "pager tee {mark}\nSELECT 1;",
    ],
)
def test_client_command_in_a_dump_never_runs(
    mariadb: MariadbTarget, shop: str, mark: Path, attempt: str
) -> None:
    sql = attempt.replace("{mark}", str(mark)) + "\n"
    with pytest.raises(TargetFailed):
        mariadb.restore(shop, shop, lambda: iter([sql.encode()]))
    assert not mark.exists()


@pytest.mark.parametrize(
    "attempt",
    [
        r"\! touch {mark}",
        "LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE mysql.loot;",
        "SELECT 1 INTO OUTFILE '{mark}';",
        "INSTALL SONAME 'evil';",
        "PREPARE s FROM 'DROP DATABASE mysql';",
        "DELIMITER //\nGRANT ALL ON *.* TO planted//",
        "SET PASSWORD FOR root@localhost = '';",
        # A server that is older than the comment asks for sees only what is outside of it.
        "/*!99999 GRANT ALL ON *.* TO planted */ DROP DATABASE mysql;",
        "/*!99999 GRANT ALL ON *.* TO 'a*/ DROP DATABASE mysql; -- ' */;",
        "/*!99999 GRANT ALL ON *.* TO planted; DROP DATABASE mysql */;",
        "GRANT ALL ON *.* TO 'not ended;\nDROP DATABASE mysql;",
    ],
)
def test_other_statement_refuses_all_users(
    mariadb_server: Mariadb, mariadb: MariadbTarget, mark: Path, attempt: str
) -> None:
    sql = "CREATE USER planted@localhost;\n" + attempt.replace("{mark}", str(mark)) + "\n"
    with pytest.raises(UnexpectedStatement):
        mariadb.restore_globals(lambda: iter([sql.encode()]))
    assert not mark.exists()
    assert mariadb_server.rows("SELECT user FROM mysql.user WHERE user = 'planted'") == []
