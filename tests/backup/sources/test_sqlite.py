"""A SQLite database in use, backed up as of one moment."""

import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from backup.sources import Found
from backup.sources.sqlite import SqliteSource
from tests.backup.site import Site


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A WAL database with two accounts of 100 and a table with a slow copy."""
    path = tmp_path / "crm.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE accounts (id INTEGER PRIMARY KEY, amount INTEGER)")
        connection.execute("INSERT INTO accounts VALUES (1, 100), (2, 100)")
        connection.execute("CREATE TABLE calls (n INTEGER, note TEXT)")
        rows = ((n, f"call {n} " * 20) for n in range(20_000))
        connection.executemany("INSERT INTO calls VALUES (?, ?)", rows)
    return path


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def test_copy_is_of_one_moment_during_writes(site: Site, database: Path, tmp_path: Path) -> None:
    has_ended = threading.Event()
    moved = 0

    def move_money() -> None:
        nonlocal moved
        with closing(sqlite3.connect(database, timeout=1)) as connection:
            while not has_ended.is_set():
                with connection:
                    connection.execute("UPDATE accounts SET amount = amount - 1 WHERE id = 1")
                    connection.execute("UPDATE accounts SET amount = amount + 1 WHERE id = 2")
                moved += 1

    writer = threading.Thread(target=move_money)
    writer.start()
    try:
        assert site.back_up(SqliteSource("crm", database)).complete
    finally:
        has_ended.set()
        writer.join()
    assert moved > 0, "no write was turned away"
    assert rows(database, "SELECT amount FROM accounts") == [(100 - moved,), (100 + moved,)]
    site.restore("latest", tmp_path / "out")
    restored = tmp_path / "out" / "crm" / "crm.db"
    assert rows(restored, "SELECT sum(amount) FROM accounts") == [(200,)]
    assert rows(restored, "SELECT count(*), sum(n) FROM calls") == [(20_000, 199_990_000)]
    assert rows(restored, "PRAGMA integrity_check") == [("ok",)]


def test_reading_the_copy_blocks_no_reader_or_writer(
    site: Site, database: Path, tmp_path: Path
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    # timeout=0: a call that must wait for a lock fails immediately.
    with closing(sqlite3.connect(database, timeout=0, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        before = reader.execute("SELECT count(*) FROM calls").fetchone()
        with SqliteSource("crm", database).opened(scratch, site.clock) as opened:
            for found in opened.scan():
                if isinstance(found, Found) and found.kind == "file":
                    with opened.read(found) as content:
                        with closing(sqlite3.connect(database, timeout=0)) as writer, writer:
                            writer.execute("DELETE FROM calls WHERE n < 100")
                        assert content.readinto(memoryview(bytearray(1000))) == 1000
                        assert content.changed() is None
        assert reader.execute("SELECT count(*) FROM calls").fetchone() == before
    assert rows(database, "SELECT count(*) FROM calls") == [(19_900,)]


def test_empty_database_file_is_kept_and_reported(tmp_path: Path, site: Site) -> None:
    path = tmp_path / "crm.db"
    path.touch()
    source = SqliteSource("crm", path)
    (obstacle,) = source.obstacles(tmp_path)
    assert obstacle.prevents
    assert "crm.db: it has 0 bytes" in obstacle.problem
    result = site.back_up(source)
    (told,) = result.unread
    assert (result.files, told.path) == (1, "crm/crm.db")
    assert "restore it from an earlier recovery point" in told.reason
    site.restore("latest", tmp_path / "out")
    assert rows(tmp_path / "out" / "crm" / "crm.db", "SELECT * FROM sqlite_schema") == []

    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE calls (n INTEGER)")
    assert source.obstacles(tmp_path) == []
    assert site.back_up(source).complete


def test_unreadable_sqlite_file_is_reported_before_the_backup(tmp_path: Path) -> None:
    path = tmp_path / "crm.db"
    path.write_bytes(b"a dump, and no database" * 100)
    (obstacle,) = SqliteSource("crm", path).obstacles(tmp_path)
    assert obstacle.prevents
    assert "crm.db: SQLite cannot read it" in obstacle.problem
    assert obstacle.problem.endswith("file is not a database")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_unopened_wal_database_needs_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "crm"
    folder.mkdir()
    path = folder / "crm.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE calls (n INTEGER)")
    for one in (path, folder, tmp_path, *tmp_path.parents):
        one.chmod(one.stat().st_mode | 0o555)
    source = SqliteSource("crm", path)
    os.seteuid(65534)
    try:
        (obstacle,) = source.obstacles(tmp_path)
    finally:
        os.seteuid(0)
    assert "needs write permission" in obstacle.problem
    assert source.obstacles(tmp_path) == []


def test_locked_database_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "crm.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("CREATE TABLE calls (n INTEGER)")
        writer.execute("BEGIN EXCLUSIVE")
        assert SqliteSource("crm", path).obstacles(tmp_path) == []
