"""Stores: where objects are kept.  This module is what every store promises.

- An object is created whole or not at all, under a name that did not exist: `put` never replaces.
- No name is also a folder of another name: layout.py has none, and a directory could not keep both.
- When `put` returns, the object survives a power cut; when it raises `StoreUnavailable`, the object
  may or may not be there, and the caller looks before it goes on.
- `get` returns exactly what was put.  Nothing here changes or deletes an object: what the keeper
  does besides stands in `keeping`, which no writer loads.
- `list` gives every object whose name starts with the prefix, sorted by name, also those put by
  others.
- Only errors from `backup.errors` come out; a store raises `NotFound` for a name that it lacks.
- `describe` says plainly what protects the objects from whoever holds this store's credentials.

To add a store: one module with `describe` and the five abstract `_methods`, one test that
subclasses the contract suite.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Literal, TypeVar

from backup.errors import NotFound, StoreUnavailable, UsageError

_PART = "[a-z0-9][a-z0-9._-]*"
_NAME = re.compile(f"{_PART}(?:/{_PART})*")
_PREFIX = re.compile(f"(?:{_PART}/)*(?:{_PART})?")
LONGEST_NAME = 512

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
class Retention:
    """The lock that one object has, whoever gave it; it may be over."""

    mode: LockMode
    until: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreTraits:
    """What a store can be trusted with; `why` is a sentence for reports."""

    is_write_only: bool  # who writes here cannot delete or replace
    why: str
    is_versioned: bool = False  # what is replaced or deleted is still there beneath
    lock: ObjectLock | None = None  # what a new object gets, also when it shields not from everyone


class Store(ABC):
    """A flat namespace of immutable objects; safe to call from several threads."""

    # What lies between two ranges and is read over rather than left out with another call: across a
    # network a call takes as long as a megabyte.
    read_over_bytes: ClassVar[int] = 1024 * 1024

    # How many calls at once are worth their threads: across a network each waits for its answer.
    calls_at_once: int = 1

    @property
    def where(self) -> str:
        """Name the store for a person, who may have named another one than was meant."""
        return "this store"

    def put(self, name: str, data: bytes | bytearray | memoryview) -> None:
        """Create the object, durably; `AlreadyThere` when the name is taken, whatever it holds.

        The data may change as soon as this returns.
        """
        check_name(name)
        self._translated("storing", name, lambda: self._put(name, data))

    def get(self, name: str) -> bytes:
        """Read an object whole; `NotFound` when there is none."""
        check_name(name)
        return self._translated("reading", name, lambda: self._get_range(name, 0, None))

    def get_range(self, name: str, start: int, length: int) -> bytes:
        """Read `length` bytes from `start`, fewer only where the object ends before."""
        check_name(name)
        if start < 0 or length < 0:
            raise UsageError(f"a range of {name} was asked for that starts or extends below zero")
        return self._translated("reading", name, lambda: self._get_range(name, start, length))

    def read_into(self, name: str, start: int, into: memoryview) -> int:
        """Fill memory from `start` on, and give how much that was: less where the object ends.

        For much that is read once.  Memory and start at a multiple of 4,096 let a disk do it
        without a copy.
        """
        check_name(name)
        return self._translated("reading", name, lambda: self._read_into(name, start, into))

    def stat(self, name: str) -> Stat:
        """Look an object up without reading it; `NotFound` when there is none."""
        check_name(name)
        return self._translated("looking up", name, lambda: self._stat(name))

    def list(self, prefix: str) -> Iterator[Stat]:
        """Give every object whose name starts with `prefix`, in name order; none is no error."""
        _check(prefix, _PREFIX)
        where = prefix or "the store"
        iterator = self._translated("listing", where, lambda: self._list(prefix))
        while True:
            found = self._translated("listing", where, lambda: next(iterator, None))
            if found is None:
                return
            yield found

    def lock_of(self, name: str) -> Retention | None:
        """Look at the lock of an object; None when it has none.  `NotFound` when there is none.

        `UsageError` when the store does not tell it to this identity.
        """
        check_name(name)
        return self._translated("looking at the lock of", name, lambda: self._lock_of(name))

    @abstractmethod
    def describe(self) -> StoreTraits:
        """Say what protects the objects; asks nobody and cannot fail."""

    def _translated(self, doing: str, name: str, call: Callable[[], T]) -> T:
        try:
            return call()
        except OSError as error:
            what_to_do = (
                "Run this as the user whose it is, or give it to this one"
                if isinstance(error, PermissionError)
                else "Check that the store is reachable and has room, then run again"
            )
            raise StoreUnavailable(
                f"{doing} {name} failed: {error.strerror or type(error).__name__}. {what_to_do}."
            ) from error

    @abstractmethod
    def _put(self, name: str, data: bytes | bytearray | memoryview) -> None: ...

    @abstractmethod
    def _get_range(self, name: str, start: int, length: int | None) -> bytes: ...

    def _read_into(self, name: str, start: int, into: memoryview) -> int:
        data = self._get_range(name, start, len(into))
        into[: len(data)] = data
        return len(data)

    @abstractmethod
    def _stat(self, name: str) -> Stat: ...

    @abstractmethod
    def _list(self, prefix: str) -> Iterator[Stat]: ...

    @abstractmethod
    def _lock_of(self, name: str) -> Retention | None: ...


@contextmanager
def said_to_be_there(name: str) -> Iterator[None]:
    """Look at what `put` said was there already; that it is not is the store's trouble: try again.

    A keeper may have removed it in between, or the store answers what is not so.
    """
    try:
        yield
    except NotFound as error:
        raise StoreUnavailable(
            f"storing {name} failed: the store said that it is there already, and then that it is"
            " not. Run again; if that stays, look at what stands between here and the store"
        ) from error


def check_name(name: str) -> None:
    """`UsageError` unless the name is one that every store can keep."""
    _check(name, _NAME)


def _check(name: str, rule: re.Pattern[str]) -> None:
    if len(name) > LONGEST_NAME or not rule.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot name an object: use a-z, 0-9, dot, dash, underscore and slash,"
            f" at most {LONGEST_NAME} characters"
        )
