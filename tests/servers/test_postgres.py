import pytest
from sqlalchemy import create_engine, text

from tests.servers.postgres import Postgres


@pytest.mark.parametrize("round_", [1, 2])
def test_each_test_gets_an_empty_database(postgres_url: str, round_: int) -> None:
    engine = create_engine(postgres_url)
    with engine.begin() as connection:
        tables = connection.execute(
            text("SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'")
        ).scalar_one()
        connection.execute(text("CREATE TABLE left_behind (id integer)"))
    engine.dispose()
    assert tables == 0, f"round {round_} saw a table of another test"


def test_a_database_is_dropped_although_someone_is_connected(postgres_server: Postgres) -> None:
    with postgres_server.database() as name:
        engine = create_engine(postgres_server.url(name))
        held = engine.connect()
        held.execute(text("SELECT 1"))
    held.invalidate()
    engine.dispose()
    watcher = create_engine(postgres_server.url("postgres"))
    with watcher.connect() as connection:
        left = connection.execute(
            text("SELECT count(*) FROM pg_database WHERE datname = :name"), {"name": name}
        ).scalar_one()
    watcher.dispose()
    assert left == 0


def test_the_programs_that_backups_need_are_there(postgres_server: Postgres) -> None:
    assert (postgres_server.programs / "pg_dump").is_file()
    assert (postgres_server.programs / "pg_restore").is_file()
