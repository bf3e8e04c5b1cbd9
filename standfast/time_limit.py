"""Time limits for calls into libraries that have none.

    call = BoundedCall(Deadline(10))
    within(10, lambda: library.send(before_sending=call.begin))   # TimeoutError after 10 s
    call.call_back()   # True: nothing was sent, and nothing will be

Rules
- A call runs in its own thread, which can be abandoned, because drivers and SDKs limit at most
  single reads.
- An abandoned call may continue. If it has changed nothing yet, `call_back` prevents all its
  changes.
"""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Deadline:
    """A moment by which all calls that share it must end."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left_seconds(self) -> float:
        return max(0.0, self._end - time.monotonic())


class CalledBackError(Exception):
    """The caller stopped waiting before the call changed anything."""


class BoundedCall:
    """A call in progress, which can be called back until it begins a change."""

    def __init__(self, deadline: Deadline) -> None:
        self.deadline = deadline
        self.has_begun = False  # whether a change may have been sent
        self.touched: set[str] = set()  # tokens of the orders that `begin` announced
        self._is_called_back = False
        self._guard = threading.Lock()

    def begin(self, token: str | None = None) -> None:
        """Announce a change; raise if the caller has stopped waiting.

        `token` is the token of a `records.Order` (the request for one change). If a call announces
        tokens, each order without an announcement has changed nothing.
        """
        with self._guard:
            if self._is_called_back:
                raise CalledBackError
            self.has_begun = True
            if token is not None:
                self.touched.add(token)

    def call_back(self) -> bool:
        """Prevent all later changes; return False if a change may have begun."""
        with self._guard:
            self._is_called_back = True
            return not self.has_begun


def within(seconds: float, act: Callable[[], T]) -> T:
    """Run a function in its own thread; return its value or raise its error.

    Raises TimeoutError if the function has not ended in time: the thread continues, and its result
    is lost.
    """
    found: list[T] = []
    errors: list[BaseException] = []
    is_over = threading.Event()

    def run() -> None:
        try:
            found.append(act())
        except BaseException as error:
            errors.append(error)
        finally:
            is_over.set()

    threading.Thread(target=run, name="bounded-call", daemon=True).start()
    if not is_over.wait(seconds):
        raise TimeoutError
    if errors:
        raise errors[0]
    return found[0]
