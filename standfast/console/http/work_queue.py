"""Work for the ledger in threads, with a bounded queue.

Rules
- The event loop never waits for the ledger (the database), and the number of concurrent requests is
  limited.
- Each kind of client has its own queue. Strangers that fill the queue of the report form therefore
  delay neither the console nor a trigger (a way to open an incident from outside).
- A full queue returns 503 with Retry-After at once: in an unlimited queue, requests would only time
  out later.
- Started work is finished even if its client no longer waits. The work is committed, and if the
  client repeats its message, it receives the result.
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
class WorkQueue:
    """Worker threads for one kind of client, with a bounded queue."""

    workers: int = WORKERS
    most_waiting: int = MOST_WAITING
    patience_seconds: float = PATIENCE_SECONDS
    _pool: ThreadPoolExecutor = field(init=False)
    _waiting: int = 0  # used by the event loop only

    def __post_init__(self) -> None:
        self._pool = ThreadPoolExecutor(self.workers, thread_name_prefix="console")

    async def do(self, work: Callable[[], T]) -> T:
        """Run `work` in a thread and return its result.

        Raise the errors of `work`, and Problem if the queue is full or the time is over.
        """
        if self._waiting >= self.most_waiting:
            raise wait_and_try_again(
                _COME_AGAIN_SECONDS,
                HTTPStatus.SERVICE_UNAVAILABLE,
                "too many requests at the same time",
            )
        loop = asyncio.get_running_loop()
        self._waiting += 1
        future = loop.run_in_executor(self._pool, work)
        future.add_done_callback(self._is_done)
        try:
            return await asyncio.wait_for(asyncio.shield(future), self.patience_seconds)
        except TimeoutError:
            raise wait_and_try_again(
                _COME_AGAIN_SECONDS, HTTPStatus.SERVICE_UNAVAILABLE, "the ledger is slow; try again"
            ) from None

    def close(self) -> None:
        """Accept no more work; running work ends by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _is_done(self, future: "asyncio.Future[T]") -> None:
        self._waiting -= 1
        if not future.cancelled():
            future.exception()  # retrieve the error: it was logged, and no client waits for it
