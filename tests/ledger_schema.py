"""Copies of the ledger's schema, because alembic takes 40 ms for each."""

import tempfile
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from pathlib import Path

import pytest

from tests.servers.postgres import Postgres

_SQLITE = "sqlite:///"

# The parameters of a test that runs on both. PostgreSQL takes several times as long: on it a run
# repeats only the tests of the part that `--sample` chooses.
DATABASES = ["sqlite", pytest.param("postgresql", marks=pytest.mark.long)]


def create(url: str, keys: Path, witness: Path, now: datetime) -> None:
    """Create a ledger as the program does; on SQLite, copy a migrated file."""
    from standfast import ledger

    if url.startswith(_SQLITE):
        file = Path(url.removeprefix(_SQLITE))
        if not file.exists():
            file.touch(mode=0o600)
            file.write_bytes(_migrated())
    ledger.create(url, keys, witness, now)


@cache
def _migrated() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ledger.db"
        _migrate(f"{_SQLITE}{file}")
        return file.read_bytes()


def _migrate(url: str) -> None:
    from standfast.ledger.database.connections import open_engine
    from standfast.ledger.schema.schema_version import create_schema

    engine = open_engine(url, makes_file=True)
    try:
        create_schema(engine)
    finally:
        engine.dispose()


@pytest.fixture(scope="session")
def postgres_ledger_template(postgres_server: Postgres) -> Iterator[str]:
    """A database with the ledger's schema and no rows, to copy others from."""
    with postgres_server.database() as name:
        _migrate(postgres_server.url(name))
        yield name


@pytest.fixture
def postgres_ledger_url(postgres_server: Postgres, postgres_ledger_template: str) -> Iterator[str]:
    """The SQLAlchemy address of a fresh database with an empty schema."""
    with postgres_server.database(postgres_ledger_template) as name:
        yield postgres_server.url(name)
