"""Base class of connectors with persistent connections: batches, breaks.

An order is the change of one account, its target. The class divides orders into calls of at most
`limits.batch` orders, runs calls in parallel, and determines the results of a call that breaks. A
subclass sends the statements. A `BoundedCall` has the time limit of a call, and records the targets
that the call has begun to change.

Rules
- A broken call that may have changed something is UNKNOWN for each of its targets. A broken call
  that changed nothing is FAILED for each target, with a retry if the error permits that.
- A subclass calls `bounded_call.begin()` right before its first change, and never reports a target
  as changed before the change is in effect. A subclass that changes targets one after the other
  calls `bounded_call.begin(token)` for each: after a break only the targets that were begun are
  UNKNOWN.
- The time limit of a call covers all connections that it uses.
"""

import time
from abc import abstractmethod
from collections.abc import Callable, Collection, Sequence
from typing import Generic, TypeVar

from standfast.adapters.accounts import AccountState, Connector
from standfast.adapters.accounts.base.new_passwords import NewPassword, NewPasswords
from standfast.adapters.accounts.base.parallel_calls import run_parallel
from standfast.adapters.accounts.base.results import failed, refused, unknown
from standfast.adapters.clients.connection_pool import ConnectionPool, Dialect
from standfast.errors import StandfastError, Unavailable, Unsupported
from standfast.http_client import NoAnswer
from standfast.records import EffectState, Limits, Order, Result
from standfast.retry_rules import RETRY_SECONDS
from standfast.time_limit import BoundedCall, Deadline

PAUSE_SECONDS = 0.01  # between two checks whether sessions have ended
LEAST_LEFT_SECONDS = 1.0  # the part of a call's time limit that is kept for reading the result

_C = TypeVar("_C")  # the driver's connection
_In = TypeVar("_In")
_Out = TypeVar("_Out")


class PooledConnector(Connector, Generic[_C]):
    """Connector with connections that stay open between calls."""

    rotates = False  # whether the subclass defines `_rotate_on`

    def __init__(
        self,
        name: str,
        limits: Limits,
        dialect: Dialect[_C],
        new_secrets: NewPasswords | None = None,
        *,
        connections: int | None = None,
    ) -> None:
        """Create the pool; `connections` is by default the number of workers."""
        self.name = name
        self.limits = limits
        self._calls = ConnectionPool(dialect, most_idle=connections or limits.workers)
        self._new_secrets = new_secrets
        if self.rotates and new_secrets is not None:
            self.verbs = self.verbs | {"rotate"}
        elif self.rotates:
            self.wants = {"rotate": "add [rotation] with the recipients of new passwords"}

    def close(self) -> None:
        self._calls.close()

    def shortcomings(self) -> list[str]:
        return self._calls.run(
            lambda connection, _: self._shortcomings_on(connection), self.limits.timeout_seconds
        )

    def _shortcomings_on(self, connection: _C) -> list[str]:
        """Return the missing rights of the connector's account, if readable."""
        return []

    @abstractmethod
    def _look_on(self, connection: _C, names: Sequence[str]) -> list[AccountState]:
        """Read the accounts of at most one batch."""

    @abstractmethod
    def _lock_on(
        self, connection: _C, bounded_call: BoundedCall, orders: Sequence[Order]
    ) -> list[Result]: ...

    def _revoke_on(
        self, connection: _C, bounded_call: BoundedCall, orders: Sequence[Order]
    ) -> list[Result]:
        """Revoke sessions; not overridden if `verbs` has no revoke."""
        raise Unsupported(f"directory {self.name!r}: cannot revoke")

    @abstractmethod
    def _prove_on(
        self, connection: _C, bounded_call: BoundedCall, orders: Sequence[Order]
    ) -> list[Result]: ...

    @abstractmethod
    def _undo_on(
        self, connection: _C, bounded_call: BoundedCall, orders: Sequence[Order]
    ) -> list[Result]: ...

    def _rotate_on(
        self, connection: _C, bounded_call: BoundedCall, orders: Sequence[Order]
    ) -> list[Result]:
        """Set new passwords; not overridden if the kind does not rotate."""
        raise Unsupported(f"directory {self.name!r}: cannot rotate")

    def _rotate_each(
        self,
        bounded_call: BoundedCall,
        orders: Sequence[Order],
        stop: Callable[[Order], str],
        give: Callable[[Order, NewPassword], Result],
    ) -> list[Result]:
        """Set a new password for each order unless `stop` returns a reason.

        All passwords are encrypted and stored before any is set.
        """
        if self._new_secrets is None:
            raise Unsupported(f"directory {self.name!r}: cannot rotate")
        stopped = [stop(order) for order in orders]
        new = [
            None if why else self._new_secrets.make(self.name, order)
            for order, why in zip(orders, stopped, strict=True)
        ]
        results: list[Result] = []
        for order, secret, why in zip(orders, new, stopped, strict=True):
            if secret is None:
                results.append(refused(order, why))
                continue
            bounded_call.begin(order.token)
            results.append(give(order, secret))
        return results

    def _observe(self, names: Sequence[str]) -> list[AccountState]:
        errors: list[Unavailable] = []

        def look(some: Sequence[str]) -> list[AccountState]:
            try:
                return self._calls.run(
                    lambda connection, _: self._look_on(connection, some),
                    self.limits.timeout_seconds,
                )
            except Unavailable as error:
                errors.append(error)
                return [AccountState(name=name, exists=False, reason=str(error)) for name in some]

        states = self._run_in_parallel(look, names)
        if errors and all(state.reason for state in states):
            raise Unavailable(
                f"directory {self.name!r}: cannot be read, {errors[0]}",
                retry_after_seconds=errors[0].retry_after_seconds,
            )
        return states

    def _lock(self, orders: Sequence[Order]) -> list[Result]:
        return self._carry_out(self._lock_on, orders)

    def _revoke(self, orders: Sequence[Order]) -> list[Result]:
        return self._carry_out(self._revoke_on, orders)

    def _prove(self, orders: Sequence[Order]) -> list[Result]:
        return self._carry_out(self._prove_on, orders)

    def _undo(self, orders: Sequence[Order]) -> list[Result]:
        return self._carry_out(self._undo_on, orders)

    def _rotate(self, orders: Sequence[Order]) -> list[Result]:
        return self._carry_out(self._rotate_on, orders)

    def _carry_out(
        self,
        act: Callable[[_C, BoundedCall, Sequence[Order]], list[Result]],
        orders: Sequence[Order],
        *,
        most: int | None = None,
    ) -> list[Result]:
        """Execute all orders with `act`, at most `most` in one call."""
        deadline = Deadline(self.limits.timeout_seconds)

        def call(some: Sequence[Order]) -> list[Result]:
            bounded_calls: list[BoundedCall] = []

            def do(connection: _C, bounded_call: BoundedCall) -> list[Result]:
                bounded_calls.append(bounded_call)
                return act(connection, bounded_call, some)

            seconds = deadline.left_seconds()
            if not seconds:
                return [not_begun(order) for order in some]
            try:
                return self._calls.run(do, seconds)
            except NoAnswer as error:
                touched = bounded_calls[-1].touched or {order.token for order in some}
                return [
                    unknown(order, str(error)) if order.token in touched else not_begun(order)
                    for order in some
                ]
            except Unavailable as error:
                return [failed(order, error) for order in some]
            except StandfastError as error:
                return [failed(order, str(error)) for order in some]

        return self._run_in_parallel(call, orders, most)

    def _run_in_parallel(
        self,
        do: Callable[[Sequence[_In]], list[_Out]],
        items: Sequence[_In],
        most: int | None = None,
    ) -> list[_Out]:
        """Process items in parts, in parallel; results keep their order."""
        size, at_once = self._parts_of(len(items))
        size = min(size, most or size)
        parts = [items[start : start + size] for start in range(0, len(items), size)]
        answered = run_parallel(do, parts, workers=at_once)
        return [answer for answers in answered for answer in answers]

    def _parts_of(self, count: int) -> tuple[int, int]:
        """Return the size of a part, and the number of parallel parts."""
        return self.limits.batch, self.limits.workers


def not_begun(order: Order) -> Result:
    """Return the result of an order that was not begun.

    The time of the call was over, or the call broke before the order's turn.
    """
    return Result(
        target=order.target,
        state=EffectState.FAILED,
        reason="the call ended before its turn. Nothing was changed.",
        retry_after_seconds=RETRY_SECONDS,
        is_untried=True,
    )


def end_sessions(
    bounded_call: BoundedCall,
    names: Collection[str],
    live: Callable[[], Collection[str]],
    end: Callable[[str], object],
    *,
    is_final: bool,
) -> None:
    """End sessions of users; `live` lists all users that have sessions.

    `end` ends the sessions of one user. If no new session can start (`is_final`), repeat until
    none is left or the time is over.
    """
    while names and bounded_call.deadline.left_seconds() > LEAST_LEFT_SECONDS:
        left = sorted(set(live()).intersection(names))
        if not left:
            return
        for name in left:
            end(name)
        if not is_final:
            return
        time.sleep(PAUSE_SECONDS)


def is_text(name: str) -> bool:
    """Return whether a name is text that a server can receive."""
    try:
        return bool(name.encode())
    except UnicodeEncodeError:
        return False
