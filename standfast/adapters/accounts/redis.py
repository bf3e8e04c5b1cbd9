"""Connector for the ACL users of a Redis server (from 6; also Valkey).

Rules
- `ACL SETUSER` creates a missing user: only a user that was just read is changed.
- Switching a user off ends no connection. Connections are ended after it, repeatedly until none is
  left, because one may have been accepted just before.
- A lock and an undo change on and off only: passwords, keys and commands stay. The prior state is
  `{"on"}`.
- A new password leaves this host as its SHA-256, and replaces all others.
- After a change the server is asked to write its ACL file. A server without one forgets the lock
  when it restarts, and each result says so.
- `default`, which is used by every connection without a user of its own, and our own user are
  refused.
"""

import hashlib
import ssl
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from standfast.adapters.accounts import AccountState
from standfast.adapters.accounts.base.build_context import BuildContext, limits_of
from standfast.adapters.accounts.base.new_passwords import NewPassword, rotated
from standfast.adapters.accounts.base.pooled_connector import (
    PooledConnector,
    end_sessions,
    is_text,
)
from standfast.adapters.accounts.base.results import (
    ABSENT,
    PRIOR_UNKNOWN,
    done,
    failed,
    proven,
    refused,
    unknown,
)
from standfast.adapters.clients.connection_pool import BoundedCall, Dialect
from standfast.config.sections.account_servers import RedisDirectoryConfig
from standfast.errors import ConfigurationError, ExtraMissing, StandfastError, Unavailable
from standfast.records import Order, Proof, Result
from standfast.retry_rules import RETRY_SECONDS
from standfast.server_tls import is_this_machine

Connection = Any  # redis types its connections in part only

_RIGHTS = ("+acl|getuser", "+acl|setuser", "+acl|save", "+client|list", "+client|kill")
_SHARED = "`default` is everybody without a user of their own; it is not locked from here"
_OURS = "this is the user that locks the others; it would lock itself out"
_FORGETS = "the server has no ACL file, or did not write it: it forgets this when it restarts"


@dataclass(frozen=True, kw_only=True)
class _User:
    is_on: bool
    live_sessions: int


class RedisConnector(PooledConnector[Connection]):
    """The users of one server."""

    proof = Proof.SESSIONS_GONE
    irreversible = ("connections that were ended do not come back",)
    rotates = True

    def __init__(self, name: str, settings: RedisDirectoryConfig, context: BuildContext) -> None:
        self._settings = settings
        self._password = context.reveal(settings.password)
        super().__init__(
            name,
            limits_of(settings, batch=settings.batch),
            Dialect(
                connect=self._connect,
                disconnect=lambda connection: connection.disconnect(),
                cut=lambda connection: None,  # the socket's own time-out ends the thread
                explain=_explain,
            ),
            context.new_secrets,
        )

    def _look_on(self, connection: Connection, names: Sequence[str]) -> list[AccountState]:
        users = _users(connection, names)
        return [self._state(name, users.get(name)) for name in names]

    def _shortcomings_on(self, connection: Connection) -> list[str]:
        answer = _ask(connection, "ACL", "GETUSER", self._settings.user)
        rights = dict(zip(answer[::2], answer[1::2], strict=True))[b"commands"].decode().split()
        if "+@all" in rights or "+@admin" in rights:
            return []
        return [
            f"our user lacks {right}; docs/accounts.md has its rules"
            for right in _RIGHTS
            if right not in rights and right.partition("|")[0] not in rights
        ]

    def _lock_on(
        self, connection: Connection, errand: BoundedCall, orders: Sequence[Order]
    ) -> list[Result]:
        users = _users(connection, [order.target for order in orders])
        meant = [name for name in users if not self._obstacle(name)]
        changes = [name for name in meant if users[name].is_on]
        if meant:
            errand.begin()
        for name in changes:
            _ask(connection, "ACL", "SETUSER", name, "off")
        is_kept = not changes or _save(connection)
        _end_sessions(connection, errand, meant, is_final=True)
        after = _users(connection, meant)
        return [
            _with_restart_note(self._locked(order, users.get(order.target), after), is_kept)
            for order in orders
        ]

    def _revoke_on(
        self, connection: Connection, errand: BoundedCall, orders: Sequence[Order]
    ) -> list[Result]:
        users = _users(connection, [order.target for order in orders])
        meant = [name for name in users if not self._obstacle(name)]
        if meant:
            errand.begin()
        _end_sessions(connection, errand, meant, is_final=False)
        return [self._revoked(order, users.get(order.target)) for order in orders]

    def _prove_on(
        self, connection: Connection, errand: BoundedCall, orders: Sequence[Order]
    ) -> list[Result]:
        users = _users(connection, [order.target for order in orders])
        return [_proof(order, users.get(order.target)) for order in orders]

    def _undo_on(
        self, connection: Connection, errand: BoundedCall, orders: Sequence[Order]
    ) -> list[Result]:
        users = _users(connection, [order.target for order in orders])
        changes = {
            order.target: _was_on(order)
            for order in orders
            if order.target in users
            and not self._obstacle(order.target)
            and _was_on(order) not in (None, users[order.target].is_on)
        }
        if changes:
            errand.begin()
        for name, is_on in changes.items():
            _ask(connection, "ACL", "SETUSER", name, "on" if is_on else "off")
        is_kept = not changes or _save(connection)
        after = _users(connection, list(users))
        return [
            _with_restart_note(self._undone(order, order.target in changes, after), is_kept)
            for order in orders
        ]

    def _rotate_on(
        self, connection: Connection, errand: BoundedCall, orders: Sequence[Order]
    ) -> list[Result]:
        users = _users(connection, [order.target for order in orders])

        def stop(order: Order) -> str:
            return self._obstacle(order.target) if order.target in users else ABSENT

        def give(order: Order, new: NewPassword) -> Result:
            hashed = hashlib.sha256(new.secret.encode()).hexdigest()
            _ask(connection, "ACL", "SETUSER", order.target, "resetpass", f"#{hashed}")
            is_kept = _save(connection)
            if _passwords(connection, order.target) != [hashed.encode()]:
                return failed(order, "the server did not take the new password; look at its log")
            result = rotated(order, new, Proof.READ_BACK)
            return result if is_kept else replace(result, reason=f"{result.reason}; {_FORGETS}")

        return self._rotate_each(errand, orders, stop, give)

    # What each answer means.

    def _state(self, name: str, user: _User | None) -> AccountState:
        if user is None:
            return AccountState(name=name, exists=False)
        return AccountState(
            name=name,
            exists=True,
            is_enabled=user.is_on,
            live_sessions=user.live_sessions,
            prior={"on": user.is_on},
            obstacle=self._obstacle(name),
        )

    def _obstacle(self, name: str) -> str:
        if name == self._settings.user:
            return _OURS
        return _SHARED if name == "default" else ""

    def _locked(self, order: Order, before: _User | None, after: dict[str, _User]) -> Result:
        if before is None:
            return refused(order, ABSENT)
        if obstacle := self._obstacle(order.target):
            return refused(order, obstacle)
        user = after.get(order.target)
        if user is None:
            return refused(order, ABSENT)
        if user.is_on:
            return failed(order, "the server did not switch the user off; look at its log")
        if user.live_sessions:
            return unknown(order, "the user is off, but a connection has not ended yet")
        return done(order, was_changed=before.is_on or before.live_sessions > 0)

    def _revoked(self, order: Order, before: _User | None) -> Result:
        if before is None:
            return refused(order, ABSENT)
        if obstacle := self._obstacle(order.target):
            return refused(order, obstacle)
        return done(order, was_changed=before.live_sessions > 0)

    def _undone(self, order: Order, was_changed: bool, after: dict[str, _User]) -> Result:
        was_on = _was_on(order)
        if was_on is None:
            return refused(order, PRIOR_UNKNOWN)
        if order.target not in after:
            return refused(order, ABSENT)
        if after[order.target].is_on is was_on:
            return done(order, was_changed=was_changed)
        if obstacle := self._obstacle(order.target):
            return refused(order, obstacle)
        return failed(order, "the server did not give the state before back; look at its log")

    def _connect(self, seconds: float) -> Connection:
        try:
            from redis import connection as kinds
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        except ImportError:
            raise ExtraMissing(
                "Redis's driver is not installed: pip install -r requirements/extras/redis.txt"
            ) from None
        settings = self._settings
        common: Any = {
            "username": settings.user,
            "password": self._password,
            "socket_timeout": max(0.1, self.limits.timeout_seconds),
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
            "driver_info": None,  # CLIENT SETINFO would need one more right
        }
        make: Any = kinds.Connection
        if settings.host.startswith("/"):
            make = kinds.UnixDomainSocketConnection
            common["path"] = settings.host
        else:
            common |= {"host": settings.host, "port": settings.port}
            common["socket_connect_timeout"] = max(0.1, seconds)
            if settings.tls == "verify" or (
                settings.tls is None and not is_this_machine(settings.host)
            ):
                make = kinds.SSLConnection
                common["ssl_cert_reqs"] = ssl.CERT_REQUIRED
                common["ssl_check_hostname"] = True
                common["ssl_ca_certs"] = str(settings.ca_file) if settings.ca_file else None
        connection = make(**common)
        connection.connect()
        return connection


def _users(connection: Connection, names: Sequence[str]) -> dict[str, _User]:
    askable = [name for name in dict.fromkeys(names) if is_text(name)]
    flags = {name: _flags(_ask(connection, "ACL", "GETUSER", name)) for name in askable}
    live = _live(connection) if any(flag is not None for flag in flags.values()) else Counter()
    return {
        name: _User(is_on=b"on" in flag, live_sessions=live[name])
        for name, flag in flags.items()
        if flag is not None
    }


def _passwords(connection: Connection, name: str) -> list[bytes]:
    answer = _ask(connection, "ACL", "GETUSER", name) or []
    return list(dict(zip(answer[::2], answer[1::2], strict=True)).get(b"passwords", []))


def _flags(answer: Any) -> list[bytes] | None:
    """Parse the answer of `ACL GETUSER`; empty if there is no such user.

    The answer has names and values in turn.
    """
    if answer is None:
        return None
    fields = dict(zip(answer[::2], answer[1::2], strict=True))
    return list(fields[b"flags"])


def _live(connection: Connection) -> Counter[str]:
    """Count the connections of each user.

    A name contains no blank, so the list can be parsed safely.
    """
    listed = bytes(_ask(connection, "CLIENT", "LIST")).decode(errors="replace")
    return Counter(
        word.removeprefix("user=")
        for line in listed.splitlines()
        for word in line.split(" ")
        if word.startswith("user=")
    )


def _end_sessions(
    connection: Connection, errand: BoundedCall, names: Sequence[str], *, is_final: bool
) -> None:
    end_sessions(
        errand,
        names,
        live=lambda: _live(connection),
        end=lambda name: _ask(connection, "CLIENT", "KILL", "USER", name),
        is_final=is_final,
    )


def _save(connection: Connection) -> bool:
    from redis.exceptions import ResponseError

    try:
        _ask(connection, "ACL", "SAVE")
    except ResponseError:
        return False
    return True


def _ask(connection: Connection, *words: str) -> Any:
    connection.send_command(*words)
    return connection.read_response()


def _with_restart_note(result: Result, is_kept: bool) -> Result:
    """Return the result, with a note if a restart would forget the change."""
    if is_kept or not result.facts.get("changed"):
        return result
    return replace(result, reason=_FORGETS)


def _was_on(order: Order) -> bool | None:
    was_on = (order.prior or {}).get("on")
    return was_on if isinstance(was_on, bool) else None


def _proof(order: Order, user: _User | None) -> Result:
    if user is None:
        return refused(order, ABSENT)
    if user.is_on:
        return failed(order, "the user is on; lock it again")
    if user.live_sessions:
        return failed(order, "the user is off, but a connection of it is open; lock it again")
    return proven(order, Proof.SESSIONS_GONE)


def _explain(error: Exception) -> StandfastError | None:
    from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

    if isinstance(error, AuthenticationError):
        return Unavailable("the server refuses our user; renew its password")
    if isinstance(error, NoPermissionError):
        return ConfigurationError("our user lacks a right; docs/accounts.md has all of them")
    if isinstance(error, RedisError):
        # A full one says so and closes at once: whether its words still arrive is left to chance.
        return Unavailable(
            f"the server cannot be reached, is full or broke off ({type(error).__name__}); "
            "check its host, port, `tls`, certificate and `maxclients`",
            retry_after_seconds=RETRY_SECONDS,
        )
    return None
