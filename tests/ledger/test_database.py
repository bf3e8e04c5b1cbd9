"""What the database promises underneath: durability, foreign keys, plain errors, steady reading."""

import socket
import sqlite3
import threading
import traceback

import pytest
from sqlalchemy import Engine, insert, select, text

from standfast.errors import StandfastError, Unavailable
from standfast.ledger import Ledger, database
from standfast.ledger.tables import approval, incident, run
from tests.ledger.place import NOW, Place
from tests.ledger.stage import open_incident


def _pragma(engine: Engine, name: str) -> object:
    with database.reading(engine) as connection:
        return connection.scalar(text(f"PRAGMA {name}"))


def test_every_connection_to_sqlite_is_durable_and_checks_foreign_keys(
    sqlite_ledger: Ledger,
) -> None:
    found = []

    def look(both_are_connected: threading.Barrier) -> None:
        with database.reading(sqlite_ledger.engine) as connection:
            both_are_connected.wait(timeout=10)  # two at once are two connections
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


def test_a_connection_that_was_opened_later_has_the_same_pragmas(sqlite_ledger: Ledger) -> None:
    sqlite_ledger.engine.dispose()
    assert _pragma(sqlite_ledger.engine, "synchronous") == 2
    assert _pragma(sqlite_ledger.engine, "foreign_keys") == 1


def test_a_writer_takes_the_lock_at_its_start(sqlite_ledger: Ledger, sqlite_place: Place) -> None:
    other = sqlite3.connect(sqlite_place.file, timeout=0, isolation_level=None)
    with (
        database.writing(sqlite_ledger.engine),
        pytest.raises(sqlite3.OperationalError, match="locked"),
    ):
        other.execute("BEGIN IMMEDIATE")
    other.close()


def test_a_server_that_lets_us_connect_and_says_nothing_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert database._PATIENCE["connect_timeout"] == 10
    monkeypatch.setattr(database, "_PATIENCE", {"connect_timeout": 2})  # libpq's least
    with socket.create_server(("127.0.0.1", 0)) as silent:
        engine = database.open_engine(f"postgresql://x@127.0.0.1:{silent.getsockname()[1]}/ledger")
        with pytest.raises(Unavailable, match="does not answer"), database.reading(engine):
            pass
        engine.dispose()


def test_what_the_database_refuses_quotes_no_row(ledger: Ledger) -> None:
    row = {"incident": "wolfhound", "step": "s", "round": 1, "person": "p", "decision": "x"}
    row |= {"digest": "", "nonce": "", "signature": "", "decided_at": NOW}
    with (
        pytest.raises(StandfastError) as caught,
        ledger.core.write(actor="a", subject="s", action="x", now=NOW) as write,
    ):
        write.insert(approval, row)
    assert "wolfhound" not in "".join(traceback.format_exception(caught.value))


def test_a_reader_sees_one_moment_from_first_to_last_look(ledger: Ledger) -> None:
    first = open_incident(ledger)
    with database.reading(ledger.engine) as connection:
        assert connection.scalars(select(incident.c.id)).all() == [first]
        open_incident(ledger)
        assert connection.scalars(select(incident.c.id)).all() == [first]


def test_a_reader_cannot_write_on_postgresql(postgres_ledger: Ledger) -> None:
    row = {"id": "r", "kind": "k", "subject": "s", "way": "w", "state": "s", "summary": "{}"}
    with (
        pytest.raises(StandfastError),
        database.reading(postgres_ledger.engine) as connection,
    ):
        connection.execute(insert(run), row | {"started_at": NOW})
