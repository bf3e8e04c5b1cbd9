"""Stores: where objects are kept.  This module is what every store promises.

- An object is created whole or not at all, under a name that did not exist: `put` never replaces.
- No name is also a folder of another name: layout.py has none, and a directory could not keep both.
- When `put` returns, the object survives a power cut; when it raises `StoreUnavailable`, the object
  may or may not be there, and the caller looks before it goes on.
- `get` returns exactly what was put.  Nothing here changes or deletes an object.
- `list` gives every object whose name starts with the prefix, sorted by name, also those put by
  others.
- Only errors from `backup.errors` come out; a store raises `NotFound` for a name that it lacks.
- `describe` says plainly what protects the objects from whoever holds this store's credentials.

To add a store: one module with the five `_methods`, one test that subclasses the contract suite.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeVar

from backup.errors import StoreUnavailable, UsageError

_PART = "[a-z0-9][a-z0-9._-]*"
_NAME = re.compile(f"{_PART}(?:/{_PART})*")
_PREFIX = re.compile(f"(?:{_PART}/)*(?:{_PART})?")
_LONGEST_NAME = 512

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Stat:
    """An object as a listing shows it; `modified` is the store's clock.

    A store that keeps versions shows the first one, which no later one can take the place of, and
    what was laid over it since.
    """

    name: str
    size_bytes: int
    modified: datetime
    is_hidden: bool = False  # a delete marker lies over it
    later_versions: int = 0


LockMode = Literal["COMPLIANCE", "GOVERNANCE"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectLock:
    """For how long an object is kept, and from whom.

    COMPLIANCE is for everyone, the account's owner too; GOVERNANCE yields to whoever has the right
    to bypass it.
    """

    mode: LockMode
    days: int


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreTraits:
    """What a store can be trusted with; `why` is a sentence for reports."""

    is_write_only: bool  # who writes here cannot delete or replace
    locks: bool  # objects are locked for a time against everyone
    trusted_clock: bool  # `modified` cannot be set by who writes
    why: str
    is_versioned: bool = False  # what is replaced or deleted is still there beneath
    lock: ObjectLock | None = None  # what a new object gets, also when it shields not from everyone


class Store(ABC):
    """A flat namespace of immutable objects; safe to call from several threads."""

    def put(self, name: str, data: bytes | bytearray) -> None:
        """Create the object, durably; `AlreadyThere` when the name is taken, whatever it holds."""
        _check(name, _NAME)
        self._translated("storing", name, lambda: self._put(name, data))

    def get(self, name: str) -> bytes:
        """Read an object whole; `NotFound` when there is none."""
        _check(name, _NAME)
        return self._translated("reading", name, lambda: self._get_range(name, 0, None))

    def get_range(self, name: str, start: int, length: int) -> bytes:
        """Read `length` bytes from `start`, fewer only where the object ends before."""
        _check(name, _NAME)
        if start < 0 or length < 0:
            raise UsageError(f"a range of {name} was asked for that starts or extends below zero")
        return self._translated("reading", name, lambda: self._get_range(name, start, length))

    def stat(self, name: str) -> Stat:
        """Look an object up without reading it; `NotFound` when there is none."""
        _check(name, _NAME)
        return self._translated("looking up", name, lambda: self._stat(name))

    def list(self, prefix: str) -> Iterator[Stat]:
        """Give every object whose name starts with `prefix`, in name order; none is no error."""
        _check(prefix, _PREFIX)
        iterator = self._list(prefix)
        while True:
            found = self._translated("listing", prefix or "the store", lambda: next(iterator, None))
            if found is None:
                return
            yield found

    @abstractmethod
    def describe(self) -> StoreTraits:
        """Say what protects the objects; asks nobody and cannot fail."""

    def _translated(self, doing: str, name: str, call: Callable[[], T]) -> T:
        try:
            return call()
        except OSError as error:
            raise StoreUnavailable(
                f"{doing} {name} failed: {error.strerror or type(error).__name__}."
                " Check that the store is reachable and has room, then run again."
            ) from error

    @abstractmethod
    def _put(self, name: str, data: bytes | bytearray) -> None: ...

    @abstractmethod
    def _get_range(self, name: str, start: int, length: int | None) -> bytes: ...

    @abstractmethod
    def _stat(self, name: str) -> Stat: ...

    @abstractmethod
    def _list(self, prefix: str) -> Iterator[Stat]: ...


def _check(name: str, rule: re.Pattern[str]) -> None:
    if len(name) > _LONGEST_NAME or not rule.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot name an object: use a-z, 0-9, dot, dash, underscore and slash,"
            f" at most {_LONGEST_NAME} characters"
        )
