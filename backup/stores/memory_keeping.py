"""A store in memory with its keeper's side: the twin for tests and rehearsals, locks included."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from backup.errors import Locked, UsageError
from backup.stores import ObjectLock, StoreTraits
from backup.stores.keeping import KeeperStore
from backup.stores.memory import MemoryStore


class MemoryKeeperStore(MemoryStore, KeeperStore):
    """Objects in a dictionary, each locked as a bucket's default lock would lock it."""

    def __init__(
        self,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        lock: ObjectLock | None = None,
    ) -> None:
        super().__init__(now=now)
        self._default = lock
        self._extended: dict[str, datetime] = {}

    def describe(self) -> StoreTraits:
        return replace(super().describe(), lock=self._default)

    def _clock(self) -> datetime:
        return self._now()

    def _lock_until(self, name: str) -> datetime | None:
        _, put = self._find(name)
        if self._default is None:
            return None
        return self._extended.get(name, put + timedelta(days=self._default.days))

    def _extend_lock(self, name: str, until: datetime) -> None:
        present = self._lock_until(name)
        if present is None:
            raise UsageError(f"{name} lies in memory, which locks nothing")
        self._extended[name] = max(until, present)

    def _remove(self, name: str) -> None:
        until = self._lock_until(name)
        if until is not None and until > self._now():
            raise Locked(f"{name} is locked until {until:%Y-%m-%d %H:%M}Z; run again after that")
        with self._lock:
            self._objects.pop(name, None)
            self._extended.pop(name, None)
