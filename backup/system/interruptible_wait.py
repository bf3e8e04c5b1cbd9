"""Interruptible wait for another thread, so that Ctrl-C is handled soon.

Python runs the handler of a signal in the main thread, between two of its instructions. A signal
may not wake a waiting main thread: it may arrive just before the main thread sleeps, or the kernel
may deliver it to another thread. The handler would then run after the wait. So a long wait is
divided into waits of half a second.
"""

from concurrent.futures import Future
from typing import TypeVar

_LONGEST_SECONDS = 0.5  # of one wait; after it, the handler of a signal can run

T = TypeVar("T")


def result_of(future: Future[T]) -> T:
    """Wait for a future; return its result or raise its error."""
    while True:
        try:
            return future.result(timeout=_LONGEST_SECONDS)
        except TimeoutError:
            if future.done():  # it ended just now, or the call itself raised `TimeoutError`
                return future.result()
