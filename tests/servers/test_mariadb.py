import pytest

from tests.servers.mariadb import Mariadb

pytestmark = pytest.mark.xdist_group("databases")


def test_each_test_gets_its_own_database(mariadb_server: Mariadb) -> None:
    for _ in range(2):
        with mariadb_server.database() as name:
            assert mariadb_server.rows("SHOW TABLES", database=name) == []
            mariadb_server.execute("CREATE TABLE left_behind (id INT)", database=name)
    assert [name] not in mariadb_server.rows("SHOW DATABASES")


def test_user_has_only_the_granted_rights(mariadb_server: Mariadb) -> None:
    name, _ = mariadb_server.user("SELECT ON mysql.*")
    grants = mariadb_server.rows(f"SHOW GRANTS FOR {name}@localhost")
    assert [grant[0].split(" TO ")[0] for grant in grants] == [
        "GRANT USAGE ON *.*",
        "GRANT SELECT ON `mysql`.*",
    ]


def test_it_listens_at_no_port(mariadb_server: Mariadb) -> None:
    assert mariadb_server.rows("SELECT @@skip_networking") == [["1"]]
