"""Log messages about waiting for a session of PostgreSQL.

Rules
- A message is logged once a write has taken long, as in `sqlite_lock_waits`; the wait continues.
- It is logged only when the server says that our session is blocked: a write may be slow by itself.
- Of several sessions that block each other, the first one is named; another session of this program
  is not named, because it ends by itself.
- Our sessions have names with process and host, since the server knows neither.
- One thread with its own connection watches, and only while something is written.
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
    """Return the name that our sessions have on the server."""
    name = f"{_OURS}{os.getpid()}{_BETWEEN}{host_name()}"
    return name.encode("ascii", "replace")[:_LONGEST_NAME].decode()


@dataclass(frozen=True, kw_only=True)
class Holder:
    """A session that blocks others."""

    session: int  # process id on the server
    name: str
    address: str  # empty on the machine of the server
    state: str
    seconds: float  # since it entered the state

    @property
    def process(self) -> int:
        """The client's process id; 0 if the name does not contain it."""
        number = self.name.removeprefix(_OURS).partition(_BETWEEN)[0]
        return int(number) if self.name.startswith(_OURS) and number.isdigit() else 0

    @property
    def host(self) -> str:
        return self.name.partition(_BETWEEN)[2]

    @property
    def is_here(self) -> bool:
        """Return whether it is a process of this machine."""
        return bool(self.process) and self.host == session_name().partition(_BETWEEN)[2]


class _Watch:
    """The writes under way, watched by a thread for long waits."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._began: dict[int, tuple[float, Engine]] = {}  # by process id on the server
        self._is_looking = False

    def add(self, session: int, engine: Engine) -> None:
        with self._changed:
            self._began[session] = (time.monotonic(), engine)
            if not self._is_looking:
                self._is_looking = True
                threading.Thread(target=self._look, name="ledger-waits", daemon=True).start()
            elif len(self._began) == 1:
                self._changed.notify()

    def take(self, session: int) -> None:
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
                    (session, engine)
                    for session, (began, engine) in self._began.items()
                    if began <= long_ago
                ]
            for session, engine in late:
                say(session, engine)


_watch = _Watch()


@contextmanager
def log_long_wait(session: int, engine: Engine) -> Iterator[None]:
    """Log the blocking session once the block has taken long."""
    _watch.add(session, engine)
    try:
        yield
    finally:
        _watch.take(session)


def say(session: int, engine: Engine) -> None:
    """Log which session blocks this one, if any."""
    try:
        with engine.connect() as connection:
            connection.detach()  # close it at the end, even if the pool was disposed of
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
            sqlite_lock_waits.warn_once(str(engine.url), _message(holder))
            return


def _message(holder: Holder) -> str:
    waits = "waiting for the ledger's PostgreSQL"
    session = f"session {holder.session}, {holder.state} for {holder.seconds:.0f} s"
    if holder.is_here:
        who = f"process {holder.process} ({session})"
        return f"{waits}: {who} {sqlite_lock_waits.what_to_do(holder.process)}"
    whose = f"process {holder.process} on {holder.host}" if holder.process else "another program"
    if not holder.process and holder.address:
        whose += f" from {holder.address}"
    return (
        f"{waits}: {whose} ({session}) blocks it. Check whether it is suspended or hangs. "
        f"`SELECT pg_terminate_backend({holder.session})` ends its session without loss of "
        "committed data."
    )
