"""Parallel calls to a store: small objects read ahead, background calls.

- Results are in the order of the requests.
- The number and the total size of the objects that are read ahead are limited, which bounds memory.
- If `calls_at_once` of a store is 1 (a local store), each object is read on request, and no thread
  is started.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from backup.stores import Stat, Store
from backup.stores.bounded_read import read_bounded
from backup.system.interruptible_wait import result_of

_AHEAD_BYTES = 4 * 1024 * 1024

Read = Callable[[], bytes]
T = TypeVar("T")
R = TypeVar("R")


def run_concurrently(call: Callable[[T], R], items: Iterable[T], at_once: int) -> Iterator[R]:
    """Yield the results of calls, in the order of the items.

    A few calls run at the same time, before their results are requested.
    """
    if at_once == 1:
        yield from map(call, items)
        return
    pending: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(at_once)
    try:
        for item in items:
            if len(pending) == 2 * at_once:
                yield result_of(pending.popleft())
            pending.append(pool.submit(call, item))
        while pending:
            yield result_of(pending.popleft())
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def start_in_background(store: Store, call: Callable[[], R]) -> Callable[[], R]:
    """Start a call in the background; return a function that waits for it.

    The returned function also ends the thread, because this process can be forked only while it has
    a single thread. With a local store, nothing is started, and the returned function makes the
    call.
    """
    if store.calls_at_once == 1:
        return call
    pool = ThreadPoolExecutor(1)
    future = pool.submit(call)

    def result() -> R:
        try:
            return result_of(future)
        finally:
            pool.shutdown(wait=True)

    return result


def read_ahead(
    store: Store, stats: Iterable[Stat], max_bytes: int, is_wanted: Callable[[Stat], bool]
) -> Iterator[tuple[Stat, Read]]:
    """Yield each listed object with a function that returns its content.

    The function behaves like `read_bounded`. An object that is not wanted, or is too large, is read
    only when its function is called.
    """
    if store.calls_at_once == 1:
        for stat in stats:
            yield stat, partial(read_bounded, store, stat.name, max_bytes)
        return
    pending: deque[tuple[int, Stat, Read]] = deque()
    ahead_bytes = 0
    pool = ThreadPoolExecutor(store.calls_at_once)
    try:
        for stat in stats:
            read: Read = partial(read_bounded, store, stat.name, max_bytes)
            size = 0
            if stat.size_bytes <= max_bytes and is_wanted(stat):
                size = stat.size_bytes
            while pending and (
                len(pending) >= 2 * store.calls_at_once or ahead_bytes + size > _AHEAD_BYTES
            ):
                first_size, first, first_read = pending.popleft()
                ahead_bytes -= first_size
                yield first, first_read
            if size:
                future: Future[bytes] = pool.submit(read)
                read = future.result
            pending.append((size, stat, read))
            ahead_bytes += size
        for _, stat, read in pending:
            yield stat, read
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
