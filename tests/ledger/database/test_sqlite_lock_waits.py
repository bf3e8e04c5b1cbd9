"""Messages to a process that waits for another one."""

import logging
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from standfast.errors import Unavailable
from standfast.ledger import Ledger
from standfast.ledger.database import (
    connections,
    postgresql_lock_waits,
    sqlite_file,
    sqlite_lock_waits,
)
from tests.ledger.ledger_files import NOW, Place
from tests.servers import wait_until

# Ways to hold the ledger: each program of Standfast does so while it writes; other programs may.
HOLDS = {
    "in line": "from standfast.ledger.database.sqlite_file import write_queue;"
    "i = write_queue({file!r}); i.__enter__()",
    "past the line": "import sqlite3; c = sqlite3.connect({file!r}, isolation_level=None);"
    "c.execute('BEGIN IMMEDIATE')",
}
HOLDS_SESSION = """
from sqlalchemy import text
from standfast.ledger.database import connections, postgresql_lock_waits
{before}
w = connections.writing(connections.open_engine({url!r}))
c = w.__enter__()
c.execute(text("SELECT pg_advisory_xact_lock(7236114)"))
print(c.scalar(text("SELECT pg_backend_pid()")), flush=True)
{then}
"""
SUSPENDED = "import os, signal; os.kill(os.getpid(), signal.SIGSTOP); w.__exit__(None, None, None)"
AT_WORK = "import sys; sys.stdin.read()"


class Told(logging.Handler):
    """Log messages, and an event for the first one."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.came = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        self.came.set()


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[Told]:
    monkeypatch.setattr(sqlite_lock_waits, "LONG_SECONDS", 0.05)
    monkeypatch.setattr(sqlite_file, "LONG_SECONDS", 0.05)
    log, told = logging.getLogger("standfast.ledger"), Told()
    log.addHandler(told)
    yield told
    log.removeHandler(told)


@contextmanager
def holder(file: Path, how: str, *, is_suspended: bool = True) -> Iterator[subprocess.Popen[str]]:
    """Run a process that holds the ledger's lock, suspended or not."""
    then = "import sys; sys.stdin.read()"
    if is_suspended:
        then = "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)"
    code = f"{HOLDS[how].format(file=str(file))}; print('held', flush=True); {then}"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    if is_suspended:
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def writing_beside(ledger: Ledger) -> threading.Thread:
    def write() -> None:
        with ledger.database.write(actor="a", subject="s", action="x", now=NOW, detail={"n": 1}):
            pass

    thread = threading.Thread(target=write)
    thread.start()
    return thread


@pytest.mark.parametrize("how", HOLDS)
def test_waiter_names_a_suspended_process(
    sqlite_ledger: Ledger, sqlite_place: Place, told: Told, how: str
) -> None:
    before = sqlite_ledger.newest_event()
    with holder(sqlite_place.file, how) as process:
        writer = writing_beside(sqlite_ledger)
        assert told.came.wait(60)
        assert writer.is_alive()
        process.send_signal(signal.SIGCONT)
        writer.join()
    assert sqlite_ledger.newest_event() == before + 1
    (line,) = told.lines
    assert line.startswith(f"waiting for the ledger {sqlite_place.file}: process {process.pid} ")
    assert f"is suspended. `kill -CONT {process.pid}`" in line


def test_working_process_is_named_once(
    sqlite_ledger: Ledger, sqlite_place: Place, told: Told
) -> None:
    with holder(sqlite_place.file, "in line", is_suspended=False) as process:
        writers = [writing_beside(sqlite_ledger) for _ in range(3)]
        assert told.came.wait(60)
        process.kill()
        for writer in writers:
            writer.join()
    (line,) = told.lines
    assert f"process {process.pid} writes to it" in line


def test_thread_of_same_process_is_not_named(
    sqlite_ledger: Ledger, sqlite_place: Place, told: Told
) -> None:
    with connections.writing(sqlite_ledger.engine):
        sqlite_lock_waits.log_holder(str(sqlite_place.file), f"{sqlite_place.file}-line")
    assert told.lines == []


@contextmanager
def session_holder(
    place: Place, then: str, before: str = ""
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run a process with a lock of a PostgreSQL ledger; yield its session."""
    code = HOLDS_SESSION.format(url=place.url, then=then, before=before)
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    session = int(process.stdout.readline())
    if then == SUSPENDED:
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
    try:
        yield process, session
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def postgres_ledger(postgres_place: Place) -> Iterator[Ledger]:
    postgres_place.create()
    with postgres_place.opened() as ledger:
        yield ledger


def test_suspended_postgresql_session_is_named(
    postgres_ledger: Ledger, postgres_place: Place, told: Told
) -> None:
    before = postgres_ledger.newest_event()
    with session_holder(postgres_place, SUSPENDED) as (process, session):
        writers = [writing_beside(postgres_ledger) for _ in range(3)]
        assert told.came.wait(60)
        assert all(writer.is_alive() for writer in writers)
        process.send_signal(signal.SIGCONT)
        for writer in writers:
            writer.join()
    assert postgres_ledger.newest_event() == before + 3
    (line,) = told.lines
    assert f"process {process.pid} (session {session}, idle in transaction for " in line
    assert f"is suspended. `kill -CONT {process.pid}`" in line


def test_remote_postgresql_session_names_its_end(
    postgres_ledger: Ledger, postgres_place: Place, told: Told
) -> None:
    elsewhere = "import os, types; os.uname = lambda: types.SimpleNamespace(nodename='host-9')"
    with session_holder(postgres_place, AT_WORK, elsewhere) as (process, session):
        writer = writing_beside(postgres_ledger)
        assert told.came.wait(60)
        with postgres_ledger.database.reading() as connection:
            connection.execute(text(f"SELECT pg_terminate_backend({session})"))
        writer.join()
    (line,) = told.lines
    assert f"process {process.pid} on host-9 (session {session}, " in line
    assert f"`SELECT pg_terminate_backend({session})` ends its session" in line


def test_wait_for_a_remote_planner_is_no_alarm(postgres_ledger: Ledger, told: Told) -> None:
    def plan() -> None:
        with connections.planning(postgres_ledger.engine):
            pass

    with postgres_ledger.engine.connect() as planner:
        planner.execute(text("SET application_name = 'standfast 4 on host-9'"))
        planner.execute(text("SELECT pg_advisory_xact_lock(7236116)"))
        waiting = threading.Thread(target=plan)
        waiting.start()
        assert told.came.wait(60)
        planner.rollback()
    waiting.join()
    assert "process 4 on host-9" in told.lines[0]
    assert "plans a step, which takes minutes" in told.lines[0]


def blocked_by(ledger: Ledger, session: int) -> int:
    """Return a session that waits for this one, or 0, in a new transaction.

    The transaction is new because PostgreSQL keeps, within a transaction, the list of sessions that
    it read first.
    """
    blocked = text("SELECT pid FROM pg_stat_activity WHERE :mine = ANY(pg_blocking_pids(pid))")
    with ledger.database.reading() as connection:
        return connection.scalar(blocked, {"mine": session}) or 0


def test_postgresql_names_no_own_thread(postgres_ledger: Ledger, told: Told) -> None:
    with connections.writing(postgres_ledger.engine) as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(7236114)"))
        session = connection.scalar(text("SELECT pg_backend_pid()"))
        postgresql_lock_waits.log_holder(
            session, postgres_ledger.engine
        )  # no session blocks this one
        writer = writing_beside(postgres_ledger)
        wait_until(lambda: blocked_by(postgres_ledger, session) != 0, "the other waits")
        postgresql_lock_waits.log_holder(
            blocked_by(postgres_ledger, session), postgres_ledger.engine
        )
    writer.join()
    assert told.lines == []


def test_missing_kernel_list_names_the_lock_file(
    sqlite_ledger: Ledger, sqlite_place: Place, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_lock_waits, "holders_of", lambda *_: set())
    sqlite_lock_waits.log_holder(str(sqlite_place.file), f"{sqlite_place.file}-line")
    assert f"`fuser {sqlite_place.file}-line` shows" in told.lines[0]


def test_endless_lock_ends_with_a_plain_error(
    sqlite_ledger: Ledger, sqlite_place: Place, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "BUSY_SECONDS", 0.1)
    other = sqlite3.connect(sqlite_place.file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with (
        pytest.raises(Unavailable, match="locked by another process"),
        connections.writing(sqlite_ledger.engine),
    ):
        pass
    other.close()
    with connections.writing(sqlite_ledger.engine):
        pass
