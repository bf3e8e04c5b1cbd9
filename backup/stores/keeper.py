"""Keeper's side of a store: read the clock, extend locks, remove objects.

- Only the keeper gets such a store. The store modules of writers and readers have no code that
  removes objects, and do not load this module.
- `clock` is the store's, never this machine's: with a wrong clock, a keeper would free too much.
- A lock is never shortened. A locked object is not removed: `Locked` is raised, and nothing
  changes.
- `remove` removes the version that `stat` shows. When it returns, the removal is durable. Another
  version of the name may become visible then; another call removes that version. Removing a missing
  object is not an error.

To add a keeper's store: the store's three `_methods` in a module of its own, and a test that
subclasses the keeper's contract suite.
"""

from abc import abstractmethod
from datetime import datetime

from backup.errors import NotFound, UsageError
from backup.stores import Store, check_name


class KeeperStore(Store):
    """A store for the keeper; safe to call from several threads."""

    def clock(self) -> datetime:
        """Return the store's time, exact to a second or better."""
        return self._translate_errors("asking for the time of", "the store", self._clock)

    def lock_until(self, name: str) -> datetime | None:
        """Return when an object's lock ends; None without a lock.

        The time may be in the past. Raise `NotFound` if there is no object.
        """
        lock = self.lock_of(name)
        return None if lock is None else lock.until

    def extend_lock(self, name: str, until: datetime) -> None:
        """Lock an object at least until a time; never shorten a lock.

        Raise `UsageError` if the store locks nothing (see `describe`), or `NotFound` if there is no
        object.
        """
        check_name(name)
        if until.tzinfo is None:
            raise UsageError(f"lock of {name}: the time has no zone. Report this: it is a bug.")
        self._translate_errors(
            "extending the lock of", name, lambda: self._extend_lock(name, until)
        )

    def remove(self, name: str) -> None:
        """Remove the version that `stat` shows; `Locked` if it is locked."""
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
