"""Asking for many small things: across a network for several at once, given in their order.

- What is read ahead is bounded by number and by size, and so is memory.
- Where a call is over at once, each is read when it is asked for, and no thread is begun.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from backup.stores import Stat, Store
from backup.stores.bounded_read import read_bounded

_AHEAD_BYTES = 4 * 1024 * 1024

Read = Callable[[], bytes]
T = TypeVar("T")
R = TypeVar("R")


def run_concurrently(act: Callable[[T], R], items: Iterable[T], at_once: int) -> Iterator[R]:
    """Give what the act gives for each item, in their order; a few are acted on ahead."""
    if at_once == 1:
        yield from map(act, items)
        return
    waiting: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(at_once)
    try:
        for item in items:
            if len(waiting) == 2 * at_once:
                yield waiting.popleft().result()
            waiting.append(pool.submit(act, item))
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def start_beside(store: Store, call: Callable[[], R]) -> Callable[[], R]:
    """Begin a call that takes a while, across a network; give what waits for its end.

    No thread is left then: a process can be forked only where there is one alone.
    """
    if store.calls_at_once == 1:
        return call
    pool = ThreadPoolExecutor(1)
    begun = pool.submit(call)

    def result() -> R:
        pool.shutdown(wait=True)
        return begun.result()

    return result


def read_ahead(
    store: Store, stats: Iterable[Stat], most_bytes: int, is_wanted: Callable[[Stat], bool]
) -> Iterator[tuple[Stat, Read]]:
    """Give each object of a listing with what reads it whole, as `read_bounded` does.

    What is not wanted, and what is larger than any of its kind, is not read before it is asked for.
    """
    if store.calls_at_once == 1:
        for stat in stats:
            yield stat, partial(read_bounded, store, stat.name, most_bytes)
        return
    waiting: deque[tuple[int, Stat, Read]] = deque()
    ahead_bytes = 0
    pool = ThreadPoolExecutor(store.calls_at_once)
    try:
        for stat in stats:
            read: Read = partial(read_bounded, store, stat.name, most_bytes)
            size = 0
            if stat.size_bytes <= most_bytes and is_wanted(stat):
                size = stat.size_bytes
            while waiting and (
                len(waiting) >= 2 * store.calls_at_once or ahead_bytes + size > _AHEAD_BYTES
            ):
                first_size, first, its_read = waiting.popleft()
                ahead_bytes -= first_size
                yield first, its_read
            if size:
                future: Future[bytes] = pool.submit(read)
                read = future.result
            waiting.append((size, stat, read))
            ahead_bytes += size
        for _, stat, read in waiting:
            yield stat, read
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
