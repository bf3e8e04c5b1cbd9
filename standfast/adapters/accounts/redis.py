"""Connector for the ACL users of a Redis server (from 6; also Valkey).

Rules
- `ACL SETUSER` creates a missing user. So the connector changes only users that it has just read.
- A lock turns a user off, and an undo restores only this flag: passwords, keys and commands stay.
  The state before a lock is `{"on"}`.
- Only the SHA-256 of a new password leaves this host; it replaces all passwords of the user.
- After a change the connector requests that the server writes its ACL file. A server without an ACL
  file loses the lock when it restarts, and each result states this.
- The user `default`, with which every connection without another user signs in, is refused. So is
  the connector's own user.
"""

import hashlib
import ssl
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from standfast.adapters.accounts.base.build_context import BuildContext
from standfast.adapters.accounts.base.new_passwords import NewPassword, rotated
from standfast.adapters.accounts.base.pooled_connector import end_sessions, is_text
from standfast.adapters.accounts.base.results import ABSENT, PRIOR_UNKNOWN, done, failed, refused
from standfast.adapters.accounts.base.server_users import (
    NOT_RESTORED,
    OURS,
    ServerUsersConnector,
    noted,
)
from standfast.config.sections.account_servers import RedisDirectoryConfig
from standfast.errors import ConfigurationError, ExtraMissing, StandfastError, Unavailable
from standfast.records import JsonObject, Order, Proof, Result
from standfast.retry_rules import RETRY_SECONDS
from standfast.server_tls import is_this_machine
from standfast.time_limit import BoundedCall

Connection = Any  # redis types its connections in part only

_RIGHTS = ("+acl|getuser", "+acl|setuser", "+acl|save", "+client|list", "+client|kill")
_SHARED = "`default` is the user of all clients that name no user. It is never locked."
_FORGETS = (
    "the server has no ACL file, or did not write it. The change is lost when the server restarts."
)


@dataclass(frozen=True, kw_only=True)
class _User:
    name: str
    is_enabled: bool
    live_sessions: int


class RedisConnector(ServerUsersConnector[Connection, _User]):
    """Connector of the users of one server."""

    irreversible = ("connections that were ended do not come back",)

    def __init__(self, name: str, settings: RedisDirectoryConfig, context: BuildContext) -> None:
        self._settings = settings
        self._password = context.reveal(settings.password)
        super().__init__(name, settings, context)

    def _disconnect(self, connection: Connection) -> None:
        connection.disconnect()

    def _users(self, connection: Connection, names: Sequence[str]) -> Mapping[str, _User]:
        valid_names = [name for name in dict.fromkeys(names) if is_text(name)]
        flags = {name: _flags(_ask(connection, "ACL", "GETUSER", name)) for name in valid_names}
        live = _live(connection) if any(flag is not None for flag in flags.values()) else Counter()
        return {
            name: _User(name=name, is_enabled=b"on" in flag, live_sessions=live[name])
            for name, flag in flags.items()
            if flag is not None
        }

    def _prior(self, user: _User) -> JsonObject:
        return {"on": user.is_enabled}

    def _obstacle(self, user: _User) -> str:
        if user.name == self._settings.user:
            return OURS
        return _SHARED if user.name == "default" else ""

    def _disable(self, connection: Connection, users: Sequence[_User]) -> str:
        enabled = [user for user in users if user.is_enabled]
        for user in enabled:
            _ask(connection, "ACL", "SETUSER", user.name, "off")
        return _save(connection) if enabled else ""

    def _end_sessions(
        self,
        connection: Connection,
        bounded_call: BoundedCall,
        users: Sequence[_User],
        *,
        is_final: bool,
    ) -> None:
        end_sessions(
            bounded_call,
            [user.name for user in users],
            live=lambda: _live(connection),
            end=lambda name: _ask(connection, "CLIENT", "KILL", "USER", name),
            is_final=is_final,
        )

    def _set_password(
        self, connection: Connection, order: Order, user: _User, new: NewPassword
    ) -> Result:
        hashed = hashlib.sha256(new.secret.encode()).hexdigest()
        _ask(connection, "ACL", "SETUSER", user.name, "resetpass", f"#{hashed}")
        note = _save(connection)
        if _passwords(connection, user.name) != [hashed.encode()]:
            return failed(order, "the server did not accept the new password. Check its log.")
        result = rotated(order, new, Proof.READ_BACK)
        return replace(result, reason=f"{result.reason}; {note}") if note else result

    def _shortcomings_on(self, connection: Connection) -> list[str]:
        answer = _ask(connection, "ACL", "GETUSER", self._settings.user)
        rights = dict(zip(answer[::2], answer[1::2], strict=True))[b"commands"].decode().split()
        if "+@all" in rights or "+@admin" in rights:
            return []
        return [
            f"the connector's user lacks {right}. docs/accounts.md lists its rules."
            for right in _RIGHTS
            if right not in rights and right.partition("|")[0] not in rights
        ]

    def _undo_on(
        self, connection: Connection, bounded_call: BoundedCall, orders: Sequence[Order]
    ) -> list[Result]:
        users = self._users(connection, [order.target for order in orders])
        changes = {
            order.target: _prior_flag(order)
            for order in orders
            if order.target in users
            and not self._obstacle(users[order.target])
            and _prior_flag(order) not in (None, users[order.target].is_enabled)
        }
        if changes:
            bounded_call.begin()
        for name, is_on in changes.items():
            _ask(connection, "ACL", "SETUSER", name, "on" if is_on else "off")
        note = _save(connection) if changes else ""
        after = self._users(connection, list(users))
        return [
            noted(self._undo_result(order, order.target in changes, after), note)
            for order in orders
        ]

    def _undo_result(self, order: Order, was_changed: bool, after: Mapping[str, _User]) -> Result:
        was_on = _prior_flag(order)
        if was_on is None:
            return refused(order, PRIOR_UNKNOWN)
        if order.target not in after:
            return refused(order, ABSENT)
        if after[order.target].is_enabled is was_on:
            return done(order, was_changed=was_changed)
        if obstacle := self._obstacle(after[order.target]):
            return refused(order, obstacle)
        return failed(order, NOT_RESTORED)

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

    def _explain(self, error: Exception) -> StandfastError | None:
        from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

        if isinstance(error, AuthenticationError):
            return Unavailable("the server refuses the connector's user. Renew its password.")
        if isinstance(error, NoPermissionError):
            return ConfigurationError(
                "the connector's user lacks a right. docs/accounts.md lists all of them."
            )
        if isinstance(error, RedisError):
            # A server that is full closes this connection, and its error message may be lost.
            return Unavailable(
                "no connection, the server is full, or it closed the connection "
                f"({type(error).__name__}). Check its host, port, `tls`, certificate and "
                "`maxclients`.",
                retry_after_seconds=RETRY_SECONDS,
            )
        return None


def _passwords(connection: Connection, name: str) -> list[bytes]:
    answer = _ask(connection, "ACL", "GETUSER", name) or []
    return list(dict(zip(answer[::2], answer[1::2], strict=True)).get(b"passwords", []))


def _flags(answer: Any) -> list[bytes] | None:
    """Return the flags from `ACL GETUSER`; None if the user does not exist.

    The answer alternates names and values.
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


def _save(connection: Connection) -> str:
    """Write the ACL file; return a note if the server cannot."""
    from redis.exceptions import ResponseError

    try:
        _ask(connection, "ACL", "SAVE")
    except ResponseError:
        return _FORGETS
    return ""


def _ask(connection: Connection, *words: str) -> Any:
    connection.send_command(*words)
    return connection.read_response()


def _prior_flag(order: Order) -> bool | None:
    was_on = (order.prior or {}).get("on")
    return was_on if isinstance(was_on, bool) else None
