"""Durability, foreign keys, plain errors and steady reads of databases."""

import socket
import sqlite3
import threading
import traceback
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Engine, insert, select, text

from standfast.errors import StandfastError, Unavailable, UsageError
from standfast.ledger import Ledger
from standfast.ledger.database import connections
from standfast.ledger.schema.tables import approval, incident, run
from tests.ledger.ledger_files import NOW, Place
from tests.ledger.stage import open_incident


def _pragma(engine: Engine, name: str) -> object:
    with connections.reading(engine) as connection:
        return connection.scalar(text(f"PRAGMA {name}"))


def test_sqlite_connections_are_durable_and_check_keys(
    sqlite_ledger: Ledger,
) -> None:
    found = []

    def look(both_are_connected: threading.Barrier) -> None:
        with connections.reading(sqlite_ledger.engine) as connection:
            both_are_connected.wait(timeout=120)  # two simultaneous calls need two connections
            names = ("journal_mode", "synchronous", "foreign_keys")
            found.append([connection.scalar(text(f"PRAGMA {name}")) for name in names])

    barrier = threading.Barrier(2)
    threads = [threading.Thread(target=look, args=(barrier,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    full = 2
    assert found == [["wal", full, 1], ["wal", full, 1]]


def test_later_connections_have_the_same_pragmas(sqlite_ledger: Ledger) -> None:
    sqlite_ledger.engine.dispose()
    assert _pragma(sqlite_ledger.engine, "synchronous") == 2
    assert _pragma(sqlite_ledger.engine, "foreign_keys") == 1


def test_a_writer_takes_the_lock_at_its_start(sqlite_ledger: Ledger, sqlite_place: Place) -> None:
    other = sqlite3.connect(sqlite_place.file, timeout=0, isolation_level=None)
    with (
        connections.writing(sqlite_ledger.engine),
        pytest.raises(sqlite3.OperationalError, match="locked"),
    ):
        other.execute("BEGIN IMMEDIATE")
    other.close()


def _moved(place: Place, to: Path) -> None:
    to.mkdir()
    for file in place.file.parent.glob(f"{place.file.name}*"):
        file.rename(to / file.name)


def test_moved_ledger_is_neither_written_nor_recreated(
    sqlite_ledger: Ledger, sqlite_place: Place, tmp_path: Path
) -> None:
    open_incident(sqlite_ledger)
    away = tmp_path / "away"
    _moved(sqlite_place, away)
    before = (away / sqlite_place.file.name).read_bytes()
    with pytest.raises(Unavailable, match="removed while"):
        open_incident(sqlite_ledger)
    with pytest.raises(Unavailable, match="removed while"):
        sqlite_ledger.newest_event()
    assert not sqlite_place.file.exists()
    assert (away / sqlite_place.file.name).read_bytes() == before
    for file in away.iterdir():
        file.replace(sqlite_place.file.parent / file.name)
    assert len(sqlite_ledger.incidents.all()) == 1
    open_incident(sqlite_ledger)


def test_replaced_ledger_is_the_one_written(
    sqlite_ledger: Ledger, sqlite_place: Place, tmp_path: Path
) -> None:
    restored = tmp_path / "restored.db"
    with (
        closing(sqlite3.connect(sqlite_place.file)) as source,
        closing(sqlite3.connect(restored)) as target,
    ):
        source.backup(target)
    gone = open_incident(sqlite_ledger)
    _moved(sqlite_place, tmp_path / "away")
    restored.rename(sqlite_place.file)
    assert sqlite_ledger.incidents.all() == []
    opened = open_incident(sqlite_ledger)
    assert opened != gone  # a key of `gone` exists, so its number is not used again
    with closing(sqlite3.connect(sqlite_place.file)) as seen:
        assert seen.execute("SELECT id FROM incident").fetchall() == [(opened,)]


def test_silent_server_is_abandoned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert connections.TIMEOUT_OPTIONS["connect_timeout"] == 10
    # The smallest value that libpq accepts.
    monkeypatch.setattr(connections, "TIMEOUT_OPTIONS", {"connect_timeout": 2})
    with socket.create_server(("127.0.0.1", 0)) as silent:
        engine = connections.open_engine(
            f"postgresql://x@127.0.0.1:{silent.getsockname()[1]}/ledger"
        )
        with pytest.raises(Unavailable, match="no answer"), connections.reading(engine):
            pass
        engine.dispose()


def test_database_error_quotes_no_row(ledger: Ledger) -> None:
    row = {"incident": "wolfhound", "step": "s", "round": 1, "person": "p", "decision": "x"}
    row |= {"digest": "", "nonce": "", "signature": "", "decided_at": NOW}
    with (
        pytest.raises(StandfastError) as caught,
        ledger.database.write(actor="a", subject="s", action="x", now=NOW) as write,
    ):
        write.insert(approval, row)
    assert "wolfhound" not in "".join(traceback.format_exception(caught.value))


def test_undecodable_name_is_a_usage_error(ledger: Ledger) -> None:
    """Python accepts such bytes on the command line."""
    with pytest.raises(UsageError, match="not UTF-8"):
        ledger.incidents.get("inc-\udce9")
    with pytest.raises(UsageError, match="not UTF-8"):
        ledger.timeline("inc-\udce9")


def test_reader_sees_one_moment(ledger: Ledger) -> None:
    first = open_incident(ledger)
    with connections.reading(ledger.engine) as connection:
        assert connection.scalars(select(incident.c.id)).all() == [first]
        open_incident(ledger)
        assert connection.scalars(select(incident.c.id)).all() == [first]


def test_a_reader_cannot_write_on_postgresql(postgres_ledger: Ledger) -> None:
    row = {"id": "r", "kind": "k", "subject": "s", "way": "w", "state": "s", "summary": "{}"}
    with (
        pytest.raises(StandfastError),
        connections.reading(postgres_ledger.engine) as connection,
    ):
        connection.execute(insert(run), row | {"started_at": NOW})
