"""The schema is made once, checked at each opening, equal to the code."""

from dataclasses import replace
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Table

from standfast.errors import ConfigurationError
from standfast.ledger import Ledger, create
from standfast.ledger.schema import schema_version
from standfast.ledger.schema.tables import metadata
from standfast.ledger.status_query import query_status
from tests.ledger.intruder import Intruder
from tests.ledger.ledger_files import FOUNDED, NOW, Place


def test_migrated_schema_equals_the_code(ledger: Ledger) -> None:
    with ledger.database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_requested_version_is_the_newest() -> None:
    scripts = ScriptDirectory(str(Path(schema_version.__file__).parent / "migrations"))
    assert scripts.get_heads() == [schema_version.HEAD]


def test_deletion_of_an_effect_reads_no_whole_table() -> None:
    """A database verifies each foreign key to a deleted row."""
    unindexed = [
        f"{table.name}.{key.parent.name}"
        for table in metadata.sorted_tables
        for key in table.foreign_keys
        if key.column.table.name == "effect" and key.parent.name not in _first_columns(table)
    ]
    assert unindexed == []


def _first_columns(table: Table) -> set[str]:
    """Return the first column of the primary key and of each index."""
    indexed = {next(iter(index.columns)).name for index in table.indexes}
    return indexed | {next(iter(table.primary_key)).name}


def test_creating_twice_changes_nothing(place: Place, intruder: Intruder) -> None:
    place.create()
    before = [intruder.rows(table) for table in metadata.sorted_tables]
    keys = {path.name: path.read_bytes() for path in place.keys.iterdir()}
    witness = place.witness.read_bytes()
    place.create()
    assert [intruder.rows(table) for table in metadata.sorted_tables] == before
    assert {path.name: path.read_bytes() for path in place.keys.iterdir()} == keys
    assert place.witness.read_bytes() == witness


def test_missing_file_is_not_created_on_opening(sqlite_place: Place) -> None:
    with pytest.raises(ConfigurationError, match="`standfast init`"), sqlite_place.opened():
        pass
    assert not sqlite_place.file.exists()


def test_an_empty_file_is_not_a_ledger(sqlite_place: Place) -> None:
    sqlite_place.file.touch()
    with pytest.raises(ConfigurationError, match="`standfast init`"), sqlite_place.opened():
        pass


def test_migration_fills_an_empty_database(postgres_url: str, postgres_place: Place) -> None:
    empty = replace(postgres_place, url=postgres_url)
    with pytest.raises(ConfigurationError, match="`standfast init`"), empty.opened():
        pass
    empty.create()
    with empty.opened() as ledger:
        assert ledger.incidents.all() == []


def test_migration_creates_a_new_file(sqlite_place: Place) -> None:
    create(sqlite_place.url, sqlite_place.keys, sqlite_place.witness, FOUNDED)
    with sqlite_place.opened() as ledger:
        assert ledger.incidents.all() == []


@pytest.mark.parametrize(("version", "release"), [("9999", "newer"), ("0001", "earlier")])
def test_other_schema_names_the_release_to_install(
    place: Place, intruder: Intruder, version: str, release: str
) -> None:
    """`status` refuses it too, because it would otherwise report success."""
    place.create()
    intruder.run(f"UPDATE alembic_version SET version_num = '{version}'")
    told = f"created by an? {release} release .schema {version}; .*Install that release again"
    with pytest.raises(ConfigurationError, match=told), place.opened():
        pass
    with pytest.raises(ConfigurationError, match=told):
        query_status(place.url, NOW)


def test_missing_folder_is_a_configuration_error(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'missing' / 'ledger.db'}"
    with pytest.raises(ConfigurationError, match="cannot be opened for writing"):
        create(url, tmp_path / "keys", tmp_path / "witness", FOUNDED)


@pytest.mark.parametrize("url", ["ledger.db", "sqlite://", "mysql://localhost/ledger"])
def test_unusable_address_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"ledger\.url"):
        create(url, tmp_path / "keys", tmp_path / "witness", FOUNDED)
