"""One transaction, one event: no silent change, no partial change."""

import contextlib
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from standfast.errors import ConfigurationError, StandfastError
from standfast.ledger import Ledger, open_ledger
from standfast.ledger.audit.transaction import row_digest
from standfast.ledger.schema.column_encryption import INSTALLATION, ColumnCipher
from standfast.ledger.schema.tables import as_stored, audit_event, run
from tests.ledger.intruder import Intruder
from tests.ledger.ledger_files import NOW, Place
from tests.ledger.stage import waiting
from tests.servers import wait_until


def _run(name: str, **changed: Any) -> dict[str, Any]:
    row = {"id": name, "kind": "backup", "subject": "calls", "way": "direct", "state": "running"}
    return row | {"started_at": NOW, "ended_at": None, "summary": "{}"} | changed


def _write(ledger: Ledger) -> Any:
    return ledger.database.write(actor="olga", subject="calls", action="test.wrote", now=NOW)


def _runs(ledger: Ledger) -> list[str]:
    with ledger.database.reading() as connection:
        return list(connection.scalars(select(run.c.id).order_by(run.c.id)))


def _changes(ledger: Ledger) -> dict[str, list[list[str]]]:
    with ledger.database.reading() as connection:
        newest = select(audit_event.c.changes).order_by(audit_event.c.sequence.desc()).limit(1)
        found: dict[str, list[list[str]]] = json.loads(connection.scalars(newest).one())
    return found


def test_one_transaction_has_one_event(ledger: Ledger) -> None:
    before = len(ledger.timeline())
    with _write(ledger) as write:
        write.insert(run, _run("a"), _run("b"))
        write.update(run, ("a",), state="done")
        write.add_detail(count=2)
    (event,) = ledger.timeline()[before:]
    assert (event.actor, event.action, event.detail) == ("olga", "test.wrote", {"count": 2})
    assert event.at == NOW


def test_empty_transaction_leaves_no_event(ledger: Ledger) -> None:
    before = ledger.timeline()
    with _write(ledger):
        pass
    assert ledger.timeline() == before


def test_nothing_stays_when_anything_escapes(ledger: Ledger) -> None:
    before = ledger.timeline()
    with contextlib.suppress(RuntimeError), _write(ledger) as write:
        write.insert(run, _run("a"))
        raise RuntimeError
    assert (_runs(ledger), ledger.timeline()) == ([], before)


def test_nothing_stays_when_the_database_refuses_a_row(ledger: Ledger) -> None:
    with _write(ledger) as write:
        write.insert(run, _run("taken"))
    before = ledger.timeline()
    with pytest.raises(StandfastError), _write(ledger) as write:
        write.insert(run, _run("a"), _run("taken"))
    assert (_runs(ledger), ledger.timeline()) == (["taken"], before)


def test_inserting_a_key_twice_inserts_once(ledger: Ledger) -> None:
    for expected in (2, 0):
        with _write(ledger) as write:
            assert write.insert_new(run, _run("a"), _run("b")) == expected
    with _write(ledger) as write:
        assert write.insert_new(run, _run("b", state="other"), _run("c")) == 1
    assert _runs(ledger) == ["a", "b", "c"]
    assert {row.state for row in ledger.runs.all("backup")} == {"running"}
    assert ledger.audit.verify().is_whole


def test_one_of_two_concurrent_inserts_wins(postgres_ledger: Ledger) -> None:
    """The second looks before the first commits; its insert then waits."""
    ledger = postgres_ledger
    counts = []

    def second() -> None:
        with _write(ledger) as write:
            counts.append(write.insert_new(run, _run("a", state="second")))

    thread = threading.Thread(target=second)
    with _write(ledger) as write:
        counts.append(write.insert_new(run, _run("a", state="first")))
        thread.start()
        wait_until(lambda: waiting(ledger) == 1, "the second writer to wait for the first")
    thread.join()
    assert counts == [1, 0]
    assert [row.state for row in ledger.runs.all("backup")] == ["first"]
    assert ledger.audit.verify().is_whole


def test_event_has_digests_of_stored_rows(ledger: Ledger) -> None:
    with _write(ledger) as write:
        write.insert(run, _run("a"), _run("b"))
        write.update_many(run, [{"id": "b", "summary": '{"files":1}'}])
    with ledger.database.reading() as connection:
        rows = connection.execute(select(*as_stored(run)).order_by(run.c.id)).mappings().all()
    assert _changes(ledger) == {
        "run": [[row["id"], row_digest(run, tuple(row.values()))] for row in rows]
    }


def test_failed_change_is_not_recorded(ledger: Ledger) -> None:
    with _write(ledger) as write:
        write.insert(run, _run("a"))
    before = ledger.timeline()
    with _write(ledger) as write:
        assert not write.update(run, ("a",), run.c.state == "done", state="failed")
        assert not write.update(run, ("none",), state="failed")
    assert ledger.timeline() == before


def test_many_rows_exceed_one_statement(ledger: Ledger) -> None:
    names = [f"{number:04}" for number in range(1201)]
    with _write(ledger) as write:
        assert write.insert_new(run, *(_run(name) for name in names)) == len(names)
        write.update_many(run, [{"id": name, "state": f"s{name}"} for name in names])
    with ledger.database.reading() as connection:
        right = func.count().filter(run.c.state == "s" + run.c.id)
        assert connection.scalar(select(right).select_from(run)) == len(names)
    assert [key for key, _ in _changes(ledger)["run"]] == names
    assert ledger.audit.verify().is_whole


def test_concurrent_writers_are_recorded_in_sequence(ledger: Ledger) -> None:
    def write_some(who: int) -> None:
        for number in range(10):
            with _write(ledger) as write:
                write.insert(run, _run(f"{who}-{number}"))

    threads = [threading.Thread(target=write_some, args=(who,)) for who in range(4)]
    before = len(ledger.timeline())
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ledger.timeline()) == before + 40
    assert ledger.audit.verify().is_whole


def test_host_with_foreign_keys_adds_nothing(ledger: Ledger, place: Place, tmp_path: Path) -> None:
    """The events of a second `init` would never fit into this ledger."""
    ledger.runs.start("backup", "calls", "direct", "olga", NOW)
    ColumnCipher(tmp_path / "other").create(INSTALLATION)
    with open_ledger(place.url, tmp_path / "other", place.witness) as other:
        with pytest.raises(ConfigurationError, match=r"ledger\.keys"):
            other.runs.start("backup", "desks", "direct", "olga", NOW)
        assert len(other.runs.all("backup")) == 1
    assert ledger.audit.verify().is_whole


@pytest.mark.parametrize("end", [0, -1])
def test_changed_event_blocks_no_writer(ledger: Ledger, intruder: Intruder, end: int) -> None:
    ledger.runs.start("backup", "calls", "direct", "olga", NOW)
    intruder.set(audit_event, intruder.rows(audit_event)[end], seal="0" * 64)
    ledger.runs.start("backup", "desks", "direct", "olga", NOW)
    assert len(ledger.audit.verify().findings) == 1
