"""Waits for other threads that a signal interrupts soon.

Python runs a signal's handler in the main thread, between two of its instructions. If the signal
arrives after the main thread released the interpreter lock and before it sleeps, or if the kernel
delivers it to another thread, nothing wakes a wait without a time limit, and the handler does not
run before the wait ends. So these waits are divided into short ones.
"""

from concurrent.futures import Future
from typing import TypeVar

_LONGEST_SECONDS = 0.5  # until the handler of a missed signal runs

T = TypeVar("T")


def result_of(future: Future[T]) -> T:
    """Wait for a future; return its result or raise its error."""
    while True:
        try:
            return future.result(timeout=_LONGEST_SECONDS)
        except TimeoutError:
            if future.done():  # meanwhile, or the call itself raised the error
                return future.result()
