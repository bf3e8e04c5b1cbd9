"""A call of somebody else's library that is left behind when its time is over."""

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def within(seconds: float, act: Callable[[], T]) -> T:
    """Do it in a thread of its own and give what it gives, or raise what it raises.

    TimeoutError when it has not ended by then: it may still come to its end, unseen.
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
