"""A store whose puts keep to a bandwidth that changes with the hour.

- Only puts wait, and all threads share one limit; reading and listing go on as ever.
- A put waits until what was put before it is paid for, and then goes out as fast as the line is:
  the limit holds on average, over a few objects of at most 16 MiB.
- What the clock on the wall says decides about the rate, and it is asked again each second of
  waiting: a run that crosses the hour changes its rate.  How much time has passed is another
  clock's to say, so a clock that is set back makes nobody wait for it.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo

from backup.stores import Retention, Stat, Store, StoreTraits
from backup.system.network_shutdown import NETWORK_SHUTDOWN

_BURST_SECONDS = 1.0
_SLICE_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """A part of each day with a limit, in minutes after midnight.

    The end is not in it, and may lie before the start: then the window goes over midnight.
    """

    start_minute: int
    end_minute: int
    bytes_per_second: int

    def holds(self, minute: int) -> bool:
        """Whether a minute of the day is in it."""
        if self.start_minute < self.end_minute:
            return self.start_minute <= minute < self.end_minute
        return minute >= self.start_minute or minute < self.end_minute


@dataclass(frozen=True, kw_only=True, slots=True)
class Bandwidth:
    """What is allowed when; outside of every window there is no limit."""

    windows: Sequence[Window]
    zone: tzinfo  # whose midnight is meant

    def at(self, moment: datetime) -> int | None:
        """Bytes a second at a moment; None: no limit.  The first window that holds it counts."""
        local = moment.astimezone(self.zone)
        minute = local.hour * 60 + local.minute
        found = (one.bytes_per_second for one in self.windows if one.holds(minute))
        return next(found, None)


class BandwidthLimitedStore(Store):
    """Another store, put into at no more than a bandwidth."""

    def __init__(
        self,
        store: Store,
        bandwidth: Bandwidth,
        *,
        now: Callable[[], datetime],
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self.calls_at_once = store.calls_at_once
        self._bandwidth = bandwidth
        self._now = now
        self._sleep = sleep
        self._monotonic = monotonic
        self._turn = threading.Lock()
        self._allowed = 0.0  # bytes; below zero they are owed
        self._counted_at = monotonic()

    @property
    def where(self) -> str:
        return self._store.where

    def describe(self) -> StoreTraits:
        return self._store.describe()

    def _put(self, name: str, data: bytes | bytearray | memoryview) -> None:
        with self._turn:
            self._wait(f"storing {name}")
            self._allowed -= len(data)
        self._store.put(name, data)

    def _get_range(self, name: str, start: int, length: int | None) -> bytes:
        if length is None:
            return self._store.get(name)
        return self._store.get_range(name, start, length)

    def _stat(self, name: str) -> Stat:
        return self._store.stat(name)

    def _list(self, prefix: str) -> Iterator[Stat]:
        return self._store.list(prefix)

    def _lock_of(self, name: str) -> Retention | None:
        return self._store.lock_of(name)

    def _wait(self, doing: str) -> None:
        while True:
            NETWORK_SHUTDOWN.refuse(doing)
            rate = self._bandwidth.at(self._now())
            moment = self._monotonic()
            passed, self._counted_at = moment - self._counted_at, moment
            if rate is None:
                self._allowed = 0.0
                return
            self._allowed = min(self._allowed + passed * rate, rate * _BURST_SECONDS)
            if self._allowed > -1:  # less than a byte is no debt, and rounding may leave so much
                return
            self._sleep(min(-self._allowed / rate, _SLICE_SECONDS))
