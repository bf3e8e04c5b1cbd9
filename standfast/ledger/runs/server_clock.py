"""One clock for all hosts of a ledger (database) on PostgreSQL.

Each host decides when a lease, a wait or a call has ended. Without a common clock, a host whose
clock is minutes ahead would treat the processes of other hosts as dead, and look up the outcome of
calls that these processes are still executing.

Rules
- The server's time is read once a minute and after each jump of this host's clock, on a connection
  that another query opened. In between, the monotonic clock of this host is used.
- A difference of up to `MAX_CLOCK_DIFFERENCE` is corrected. If the difference is larger, this
  host's own clock is used. Otherwise a wrong clock of the server could make an approval valid too
  early or a legal time limit end too late.
"""

import logging
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine, event

from standfast.ledger.runs.run_record import MAX_CLOCK_DIFFERENCE
from standfast.records import Now

_FRESH_SECONDS = 60.0
_JUMP = timedelta(seconds=1)
_SLOW_SECONDS = 1.0  # a slower answer is not exact enough
_ASK = b"SELECT clock_timestamp()"

log = logging.getLogger("standfast.ledger")


@dataclass(frozen=True, kw_only=True)
class _Sample:
    server: datetime
    own: datetime
    at: float  # seconds of the monotonic clock

    @property
    def ahead(self) -> timedelta:
        """The time by which this host's clock is ahead of the server's."""
        return self.own - self.server


class ServerClock:
    """The server's time; before the server's first answer, this host's time."""

    def __init__(self, own: Now) -> None:
        self._own = own
        self._sample: _Sample | None = None
        self._lock = threading.Lock()
        self._is_far = False

    def __call__(self) -> datetime:
        sample = self._sample
        if sample is None or abs(sample.ahead) > MAX_CLOCK_DIFFERENCE:
            return self._own()
        return sample.server + timedelta(seconds=time.monotonic() - sample.at)

    @property
    def ahead(self) -> timedelta:
        """The time by which this host's clock was ahead of the server's.

        It was measured at the last query of the server's time; zero before the first query.
        """
        return self._sample.ahead if self._sample else timedelta(0)

    def listen(self, engine: Engine) -> None:
        """Query the server's time when a connection of this engine is used."""
        broken = engine.dialect.loaded_dbapi.Error

        @event.listens_for(engine, "checkout")
        def ask(connection: Any, _record: object, _proxy: object) -> None:
            if self._is_due() and self._lock.acquire(blocking=False):
                try:
                    with suppress(broken):  # the query that needs the connection reports the error
                        self._ask(connection)
                finally:
                    self._lock.release()

    def _is_due(self) -> bool:
        sample = self._sample
        if sample is None:
            return True
        elapsed = time.monotonic() - sample.at
        jumped = abs(self._own() - sample.own - timedelta(seconds=elapsed))
        return elapsed > _FRESH_SECONDS or jumped > _JUMP

    def _ask(self, connection: Any) -> None:
        began = time.monotonic()
        with connection.cursor() as cursor:
            row = cursor.execute(_ASK).fetchone()
        connection.rollback()  # end the transaction that the driver began for this query
        at = time.monotonic()
        if at - began > _SLOW_SECONDS and self._sample is not None:
            return
        sample = _Sample(server=row[0].astimezone(UTC), own=self._own(), at=at)
        self._sample = sample
        is_far = abs(sample.ahead) > MAX_CLOCK_DIFFERENCE
        if is_far and not self._is_far:
            log.warning("%s", clocks_apart_message(sample.ahead))
        self._is_far = is_far


def clocks_apart_message(ahead: timedelta) -> str:
    """Return the message for clocks that are too far apart."""
    return (
        f"{clock_difference(ahead)}, too far to be corrected. Hosts of one ledger may treat each "
        "other as failed. Set the clock that is wrong."
    )


def clock_difference(ahead: timedelta) -> str:
    """Return the difference of the two clocks in words."""
    side = "ahead of" if ahead > timedelta(0) else "behind"
    seconds = round(abs(ahead).total_seconds())
    much = f"{seconds} s" if seconds < 60 else f"{seconds // 60} min"
    return f"this host's clock: {much} {side} the clock of the ledger's server"
