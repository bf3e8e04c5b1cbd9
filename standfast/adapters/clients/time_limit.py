"""Time limit for a call into a library that has none."""

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def within(seconds: float, act: Callable[[], T]) -> T:
    """Run a function in its own thread; return its value or raise its error.

    TimeoutError if it has not ended in time: the thread continues, and its result is lost.
    """
    found: list[T] = []
    broke: list[BaseException] = []
    is_over = threading.Event()

    def run() -> None:
        try:
            found.append(act())
        except BaseException as error:
            broke.append(error)
        finally:
            is_over.set()

    threading.Thread(target=run, name="bounded-call", daemon=True).start()
    if not is_over.wait(seconds):
        raise TimeoutError
    if broke:
        raise broke[0]
    return found[0]
