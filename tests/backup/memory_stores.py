"""Stores in memory with and without deletion; they pass the contract."""

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from backup.errors import AlreadyThere, Locked, NotFound, UsageError
from backup.stores import ObjectLock, Retention, Stat, Store, StoreTraits
from backup.stores.keeper import KeeperStore


class MemoryStore(Store):
    """Objects in a dictionary, lost with the process.

    `before_read` is called with the name of each object that is read; it may raise.
    """

    def __init__(self, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.before_read: Callable[[str], object] = lambda name: None
        self._objects: dict[str, tuple[bytes, datetime]] = {}
        self._lock = threading.Lock()
        self._now = now

    def describe(self) -> StoreTraits:
        return StoreTraits(
            is_write_only=False,
            why="memory of this process: nothing in it survives the process",
        )

    def _put(self, name: str, data: bytes | bytearray | memoryview) -> None:
        with self._lock:
            if name in self._objects:
                raise AlreadyThere(f"{name} already exists; nothing was changed")
            self._objects[name] = (bytes(data), self._now())

    def _get_range(self, name: str, start: int, length: int | None) -> bytes:
        self.before_read(name)
        data, _ = self._find(name)
        return data[start:] if length is None else data[start : start + length]

    def _stat(self, name: str) -> Stat:
        data, modified = self._find(name)
        return Stat(name=name, size_bytes=len(data), modified=modified)

    def _list(self, prefix: str) -> Iterator[Stat]:
        with self._lock:
            names = sorted(name for name in self._objects if name.startswith(prefix))
        for name in names:
            with suppress(NotFound):  # another thread may remove it meanwhile
                yield self._stat(name)

    def _lock_of(self, name: str) -> Retention | None:
        self._find(name)
        return None

    def _find(self, name: str) -> tuple[bytes, datetime]:
        with self._lock:
            try:
                return self._objects[name]
            except KeyError:
                raise NotFound(f"{name} is not in this store") from None


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
