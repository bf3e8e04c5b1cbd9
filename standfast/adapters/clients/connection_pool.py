"""Connections to a server: time limits, one retry of a dead connection.

    pool.run(lambda connection, call: connection.execute(…), seconds=10)

The pool stores idle connections, applies the time limit of a call, and reports whether the call may
have changed anything.

Rules
- `NotSent` means that the call changed nothing and will change nothing; `NoAnswer` means that a
  change may have arrived. The caller records `NotSent` as a failure, and `NoAnswer` as an unknown
  outcome.
- The time limit covers everything: name resolution, connecting, TLS, sign-in, a slow server. A
  driver limits only single socket reads, so every call runs in another thread that can be
  abandoned. The connection of an abandoned call is closed. If the call has changed nothing yet, it
  is prevented from changing anything later.
- An idle connection may be dead. A call that found its connection dead, and had changed nothing, is
  repeated once on a new connection.
- Errors contain the text of `explain` or the name of an error class, never a driver's text.
"""

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Generic, TypeVar

from standfast.errors import StandfastError, Unavailable
from standfast.http_client import NoAnswer, NotSent
from standfast.retry_rules import RETRY_SECONDS
from standfast.time_limit import BoundedCall, CalledBackError, Deadline

_Connection = TypeVar("_Connection")
_Value = TypeVar("_Value")


@dataclass(frozen=True, kw_only=True)
class Dialect(Generic[_Connection]):
    """Functions of one driver: open and close connections, explain errors."""

    connect: Callable[[float], _Connection]  # its argument is the time limit in seconds
    disconnect: Callable[[_Connection], None]  # closes cleanly, from the thread of the last use
    cut: Callable[[_Connection], None]  # closes from another thread, while it is in use
    explain: Callable[[Exception], StandfastError | None]  # None: not the driver's error


class ConnectionPool(Generic[_Connection]):
    """The connections to one server; safe for many threads."""

    def __init__(self, dialect: Dialect[_Connection], *, most_idle: int) -> None:
        self._dialect = dialect
        self._most_idle = most_idle
        self._idle: list[_Connection] = []
        self._guard = threading.Lock()
        self._threads = _Threads(most_idle)

    def run(self, do: Callable[[_Connection, BoundedCall], _Value], seconds: float) -> _Value:
        """Run a function on a connection and return its value.

        Raises `NotSent` or `NoAnswer` at the deadline or if the connection fails. Any other
        `StandfastError` of `do` is raised unchanged; `do` must not raise one after a change.
        """
        call = _Call(self, self._dialect, do, BoundedCall(Deadline(seconds)))
        self._threads.start(call.run)
        return call.outcome(seconds)

    def close(self) -> None:
        """Close idle connections and threads; the next call opens new ones."""
        self._threads.dismiss()
        with self._guard:
            idle, self._idle = self._idle, []
        for connection in idle:
            with contextlib.suppress(Exception):
                self._dialect.disconnect(connection)

    def take(self) -> _Connection | None:
        """Return an idle connection, or None."""
        with self._guard:
            return self._idle.pop() if self._idle else None

    def keep(self, connection: _Connection) -> None:
        """Keep a connection for the next call; close it if enough are kept."""
        with self._guard:
            if len(self._idle) < self._most_idle:
                self._idle.append(connection)
                return
        with contextlib.suppress(Exception):
            self._dialect.disconnect(connection)


class _Threads:
    """Reusable threads: a new thread costs about a quarter of a call's time.

    They are daemon threads, unlike the threads of `concurrent.futures`: a thread that hangs in a
    driver does not prevent the exit of the process.
    """

    def __init__(self, most_idle: int) -> None:
        self._most_idle = most_idle
        self._idle: list[SimpleQueue[Callable[[], None] | None]] = []
        self._guard = threading.Lock()

    def start(self, work: Callable[[], None]) -> None:
        """Start a function at once, in an idle thread or in a new one."""
        with self._guard:
            inbox = self._idle.pop() if self._idle else None
        if inbox is None:
            inbox = SimpleQueue()
            threading.Thread(
                target=self._serve, args=(inbox,), name="directory-call", daemon=True
            ).start()
        inbox.put(work)

    def dismiss(self) -> None:
        """End the idle threads."""
        with self._guard:
            free, self._idle = self._idle, []
        for inbox in free:
            inbox.put(None)

    def _serve(self, inbox: SimpleQueue[Callable[[], None] | None]) -> None:
        while (work := inbox.get()) is not None:
            work()
            with self._guard:
                if len(self._idle) >= self._most_idle:
                    return
                self._idle.append(inbox)


class _Call(Generic[_Connection, _Value]):
    """A call and the thread that executes it."""

    def __init__(
        self,
        calls: ConnectionPool[_Connection],
        dialect: Dialect[_Connection],
        do: Callable[[_Connection, BoundedCall], _Value],
        bounded_call: BoundedCall,
    ) -> None:
        self._calls = calls
        self._dialect = dialect
        self._do = do
        self._bounded_call = bounded_call
        self._is_over = threading.Event()
        self._connection: _Connection | None = None
        self._values: list[_Value] = []
        self._error: Exception | None = None

    def run(self) -> None:
        try:
            self._values.append(self._try())
        except Exception as error:
            self._error = error
        finally:
            self._is_over.set()

    def outcome(self, seconds: float) -> _Value:
        is_over = self._is_over.wait(seconds)
        if is_over and self._values:
            return self._values[0]
        is_untouched = self._bounded_call.call_back()
        if not is_over and self._connection is not None:
            with contextlib.suppress(Exception):
                self._dialect.cut(self._connection)
        if is_over and self._error is not None:
            raise self._declared_error(self._error, is_untouched=is_untouched) from None
        if is_untouched:
            raise NotSent("the server did not answer in time", retry_after_seconds=RETRY_SECONDS)
        raise NoAnswer("the change was sent and not answered in time")

    def _try(self) -> _Value:
        connection = self._calls.take()
        if connection is not None:
            try:
                return self._use(connection)
            except (StandfastError, CalledBackError):
                raise
            except Exception:
                if self._bounded_call.has_begun:
                    raise
        return self._use(self._dialect.connect(self._bounded_call.deadline.left_seconds()))

    def _use(self, connection: _Connection) -> _Value:
        self._connection = connection
        try:
            value = self._do(connection, self._bounded_call)
        except BaseException:
            with contextlib.suppress(Exception):
                self._dialect.disconnect(connection)
            raise
        finally:
            self._connection = None
        self._calls.keep(connection)
        return value

    def _declared_error(self, error: Exception, *, is_untouched: bool) -> StandfastError:
        cause = error if isinstance(error, StandfastError) else self._dialect.explain(error)
        words = str(cause) if cause else f"unexpected {type(error).__name__}"
        if not is_untouched:
            return NoAnswer(f"the change was sent: {words}")
        if isinstance(cause, StandfastError) and not isinstance(cause, NotSent):
            return cause
        retry = cause.retry_after_seconds if isinstance(cause, Unavailable) else RETRY_SECONDS
        return NotSent(words, retry_after_seconds=retry)
