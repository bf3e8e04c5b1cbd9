"""Backups of database servers, and restores into them."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from standfast.errors import ExitStatus, UsageError
from standfast.usecases.backups import backup_run
from standfast.usecases.backups.database_restore import (
    DatabaseRestoreOutcome,
    Request,
    restore_into,
)
from standfast.usecases.drills import restore_drill
from standfast.usecases.health.check_results import Verdict
from standfast.usecases.health.installation_check import check_installation
from tests.servers.mariadb import Mariadb
from tests.servers.postgres import Postgres
from tests.usecases.backup_installation import furnish, identity, installation_at

pytestmark = pytest.mark.xdist_group("databases")

SET = """
[backup.sets.servers]

[[backup.sets.servers.sources]]
kind = "postgresql"
name = "crm-server"
host = "{pg_host}"
user = "{pg_user}"
password = "file:pg.secret"
programs = "{programs}"
databases = ["{crm}", "{extra}"]

[[backup.sets.servers.sources]]
kind = "mariadb"
name = "shop-server"
host = "{socket}"
user = "{my_user}"
password = "file:my.secret"
databases = ["{shop}"]
"""
BESIDE = "SELECT datname FROM pg_database WHERE datname LIKE '%_before_%'"
ROWS = "SELECT id, name FROM t ORDER BY id"


@pytest.fixture
def names(postgres_server: Postgres, mariadb_server: Mariadb) -> Iterator[dict[str, str]]:
    """Three databases with a few rows each."""
    with (
        postgres_server.database() as crm,
        postgres_server.database() as extra,
        mariadb_server.database() as shop,
    ):
        table = ("CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR(20))",)
        rows = ("INSERT INTO t VALUES (1, 'Ünal'), (2, 'O''Hara')",)
        postgres_server.execute(*table, *rows, database=crm)
        postgres_server.execute(*table, *rows, database=extra)
        mariadb_server.execute(*table, *rows, database=shop)
        yield {"crm": crm, "extra": extra, "shop": shop}


@pytest.fixture
def config_file(
    tmp_path: Path, postgres_server: Postgres, mariadb_server: Mariadb, names: dict[str, str]
) -> Path:
    """An installation with both servers as sources, with read-only roles."""
    pg_user, pg_password = postgres_server.role()
    postgres_server.execute(f"GRANT pg_read_all_data TO {pg_user}")
    my_user, my_password = mariadb_server.user("SELECT, SHOW VIEW, TRIGGER, EVENT ON *.*")
    for name, secret in (("pg.secret", pg_password), ("my.secret", my_password)):
        (tmp_path / name).write_text(secret)
        (tmp_path / name).chmod(0o600)
    files = """
[[backup.sets.servers.sources]]
kind = "files"
name = "notes"
path = "recordings"
"""
    more = (SET + files).format(
        pg_host=postgres_server.socket_folder,
        pg_user=pg_user,
        programs=postgres_server.programs,
        socket=mariadb_server.socket,
        my_user=my_user,
        **names,
    )
    return furnish(tmp_path, more=more)


def into(config_file: Path, target: str, *patterns: str, **more: Any) -> DatabaseRestoreOutcome:
    request = Request(
        point="latest",
        into=target,
        set_name="servers",
        patterns=patterns,
        **more,
    )
    with installation_at(config_file) as installation:
        return restore_into(installation, request, identity(config_file.parent))


def address(config_file: Path, text: str) -> str:
    """Write an address of a server as a secret; return its reference."""
    path = config_file.parent / "address"
    path.write_text(text)
    path.chmod(0o600)
    return "file:address"


@pytest.fixture
def backed_up(config_file: Path) -> Path:
    with installation_at(config_file) as installation:
        outcome = backup_run.run_backup(installation, "servers", "direct")
    assert outcome.result.unread == ()
    return config_file


@pytest.fixture(autouse=True)
def _old_programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Put old programs on the PATH, so that only the source's own ones work."""
    old = tmp_path / "old"
    old.mkdir()
    for name in ("psql", "pg_dump", "pg_restore"):
        (old / name).write_text("#!/bin/sh\necho 'PostgreSQL 9.1'\nexit 1\n")
        (old / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{old}:{os.environ['PATH']}")


def test_two_servers_are_restored(
    backed_up: Path, postgres_server: Postgres, mariadb_server: Mariadb, names: dict[str, str]
) -> None:
    postgres = address(backed_up, f"postgresql://postgres@/?host={postgres_server.socket_folder}")
    before = postgres_server.rows(ROWS, database=names["crm"])
    postgres_server.execute("UPDATE t SET name = 'gone'", database=names["crm"])
    postgres_server.execute(f"DROP DATABASE {names['extra']}")

    refused = into(backed_up, postgres)
    by_path = {dump.path.partition("/")[2]: dump for dump in refused.dumps}
    assert by_path[f"{names['crm']}.dump"].exit_status is ExitStatus.REFUSED
    assert by_path[f"{names['extra']}.dump"].exit_status is ExitStatus.DONE
    assert refused.exit_status is ExitStatus.PARTIAL
    assert postgres_server.rows(ROWS, database=names["extra"]) == before
    assert postgres_server.rows(ROWS, database=names["crm"]) != before

    crm = f"crm-server/{names['crm']}.dump"
    replaced = into(backed_up, postgres, crm, replaces=True)
    assert replaced.exit_status is ExitStatus.DONE
    assert [dump.path for dump in replaced.dumps] == [crm]
    assert postgres_server.rows(ROWS, database=names["crm"]) == before

    rows = mariadb_server.rows(ROWS, database=names["shop"])
    mariadb_server.execute("DROP TABLE t", database=names["shop"])
    mariadb = address(backed_up, f"mysql://root@/?socket={mariadb_server.socket}")
    assert into(backed_up, mariadb).exit_status is ExitStatus.DONE
    assert mariadb_server.rows(ROWS, database=names["shop"]) == rows


def test_source_name_restores_only_with_write_rights(
    backed_up: Path, postgres_server: Postgres, names: dict[str, str]
) -> None:
    postgres_server.execute("DROP TABLE t", database=names["crm"])
    crm = f"crm-server/{names['crm']}.dump"
    outcome = into(backed_up, "crm-server", crm)
    assert outcome.exit_status is ExitStatus.PARTIAL
    (dump,) = outcome.dumps
    assert dump.taken is not None
    assert "permission denied for schema public" in dump.taken.problems[0]
    assert "Ünal" not in str(outcome.as_json())
    with installation_at(backed_up) as installation:
        (run,) = installation.ledger.runs.all("restore", "servers")
    assert run.state == "partial"
    assert names["crm"] not in str(run.summary)


def test_dump_goes_into_the_addressed_database(
    backed_up: Path, postgres_server: Postgres, names: dict[str, str]
) -> None:
    with postgres_server.database() as empty:
        host = postgres_server.socket_folder
        target = address(backed_up, f"postgresql://postgres@/{empty}?host={host}")
        with pytest.raises(UsageError, match="names one database, but 2"):
            into(backed_up, target)
        assert into(backed_up, target, f"*/{names['crm']}.dump").exit_status is ExitStatus.DONE
        before = postgres_server.rows(ROWS, database=names["crm"])
        assert postgres_server.rows(ROWS, database=empty) == before


def test_one_dump_comes_with_roles_when_asked(
    config_file: Path, postgres_server: Postgres, names: dict[str, str]
) -> None:
    owner, _ = postgres_server.role()
    postgres_server.execute(f"ALTER TABLE t OWNER TO {owner}", database=names["crm"])
    with installation_at(config_file) as installation:
        backup_run.run_backup(installation, "servers", "direct")
    postgres_server.execute(f"DROP DATABASE {names['crm']}", f"DROP ROLE {owner}")
    target = address(config_file, f"postgresql://postgres@/?host={postgres_server.socket_folder}")
    crm = f"crm-server/{names['crm']}.dump"

    without = into(config_file, target, crm)
    assert [dump.path for dump in without.dumps] == [crm]
    assert without.exit_status is ExitStatus.PARTIAL

    outcome = into(config_file, target, crm, replaces=True, has_globals=True)
    assert [dump.path for dump in outcome.dumps] == ["crm-server/globals.sql", crm]
    assert outcome.exit_status is ExitStatus.DONE
    owners = "SELECT tableowner FROM pg_tables WHERE tablename = 't'"
    assert postgres_server.rows(owners, database=names["crm"]) == [(owner,)]
    postgres_server.execute("ALTER TABLE t OWNER TO postgres", database=names["crm"])
    for name in (row[0] for row in postgres_server.rows(BESIDE, database="postgres")):
        postgres_server.execute(f"DROP DATABASE {name}")
    postgres_server.execute(f"DROP ROLE {owner}")


def test_roles_that_a_point_lacks_are_refused(
    config_file: Path, mariadb_server: Mariadb, names: dict[str, str]
) -> None:
    text = config_file.read_text()
    config_file.write_text(text.replace('"file:my.secret"', '"file:my.secret"\nusers = false'))
    with installation_at(config_file) as installation:
        backup_run.run_backup(installation, "servers", "direct")
    mariadb_server.execute("DROP TABLE t", database=names["shop"])
    mariadb = address(config_file, f"mysql://root@/?socket={mariadb_server.socket}")
    with pytest.raises(UsageError):
        into(config_file, mariadb, has_globals=True)
    assert mariadb_server.rows("SHOW TABLES", database=names["shop"]) == []
    assert into(config_file, mariadb).exit_status is ExitStatus.DONE


def test_early_table_grant_is_repeated(
    config_file: Path, mariadb_server: Mariadb, names: dict[str, str]
) -> None:
    shop = names["shop"]
    clerk, _ = mariadb_server.user(f"SELECT ON {shop}.t")
    with installation_at(config_file) as installation:
        backup_run.run_backup(installation, "servers", "direct")
    mariadb_server.execute(f"DROP USER {clerk}@localhost", f"DROP DATABASE {shop}")
    mariadb = address(config_file, f"mysql://root@/?socket={mariadb_server.socket}")
    outcome = into(config_file, mariadb, has_globals=True)
    paths = [dump.path for dump in outcome.dumps]
    assert paths == ["shop-server/users.grants", f"shop-server/{shop}.sql"]
    grants = mariadb_server.rows(f"SHOW GRANTS FOR {clerk}@localhost")
    assert [f"GRANT SELECT ON `{shop}`.`t` TO `{clerk}`@`localhost`"] in grants
    mariadb_server.execute(f"DROP USER {clerk}@localhost")  # other tests restore users, too


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("nobody", "no source 'nobody' is configured"),
        ("notes", "kind files is not a database server"),
        ("env:HOME!", "--into: a secret is named here"),
    ],
)
def test_unknown_target_is_refused(backed_up: Path, target: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        into(backed_up, target)


def test_invalid_address_is_not_repeated(backed_up: Path) -> None:
    for text in (
        "secret-word",
        "postgresql://secret-word",
        "postgresql://user:secret-word@host:port/db",
        "postgresql://user:secret-word@host/db?sslmode=off",
        "oracle://user:secret-word@host/db",
        "mariadb://user:secret-word@host/db?init=x",
    ):
        with pytest.raises(UsageError, match="file:address: not the address") as refused:
            into(backed_up, address(backed_up, text))
        assert "secret-word" not in str(refused.value)


def test_check_names_missing_parts_of_a_source(
    config_file: Path, postgres_server: Postgres, mariadb_server: Mariadb, names: dict[str, str]
) -> None:
    def found() -> list[tuple[Verdict, str]]:
        report = check_installation(config_file, env={})
        sets = [check for check in report.checks if check.part == "backup sets"]
        return [(check.verdict, check.found) for check in sets]

    assert (Verdict.OK, "servers: 3 sources, readable") in found()
    postgres_server.execute("ALTER TABLE t ENABLE ROW LEVEL SECURITY", database=names["crm"])
    mariadb_server.execute("ALTER TABLE t ENGINE=MyISAM", database=names["shop"])
    (config_file.parent / "pg.secret").chmod(0o644)
    verdicts = {text.partition(":")[0]: (verdict, text) for verdict, text in found()}
    assert verdicts["crm-server"][0] is Verdict.FAIL
    assert "chmod o-rwx" in verdicts["crm-server"][1]
    assert verdicts["shop-server"][0] is Verdict.WARN
    assert "not of InnoDB" in verdicts["shop-server"][1]
    (config_file.parent / "pg.secret").chmod(0o600)
    verdicts = {text.partition(":")[0]: (verdict, text) for verdict, text in found()}
    assert "may not fully read 1 relations" in verdicts["crm-server"][1]


def test_missing_password_fails_only_its_source(config_file: Path) -> None:
    (config_file.parent / "pg.secret").unlink()
    with installation_at(config_file) as installation:
        outcome = backup_run.run_backup(installation, "servers", "direct")
        assert outcome.exit_status is ExitStatus.PARTIAL
        assert [item.path for item in outcome.result.unread] == ["crm-server"]
        assert "file:pg.secret: cannot be read" in outcome.result.unread[0].reason
        assert outcome.result.files > 2


def test_drill_compares_files_and_skips_servers(backed_up: Path) -> None:
    with installation_at(backed_up) as installation:
        outcome = restore_drill.run_drill(
            installation, "servers", identity(backed_up.parent), compares=True
        )
    assert outcome.exit_status is ExitStatus.DONE
    skipped = [name for name in outcome.skipped if name.startswith(restore_drill.COMPARISON)]
    assert [name.rpartition(": ")[2] for name in skipped] == ["crm-server", "shop-server"]
