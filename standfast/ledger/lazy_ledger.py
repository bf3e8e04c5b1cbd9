"""Ledger of an installation: plain SQL for runs, otherwise the whole.

The ledger is the database of an installation (one configured Standfast). A run is a backup, a drill
(a measured test restore) or a verification.

Rules
- Runs are recorded in a SQLite ledger by `sqlite_run_writer`, without SQLAlchemy. All other uses,
  and all uses of a ledger on PostgreSQL, open the whole ledger.
- In both cases, the opening fails if the ledger is missing or has another schema.
"""

from collections.abc import Collection
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from standfast.ledger.runs.run_record import NOWHERE, Origin, RunRecord
from standfast.ledger.runs.sqlite_run_writer import SqliteRunWriter
from standfast.records import JsonObject

if TYPE_CHECKING:
    from standfast.ledger.full_ledger import Ledger
    from standfast.ledger.runs.server_clock import ServerClock

_SQLITE = "sqlite:///"


class Runs(Protocol):
    """The methods of `run_store.Runs` and `Auditor` that record a run."""

    def start(
        self,
        kind: str,
        subject: str,
        way: str,
        actor: str,
        now: datetime,
        *,
        origin: Origin = NOWHERE,
    ) -> str: ...

    def finish(
        self, token: str, kind: str, state: str, summary: JsonObject, actor: str, now: datetime
    ) -> None: ...

    def all(
        self,
        kind: str,
        subject: str | None = None,
        *,
        states: Collection[str] = (),
        most: int | None = None,
    ) -> list[RunRecord]: ...

    def sign_head(self, now: datetime) -> int: ...


class LazyLedger:
    """The ledger, which opens only the parts that are used."""

    def __init__(
        self,
        url: str,
        keys: Path,
        witness: Path,
        clock: "ServerClock | None" = None,
        *,
        opens_now: bool = True,
    ) -> None:
        self._where = url, keys, witness
        self._clock = clock
        self._opens_now = opens_now
        self._stack = ExitStack()
        self._lock = Lock()
        self._whole: Ledger | None = None
        self._runs: Runs | None = None

    def __enter__(self) -> "LazyLedger":
        if self._opens_now:
            _ = self.runs  # open the ledger, so that a problem is reported now
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    @property
    def whole(self) -> "Ledger":
        """The whole ledger, opened at the first use."""
        with self._lock:
            if self._whole is None:
                from standfast.ledger.full_ledger import open_ledger

                self._whole = self._stack.enter_context(open_ledger(*self._where, self._clock))
            return self._whole

    @property
    def runs(self) -> Runs:
        """The part of the ledger that records runs."""
        if self._runs is None:
            url, keys, witness = self._where
            path = url.removeprefix(_SQLITE)
            is_file = url.startswith(_SQLITE) and path
            self._runs = SqliteRunWriter(path, keys, witness) if is_file else _Whole(self.whole)
        return self._runs


class _Whole:
    """The interface `Runs`, provided by the whole ledger."""

    def __init__(self, ledger: "Ledger") -> None:
        self.start = ledger.runs.start
        self.finish = ledger.runs.finish
        self.all = ledger.runs.all
        self.sign_head = ledger.audit.sign_head
