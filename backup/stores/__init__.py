"""Stores of objects, and the promises of every store.

    store = DirectoryStore("/srv/vault")
    store.put("w/desk-1/p/ab/abc", data)      # creates; never replaces
    data = store.get("w/desk-1/p/ab/abc")
    names = [stat.name for stat in store.list("w/")]

- `put` creates an object completely or not at all, and only under a name that does not exist. It
  never replaces an object.
- If `a/b` is the name of an object, no object has the name `a`. A directory could not store both.
  `format.object_names` has no such names.
- When `put` returns, the object survives a power failure. If `put` raises `StoreUnavailable`, the
  object may or may not exist, and the caller must check this before it continues.
- `get` returns exactly the bytes that were put. No method of this interface changes or deletes an
  object. The keeper, the machine that may expire backups, needs more operations. They are in
  `stores.keeper`, which a backup host never loads.
- `list` yields all objects with names that start with the prefix, sorted by name, including objects
  that other programs put.
- Only errors of `backup.errors` are raised; a store raises `NotFound` for a missing name.
- `describe` states what protects the objects from somebody with the credentials of this store.

To add a store, write a module with `describe` and the five abstract `_methods`, and a test that
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
    """Listing entry of an object; `modified` is a time of the store's clock.

    A store with versions lists the first version of a name, which is the object. It reports the
    versions and delete markers that were added to the name later.
    """

    name: str
    size_bytes: int
    modified: datetime
    is_hidden: bool = False  # its newest version is a delete marker
    later_versions: int = 0


LockMode = Literal["COMPLIANCE", "GOVERNANCE"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectLock:
    """Mode and duration of the lock of each new object.

    Nobody can remove or shorten a COMPLIANCE lock, not even the owner of the account. Somebody with
    the bypass right can remove a GOVERNANCE lock.
    """

    mode: LockMode
    days: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Retention:
    """The lock of one object; it may have ended."""

    mode: LockMode
    until: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreTraits:
    """Protection that a store offers; `why` is a sentence for reports."""

    is_write_only: bool  # a backup host cannot delete or replace an object
    why: str
    is_versioned: bool = False  # after a replacement or deletion, the earlier versions still exist
    lock: ObjectLock | None = None


class Store(ABC):
    """Flat namespace of immutable objects; safe to call from several threads."""

    # If the gap between two ranges has at most this size, both are read in one call, with the gap.
    # Across a network, a second call takes as long as reading a megabyte.
    read_over_bytes: ClassVar[int] = 1024 * 1024

    # Number of concurrent calls that is useful. Across a network it is above 1, because each call
    # waits for its answer.
    calls_at_once: int = 1

    @property
    def where(self) -> str:
        """Return the store's location, so that people notice a wrong store."""
        return "this store"

    def put(self, name: str, data: bytes | bytearray | memoryview) -> None:
        """Create an object durably; raise `AlreadyThere` if the name exists.

        The caller may change the memory of `data` when this returns.
        """
        check_name(name)
        self._translate_errors("storing", name, lambda: self._put(name, data))

    def get(self, name: str) -> bytes:
        """Read a whole object; raise `NotFound` if it does not exist."""
        check_name(name)
        return self._translate_errors("reading", name, lambda: self._get_range(name, 0, None))

    def get_range(self, name: str, start: int, length: int) -> bytes:
        """Read `length` bytes from `start`; fewer only at the object's end."""
        check_name(name)
        if start < 0 or length < 0:
            raise UsageError(
                f"range of {name}: start or length is negative. Report this: it is a bug."
            )
        return self._translate_errors("reading", name, lambda: self._get_range(name, start, length))

    def read_into(self, name: str, start: int, into: memoryview) -> int:
        """Fill memory from `start` on; return the number of bytes read.

        Use it for large content that is read once. If the memory address and the start are
        multiples of 4,096, the disk can write into the memory directly.
        """
        check_name(name)
        return self._translate_errors("reading", name, lambda: self._read_into(name, start, into))

    def stat(self, name: str) -> Stat:
        """Return an object's listing entry; raise `NotFound` if it is missing."""
        check_name(name)
        return self._translate_errors("looking up", name, lambda: self._stat(name))

    def list(self, prefix: str) -> Iterator[Stat]:
        """Yield every object with a name that starts with `prefix`, in name order."""
        _check(prefix, _PREFIX)
        where = prefix or "the store"
        iterator = self._translate_errors("listing", where, lambda: self._list(prefix))
        while True:
            found = self._translate_errors("listing", where, lambda: next(iterator, None))
            if found is None:
                return
            yield found

    def lock_of(self, name: str) -> Retention | None:
        """Return the lock of an object, or None if it has no lock.

        Raise `NotFound` if the object does not exist, and `UsageError` if the store does not report
        the lock to this identity.
        """
        check_name(name)
        return self._translate_errors("looking at the lock of", name, lambda: self._lock_of(name))

    @abstractmethod
    def describe(self) -> StoreTraits:
        """Return what protects the objects, without a call that could fail."""

    def _translate_errors(self, action: str, name: str, call: Callable[[], T]) -> T:
        try:
            return call()
        except OSError as error:
            what_to_do = (
                "Run this as the user that owns it, or give it to this user"
                if isinstance(error, PermissionError)
                else "Check that the store is reachable and has space, then run again"
            )
            raise StoreUnavailable(
                f"{action} {name} failed: {error.strerror or type(error).__name__}. {what_to_do}."
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
def expect_existing(name: str) -> Iterator[None]:
    """Raise `StoreUnavailable` if the block does not find an object.

    Use it after `put` has reported that the object exists, for a block that reads it. If the object
    is missing, the keeper has removed it since, or an answer of the store was wrong.
    """
    try:
        yield
    except NotFound as error:
        raise StoreUnavailable(
            f"storing {name} failed: the store reported it as existing, and then as missing. Run "
            "again; if this persists, check proxies and caches between this host and the store"
        ) from error


def check_name(name: str) -> None:
    """Raise `UsageError` unless every store can use the name."""
    _check(name, _NAME)


def _check(name: str, rule: re.Pattern[str]) -> None:
    if len(name) > LONGEST_NAME or not rule.fullmatch(name):
        raise UsageError(
            f"object name {name!r}: not valid. Use a-z, 0-9, dot, dash, underscore and slash,"
            f" at most {LONGEST_NAME} characters"
        )
