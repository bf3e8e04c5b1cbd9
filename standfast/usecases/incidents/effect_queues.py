"""Queues that run effects in parallel: claims, look-ups, rate limits.

An effect is one act on one target outside Standfast, such as the lock of one account. A queue has
the effects of one kind through one adapter. The ledger (the database of incidents) records each
effect.

Rules
- Before a call to a provider, the claim is committed to the ledger: it records that a runner (a
  process that executes incidents) begins the effects. After the call, the receipt is committed,
  which records the results.
- Before the claim, each effect with an unknown outcome is looked up at the provider, and the states
  of the targets before the change are recorded.
- Tokens of the rate limit are taken before the claim, so that a claimed effect does not wait long.
- The runners of live incidents, on any host, share the rate equally. Each runner reads the number
  of runners from the ledger every second. A dead runner is included until its lease ends.
- An error in one queue does not stop other queues. The result reports each error with its queue.
- While the ledger is unavailable, the commit of a receipt is retried a limited number of times.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

from backup.system.interruptible_wait import result_of
from standfast.adapters.factory import Adapters
from standfast.errors import ApprovalRefused, StandfastError, Unavailable
from standfast.ledger import Ledger
from standfast.ledger.effects.effect_rows import Batch, EffectQueue, EffectRow
from standfast.ledger.effects.effect_store import Work
from standfast.records import EffectState, Limits, Now, Observed, Result
from standfast.retry_rules import MOST_LEDGER_FAILURES, RECEIPT_PAUSES_SECONDS

WORKERS = 16
LOOKUP_ROWS = 500  # effects that are looked up or observed at once
_COUNT_SECONDS = 1.0


class TokenBucket:
    """A token bucket: `per_second` calls on average, `burst` calls at once.

    `per_second` None means no limit. `share_among` divides the rate and the burst among runners.
    """

    def __init__(
        self,
        per_second: float | None,
        burst: int,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._per_second = per_second
        self._burst = float(burst)
        self._runners = 1
        self._level = float(burst)
        self._monotonic = monotonic
        self._sleep = sleep
        self._filled_at = monotonic()
        self._guard = threading.Lock()

    def take(self, tokens: int) -> None:
        """Take tokens; wait until the bucket covers them."""
        if self._per_second is None:
            return
        with self._guard:
            self._fill(self._per_second)
            self._level -= tokens
            owed = -self._level * self._runners / self._per_second
        if owed > 0:
            self._sleep(owed)

    def return_tokens(self, tokens: int) -> None:
        """Put unused tokens back into the bucket."""
        if self._per_second is not None and tokens:
            with self._guard:
                self._level = min(self._burst / self._runners, self._level + tokens)

    def share_among(self, runners: int) -> None:
        """Limit this process to its equal share of the rate and of the burst."""
        if self._per_second is not None and runners != self._runners:
            with self._guard:
                self._fill(self._per_second)
                self._runners = runners
                self._level = min(self._burst / runners, self._level)

    def _fill(self, per_second: float) -> None:
        now = self._monotonic()
        grown = (now - self._filled_at) * per_second / self._runners
        self._level = min(self._burst / self._runners, self._level + grown)
        self._filled_at = now


class Pace:
    """The pace of calls to one provider.

    Tokens are taken twice: `turns` limits the claims, and `calls` limits the calls. Under load,
    several claims can wait for the ledger and then end together. Without the second limit, their
    calls would reach the provider together.

    A tenth of the burst stays unused. While the first calls are on their way, the bucket `calls`
    refills already. The provider's own bucket cannot refill, because it is still full. The unused
    tenth covers this difference. A call has at most as many effects as the other nine tenths of the
    burst.
    """

    def __init__(self, limits: Limits) -> None:
        burst = max(1, limits.burst - max(1, limits.burst // 10))
        self.most_a_call = limits.batch if limits.per_second is None else min(limits.batch, burst)
        self.turns = TokenBucket(limits.per_second, burst)
        self.calls = TokenBucket(limits.per_second, burst)
        self.is_limited = limits.per_second is not None

    def share_among(self, runners: int) -> None:
        """Limit this process to its equal share of the rate."""
        self.turns.share_among(runners)
        self.calls.share_among(runners)


@dataclass(kw_only=True)
class EffectQueues:
    """The queues of one incident, and the threads that process them."""

    ledger: Ledger
    adapters: Adapters
    incident: str
    runner: str
    clock: Now
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(2 * WORKERS))
    _running: dict[Future[None], EffectQueue] = field(default_factory=dict)
    _paces: dict[str, Pace] = field(default_factory=dict)
    _ledger_failures: Counter[EffectQueue] = field(default_factory=Counter)
    _count_lock: threading.Lock = field(default_factory=threading.Lock)
    _counted_at: float = float("-inf")
    _runners: int = 1
    troubles: dict[EffectQueue, StandfastError] = field(default_factory=dict)

    def start(self, work: Work) -> None:
        """Start every queue that has due effects, is not running and had no error."""
        busy = set(self._running.values())
        for queue, due in work.queues.items():
            if queue not in busy and queue not in self.troubles:
                self._running[self._pool.submit(self._drive, queue, due)] = queue

    @property
    def is_busy(self) -> bool:
        return bool(self._running)

    def wait(self, seconds: float) -> None:
        """Wait until a queue ends or the time is over."""
        if not self._running:
            time.sleep(seconds)
            return
        done, _ = wait(self._running, timeout=seconds, return_when="FIRST_COMPLETED")
        for future in done:
            self._end(self._running.pop(future), future.exception())

    def _end(self, queue: EffectQueue, error: BaseException | None) -> None:
        """Record why a queue stopped; other queues continue."""
        if error is None:
            return
        if isinstance(error, Unavailable) and self._ledger_failures[queue] < MOST_LEDGER_FAILURES:
            self._ledger_failures[queue] += 1  # the ledger was unavailable; the queue starts again
            return
        if not isinstance(error, StandfastError):
            # Report only the class: the text of the error may contain an account or a token.
            fault = f"{queue.verb} through {queue.connector}: unexpected {type(error).__name__}"
            error = StandfastError(f"{fault}; run again with STANDFAST_DEBUG=1")
        self.troubles[queue] = error

    def close(self) -> None:
        """Wait for the calls in progress; start no more calls."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _drive(self, queue: EffectQueue, due: int) -> None:
        self._look_up(queue)
        try:
            limits = self.adapters.limits(queue)
        except StandfastError as error:
            self._fail_all(queue, error)
            return
        calls = -(-due // limits.batch)
        others = [
            self._pool.submit(self._work, queue, limits)
            for _ in range(min(limits.workers, WORKERS, calls) - 1)
        ]
        self._work(queue, limits)
        for other in others:
            # The queue is empty, so tasks that have not started are not needed.
            if not other.cancel():
                result_of(other)

    def _work(self, queue: EffectQueue, limits: Limits) -> None:
        pace = self._paces.setdefault(queue.connector, Pace(limits))
        limits = replace(limits, batch=pace.most_a_call)
        while True:
            if pace.is_limited:
                pace.share_among(self._count_runners())
            pace.turns.take(limits.batch)
            batch = self._claim(queue, limits)
            pace.turns.return_tokens(limits.batch - (len(batch.effects) if batch else 0))
            if batch is None:
                return
            pace.calls.take(len(batch.effects))
            self._store_receipt(batch, self._call(batch))

    def _count_runners(self) -> int:
        """Return the number of runners that share a rate, counted every second."""
        with self._count_lock:
            if time.monotonic() - self._counted_at >= _COUNT_SECONDS:
                # If the ledger does not answer, the old number stays: no effect can be claimed.
                with suppress(StandfastError):
                    self._runners = max(1, self.ledger.runners.count_live(self.clock()))
                self._counted_at = time.monotonic()
            return self._runners

    def _claim(self, queue: EffectQueue, limits: Limits) -> Batch | None:
        try:
            return self.ledger.attempts.claim(
                self.incident,
                queue,
                self.runner,
                self.adapters.mode,
                limits,
                self.clock(),
                settings=self.adapters.settings,
            )
        except ApprovalRefused:
            return None  # the step asks for approval again; other steps may have effects here

    def _store_receipt(self, batch: Batch, results: list[Result]) -> None:
        """Record the results of a call; retry while the ledger is unavailable.

        Recording the same results again changes nothing.
        """
        write = partial(
            self.ledger.attempts.receipt,
            batch,
            results,
            self.runner,
            hand_on=self.adapters.takes_over(batch.queue),
        )
        for pause_seconds in RECEIPT_PAUSES_SECONDS:
            try:
                write(now=self.clock())
            except Unavailable:
                time.sleep(pause_seconds)
            else:
                return
        write(now=self.clock())

    def _call(self, batch: Batch) -> list[Result]:
        """Call the adapter; an error becomes an unknown result of each effect."""
        try:
            return self.adapters.call(batch)
        except StandfastError as error:
            state, reason = EffectState.UNKNOWN, str(error)
        except Exception as error:
            # Report only the class: the text of the error may contain an account or a token.
            state, reason = EffectState.UNKNOWN, f"unexpected {type(error).__name__}"
        return [Result(target=order.target, state=state, reason=reason) for order in batch.orders]

    def _look_up(self, queue: EffectQueue) -> None:
        effects = self.ledger.effects
        while rows := effects.to_settle(self.incident, queue, self.clock(), LOOKUP_ROWS):
            seen = list(zip(rows, self._observe(queue, rows), strict=True))
            actor = f"runner:{self.runner}"
            self.ledger.unknown_outcomes.settle(self.incident, seen, actor, self.clock())
        # Read the prior states of one batch only. Its accounts are then locked before the accounts
        # of the next batch are read. The queue starts again for the next batch.
        if rows := effects.without_prior(self.incident, queue, self.clock(), LOOKUP_ROWS):
            seen = list(zip(rows, self._observe(queue, rows), strict=True))
            self.ledger.prior_states.keep(self.incident, seen, self.runner, self.clock())

    def _observe(self, queue: EffectQueue, rows: list[EffectRow]) -> list[Observed]:
        try:
            return self.adapters.observe(queue, rows)
        except StandfastError as error:
            reason = str(error)
        except Exception as error:
            reason = f"unexpected {type(error).__name__}"
        return [Observed(target=row.target, is_readable=False, reason=reason) for row in rows]

    def _fail_all(self, queue: EffectQueue, error: StandfastError) -> None:
        """Mark all effects of the queue as failed: its adapter is not usable."""
        limits = Limits(batch=1000, is_local=True)
        while batch := self._claim(queue, limits):
            failed = [
                Result(target=order.target, state=EffectState.FAILED, reason=str(error))
                for order in batch.orders
            ]
            self._store_receipt(batch, failed)
