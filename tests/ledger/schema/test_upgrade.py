"""Ledgers of earlier releases are upgraded; open incidents continue."""

import shutil
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect

from standfast.errors import ConfigurationError
from standfast.ledger import upgrade
from standfast.ledger.audit.hash_chain import digest_of_row
from standfast.ledger.database.connections import open_engine, writing
from standfast.ledger.database.sqlite_file import HEAD
from standfast.ledger.effects.effect_rows import EffectQueue
from standfast.ledger.schema import added_columns
from standfast.ledger.schema.schema_version import MIGRATIONS, upgrade_schema
from standfast.ledger.schema.tables import metadata
from standfast.records import EffectState
from tests.ledger.intruder import Intruder
from tests.ledger.ledger_files import NOW, Place
from tests.ledger.schema.earlier_ledgers import (
    FIXTURES,
    RELEASES,
    copy_keys,
    load_postgresql,
    load_sqlite,
)
from tests.ledger.stage import claimed, results, runner
from tests.servers.postgres import Postgres

INCIDENT = "inc-2026-0001"
UNLOCK = EffectQueue(verb="accounts.unlock", connector="agents")
NEXT = "9000"
MIGRATION = f"""
import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "{NEXT}", "{HEAD}", None, None


def upgrade() -> None:
    op.create_table("probes", sa.Column("id", sa.String(32), primary_key=True))
    op.add_column("run", sa.Column("probe", sa.Text))
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=RELEASES)
def earlier(request: pytest.FixtureRequest, database: str, tmp_path: Path) -> Place:
    """Location of the ledger that an earlier release made."""
    fixture = FIXTURES / request.param / database
    if database == "sqlite":
        url = f"sqlite:///{tmp_path / 'ledger.db'}"
        load_sqlite(fixture, tmp_path / "ledger.db")
    else:
        server: Postgres = request.getfixturevalue("postgres_server")
        url = request.getfixturevalue("postgres_url")
        load_postgresql(fixture, server, url.rpartition("/")[2].partition("?")[0])
    place = Place(url=url, keys=tmp_path / "keys", witness=tmp_path / "witness" / "heads.jsonl")
    copy_keys(fixture, place)
    return place


@pytest.fixture
def upgraded(earlier: Place) -> Place:
    upgrade(earlier.url, earlier.keys, earlier.witness, NOW)
    return earlier


def test_upgraded_schema_equals_the_code(upgraded: Place) -> None:
    """A failure means that a change of `tables.py` has no migration."""
    with upgraded.opened() as ledger, ledger.database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        found = inspect(connection)
        for table in metadata.sorted_tables:
            # SQLite's run writer reads the columns in the order of the table.
            columns = [column["name"] for column in found.get_columns(table.name)]
            assert columns == table.columns.keys()


def test_upgrade_changes_no_digest(upgraded: Place) -> None:
    """A failure means that an added column is not in `added_columns.py`."""
    with upgraded.opened() as ledger:
        assert ledger.audit.verify().findings == ()


def test_open_incident_continues_after_upgrade(upgraded: Place) -> None:
    with upgraded.opened() as ledger:
        who = runner(ledger, INCIDENT)
        batch = claimed(ledger, INCIDENT, who, queue=UNLOCK)
        ledger.attempts.receipt(batch, results(batch), who, NOW)
        ledger.audit.sign_head(NOW)
        rows = ledger.effects.of_incident(INCIDENT)
        assert [row.state for row in rows if row.verb == UNLOCK.verb] == [EffectState.DONE]
        assert ledger.audit.verify().findings == ()


def test_upgrade_twice_changes_nothing(upgraded: Place) -> None:
    with upgraded.opened() as ledger:
        before = ledger.newest_event()
    assert not upgrade(upgraded.url, upgraded.keys, upgraded.witness, NOW)
    with upgraded.opened() as ledger:
        assert ledger.newest_event() == before


@pytest.fixture
def migrations(tmp_path: Path) -> Path:
    """A copy of the migrations, to which a test adds one."""
    folder = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def columns_of_run(place: Place) -> list[str]:
    engine = open_engine(place.url)
    try:
        return [column["name"] for column in inspect(engine).get_columns("run")]
    finally:
        engine.dispose()


def migrate(place: Place, migrations: Path, text: str) -> None:
    (migrations / "versions" / f"{NEXT}_next.py").write_text(text)
    engine = open_engine(place.url)
    try:
        with writing(engine) as connection:
            upgrade_schema(connection, migrations=migrations, head=NEXT)
    finally:
        engine.dispose()


def test_migration_adds_a_table_and_column(upgraded: Place, migrations: Path) -> None:
    migrate(upgraded, migrations, MIGRATION)
    assert columns_of_run(upgraded)[-1] == "probe"
    with pytest.raises(ConfigurationError, match=NEXT), upgraded.opened():
        pass


def test_failed_migration_changes_nothing(upgraded: Place, migrations: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        migrate(upgraded, migrations, MIGRATION + "    1 / 0\n")
    assert "probe" not in columns_of_run(upgraded)
    with upgraded.opened() as ledger:
        assert ledger.audit.verify().findings == ()


def test_ledger_from_before_the_first_release_is_refused(sqlite_place: Place) -> None:
    sqlite_place.create()
    Intruder(sqlite_place).run("UPDATE alembic_version SET version_num = '0000'")
    with pytest.raises(ConfigurationError, match="0000"):
        upgrade(sqlite_place.url, sqlite_place.keys, sqlite_place.witness, NOW)


def test_added_column_counts_once_it_has_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "standfast.ledger.audit.hash_chain.ADDED_COLUMNS", {"run": frozenset({"probe"})}
    )
    before = digest_of_row("run", ("id", "kind"), ("1", None))
    assert digest_of_row("run", ("id", "kind", "probe"), ("1", None, None)) == before
    assert digest_of_row("run", ("id", "kind", "probe"), ("1", None, "value")) != before
    assert digest_of_row("run", ("id", "probe"), ("1", None)) != before
    assert digest_of_row("step", ("id", "kind", "probe"), ("1", None, None)) != before


def test_added_columns_are_nullable_columns_of_tables() -> None:
    for table, names in added_columns.ADDED_COLUMNS.items():
        for name in names:
            assert metadata.tables[table].columns[name].nullable
