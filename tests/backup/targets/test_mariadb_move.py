"""Moves of MariaDB databases with any names and all kinds of parts."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from backup.errors import TargetFailed
from backup.sources.mariadb.server import MariadbServer
from backup.targets.mariadb import MariadbTarget
from tests.servers.mariadb import Mariadb

pytestmark = pytest.mark.xdist_group("databases")
NAME, OTHER = "my-Ünal.db", "aside_ü-1"
TABLE = 'it\'s \\`a` "b";\n-- \\! c'
QUOTED = "`" + TABLE.replace("`", "``") + "`"
PARTS = (
    f"CREATE TABLE {QUOTED} (id INT PRIMARY KEY, txt TEXT, FULLTEXT KEY k (txt))",
    f"CREATE TABLE child (id INT, FOREIGN KEY (id) REFERENCES {QUOTED} (id)) ENGINE=InnoDB",
    "CREATE TABLE m (i INT) ENGINE=MyISAM",
    "CREATE TABLE h (i INT) WITH SYSTEM VERSIONING",
    f"INSERT INTO {QUOTED} VALUES (1, 'x')",
    "CREATE FUNCTION `f-1`() RETURNS INT RETURN 3 /* 'ü; */",
    f"CREATE VIEW `v'1` AS SELECT id FROM {QUOTED}",
    "CREATE VIEW a_first AS SELECT id + `f-1`() AS n FROM `v'1`",
    "CREATE TRIGGER `t``r` BEFORE INSERT ON m FOR EACH ROW SET NEW.i = 7",
    f"CREATE TRIGGER {QUOTED} BEFORE INSERT ON m FOR EACH ROW SET NEW.i = NEW.i * 10",
    'SET sql_mode = \'ANSI_QUOTES\'; CREATE PROCEDURE "p"() SELECT "i" FROM m',
    "CREATE EVENT e ON SCHEDULE EVERY 1 DAY DO DELETE FROM m",
    "CREATE SEQUENCE sq",
)
CODE = """SELECT table_name, definer FROM information_schema.views WHERE table_schema = DATABASE()
UNION ALL SELECT trigger_name, action_statement FROM information_schema.triggers
WHERE trigger_schema = DATABASE() UNION ALL SELECT routine_name, routine_definition
FROM information_schema.routines WHERE routine_schema = DATABASE() UNION ALL
SELECT event_name, CONCAT(starts, sql_mode) FROM information_schema.events
WHERE event_schema = DATABASE()"""


@pytest.fixture
def server(mariadb_server: Mariadb) -> Iterator[Mariadb]:
    """A server with one database of all kinds of parts."""
    mariadb_server.execute(f"CREATE DATABASE `{NAME}` CHARACTER SET latin1")
    mariadb_server.execute(*PARTS, database=NAME)
    yield mariadb_server
    mariadb_server.execute(f"DROP DATABASE `{NAME}`", f"DROP DATABASE IF EXISTS `{OTHER}`")


@pytest.fixture
def address(server: Mariadb) -> MariadbServer:
    return MariadbServer(host=str(server.socket), user="root")


def test_moved_database_returns_with_all_parts(
    server: Mariadb, address: MariadbServer, tmp_path: Path
) -> None:
    target = MariadbTarget(address, tmp_path)
    before, code = target.database_id(NAME), server.rows(CODE, database=NAME)
    content = target.content(NAME)
    assert type(content).from_json(content.as_json()) == content
    target.move(content, NAME, OTHER, is_aside=True)
    assert target.size_bytes(NAME) == 0
    assert server.rows(CODE, database=OTHER) == []
    target.move(content, NAME, OTHER, is_aside=True)  # a move may be repeated
    target.move(content, OTHER, NAME, is_aside=False)
    target.move(content, OTHER, NAME, is_aside=False)
    target.drop_if_empty(NAME, content)  # it has content
    target.drop_if_empty(OTHER, replace(content, collation="utf8mb4_bin"))
    assert [OTHER] in server.rows("SHOW DATABASES")
    target.drop_if_empty(OTHER, content)
    assert target.database_id(NAME) == before
    assert target.content(NAME) == content
    assert server.rows(CODE, database=NAME) == code
    server.execute("INSERT INTO m VALUES (1)", database=NAME)
    assert server.rows("SELECT i FROM m", database=NAME) == [["70"]]
    assert server.rows("SELECT n FROM a_first", database=NAME) == [["4"]]
    assert [OTHER] not in server.rows("SHOW DATABASES")


def test_interrupted_move_leaves_a_table_created_since(
    server: Mariadb, address: MariadbServer, tmp_path: Path
) -> None:
    target = MariadbTarget(address, tmp_path)
    content = target.content(NAME)
    target.move(content, NAME, OTHER, is_aside=True)  # its process dies before it is recorded
    server.execute("CREATE TABLE m (i INT)", "INSERT INTO m VALUES (9)", database=NAME)
    target.move(content, NAME, OTHER, is_aside=True)
    assert server.rows("SELECT i FROM m", database=NAME) == [["9"]]
    assert server.rows("SELECT i FROM m", database=OTHER) == []
    assert server.rows(f"SELECT id FROM {QUOTED}", database=OTHER) == [["1"]]


@pytest.mark.parametrize("is_moved", [False, True])
def test_interrupted_move_leaves_code_created_since(
    server: Mariadb, address: MariadbServer, tmp_path: Path, is_moved: bool
) -> None:
    target = MariadbTarget(address, tmp_path)
    content = target.content(NAME)
    if is_moved:
        target.move(content, NAME, OTHER, is_aside=True)
        server.execute("CREATE VIEW a_first AS SELECT 1 AS n", database=NAME)
        server.execute(*PARTS[5:6], database=NAME)  # as it was
    else:  # the process died when it had dropped a part of the code
        server.execute("DROP PROCEDURE p", "DROP VIEW `v'1`", database=NAME)
    server.execute("CREATE PROCEDURE p() SELECT 'new'", database=NAME)
    target.move(content, NAME, OTHER, is_aside=True)
    left = ["a_first", "f-1", "p"] if is_moved else ["p"]
    assert sorted(name for name, _ in server.rows(CODE, database=NAME)) == left
    assert ["p", "SELECT 'new'"] in server.rows(CODE, database=NAME)
    assert server.rows(f"SELECT id FROM {QUOTED}", database=OTHER) == [["1"]]


def test_table_in_place_of_a_return_is_kept(
    server: Mariadb, address: MariadbServer, tmp_path: Path
) -> None:
    target = MariadbTarget(address, tmp_path)
    before, content = target.database_id(NAME), target.content(NAME)
    target.move(content, NAME, OTHER, is_aside=True)
    server.execute("CREATE TABLE m (i INT)", "INSERT INTO m VALUES (9)", database=NAME)
    with server.database() as kept_as:
        target.move(content, OTHER, NAME, is_aside=False, kept_as=kept_as)
        assert server.rows("SELECT i FROM m", database=kept_as) == [["9"]]
        assert target.database_id(NAME) == before
        assert target.size_bytes(OTHER) == 0


def test_lost_table_fails_the_return(
    server: Mariadb, address: MariadbServer, tmp_path: Path
) -> None:
    target = MariadbTarget(address, tmp_path)
    content = target.content(NAME)
    target.move(content, NAME, OTHER, is_aside=True)
    server.execute("DROP TABLE m", database=OTHER)
    with pytest.raises(TargetFailed, match="m is missing"):
        target.move(content, OTHER, NAME, is_aside=False)


def test_user_without_all_rights_is_refused(
    server: Mariadb, address: MariadbServer, tmp_path: Path
) -> None:
    user, password = server.user("SELECT, PROCESS ON *.*")
    limited = replace(address, user=user, password=lambda: password)
    obstacle = MariadbTarget(limited, tmp_path).plan_obstacle(NAME, [], lambda: iter([b""]))
    assert "ALL PRIVILEGES" in obstacle


def test_grants_of_a_routine_refuse_the_plan(
    server: Mariadb, address: MariadbServer, tmp_path: Path
) -> None:
    target = MariadbTarget(address, tmp_path)
    dump = b"-- Server version\t10.6.1-MariaDB\n"
    assert target.plan_obstacle(NAME, [], lambda: iter([dump])) == ""
    user, _ = server.user(f"EXECUTE ON FUNCTION `{NAME}`.`f-1`")
    assert "f-1" in target.plan_obstacle(NAME, [], lambda: iter([dump]))
    server.execute(f"DROP USER {user}@localhost")


@pytest.mark.parametrize("checks_passwords", [False, True])
def test_no_log_has_the_limited_account_password(
    server: Mariadb, address: MariadbServer, tmp_path: Path, checks_passwords: bool
) -> None:
    before = server.log.stat().st_size
    with ExitStack() as stack:
        if checks_passwords:
            server.execute("INSTALL SONAME 'simple_password_check'")
            stack.callback(server.execute, "UNINSTALL SONAME 'simple_password_check'")
        with MariadbTarget(address, tmp_path).limited_queries([NAME]) as queries:
            assert queries.row_count("child", NAME) == 0
            (password,) = queries.programs.secrets
    logged = server.log.read_bytes()[before:]
    assert b"CREATE USER `standfast_" in logged or checks_passwords
    assert password.encode() not in logged
    assert password.encode().hex().upper().encode() not in logged.upper()
