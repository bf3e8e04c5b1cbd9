"""Network shutdown: ends pending network calls of an ending process.

- Ctrl-C interrupts the main thread, which then cleans up. Before that, it must wait for the network
  calls of other threads, because they use its resources. Without a limit, this wait could last as
  long as all time-outs and attempts of a call together.
- After the signal, no call is started or repeated. Pending calls have five seconds to finish; then
  their connections are closed.
- If the connection of a call was closed, its request may have arrived at the store or not. The same
  is true after a crash, so the next run checks which objects exist.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol
from weakref import WeakSet

from backup.errors import StoreUnavailable

GRACE_SECONDS = 5.0
REPORT_AFTER_SECONDS = 0.5  # a shorter wait needs no message


class Abortable(Protocol):
    """Owner of connections that other threads may be waiting for."""

    def abort_all(self) -> None:
        """Close all connections, even those that threads wait for."""


class NetworkShutdown:
    """State of the shutdown, and the pending calls of all threads."""

    def __init__(self) -> None:
        self.is_begun = False
        self._begun = threading.Event()  # set shortly after `is_begun`, to wake waiting threads
        self._guard = threading.Lock()
        self._pending: list[str] = []
        self._none_left = threading.Event()
        self._abortable: WeakSet[Abortable] = WeakSet()

    def pause(self, seconds: float) -> None:
        """Wait for a time, or until the shutdown begins."""
        self._begun.wait(seconds)

    def register(self, connections: Abortable) -> None:
        """Register connections, which are closed if calls do not finish in time."""
        with self._guard:
            self._abortable.add(connections)

    def refuse(self, action: str) -> None:
        """Raise `StoreUnavailable` if the shutdown has begun."""
        if self.is_begun:
            raise StoreUnavailable(f"{action} was not started: this command is ending")

    @contextmanager
    def call(self, action: str) -> Iterator[None]:
        """Track the block as a pending call; refuse it if the shutdown has begun."""
        self.refuse(action)
        with self._guard:
            self._pending.append(action)
        try:
            yield
        finally:
            with self._guard:
                self._pending.remove(action)
                if self.is_begun and not self._pending:
                    self._none_left.set()

    def begin(self, report: Callable[[str], None]) -> None:
        """Begin the shutdown, from a signal handler.

        If calls are pending, `report` is called with a message. This method acquires no lock,
        because the handler interrupts a thread that may have the lock.
        """
        if self.is_begun:
            return
        self.is_begun = True
        if self._abortable:
            threading.Thread(target=self._wait_and_abort, args=(report,), daemon=True).start()

    def _wait_and_abort(self, report: Callable[[str], None]) -> None:
        self._begun.set()
        if self._none_left.wait(REPORT_AFTER_SECONDS):
            return
        with self._guard:
            waiting, abortable = list(self._pending), list(self._abortable)
        if not waiting:
            return
        others = f" and {len(waiting) - 1} more" if len(waiting) > 1 else ""
        report(
            f"stopping: waiting at most {GRACE_SECONDS:.0f} s for calls to the store:"
            f" {waiting[0]}{others}"
        )
        if not self._none_left.wait(GRACE_SECONDS - REPORT_AFTER_SECONDS):
            for connections in abortable:
                connections.abort_all()


NETWORK_SHUTDOWN = NetworkShutdown()  # one per process, because a signal ends the whole process
