"""Renames of MariaDB databases with any names and all kinds of parts."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from backup.sources.mariadb.server import MariadbServer
from backup.targets.mariadb import MariadbTarget
from tests.servers.mariadb import Mariadb

pytestmark = pytest.mark.xdist_group("databases")
NAME, OTHER = "my-Ünal.db", "aside_ü-1"
PARTS = (
    "CREATE TABLE `a-b` (id INT PRIMARY KEY, txt TEXT, FULLTEXT KEY k (txt))",
    "CREATE TABLE m (i INT) ENGINE=MyISAM",
    "INSERT INTO `a-b` VALUES (1, 'x')",
    "CREATE VIEW `v'1` AS SELECT id FROM `a-b`",
    "CREATE TRIGGER `t``r` BEFORE INSERT ON m FOR EACH ROW SET NEW.i = 7",
    "CREATE FUNCTION `f-1`() RETURNS INT RETURN 3",
    "CREATE SEQUENCE sq",
)


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


def test_renamed_database_returns_with_all_parts(
    server: Mariadb, address: MariadbServer, tmp_path: Path
) -> None:
    target = MariadbTarget(address, tmp_path)
    before = target.database_id(NAME)
    target.rename(NAME, OTHER)
    assert target.database_id(NAME) == ""
    assert target.database_id(OTHER) == before
    target.rename(OTHER, NAME)
    assert target.database_id(NAME) == before
    server.execute("INSERT INTO m VALUES (1)", database=NAME)
    assert server.rows("SELECT i, `f-1`() FROM m", database=NAME) == [["7", "3"]]
    assert server.rows("SELECT id FROM `v'1`", database=NAME) == [["1"]]
    assert [OTHER] not in server.rows("SHOW DATABASES")


def test_new_table_of_the_name_changes_the_id(
    server: Mariadb, address: MariadbServer, tmp_path: Path
) -> None:
    target = MariadbTarget(address, tmp_path)
    before = target.database_id(NAME)
    server.execute("DROP SEQUENCE sq", "CREATE SEQUENCE sq", database=NAME)
    assert target.database_id(NAME) != before


def test_user_without_all_rights_is_refused(
    server: Mariadb, address: MariadbServer, tmp_path: Path
) -> None:
    user, password = server.user("SELECT, PROCESS ON *.*")
    limited = replace(address, user=user, password=lambda: password)
    assert "GRANT ALL" in MariadbTarget(limited, tmp_path).rename_obstacle(NAME)
    assert MariadbTarget(address, tmp_path).rename_obstacle(NAME) == ""
