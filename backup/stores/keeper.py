"""What a keeper's store does besides: tell the time, extend locks, remove what is not locked.

- Only the keeper is handed one of these.  The modules of the stores that writers and readers use
  have no code that removes anything, and do not load this one.
- `clock` is the store's, never this machine's: a keeper whose clock is wrong frees too much.
- A lock is only ever extended.  What is locked is not removed: `Locked`, and nothing was changed.
- `remove` takes away the version that `stat` shows, durably when it returns; so what was laid over
  it may show next, and is removed by another call.  To remove what is not there is no error.

To add one: the store's three `_methods`, in a module of its own, and a test that subclasses the
keeper's contract suite.
"""

from abc import abstractmethod
from datetime import datetime

from backup.errors import NotFound, UsageError
from backup.stores import Store, check_name


class KeeperStore(Store):
    """A store as the keeper sees it; safe to call from several threads."""

    def clock(self) -> datetime:
        """The time at the store, exact to a second or better."""
        return self._translated("asking for the time of", "the store", self._clock)

    def lock_until(self, name: str) -> datetime | None:
        """When the object's lock ends; None when it has none.  `NotFound` when there is no object.

        A time that has passed may be given as it is.
        """
        lock = self.lock_of(name)
        return None if lock is None else lock.until

    def extend_lock(self, name: str, until: datetime) -> None:
        """Lock the object until a time at least; one that is locked for longer stays so.

        `UsageError` where the store locks nothing (`describe` says so), `NotFound` when there is no
        object.
        """
        check_name(name)
        if until.tzinfo is None:
            raise UsageError(f"the lock of {name} cannot be extended to a time without a zone")
        self._translated("extending the lock of", name, lambda: self._extend_lock(name, until))

    def remove(self, name: str) -> None:
        """Remove the version that `stat` shows; `Locked` when it is kept for a time."""
        check_name(name)
        try:
            self._translated("removing", name, lambda: self._remove(name))
        except NotFound:
            return

    @abstractmethod
    def _clock(self) -> datetime: ...

    @abstractmethod
    def _extend_lock(self, name: str, until: datetime) -> None: ...

    @abstractmethod
    def _remove(self, name: str) -> None: ...
