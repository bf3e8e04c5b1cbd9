"""Each kind of audience yields the same people from equal settings."""

import csv
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import date
from pathlib import Path

import pytest

from standfast.adapters.factory.audiences import read_audience
from standfast.config import SecretReference, load
from standfast.errors import ConfigurationError
from standfast.notices.audience import Audience
from tests.servers.mariadb import Mariadb
from tests.servers.postgres import Postgres

ORGANISATION = '[organisation]\nname = "Example"\ncontact_line = "020 7946 0000"\n'
RULES = """
language = "es"
why = "was open"
each_address = true
adult_years = 16
suppress = "never.csv"
"""
HEADER = ("id", "email", "name", "born", "never")
ROWS = (
    ("1", "ana@x.test", "Ana", "1980-02-01", None),
    ("1", "ana@y.test", "Ana", "1980-02-01", None),
    ("2", "kit@x.test", "Kit", "2009-06-01", None),  # seventeen years old
    ("3", "eve@x.test", "Eve", "1980-02-01", None),  # on the suppression list in the file
    ("4", "ben@x.test", "Ben", "1980-02-01", "court order"),
)
TABLE = (
    "CREATE TABLE people (id VARCHAR(9), email VARCHAR(99), name VARCHAR(99), born VARCHAR(10), "
    "never VARCHAR(99))"
)
VALUES = ", ".join(
    "(" + ", ".join("NULL" if one is None else f"'{one}'" for one in row) + ")" for row in ROWS
)
INSERT = f"INSERT INTO people VALUES {VALUES}"
QUERY = 'SELECT id AS "key", email AS address, name, born AS born_on FROM people ORDER BY id, email'
NEVER = "SELECT email, never FROM people WHERE never IS NOT NULL"
QUERIES = f"query = '{QUERY}'\nsuppress_query = '{NEVER}'\n"
COLUMNS = 'columns = { address = "email", key = "id", name = "name", born_on = "born" }\n'
KINDS = ["csv", "sqlite", "postgresql", "mariadb", "backup of csv", "backup of sqlite"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with (tmp_path / "people.csv").open("w", newline="") as file:
        csv.writer(file).writerows([HEADER, *ROWS])
    with closing(sqlite3.connect(tmp_path / "people.db")) as connection, connection:
        connection.execute(TABLE)
        connection.execute(INSERT)
    (tmp_path / "never.csv").write_text("who,why\neve@x.test,asked\n")
    return tmp_path


@pytest.fixture(params=KINDS)
def written(request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    """Return the settings of an audience of one kind."""
    kind = str(request.param).partition(" ")[0]
    head = f'kind = "{kind}"\n'
    if kind == "postgresql":
        postgres: Postgres = request.getfixturevalue("postgres_server")
        with postgres.database() as database:
            user, password = postgres.role()
            grant = f"GRANT SELECT ON people TO {user}"
            postgres.execute(TABLE, INSERT, grant, database=database)
            where = f'host = "{postgres.socket_folder}"\ndatabase = "{database}"\n'
            (folder / "password").write_text(password)
            yield f'{head}{where}user = "{user}"\npassword = "env:READER"\n{QUERIES}'
            postgres.execute(f"DROP OWNED BY {user}", database=database)
    elif kind == "mariadb":
        mariadb: Mariadb = request.getfixturevalue("mariadb_server")
        with mariadb.database() as database:
            mariadb.execute(TABLE, INSERT, database=database)
            user, password = mariadb.user(f"SELECT ON {database}.*")
            where = f'host = "{mariadb.socket}"\ndatabase = "{database}"\n'
            (folder / "password").write_text(password)
            yield f'{head}{where}user = "{user}"\npassword = "env:READER"\n{QUERIES}'
    elif kind == "backup":
        of_what = f"query = '{QUERY}'\n" if "sqlite" in request.param else COLUMNS
        suffix = "db" if "sqlite" in request.param else "csv"
        yield f'{head}set = "main"\npath = "people.{suffix}"\n{of_what}'
    else:
        of_what = QUERIES if kind == "sqlite" else COLUMNS
        yield f'{head}path = "people.{"db" if kind == "sqlite" else "csv"}"\n{of_what}'


def read(folder: Path, settings: str, more: str = "") -> Audience:
    """Read the audience of these settings, as the planning of a notice does."""
    file = folder / "standfast.toml"
    sets = '[backup.sets.main]\nsources = [{ kind = "files", name = "f", path = "logs" }]\n'
    file.write_text(f"{ORGANISATION}{sets}[audiences.people]\n{settings}{more}")

    @contextmanager
    def restored(set_name: str, path: str) -> Iterator[Path]:
        assert set_name == "main"
        yield folder / path

    def reveal(reference: SecretReference) -> str:
        assert str(reference) == "env:READER"
        return (folder / "password").read_text()

    return read_audience(load(file), "people", reveal, restored, date(2026, 11, 25))


def test_excluded_people_are_excluded_and_others_notified(folder: Path, written: str) -> None:
    found = read(folder, written, RULES)
    queried = ["must not be notified: court order"] if "suppress_query" in written else []
    told = ["ana@x.test", "ana@y.test", "kit@x.test", *(["ben@x.test"] * (not queried))]
    assert [one.address for one in found.recipients] == told
    assert {(one.language, one.why) for one in found.recipients} == {("es", "was open")}
    assert [one.reason for one in found.suppressed] == ["must not be notified: asked", *queried]
    assert (found.rows, list(found.held)) == (5, [])


def test_default_age_is_eighteen_without_reasons(folder: Path, written: str) -> None:
    found = read(folder, written, 'why = "was open"\n')
    assert [one.address for one in found.held] == ["kit@x.test"]
    assert [one.reason[:-1] for one in found.repeated] == ["same person as row "]
    assert {one.language for one in found.recipients} == {""}
    assert not read(folder, written).recipients, "nothing says why they are told"


def test_unreadable_suppression_list_notifies_nobody(folder: Path, written: str) -> None:
    (folder / "never.csv").unlink()
    with pytest.raises(ConfigurationError, match=r"never\.csv: cannot be read"):
        read(folder, written, RULES)
    if "suppress_query" in written:
        gone = written.replace("FROM people WHERE", "FROM nowhere WHERE")
        with pytest.raises(ConfigurationError, match="query"):
            read(folder, gone, 'why = "was open"\n')


def test_default_columns_use_known_names(folder: Path) -> None:
    (folder / "people.csv").write_text("email,is_minor\nana@x.test,\nkid@x.test,yes\n")
    plain = 'kind = "csv"\npath = "people.csv"\nwhy = "was open"\n'
    found = read(folder, plain)
    assert [one.address for one in found.recipients] == ["ana@x.test"]
    assert [one.address for one in found.held] == ["kid@x.test"]
    with pytest.raises(ConfigurationError, match="no column id, name"):
        read(folder, plain, 'columns = { address = "email", key = "id", name = "name" }\n')
