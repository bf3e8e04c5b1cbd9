"""Connector for the roles of a PostgreSQL server (14 and newer).

`statements` has the statements, and this module interprets their results.

Rules
- A lock is one transaction for each batch. If one role of the batch fails, the roles are changed
  one by one, each in a savepoint.
- Superusers, the server's own `pg_` roles and the connector's own role are refused. From PostgreSQL
  16 on, a role over which the connector's role has no ADMIN option is refused too: `observe`
  reports this before the approval.
- The state before a lock is `{"oid", "login"}`. An undo finds the role by the oid, so that another
  role that now has the name is not enabled. A lock and an undo change LOGIN only: password, VALID
  UNTIL and CONNECTION LIMIT stay as an administrator set them.
- A new password leaves this host as its SCRAM verifier (RFC 5803), so that neither the server nor
  its log ever contains it.
- The server itself cancels a statement when the connector's time limit ends (`statement_timeout`).
"""

import os
import socket
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from standfast.adapters.accounts.base.build_context import BuildContext
from standfast.adapters.accounts.base.new_passwords import NewPassword, rotated
from standfast.adapters.accounts.base.results import ABSENT, PRIOR_UNKNOWN, done, failed, refused
from standfast.adapters.accounts.base.server_users import NOT_RESTORED, OURS, ServerUsersConnector
from standfast.adapters.accounts.postgresql.statements import (
    Role,
    change_login,
    end_sessions,
    out_of_reach,
    roles_by_name,
    roles_by_oid,
    set_password,
)
from standfast.adapters.clients.postgresql_connection import connect
from standfast.config.sections.account_servers import PostgresqlDirectoryConfig
from standfast.errors import ConfigurationError, StandfastError, Unavailable
from standfast.records import JsonObject, Order, Result
from standfast.retry_rules import RETRY_SECONDS
from standfast.time_limit import BoundedCall

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]

_OBSTACLES = {
    "": "",
    "superuser": (
        "superusers are not locked: an intruder that is a superuser could undo the lock, and "
        "the other superusers are needed. Ask another superuser to lock this role."
    ),
    "ours": OURS,
    "built in": "this is a role of the server itself, with which nobody signs in",
    "no right": "the connector's role may not change roles. Grant it CREATEROLE.",
    "no admin": (
        "the connector's role has no ADMIN option on this role. GRANT this role WITH ADMIN TRUE."
    ),
    "no signal": (
        "the connector's role may not end the sessions of this role. GRANT "
        "pg_signal_backend to the connector's role."
    ),
}


class PostgresqlConnector(ServerUsersConnector["Connection", Role]):
    """The roles of one server."""

    identity = ("oid",)
    irreversible = (
        "sessions that were ended do not come back; what they had not committed is lost",
    )

    def __init__(
        self, name: str, settings: PostgresqlDirectoryConfig, context: BuildContext
    ) -> None:
        self._settings = settings
        self._password = context.reveal_optional(settings.password)
        super().__init__(name, settings, context)

    def _users(self, connection: "Connection", names: Sequence[str]) -> Mapping[str, Role]:
        return roles_by_name(connection, names)

    def _read_again(self, connection: "Connection", users: Sequence[Role]) -> Mapping[str, Role]:
        by_oid = roles_by_oid(connection, [role.oid for role in users])
        return {role.name: by_oid[role.oid] for role in users if role.oid in by_oid}

    _remaining = _read_again

    def _prior(self, user: Role) -> JsonObject:
        return {"oid": user.oid, "login": user.is_enabled}

    def _obstacle(self, user: Role) -> str:
        return _OBSTACLES[user.obstacle]

    def _is_someone_else(self, user: Role, order: Order) -> bool:
        known = (order.prior or {}).get("oid")
        return isinstance(known, int) and known != user.oid

    def _facts(self, user: Role) -> JsonObject:
        return {"oid": user.oid}

    def _disable(self, connection: "Connection", users: Sequence[Role]) -> str:
        change_login(connection, [role for role in users if role.is_enabled], "NOLOGIN")
        return ""

    def _end_sessions(
        self,
        connection: "Connection",
        bounded_call: BoundedCall,
        users: Sequence[Role],
        *,
        is_final: bool,
    ) -> None:
        # A session may have been accepted a moment ago: repeat until none is left.
        while not end_sessions(connection, bounded_call, users) and is_final:
            pass

    def _set_password(
        self, connection: "Connection", order: Order, user: Role, new: NewPassword
    ) -> Result:
        if set_password(connection, order.target, new.secret):
            return rotated(order, new)
        return failed(order, "the server did not accept the new password. Check its log.")

    def _shortcomings_on(self, connection: "Connection") -> list[str]:
        lacking, count_of_all = out_of_reach(connection)
        return [
            f"{count} of {count_of_all} roles that may sign in cannot be locked: {_OBSTACLES[why]}"
            for why, count in lacking.items()
        ]

    def _undo_on(
        self, connection: "Connection", bounded_call: BoundedCall, orders: Sequence[Order]
    ) -> list[Result]:
        priors = [_prior(order) for order in orders]
        roles = roles_by_oid(connection, [prior[0] for prior in priors if prior])
        wrong = [
            roles[oid]
            for oid, login in filter(None, priors)
            if oid in roles and roles[oid].is_enabled is not login and not roles[oid].obstacle
        ]
        if wrong:
            bounded_call.begin()
            for word, was_enabled in (("LOGIN", False), ("NOLOGIN", True)):
                some = [role for role in wrong if role.is_enabled is was_enabled]
                change_login(connection, some, word)
        after = roles_by_oid(connection, list(roles))
        return [
            _undo_result(order, prior, roles, after)
            for order, prior in zip(orders, priors, strict=True)
        ]

    def _connect(self, seconds: float) -> "Connection":
        return connect(
            self._settings,
            self._password,
            connect_seconds=max(2, int(seconds) + 1),
            statement_milliseconds=max(1, int(self.limits.timeout_seconds * 1000)),
            parameter="search_path=pg_catalog",
        )

    def _cut(self, connection: "Connection") -> None:
        """Close the socket.

        Its thread wakes, and the server rolls back what was not committed.
        """
        with socket.socket(fileno=os.dup(connection.fileno())) as ours:
            ours.shutdown(socket.SHUT_RDWR)

    def _explain(self, error: Exception) -> StandfastError | None:
        import psycopg

        if isinstance(error, psycopg.errors.QueryCanceled):
            return Unavailable(
                "the server cancelled the statement after its time-out",
                retry_after_seconds=RETRY_SECONDS,
            )
        if isinstance(error, psycopg.errors.InsufficientPrivilege):
            return ConfigurationError(
                "the connector's role lacks a right. docs/accounts.md lists all of them."
            )
        if isinstance(error, psycopg.Error):
            return Unavailable(
                f"the connection to the server failed ({type(error).__name__})",
                retry_after_seconds=RETRY_SECONDS,
            )
        return None


def _prior(order: Order) -> tuple[int, bool] | None:
    before = order.prior or {}
    oid, login = before.get("oid"), before.get("login")
    if isinstance(oid, int) and not isinstance(oid, bool) and isinstance(login, bool):
        return oid, login
    return None


def _undo_result(
    order: Order, prior: tuple[int, bool] | None, before: dict[int, Role], after: dict[int, Role]
) -> Result:
    if prior is None:
        return refused(order, PRIOR_UNKNOWN)
    oid, login = prior
    if oid not in after:
        return refused(order, ABSENT)
    if after[oid].is_enabled is login:
        return done(order, was_changed=before[oid].is_enabled is not login, oid=oid)
    if after[oid].obstacle:
        return refused(order, _OBSTACLES[after[oid].obstacle])
    return failed(order, NOT_RESTORED)
