"""Log messages about waiting for a session of PostgreSQL.

Rules
- A message is logged when a write has taken long (`sqlite_lock_waits.LONG_SECONDS`); the write
  continues to wait.
- The message is logged only if the server reports that another session blocks the write: a write
  may also be slow by itself.
- If a blocking session is itself blocked, the message names the session that blocks all of them.
  The message names no session of this process, because a session of this process ends by itself.
- The names of Standfast's sessions contain process id and host, which the server does not know.
- One thread with its own connection queries the server, and only while a write is in progress.
"""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from standfast.host_name import host_name
from standfast.ledger.database import sqlite_lock_waits

_LONGEST_NAME = 63  # bytes; PostgreSQL cuts longer names
_BETWEEN = " on "
_OURS = "standfast "
_HOLDERS = text(
    "WITH RECURSIVE blocking(pid) AS (SELECT unnest(pg_blocking_pids(:waiting))"
    " UNION SELECT unnest(pg_blocking_pids(blocking.pid)) FROM blocking)"
    " SELECT one.pid, one.application_name, host(one.client_addr), one.state,"
    " EXTRACT(EPOCH FROM clock_timestamp() - one.state_change)"
    " FROM blocking JOIN pg_stat_activity AS one USING (pid)"
    " WHERE cardinality(pg_blocking_pids(one.pid)) = 0 ORDER BY one.pid"
)


def session_name() -> str:
    """Return the name of this process's sessions on the server."""
    name = f"{_OURS}{os.getpid()}{_BETWEEN}{host_name()}"
    return name.encode("ascii", "replace")[:_LONGEST_NAME].decode()


@dataclass(frozen=True, kw_only=True)
class Holder:
    """A session that blocks others."""

    session: int  # process id on the server
    name: str
    address: str  # empty for a session from the server's own machine
    state: str
    seconds: float  # time since the session entered its state

    @property
    def process(self) -> int:
        """The client's process id; 0 if the session's name does not contain it."""
        number = self.name.removeprefix(_OURS).partition(_BETWEEN)[0]
        return int(number) if self.name.startswith(_OURS) and number.isdigit() else 0

    @property
    def host(self) -> str:
        return self.name.partition(_BETWEEN)[2]

    @property
    def is_here(self) -> bool:
        """Return whether the session belongs to a process of this machine."""
        return bool(self.process) and self.host == session_name().partition(_BETWEEN)[2]


class _Watch:
    """The writes in progress; a thread watches them for long waits."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        # The writes by the process id of their session on the server: start, engine, and whether
        # the write waits for a process that plans a step.
        self._began: dict[int, tuple[float, Engine, bool]] = {}
        self._is_looking = False

    def add(self, session: int, engine: Engine, *, is_planning: bool) -> None:
        with self._changed:
            self._began[session] = (time.monotonic(), engine, is_planning)
            if not self._is_looking:
                self._is_looking = True
                threading.Thread(target=self._look, name="ledger-waits", daemon=True).start()
            elif len(self._began) == 1:
                self._changed.notify()

    def remove(self, session: int) -> None:
        with self._changed:
            self._began.pop(session, None)

    def _look(self) -> None:
        while True:
            with self._changed:
                while not self._began:
                    self._changed.wait()
            time.sleep(sqlite_lock_waits.LONG_SECONDS / 3)
            with self._changed:
                long_ago = time.monotonic() - sqlite_lock_waits.LONG_SECONDS
                late = [
                    (session, engine, is_planning)
                    for session, (began, engine, is_planning) in self._began.items()
                    if began <= long_ago
                ]
            for session, engine, is_planning in late:
                log_holder(session, engine, is_planning=is_planning)


_watch = _Watch()


@contextmanager
def log_long_wait(session: int, engine: Engine, *, is_planning: bool = False) -> Iterator[None]:
    """Log the blocking session if the `with` block takes long.

    With `is_planning`, the block waits for a process that plans a step of an incident (computes and
    stores its changes), perhaps for minutes.
    """
    _watch.add(session, engine, is_planning=is_planning)
    try:
        yield
    finally:
        _watch.remove(session)


def log_holder(session: int, engine: Engine, *, is_planning: bool = False) -> None:
    """Log which session blocks this one, if any."""
    try:
        with engine.connect() as connection:
            connection.detach()  # closed at the end even if the pool was disposed of
            rows = connection.execute(_HOLDERS, {"waiting": session}).all()
    except SQLAlchemyError:
        return  # the writer itself reports the error
    ours = session_name()
    for number, name, address, state, seconds in rows:
        if name != ours:
            holder = Holder(
                session=number,
                name=name or "",
                address=address or "",
                state=state or "unknown",
                seconds=float(seconds or 0),
            )
            sqlite_lock_waits.warn_once(str(engine.url), _message(holder, is_planning=is_planning))
            return


def _message(holder: Holder, *, is_planning: bool) -> str:
    waits = "waiting for the ledger's PostgreSQL"
    # A planning process locks in one session, which is then idle, and writes in another session.
    does = (
        "plans a step, which takes minutes for a large notice. If it hangs, "
        if is_planning
        else "blocks it. Check whether it is suspended or hangs. "
    )
    session = f"session {holder.session}, {holder.state} for {holder.seconds:.0f} s"
    if holder.is_here:
        who = f"process {holder.process} ({session})"
        return f"{waits}: {who} {sqlite_lock_waits.what_to_do(holder.process)}"
    whose = f"process {holder.process} on {holder.host}" if holder.process else "another program"
    if not holder.process and holder.address:
        whose += f" from {holder.address}"
    return (
        f"{waits}: {whose} ({session}) {does}`SELECT "
        f"pg_terminate_backend({holder.session})` ends its session without loss of committed data."
    )
