"""Memory store with keeper's side and locks, for tests and rehearsals."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from backup.errors import Locked, UsageError
from backup.stores import ObjectLock, Retention, StoreTraits
from backup.stores.keeper import KeeperStore
from backup.stores.memory import MemoryStore


class MemoryKeeperStore(MemoryStore, KeeperStore):
    """Objects in a dictionary, each with the default lock of a bucket."""

    def __init__(
        self,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        lock: ObjectLock | None = None,
    ) -> None:
        super().__init__(now=now)
        self._default = lock
        self._locks: dict[str, Retention | None] = {}  # locks that differ from the default

    def describe(self) -> StoreTraits:
        return replace(super().describe(), lock=self._default)

    def _clock(self) -> datetime:
        return self._now()

    def _lock_of(self, name: str) -> Retention | None:
        _, put = self._find(name)
        if self._default is None:
            return None
        default = Retention(mode=self._default.mode, until=put + timedelta(days=self._default.days))
        return self._locks.get(name, default)

    def _extend_lock(self, name: str, until: datetime) -> None:
        present = self._lock_of(name)
        if self._default is None:
            raise UsageError(f"{name}: a store in memory locks nothing. Use S3")
        if present is None or present.until < until:
            mode = self._default.mode if present is None else present.mode
            self._locks[name] = Retention(mode=mode, until=until)

    def _remove(self, name: str) -> None:
        lock = self._lock_of(name)
        if lock is not None and lock.until > self._now():
            raise Locked(
                f"{name} is locked until {lock.until:%Y-%m-%d %H:%M}Z. Run again after that"
            )
        with self._lock:
            self._objects.pop(name, None)
            self._locks.pop(name, None)
