"""Handing work that must wait for the ledger to threads, with a bounded queue.

Rules
- The event loop never waits for the ledger, and the ledger never gets more at once than it bears.
- Those who come by different ways have a desk each: strangers who fill the form's hold up neither
  the people at the console nor a trigger.
- A full queue is said at once, with when to come again: who waits in a queue without end has been
  turned away as well, only later.
- Work that was begun is finished, whoever still waits for it: its commit counts, and the same
  message sent again finds it.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TypeVar

from standfast.console.http.problem_details import wait_and_try_again

T = TypeVar("T")

WORKERS = 4
MOST_WAITING = 64
PATIENCE_SECONDS = 10.0
_COME_AGAIN_SECONDS = 5.0


@dataclass(kw_only=True)
class Desk:
    """The threads of one way in, and how many wait for them."""

    workers: int = WORKERS
    most_waiting: int = MOST_WAITING
    patience_seconds: float = PATIENCE_SECONDS
    _pool: ThreadPoolExecutor = field(init=False)
    _waiting: int = 0  # touched by the event loop alone

    def __post_init__(self) -> None:
        self._pool = ThreadPoolExecutor(self.workers, thread_name_prefix="console")

    async def do(self, work: Callable[[], T]) -> T:
        """Do it in a thread. Raises what it raises, and Problem when there is no room or time."""
        if self._waiting >= self.most_waiting:
            raise wait_and_try_again(
                _COME_AGAIN_SECONDS, HTTPStatus.SERVICE_UNAVAILABLE, "too much at once"
            )
        loop = asyncio.get_running_loop()
        self._waiting += 1
        future = loop.run_in_executor(self._pool, work)
        future.add_done_callback(self._is_done)
        try:
            return await asyncio.wait_for(asyncio.shield(future), self.patience_seconds)
        except TimeoutError:
            raise wait_and_try_again(
                _COME_AGAIN_SECONDS, HTTPStatus.SERVICE_UNAVAILABLE, "the ledger is slow; ask again"
            ) from None

    def close(self) -> None:
        """Take nothing more; what is under way ends by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _is_done(self, future: "asyncio.Future[T]") -> None:
        self._waiting -= 1
        if not future.cancelled():
            future.exception()  # somebody who left did not take it; it is logged where it arose
