"""Settings and grants of docs/sources.md: complete and sufficient."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from backup.sources.mariadb.dump_source import MariadbSource
from backup.sources.mariadb.server import MariadbServer
from backup.sources.postgresql.base_backup import PostgresqlBaseSource
from backup.sources.postgresql.dump_source import PostgresqlSource
from backup.sources.postgresql.server import PostgresqlServer
from backup.sources.postgresql.wal_archive import PostgresqlWalSource
from standfast.config.sections.backup import BackupSetConfig, BackupSourceConfig
from standfast.config.validation import kinds_of, sections_in, validate
from tests.servers.mariadb import Mariadb
from tests.servers.postgres import Postgres

pytestmark = pytest.mark.xdist_group("databases")

PAGE = (Path(__file__).parents[2] / "docs" / "sources.md").read_text(encoding="utf-8")
ROLE = "standfast_backup"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def statements(beginning: str) -> list[str]:
    """Return the statements of a block, with a password in place of dots."""
    (block,) = (block for block in blocks("sql") if block.startswith(beginning))
    return [line.replace("…", "word").rstrip(";") for line in block.splitlines() if line]


def kinds() -> set[str]:
    return {word for one in sections_in(BackupSourceConfig) for word in kinds_of(one)}


def test_every_kind_is_named_and_no_other() -> None:
    table = PAGE.split("| kind |", 1)[1].split("\n\n", 1)[0]
    named = set(
        re.findall(r"`(\w+)`", "".join(line.split("|")[1] for line in table.splitlines()[2:]))
    )
    assert named == kinds()


def test_every_kind_has_an_example() -> None:
    examples = [tomllib.loads(block)["backup"]["sets"] for block in blocks("toml")]
    sources = [source for sets in examples for one in sets.values() for source in one["sources"]]
    assert {source["kind"] for source in sources} == kinds()


@pytest.mark.parametrize("block", blocks("toml"))
def test_the_settings_load(block: str, tmp_path: Path) -> None:
    sets = tomllib.loads(block)["backup"]["sets"]
    for one in sets.values():
        assert isinstance(validate(BackupSetConfig, one, tmp_path), BackupSetConfig)


@pytest.fixture
def postgres(postgres_server: Postgres) -> Iterator[Postgres]:
    """The server, without the role of the page before and after."""
    yield postgres_server
    postgres_server.execute(f"DROP OWNED BY {ROLE}", f"DROP ROLE {ROLE}")


def reached(postgres: Postgres) -> PostgresqlServer:
    return PostgresqlServer(host=str(postgres.socket_folder), user=ROLE, programs=postgres.programs)


def test_the_rights_for_dumps_are_enough(postgres: Postgres, tmp_path: Path) -> None:
    with postgres.database() as name:
        postgres.execute("CREATE TABLE t AS SELECT 1 AS n", database=name)
        (create, grant) = statements("CREATE ROLE standfast_backup LOGIN PASSWORD")
        postgres.execute(create)
        source = PostgresqlSource("crm", reached(postgres), [name])
        assert source.obstacles(tmp_path)
        postgres.execute(grant)
        assert source.obstacles(tmp_path) == []


def test_the_rights_for_a_whole_server_are_enough(postgres: Postgres, tmp_path: Path) -> None:
    (create, grant) = statements("CREATE ROLE standfast_backup LOGIN REPLICATION")
    postgres.execute(create)
    log = PostgresqlWalSource("log", reached(postgres), tmp_path)
    assert log.obstacles(tmp_path)
    postgres.execute(grant)
    assert log.obstacles(tmp_path) == []
    assert PostgresqlBaseSource("base", reached(postgres)).obstacles(tmp_path) == []


def test_the_grants_of_mariadb_are_enough(mariadb_server: Mariadb, tmp_path: Path) -> None:
    (create, grant) = statements("CREATE USER")
    mariadb_server.execute(create)
    try:
        server = MariadbServer(host=str(mariadb_server.socket), user=ROLE, password=lambda: "word")
        with mariadb_server.database() as name:
            source = MariadbSource("shop", server, [name])
            assert source.obstacles(tmp_path)
            mariadb_server.execute(grant)
            assert source.obstacles(tmp_path) == []
    finally:
        mariadb_server.execute(f"DROP USER {ROLE}@localhost")
