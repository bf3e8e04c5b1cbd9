"""Bandwidth limit for puts into a store, by time of day.

- Only puts wait; reading and listing are not limited. All threads share one limit.
- A put waits until the rate has allowed the bytes of all earlier puts, then runs at full speed. So
  the rate is limited on average, not at every moment: one object, such as a pack (a container of
  backup content) of 16 MiB, may be sent faster.
- A window is a period of the day with its own rate. The wall clock decides which rate applies. It
  is read again after each second of waiting, so a waiting put gets the new rate when a window
  begins or ends.
- A monotonic clock measures the elapsed time. So a put is not delayed if the wall clock is set
  back.
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
    """A limit for a part of each day, in minutes after midnight.

    The end is exclusive. If the end is not after the start, the window crosses midnight.
    """

    start_minute: int
    end_minute: int
    bytes_per_second: int

    def contains(self, minute: int) -> bool:
        """Return whether a minute of the day is in the window."""
        if self.start_minute < self.end_minute:
            return self.start_minute <= minute < self.end_minute
        return minute >= self.start_minute or minute < self.end_minute


@dataclass(frozen=True, kw_only=True, slots=True)
class Bandwidth:
    """Limits by time of day; no limit applies outside the windows."""

    windows: Sequence[Window]
    zone: tzinfo  # time zone of the windows

    def rate_at(self, moment: datetime) -> int | None:
        """Return the bytes per second at a moment; None means no limit.

        The first window that contains the moment applies.
        """
        local = moment.astimezone(self.zone)
        minute = local.hour * 60 + local.minute
        found = (window.bytes_per_second for window in self.windows if window.contains(minute))
        return next(found, None)


class BandwidthLimitedStore(Store):
    """A store with a bandwidth limit for puts."""

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
        self._allowed = 0.0  # bytes; negative until the rate has allowed the bytes of all puts
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

    def _wait(self, action: str) -> None:
        while True:
            NETWORK_SHUTDOWN.refuse(action)
            rate = self._bandwidth.rate_at(self._now())
            moment = self._monotonic()
            elapsed, self._counted_at = moment - self._counted_at, moment
            if rate is None:
                self._allowed = 0.0
                return
            self._allowed = min(self._allowed + elapsed * rate, rate * _BURST_SECONDS)
            if self._allowed > -1:  # less than a byte is a rounding error
                return
            self._sleep(min(-self._allowed / rate, _SLICE_SECONDS))
