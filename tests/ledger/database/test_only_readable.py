"""A ledger that the user may only read: correct, or plainly refused."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import select

from standfast.errors import ConfigurationError, OnlyReadable, Unavailable
from standfast.ledger import Ledger
from standfast.ledger.database import connections
from standfast.ledger.runs.sqlite_run_writer import SqliteRunWriter
from standfast.ledger.schema.tables import incident
from standfast.ledger.status_query import query_status
from tests.ledger.auditor import copy_to_read
from tests.ledger.ledger_files import NOW, Place
from tests.ledger.stage import open_incident


@pytest.fixture
def home(sqlite_place: Place) -> Iterator[Path]:
    """The folder of a ledger in use, with its last incident in `-wal`."""
    sqlite_place.create()
    with sqlite_place.opened() as ledger:
        ledger.audit.sign_head(NOW)
        open_incident(ledger)
        ledger.audit.sign_head(NOW)
        open_incident(ledger)
        assert Path(f"{sqlite_place.file}-wal").stat().st_size
        yield sqlite_place.file.parent


def in_use(home: Path) -> None:
    """Keep all files next to the ledger's file."""
    assert (home / "ledger.db-wal").exists()
    assert (home / "ledger.db-shm").exists()


def at_rest(home: Path) -> None:
    """Merge `-wal`, as the last process does that closes the ledger."""
    with closing(sqlite3.connect(home / "ledger.db")) as last:
        last.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert not (home / "ledger.db-wal").exists()


def whole(home: Path, tmp_path: Path, then: Callable[[Path], None]) -> Path:
    copy = tmp_path / "copied"
    shutil.copytree(home, copy, ignore=shutil.ignore_patterns("copied"))
    then(copy)
    return copy


def place_in(folder: Path) -> Place:
    return Place(
        url=f"sqlite:///{folder / 'ledger.db'}",
        keys=folder / "keys",
        witness=folder / "witness" / "heads.jsonl",
    )


@contextmanager
def opened_copy(home: Path, tmp_path: Path, then: Callable[[Path], None]) -> Iterator[Ledger]:
    """Yield an auditor's copy; its files must be unchanged at the end."""
    with copy_to_read(whole(home, tmp_path, then)) as copy:
        before = {file: file.read_bytes() for file in copy.rglob("*") if file.is_file()}
        with place_in(copy).opened() as ledger:
            yield ledger
        assert {file: file.read_bytes() for file in copy.rglob("*") if file.is_file()} == before


@pytest.mark.parametrize("then", [in_use, at_rest])
def test_readable_copy_is_verified_whole(
    home: Path, tmp_path: Path, then: Callable[[Path], None]
) -> None:
    with opened_copy(home, tmp_path, then) as ledger:
        assert len(ledger.incidents.all()) == 2
        report = ledger.audit.verify()
        assert report.is_whole
        assert (report.heads, report.witnessed) == (2, 2)
        path = str(ledger.engine.url.database)
        assert len(query_status(f"sqlite:///{path}", NOW).incidents) == 2
        keys = place_in(Path(path).parent).keys
        assert SqliteRunWriter(path, keys, Path()).all("backup") == []


@pytest.mark.parametrize("then", [in_use, at_rest])
def test_write_to_a_read_only_ledger_is_refused(
    home: Path, tmp_path: Path, then: Callable[[Path], None]
) -> None:
    with opened_copy(home, tmp_path, then) as ledger:
        with pytest.raises(OnlyReadable):
            open_incident(ledger)
        path = str(ledger.engine.url.database)
        with pytest.raises(OnlyReadable, match="read-only for this user"):
            SqliteRunWriter(path, place_in(Path(path).parent).keys, Path()).start(
                "backup", "s", "direct", "os:test", NOW
            )


def test_head_coverage_is_stated_without_signing(home: Path, tmp_path: Path) -> None:
    with opened_copy(home, tmp_path, at_rest) as ledger:
        newest = ledger.newest_event()
        assert ledger.audit.newest_signed(NOW) == newest - 1


def test_unreadable_newest_changes_are_refused(home: Path, tmp_path: Path) -> None:
    def without_shared_memory(home: Path) -> None:
        (home / "ledger.db-shm").unlink()

    says = r"newest rows are in .*/ledger\.db-wal.*Copy all"
    with copy_to_read(whole(home, tmp_path, without_shared_memory)) as copy:
        with pytest.raises(ConfigurationError, match=says), place_in(copy).opened():
            pass
        with pytest.raises(ConfigurationError, match=says):
            query_status(place_in(copy).url, NOW)


OWNER_WRITES = """
import pathlib, sqlite3, sys
file = pathlib.Path(sys.argv[1])
file.parent.chmod(0o755)
file.chmod(0o644)
owner = sqlite3.connect(file)
with owner:
    owner.execute("UPDATE incident SET opened_by = 'somebody else'")
owner.close()
"""


def test_ledger_written_during_reading_is_read_again(home: Path, tmp_path: Path) -> None:
    names = select(incident.c.opened_by).distinct()
    with copy_to_read(whole(home, tmp_path, at_rest)) as copy, place_in(copy).opened() as ledger:
        with (  # noqa: PT012 - it is told at the end
            pytest.raises(Unavailable, match="while it was read"),
            connections.reading(ledger.engine) as connection,
        ):
            assert connection.scalars(names).all() == ["olga"]
            writes = [sys.executable, "-c", OWNER_WRITES, str(copy / "ledger.db")]
            subprocess.run(writes, check=True, user=os.getuid())
        with connections.reading(ledger.engine) as connection:
            assert connection.scalars(names).all() == ["somebody else"]


def test_reader_may_write_after_permission_returns(home: Path, tmp_path: Path) -> None:
    with copy_to_read(whole(home, tmp_path, at_rest)) as copy, place_in(copy).opened() as ledger:
        with pytest.raises(OnlyReadable):
            open_incident(ledger)
        frees = ["chmod", "-R", "a+w", str(copy)]
        subprocess.run(frees, check=True, user=os.getuid())
        open_incident(ledger)
        assert len(ledger.incidents.all()) == 3
