"""Memory store for tests and rehearsals; not durable."""

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime

from backup.errors import AlreadyThere, NotFound
from backup.stores import Retention, Stat, Store, StoreTraits


class MemoryStore(Store):
    """Objects in a dictionary; gone with the process."""

    def __init__(self, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
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
        data, _ = self._find(name)
        return data[start:] if length is None else data[start : start + length]

    def _stat(self, name: str) -> Stat:
        data, modified = self._find(name)
        return Stat(name=name, size_bytes=len(data), modified=modified)

    def _list(self, prefix: str) -> Iterator[Stat]:
        with self._lock:
            names = sorted(name for name in self._objects if name.startswith(prefix))
        for name in names:
            with suppress(NotFound):  # it may be removed meanwhile
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
