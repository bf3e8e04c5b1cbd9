"""Base class of connectors for database users: lock, sessions, read back.

Users are read, changed and read back in batches. A subclass sends the statements. This class
decides which users are changed, and derives the results from the states that are read back.

Rules
- Sessions are ended after the lock is in effect. This is repeated until no session is left, because
  the server may have accepted a session just before the lock.
- A lock is DONE only if the user is read back as disabled and without a session.
- A user is not changed if `_obstacle` returns a reason, or if the prior state (which an undo
  restores) was read from another user.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic, Protocol, TypeVar, cast

from standfast.adapters.accounts import AccountState
from standfast.adapters.accounts.base.build_context import BuildContext, limits_of
from standfast.adapters.accounts.base.new_passwords import NewPassword
from standfast.adapters.accounts.base.pooled_connector import PooledConnector
from standfast.adapters.accounts.base.results import (
    ABSENT,
    SOMEONE_ELSE,
    done,
    failed,
    proven,
    refused,
    unknown,
)
from standfast.adapters.clients.connection_pool import Dialect
from standfast.config.sections.account_servers import ServerCalledConfig
from standfast.errors import StandfastError
from standfast.records import JsonObject, Order, Proof, Result
from standfast.time_limit import BoundedCall

OURS = "the connector signs in with this account and would lock itself out. Lock it by hand."
NOT_RESTORED = "the server did not restore the prior state. Check its log."


class ServerUser(Protocol):
    """A user as it was read from the server."""

    @property
    def name(self) -> str: ...

    @property
    def is_enabled(self) -> bool: ...

    @property
    def live_sessions(self) -> int: ...


_C = TypeVar("_C")
_U = TypeVar("_U", bound=ServerUser)


class ServerUsersConnector(PooledConnector[_C], Generic[_C, _U]):
    """Connector of the users of one server."""

    proof = Proof.SESSIONS_GONE
    rotates = True

    def __init__(self, name: str, settings: ServerCalledConfig, context: BuildContext) -> None:
        dialect = Dialect(
            connect=self._connect, disconnect=self._disconnect, cut=self._cut, explain=self._explain
        )
        limits = limits_of(settings, batch=settings.batch)
        super().__init__(name, limits, dialect, context.new_secrets)

    # Methods of a subclass.

    @abstractmethod
    def _connect(self, seconds: float) -> _C:
        """Connect and sign in within a time limit."""

    def _disconnect(self, connection: _C) -> None:
        cast("Any", connection).close()

    def _cut(self, connection: _C) -> None:
        """Wake the thread of a call; not needed if its socket has a time-out."""

    @abstractmethod
    def _explain(self, error: Exception) -> StandfastError | None:
        """Return the error to show for an error of the driver."""

    @abstractmethod
    def _users(self, connection: _C, names: Sequence[str]) -> Mapping[str, _U]:
        """Read the users with these names that exist."""

    def _read_again(self, connection: _C, users: Sequence[_U]) -> Mapping[str, _U]:
        """Read users after a change, by the names that they had before."""
        return self._users(connection, [user.name for user in users])

    @abstractmethod
    def _prior(self, user: _U) -> JsonObject:
        """Return the prior state of a user."""

    @abstractmethod
    def _obstacle(self, user: _U) -> str:
        """Return why this user is never locked; empty if it may be."""

    def _is_someone_else(self, user: _U, order: Order) -> bool:
        """Return whether the prior state was read from another user."""
        return False

    @abstractmethod
    def _disable(self, connection: _C, users: Sequence[_U]) -> str:
        """Disable the enabled users; return a note for the results."""

    @abstractmethod
    def _end_sessions(
        self, connection: _C, bounded_call: BoundedCall, users: Sequence[_U], *, is_final: bool
    ) -> None:
        """End sessions; with `is_final` until none is left."""

    def _remaining(self, connection: _C, users: Sequence[_U]) -> Mapping[str, _U]:
        """Read users after `_end_sessions` if their sessions end at once."""
        return {}

    @abstractmethod
    def _set_password(self, connection: _C, order: Order, user: _U, new: NewPassword) -> Result:
        """Set a new password and return the result."""

    def _facts(self, user: _U) -> JsonObject:
        """Return further facts for the stored result."""
        return {}

    # Methods for all kinds of server.

    def _look_on(self, connection: _C, names: Sequence[str]) -> list[AccountState]:
        users = self._users(connection, names)
        return [self._state(name, users.get(name)) for name in names]

    def _lock_on(
        self, connection: _C, bounded_call: BoundedCall, orders: Sequence[Order]
    ) -> list[Result]:
        users, stopped = self._read_orders(connection, orders)
        changed = [user for name, user in users.items() if not stopped[name]]
        note = ""
        if changed:
            bounded_call.begin()
            note = self._disable(connection, changed)
            self._end_sessions(connection, bounded_call, changed, is_final=True)
        after = self._read_again(connection, changed)

        def result(order: Order) -> Result:
            before, user = users.get(order.target), after.get(order.target)
            if stopped[order.target] or before is None or user is None:
                return refused(order, stopped[order.target] or ABSENT)
            if user.is_enabled:
                return failed(order, "the server did not lock the account. Check its log.")
            if user.live_sessions:
                return unknown(order, "the account is locked, but a session has not ended yet")
            was_changed = before.is_enabled or before.live_sessions > 0
            return noted(done(order, was_changed=was_changed, **self._facts(user)), note)

        return [result(order) for order in orders]

    def _revoke_on(
        self, connection: _C, bounded_call: BoundedCall, orders: Sequence[Order]
    ) -> list[Result]:
        users, stopped = self._read_orders(connection, orders)
        changed = [user for name, user in users.items() if not stopped[name]]
        if changed:
            bounded_call.begin()
            self._end_sessions(connection, bounded_call, changed, is_final=False)
        after = self._remaining(connection, changed)

        def result(order: Order) -> Result:
            before, user = users.get(order.target), after.get(order.target)
            if stopped[order.target] or before is None:
                return refused(order, stopped[order.target] or ABSENT)
            # A session of an enabled user may be a new sign-in after the earlier sessions ended.
            if user is not None and user.live_sessions and not user.is_enabled:
                return unknown(order, "a session of the account has not ended yet")
            return done(order, was_changed=before.live_sessions > 0)

        return [result(order) for order in orders]

    def _prove_on(
        self, connection: _C, bounded_call: BoundedCall, orders: Sequence[Order]
    ) -> list[Result]:
        users = self._users(connection, [order.target for order in orders])

        def result(order: Order) -> Result:
            user = users.get(order.target)
            if user is None:
                return refused(order, ABSENT)
            if self._is_someone_else(user, order):
                return refused(order, SOMEONE_ELSE)
            if user.is_enabled:
                return failed(order, "the account can sign in. Lock it again.")
            if user.live_sessions:
                return failed(order, "the account is locked, but a session is open. Lock it again.")
            return proven(order, self.proof)

        return [result(order) for order in orders]

    def _rotate_on(
        self, connection: _C, bounded_call: BoundedCall, orders: Sequence[Order]
    ) -> list[Result]:
        users, stopped = self._read_orders(connection, orders)

        def give(order: Order, new: NewPassword) -> Result:
            return self._set_password(connection, order, users[order.target], new)

        return self._rotate_each(bounded_call, orders, lambda order: stopped[order.target], give)

    def _read_orders(
        self, connection: _C, orders: Sequence[Order]
    ) -> tuple[Mapping[str, _U], Mapping[str, str]]:
        """Return the users of orders, and why a user is not changed.

        An order is the change of one user. The reason is empty for a user that may be changed.
        """
        users = self._users(connection, [order.target for order in orders])
        stopped = {order.target: self._stop(users.get(order.target), order) for order in orders}
        return users, stopped

    def _stop(self, user: _U | None, order: Order) -> str:
        if user is None:
            return ABSENT
        return SOMEONE_ELSE if self._is_someone_else(user, order) else self._obstacle(user)

    def _state(self, name: str, user: _U | None) -> AccountState:
        if user is None:
            return AccountState(name=name, exists=False)
        return AccountState(
            name=name,
            exists=True,
            is_enabled=user.is_enabled,
            live_sessions=user.live_sessions,
            prior=self._prior(user),
            obstacle=self._obstacle(user),
        )


def noted(result: Result, note: str) -> Result:
    """Add a note to a result if something was changed."""
    return replace(result, reason=note) if note and result.facts.get("changed") else result
