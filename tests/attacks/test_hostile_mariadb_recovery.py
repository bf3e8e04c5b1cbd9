"""Attacks on a recovery of a MariaDB database, by its users or its dump.

Capability: the attacker has all rights on the database, and can create databases by a grant with a
wildcard. Or they control the server that was backed up, and so every byte of the dump.

What stays true during and after a recovery:

- nothing outside of the named database is read, written or moved;
- no code of a dump runs as an account with rights outside of the database;
- nothing that a user can write says what the recovery moves, loads or trusts.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from backup.errors import TargetFailed
from backup.sources.client_programs import ProgramFailed
from backup.sources.mariadb.server import MariadbServer
from backup.targets import Stream
from backup.targets.mariadb import MariadbTarget
from tests.servers.mariadb import Mariadb

pytestmark = pytest.mark.xdist_group("databases")
VERSION = b"-- Server version\t10.6.1-MariaDB\n"
TABLE = "CREATE TABLE t (i INT);\nINSERT INTO t VALUES (7);\n"


def dump(sql: str) -> Stream:
    return lambda: iter([VERSION + sql.encode()])


@pytest.fixture
def shop(mariadb_server: Mariadb) -> Iterator[str]:
    """A database and a user of the same name with all rights on it."""
    with mariadb_server.database() as name:
        mariadb_server.execute(
            f"CREATE USER {name}@localhost", f"GRANT ALL ON {name}.* TO {name}@localhost"
        )
        yield name
        mariadb_server.execute(f"DROP USER {name}@localhost")


@pytest.fixture
def other(mariadb_server: Mariadb) -> Iterator[str]:
    """A database of somebody else, with one row."""
    with mariadb_server.database() as name:
        mariadb_server.execute("CREATE TABLE t (i INT)", "INSERT INTO t VALUES (1)", database=name)
        yield name
        assert mariadb_server.rows("SELECT * FROM t", database=name) == [["1"]]
        assert mariadb_server.rows("SHOW TABLES", database=name) == [["t"]]


@pytest.fixture
def staged(mariadb_server: Mariadb, shop: str) -> Iterator[str]:
    """A name for a database that is loaded."""
    yield f"{shop}_x"
    mariadb_server.execute(f"DROP DATABASE IF EXISTS {shop}_x")


@pytest.fixture
def target(mariadb_server: Mariadb, tmp_path: Path) -> MariadbTarget:
    return MariadbTarget(MariadbServer(host=str(mariadb_server.socket), user="root"), tmp_path)


@pytest.mark.sampled
@pytest.mark.parametrize(
    "attempt",
    [
        "USE {other};\nDROP TABLE t;",
        "DROP TABLE {other}.t;",
        "INSERT INTO {other}.t VALUES (2);",
        "/*!50000 INSERT INTO {other}.t VALUES (2) */;",
        "/*M!100000 DROP DATABASE {other} */;",
        "RENAME TABLE t TO {other}.u;",
        "CREATE TABLE copied AS SELECT * FROM {other}.t;",
        "CREATE VIEW v AS SELECT * FROM {other}.t;",
        "CREATE TRIGGER {other}.x BEFORE INSERT ON {other}.t FOR EACH ROW SET NEW.i = 5;",
        "CREATE DATABASE {other}_2;",
        "GRANT ALL ON *.* TO {shop}@localhost;",
        "CREATE USER {other}@localhost;",
        "SET GLOBAL local_infile = 1;",
        "SELECT 1 INTO OUTFILE '{mark}';",
        "SELECT authentication_string FROM mysql.user;",
        r"\! touch {mark}",
        "SYSTEM touch {mark}",
        "DELIMITER //\nSYSTEM touch {mark}//",
        # Definers in forms that the recovery does not know; and one that acts at once.
        " CREATE DEFINER=root@localhost PROCEDURE p() SELECT 1;",
        "CREATE DEFINER = `root`@`localhost` PROCEDURE p() SELECT 1;",
        "CREATE DEFINER=`root`@`localhost` SQL SECURITY DEFINER VIEW v AS SELECT 1;",
        "/*!50003 CREATE DEFINER=`root`@`localhost` FUNCTION f() RETURNS INT RETURN 1 */;",
        "CREATE PROCEDURE p() SELECT 1;",
        "SET @s = 'DROP TABLE {other}.t';\nEXECUTE IMMEDIATE @s;",
    ],
)
def test_dump_reaches_only_its_database(
    mariadb_server: Mariadb,
    target: MariadbTarget,
    tmp_path: Path,
    shop: str,
    other: str,
    staged: str,
    attempt: str,
) -> None:
    mark = tmp_path / "mark"
    for old, new in {"{other}": other, "{mark}": str(mark), "{shop}": shop}.items():
        attempt = attempt.replace(old, new)
    with pytest.raises(TargetFailed):
        target.stage(staged, shop, dump(TABLE + attempt + "\n"))
    assert not mark.exists()
    assert mariadb_server.rows("SELECT user FROM mysql.user WHERE user LIKE 'standfast%'") == []


@pytest.mark.sampled
@pytest.mark.parametrize(
    "code",
    [
        ("DELIMITER ;;", "CREATE DEFINER={} PROCEDURE `p`()", "SELECT 1 ;;"),
        (
            "/*!50003 CREATE*/ /*!50017 DEFINER={}*/ /*!50003 TRIGGER `p` BEFORE INSERT ON t",
            "FOR EACH ROW SET NEW.i = 5 */;",
        ),
        (
            "/*!50106 CREATE*/ /*!50117 DEFINER={}*/ /*!50106 EVENT `p`",
            "ON SCHEDULE EVERY 1 DAY DO SELECT 1 */;",
        ),
        (
            "/*!50001 CREATE ALGORITHM=UNDEFINED */",
            "/*!50013 DEFINER={} SQL SECURITY DEFINER */",
            "/*!50001 VIEW `p` AS select 1 AS `i` */;",
        ),
    ],
)
def test_code_of_other_accounts_is_refused(
    mariadb_server: Mariadb, target: MariadbTarget, shop: str, staged: str, code: tuple[str, ...]
) -> None:
    sql = TABLE + "\n".join(code) + "\n"
    for definer in ("`root`@`localhost`", "`nobody`@`localhost`"):
        stream = dump(sql.replace("{}", definer))
        assert "code" in target.plan_obstacle(shop, [], stream)
    with pytest.raises(TargetFailed):  # also if the account changed after the plan
        target.stage(staged, shop, stream)
    mariadb_server.execute(f"DROP DATABASE {staged}")
    own = dump(sql.replace("{}", f"`{shop}`@`localhost`"))
    assert target.plan_obstacle(shop, [], own) == ""
    content, _ = target.stage(staged, shop, own)
    target.move(content, staged, shop, is_aside=False)
    (definers,) = mariadb_server.rows(
        f"SELECT definer FROM information_schema.routines WHERE routine_schema = '{shop}' UNION"
        f" SELECT definer FROM information_schema.triggers WHERE trigger_schema = '{shop}' UNION"
        f" SELECT definer FROM information_schema.events WHERE event_schema = '{shop}' UNION"
        f" SELECT definer FROM information_schema.views WHERE table_schema = '{shop}'"
    )
    assert definers == [f"{shop}@localhost"]


def test_grant_with_a_wildcard_is_refused(
    mariadb_server: Mariadb, target: MariadbTarget, shop: str
) -> None:
    stream = dump(TABLE)
    assert target.plan_obstacle(shop, [f"{shop}_before"], stream) == ""
    mariadb_server.execute(f"GRANT ALL ON `{shop}\\_%`.* TO {shop}@localhost")
    assert shop in target.plan_obstacle(shop, [f"{shop}_before"], stream)
    with pytest.raises(TargetFailed):
        target.stage(f"{shop}_before", shop, stream)
    mariadb_server.execute("CREATE TABLE t (i INT)", database=shop)
    with pytest.raises(TargetFailed):
        target.move(target.content(shop), shop, f"{shop}_before", is_aside=True)
    assert mariadb_server.rows("SHOW TABLES", database=shop) == [["t"]]


def test_table_of_a_user_decides_nothing(
    mariadb_server: Mariadb, target: MariadbTarget, shop: str, other: str, staged: str
) -> None:
    columns = f"SELECT '{other}' AS origin, 'leaving' AS state, 'GRANT ALL ON *.*' AS definitions"
    mariadb_server.execute(f"CREATE TABLE standfast_renamed AS {columns}", database=shop)
    target.move(target.content(shop), shop, staged, is_aside=True)
    target.move(target.content(staged), staged, shop, is_aside=False)
    assert mariadb_server.rows("SHOW TABLES", database=shop) == [["standfast_renamed"]]


def test_check_of_a_hostile_view_cannot_write(
    mariadb_server: Mariadb, target: MariadbTarget, shop: str, other: str
) -> None:
    # The attempt: a view that runs with the rights of the account that checks the data.
    mariadb_server.execute(
        f"CREATE DEFINER={shop}@localhost FUNCTION f() RETURNS INT SQL SECURITY INVOKER"
        f" RETURN (SELECT i FROM {other}.t)",
        f"CREATE DEFINER={shop}@localhost SQL SECURITY INVOKER VIEW customers AS SELECT f() AS i",
        database=shop,
    )
    with target.limited_queries([shop]) as queries:
        assert queries.value("SELECT 1", shop) == "1"
        for query in (
            "SELECT i FROM customers",
            f"SELECT i FROM {other}.t",
            "CREATE TABLE x (i INT)",
        ):
            with pytest.raises(ProgramFailed):
                queries.value(query, shop)
