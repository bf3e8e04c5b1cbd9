"""Store for the keeper: the store's clock, longer locks, removal.

- Only the keeper, the machine that may expire backups, uses such a store. The store modules of
  backup hosts and readers have no code that removes objects, and do not load this module.
- `clock` returns the time of the store, never the time of this machine. With a wrong clock, a
  keeper would remove packs (containers of backup content) too early.
- A lock is never shortened. If an object is locked, `remove` raises `Locked` and changes nothing.
- `remove` removes the version that `stat` returns. When `remove` returns, the removal is durable.
  In a store with versions, `stat` may then return a later version of the name; another call removes
  that version. If the object is missing, `remove` does nothing.

To add a keeper's store, write its three `_methods` in a module of its own, and a test that
subclasses the keeper's contract suite.
"""

from abc import abstractmethod
from datetime import datetime

from backup.errors import NotFound, UsageError
from backup.stores import Store, check_name


class KeeperStore(Store):
    """Store for the keeper; safe to call from several threads."""

    def clock(self) -> datetime:
        """Return the time of the store's clock, with an error of at most a second."""
        return self._translate_errors("asking for the time of", "the store", self._clock)

    def lock_until(self, name: str) -> datetime | None:
        """Return the end of an object's lock, or None if it has no lock.

        The time may be in the past. Raise `NotFound` if the object does not exist.
        """
        lock = self.lock_of(name)
        return None if lock is None else lock.until

    def extend_lock(self, name: str, until: datetime) -> None:
        """Lock an object at least until a time; never shorten a lock.

        Raise `UsageError` if the store cannot lock objects (see `describe`), or `NotFound` if the
        object does not exist.
        """
        check_name(name)
        if until.tzinfo is None:
            raise UsageError(f"lock of {name}: the time has no zone. Report this: it is a bug.")
        self._translate_errors(
            "extending the lock of", name, lambda: self._extend_lock(name, until)
        )

    def remove(self, name: str) -> None:
        """Remove the version that `stat` returns; raise `Locked` if it is locked."""
        check_name(name)
        try:
            self._translate_errors("removing", name, lambda: self._remove(name))
        except NotFound:
            return

    @abstractmethod
    def _clock(self) -> datetime: ...

    @abstractmethod
    def _extend_lock(self, name: str, until: datetime) -> None: ...

    @abstractmethod
    def _remove(self, name: str) -> None: ...
