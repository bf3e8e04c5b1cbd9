"""A process that is told to end: what it asks across a network for is bounded by seconds then.

- Ctrl-C ends what the main thread waits for, and it tidies up.  What its other threads have asked
  for may take time-outs and attempts long, and it waits for them: they hold what it gives back.
- From then on no call is begun and none made again.  Those under way may end by themselves for so
  long; then their connections are broken off.
- What is broken off may have arrived or not, as when the process is killed: all that is written is
  written so that the next run goes by what is there.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol
from weakref import WeakSet

from backup.errors import StoreUnavailable

GRACE_SECONDS = 5.0
_SAID_AFTER_SECONDS = 0.5  # before, nobody wonders


class Breakable(Protocol):
    """What has connections that other threads wait for."""

    def abort_all(self) -> None:
        """Shut them all, whoever waits for one."""


class NetworkShutdown:
    """Whether a process was told to end, and what of it is under way; for several threads."""

    def __init__(self) -> None:
        self.is_begun = False
        self._is_told = threading.Event()  # the same, a moment later, for who waits
        self._guard = threading.Lock()
        self._under_way: list[str] = []
        self._none_left = threading.Event()
        self._breakable: WeakSet[Breakable] = WeakSet()

    def pause(self, seconds: float) -> None:
        """Wait so long, or until the process is told to end."""
        self._is_told.wait(seconds)

    def register(self, connections: Breakable) -> None:
        """Have connections broken off when their seconds are over, if they are used then."""
        with self._guard:
            self._breakable.add(connections)

    def refuse(self, doing: str) -> None:
        """`StoreUnavailable` when nothing is begun any more."""
        if self.is_begun:
            raise StoreUnavailable(f"{doing} was not begun: this command was told to end")

    @contextmanager
    def call(self, doing: str) -> Iterator[None]:
        """Hold a call that is under way; `StoreUnavailable` when none is begun any more."""
        self.refuse(doing)
        with self._guard:
            self._under_way.append(doing)
        try:
            yield
        finally:
            with self._guard:
                self._under_way.remove(doing)
                if self.is_begun and not self._under_way:
                    self._none_left.set()

    def begin(self, say: Callable[[str], None]) -> None:
        """Let the process end, from a signal's handler; `say` is given what it waits for, if any.

        No lock is taken here: the handler may have come while this very thread has it.
        """
        if self.is_begun:
            return
        self.is_begun = True
        if self._breakable:
            threading.Thread(target=self._see_to_it, args=(say,), daemon=True).start()

    def _see_to_it(self, say: Callable[[str], None]) -> None:
        self._is_told.set()
        if self._none_left.wait(_SAID_AFTER_SECONDS):
            return
        with self._guard:
            waiting, breakable = list(self._under_way), list(self._breakable)
        if not waiting:
            return
        others = f" and {len(waiting) - 1} more" if len(waiting) > 1 else ""
        say(
            f"stopping: what was asked of the store is waited for, {GRACE_SECONDS:.0f} s at most:"
            f" {waiting[0]}{others}"
        )
        if not self._none_left.wait(GRACE_SECONDS - _SAID_AFTER_SECONDS):
            for connections in breakable:
                connections.abort_all()


NETWORK_SHUTDOWN = NetworkShutdown()  # of this process: a signal comes to all of it
