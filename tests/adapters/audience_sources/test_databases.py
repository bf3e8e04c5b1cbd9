"""Audiences from real PostgreSQL and MariaDB servers, by read-only roles."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date

import pytest

from standfast.adapters.audience_sources.databases import (
    DatabaseOptions,
    mariadb_audience,
    mariadb_suppressed,
    postgresql_audience,
    postgresql_suppressed,
)
from standfast.errors import ConfigurationError, Unavailable
from standfast.notices.audience import Audience
from standfast.notices.audience_rows import Rules, Suppression
from tests.servers.mariadb import Mariadb
from tests.servers.postgres import Postgres

RULES = Rules(why="their record was open", today=date(2026, 11, 25))
TABLE = (
    "CREATE TABLE customer (id INTEGER PRIMARY KEY, email VARCHAR(200), name VARCHAR(200), "
    "born DATE, never VARCHAR(200))"
)
ROWS = (
    "INSERT INTO customer VALUES (1, 'ana@shop.test', 'Ana Ñandú', '1980-02-01', NULL), "
    "(2, 'ANA@shop.test', 'Ana again', NULL, NULL), (3, 'kid@shop.test', 'Kid', '2999-01-01', "
    "NULL), (4, 'eve@shop.test', 'Eve', NULL, 'court order'), (5, NULL, 'Nobody', NULL, NULL)"
)
SELECT = "SELECT email AS address, name, id AS key_, born AS born_on FROM customer ORDER BY id"


@dataclass(frozen=True, kw_only=True)
class Server:
    """One kind of server with a database of customers, and its reader."""

    kind: str
    reader: DatabaseOptions
    owner: DatabaseOptions
    endless: str
    read: Callable[[DatabaseOptions, str, Rules], Audience]
    suppressed: Callable[[DatabaseOptions, str], dict[str, str]]
    grant: Callable[[str], None]  # grants the reader a further right
    lend: Callable[[], None]  # grants the reader the owner's role, which the reader must activate


@pytest.fixture(params=["postgresql", "mariadb"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    if request.param == "postgresql":
        yield from _postgresql(request.getfixturevalue("postgres_server"))
    else:
        yield from _mariadb(request.getfixturevalue("mariadb_server"))


def _postgresql(postgres: Postgres) -> Iterator[Server]:
    with postgres.database() as database:
        reader, owner = postgres.role(), postgres.role()
        postgres.execute(
            TABLE,
            ROWS,
            f"GRANT SELECT ON customer TO {reader[0]}",
            f"GRANT SELECT, INSERT ON customer TO {owner[0]}",
            database=database,
        )
        where = DatabaseOptions(
            host=str(postgres.socket_folder), port=5432, database=database, user=""
        )
        yield Server(
            kind="postgresql",
            reader=replace(where, user=reader[0], password=reader[1]),
            owner=replace(where, user=owner[0], password=owner[1]),
            endless="SELECT 'a@x.test' AS address FROM pg_sleep(60)",
            read=postgresql_audience,
            suppressed=postgresql_suppressed,
            grant=lambda right: postgres.execute(
                f"GRANT {right} TO {reader[0]}", database=database
            ),
            lend=lambda: postgres.execute(
                f"ALTER ROLE {reader[0]} NOINHERIT", f"GRANT {owner[0]} TO {reader[0]}"
            ),
        )
        for name, _ in (reader, owner):
            postgres.execute(f"DROP OWNED BY {name}", database=database)


def _mariadb(mariadb: Mariadb) -> Iterator[Server]:
    with mariadb.database() as database:
        mariadb.execute(TABLE, ROWS, database=database)
        reader = mariadb.user(f"SELECT ON {database}.*")
        owner = mariadb.user(f"SELECT, INSERT ON {database}.*")
        where = DatabaseOptions(host=str(mariadb.socket), port=3306, database=database, user="")
        yield Server(
            kind="mariadb",
            reader=replace(where, user=reader[0], password=reader[1]),
            owner=replace(where, user=owner[0], password=owner[1]),
            endless="SELECT 'a@x.test' AS address FROM customer a, customer b, customer c "
            "WHERE SLEEP(1) = 0",
            read=mariadb_audience,
            suppressed=mariadb_suppressed,
            grant=lambda right: mariadb.execute(
                f"GRANT {right} TO {reader[0]}@localhost", database=database
            ),
            lend=lambda: mariadb.execute(
                f"CREATE ROLE of_{reader[0]}",
                f"GRANT INSERT ON {database}.* TO of_{reader[0]}",
                f"GRANT of_{reader[0]} TO {reader[0]}@localhost",
            ),
        )


def test_customers_are_read_as_the_database_has_them(server: Server) -> None:
    never = server.suppressed(
        server.reader, "SELECT email, never FROM customer WHERE never IS NOT NULL"
    )
    found = server.read(server.reader, SELECT, replace(RULES, suppression=Suppression(never)))
    (ana,) = found.recipients
    assert (ana.address, ana.name, ana.slots) == ("ana@shop.test", "Ana Ñandú", {"key_": "1"})
    assert [one.name for one in found.held] == ["Kid"]
    assert [one.row_number for one in found.repeated] == [2]
    assert [one.reason for one in found.suppressed] == ["must not be notified: court order"]
    assert [one.reason for one in found.rejected] == ["there is no address"]
    assert found.rows == 5


def test_a_role_that_could_write_is_refused(server: Server) -> None:
    with pytest.raises(ConfigurationError, match="may do more than read"):
        server.read(server.owner, SELECT, RULES)


@pytest.mark.parametrize("right", ["UPDATE (name)", "INSERT (id)", "DELETE"])
def test_role_that_may_write_is_refused(server: Server, right: str) -> None:
    server.grant(f"{right} ON customer")
    with pytest.raises(ConfigurationError, match="may do more than read"):
        server.read(server.reader, SELECT, RULES)
    with pytest.raises(ConfigurationError, match="may do more than read"):
        server.suppressed(server.reader, "SELECT email FROM customer")


def test_role_that_may_become_writer_is_refused(server: Server) -> None:
    server.lend()
    with pytest.raises(ConfigurationError, match="may do more than read"):
        server.read(server.reader, SELECT, RULES)


def test_role_with_column_rights_reads_them(server: Server) -> None:
    server.grant("SELECT (id, email) ON customer")
    found = server.read(server.reader, "SELECT email AS address FROM customer", RULES)
    assert found.rows == 5


@pytest.mark.parametrize(
    "query",
    [
        "INSERT INTO customer (id) VALUES (9)",
        "SELECT email AS address FROM customer; DELETE FROM customer",
        "SELECT nothing AS address FROM customer",
        "SELECT email FROM customer",
        "SELECT email AS address, name AS address FROM customer",
        "COMMIT",
    ],
)
def test_other_than_one_select_is_refused(server: Server, query: str) -> None:
    with pytest.raises(ConfigurationError):
        server.read(server.reader, query, RULES)
    assert server.read(server.reader, SELECT, RULES).rows == 5


def test_slow_query_is_cut_by_the_server(server: Server) -> None:
    with pytest.raises(ConfigurationError, match=r"longer than 0\.3 seconds"):
        server.read(replace(server.reader, timeout_seconds=0.3), server.endless, RULES)


def test_absent_server_is_named_without_password(
    server: Server,
) -> None:
    for wrong in (
        replace(server.reader, host="127.0.0.1", port=9),
        replace(server.reader, password="wrong"),
    ):
        with pytest.raises(Unavailable) as caught:
            server.read(wrong, SELECT, RULES)
        assert str(wrong.password) not in str(caught.value)
