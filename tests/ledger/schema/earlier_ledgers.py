"""Ledgers as earlier releases made them: `fixtures/RELEASE/DATABASE/`.

    python -m tests.ledger.schema.earlier_ledgers 0.1.0   # before that release; needs PostgreSQL

A fixture has the database as SQL, the keys and the witness. Its ledger contains
`tests.ledger.story`, in which an incident is open. A fixture of a release is never written again.
"""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from tests.ledger import story
from tests.ledger.ledger_files import Place
from tests.servers.postgres import Postgres, running_postgres

FIXTURES = Path(__file__).parent / "fixtures"
RELEASES = sorted(path.name for path in FIXTURES.iterdir())
_DUMP, _WITNESS = "ledger.sql", "heads.jsonl"
# Commands of psql, and settings that other versions of the server do not know.
_NOT_PORTABLE = re.compile(r"^(\\.*|SET .*|SELECT pg_catalog\.set_config.*|--.*)\n", re.MULTILINE)


def copy_keys(fixture: Path, place: Place) -> None:
    """Copy the keys and the witness of a fixture to the paths of `place`."""
    shutil.copytree(fixture / "keys", place.keys)
    place.witness.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(fixture / _WITNESS, place.witness)


def load_sqlite(fixture: Path, file: Path) -> None:
    """Create the ledger's file from the SQL of a fixture."""
    with closing(sqlite3.connect(file)) as database:
        database.executescript((fixture / _DUMP).read_text())
    file.chmod(0o600)


def load_postgresql(fixture: Path, server: Postgres, database: str) -> None:
    """Fill an empty database from the SQL of a fixture."""
    server.execute((fixture / _DUMP).read_text(), database=database)


def _write(release: str) -> None:
    folder = FIXTURES / release
    folder.mkdir()
    place = _told(folder / "sqlite", f"sqlite:///{folder / 'sqlite/ledger.db'}")
    with closing(sqlite3.connect(place.file)) as database:
        (folder / "sqlite" / _DUMP).write_text("\n".join(database.iterdump()) + "\n")
    for file in (folder / "sqlite").glob("ledger.db*"):
        file.unlink()
    with running_postgres() as server, server.database() as name:
        _told(folder / "postgresql", server.url(name))
        dump = subprocess.run(
            [
                server.programs / "pg_dump", "--inserts", "--no-owner", "--no-privileges",
                server.url(name, driver=""),
            ],
            capture_output=True,
            text=True,
            check=True,
        ).stdout  # fmt: skip
        (folder / "postgresql" / _DUMP).write_text(_NOT_PORTABLE.sub("", dump))


def _told(folder: Path, url: str) -> Place:
    folder.mkdir()
    place = Place(url=url, keys=folder / "keys", witness=folder / _WITNESS)
    place.create()
    with place.opened() as ledger:
        story.tell(ledger)
    return place


if __name__ == "__main__":
    os.umask(0o077)
    _write(sys.argv[1])
