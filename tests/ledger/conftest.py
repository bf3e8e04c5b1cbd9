"""One ledger a test, fresh, on SQLite and on PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from standfast.ledger import Ledger
from tests.ledger.intruder import Intruder
from tests.ledger.ledger_files import Place
from tests.ledger_schema import DATABASES
from tests.memory_disk import tmp_path

__all__ = ["tmp_path"]


def _place(folder: Path, url: str) -> Place:
    return Place(url=url, keys=folder / "keys", witness=folder / "witness" / "heads.jsonl")


@pytest.fixture
def sqlite_place(tmp_path: Path) -> Place:
    """Location for a ledger on SQLite."""
    return _place(tmp_path, f"sqlite:///{tmp_path / 'ledger.db'}")


@pytest.fixture
def postgres_place(tmp_path: Path, postgres_ledger_url: str) -> Place:
    """Location for a ledger on PostgreSQL."""
    return _place(tmp_path, postgres_ledger_url)


@pytest.fixture(params=DATABASES)
def place(request: pytest.FixtureRequest) -> Place:
    """Location for a ledger, on each database in turn."""
    wanted = "sqlite_place" if request.param == "sqlite" else "postgres_place"
    found: Place = request.getfixturevalue(wanted)
    return found


@pytest.fixture
def ledger(place: Place) -> Iterator[Ledger]:
    """A new ledger on each database in turn, empty."""
    place.create()
    with place.opened() as ledger:
        yield ledger


@pytest.fixture
def sqlite_ledger(sqlite_place: Place) -> Iterator[Ledger]:
    """A new ledger, for behaviour that only SQLite has."""
    sqlite_place.create()
    with sqlite_place.opened() as ledger:
        yield ledger


@pytest.fixture
def postgres_ledger(postgres_place: Place) -> Iterator[Ledger]:
    """A new ledger on PostgreSQL, for races of parallel writers."""
    postgres_place.create()
    with postgres_place.opened() as ledger:
        yield ledger


@pytest.fixture
def intruder(place: Place) -> Iterator[Intruder]:
    """An intruder with the database of `ledger`."""
    intruder = Intruder(place)
    yield intruder
    intruder.close()


@pytest.fixture
def sqlite_intruder(sqlite_place: Place) -> Iterator[Intruder]:
    """An intruder with the database of `sqlite_ledger`."""
    intruder = Intruder(sqlite_place)
    yield intruder
    intruder.close()
