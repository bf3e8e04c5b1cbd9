"""Connector for the roles of a PostgreSQL server (14 and newer).

Rules
- A lock changes each batch of roles in one transaction. If one role of the batch fails, the roles
  are changed one by one, each in a savepoint.
- Superusers, the server's own `pg_` roles and the connector's own role are refused. From PostgreSQL
  16 on, a role over which the connector's role has no ADMIN option is refused too: `observe`
  reports this before the approval.
- The state before a lock is `{"oid", "login"}`. An undo finds the role by the oid, so that another
  role that now has the name is not enabled. A lock and an undo change LOGIN only: password, VALID
  UNTIL and CONNECTION LIMIT stay as an administrator set them.
- A new password leaves this host as its SCRAM verifier (RFC 5803), so that neither the server nor
  its log ever contains it.
- The server itself cancels a statement when the connector's time limit ends (`statement_timeout`).
- A name is compared as text, and quoted by the driver, so it can never match another role.
"""

import contextlib
import os
import socket
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from standfast.adapters.accounts.base.build_context import BuildContext
from standfast.adapters.accounts.base.new_passwords import NewPassword, rotated
from standfast.adapters.accounts.base.pooled_connector import (
    LEAST_LEFT_SECONDS,
    PAUSE_SECONDS,
    is_text,
)
from standfast.adapters.accounts.base.results import ABSENT, PRIOR_UNKNOWN, done, failed, refused
from standfast.adapters.accounts.base.server_users import NOT_RESTORED, OURS, ServerUsersConnector
from standfast.adapters.clients.postgresql_connection import connect
from standfast.config.sections.account_servers import PostgresqlDirectoryConfig
from standfast.errors import ConfigurationError, StandfastError, Unavailable
from standfast.records import JsonObject, Order, Result
from standfast.retry_rules import RETRY_SECONDS
from standfast.time_limit import BoundedCall

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]

_ROLES = """
SELECT r.oid::bigint, r.rolname, r.rolcanlogin,
  CASE WHEN r.rolsuper THEN 'superuser'
       WHEN r.rolname = current_user OR r.rolname = session_user THEN 'ours'
       WHEN r.rolname LIKE 'pg\\_%%' THEN 'built in'
       WHEN NOT (me.rolsuper OR me.rolcreaterole) THEN 'no right'
       WHEN NOT me.rolsuper AND current_setting('server_version_num')::int >= 160000
        AND NOT pg_has_role(r.oid, 'MEMBER WITH ADMIN OPTION') THEN 'no admin'
       WHEN NOT (me.rolsuper OR pg_has_role('pg_signal_backend', 'USAGE')
                 OR pg_has_role(r.oid, 'USAGE')) THEN 'no signal'
       ELSE '' END,
  coalesce(s.live, 0)
FROM pg_roles r
CROSS JOIN (SELECT rolsuper, rolcreaterole FROM pg_roles WHERE rolname = current_user) me
LEFT JOIN (SELECT usesysid, count(*) AS live FROM pg_stat_activity GROUP BY 1) s
  ON s.usesysid = r.oid
"""
_SESSIONS = "SELECT pid FROM pg_stat_activity WHERE usesysid::bigint = ANY(%s)"
_END = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE pid = ANY(%s) AND usesysid::bigint = ANY(%s)
"""
_OUT_OF_REACH = "WHERE r.rolcanlogin AND NOT r.rolsuper AND NOT r.rolname = current_user"


@dataclass(frozen=True, kw_only=True)
class Role:
    """One role; `obstacle` is the key of a reason not to lock it, or empty."""

    oid: int
    name: str
    is_enabled: bool  # whether the role may sign in
    obstacle: str
    live_sessions: int


def roles_by_name(connection: "Connection", names: Sequence[str]) -> dict[str, Role]:
    """Return the roles with these names that exist."""
    valid_names = [name for name in set(names) if is_text(name) and "\0" not in name]
    # Compare as text: a cast to `name` would truncate a long name to that of another role.
    return {
        role.name: role
        for role in _read(connection, "WHERE r.rolname = ANY(%s::text[])", valid_names)
    }


def roles_by_oid(connection: "Connection", oids: Sequence[int]) -> dict[int, Role]:
    """Return the roles with these oids that exist."""
    rows = _read(connection, "WHERE r.oid::bigint = ANY(%s)", list(oids)) if oids else []
    return {role.oid: role for role in rows}


def _read(connection: "Connection", where: str, wanted: Sequence[object]) -> list[Role]:
    rows = connection.execute((_ROLES + where).encode(), (wanted,)).fetchall()
    return [
        Role(oid=oid, name=name, is_enabled=login, obstacle=obstacle, live_sessions=live)
        for oid, name, login, obstacle, live in rows
    ]


def change_login(connection: "Connection", roles: Sequence[Role], word: str) -> None:
    """Change LOGIN of roles in one transaction; after a failure, one by one.

    The caller reads the roles again to learn which were changed.
    """
    import psycopg
    from psycopg import sql

    statements = [
        sql.SQL("ALTER ROLE {} {}").format(sql.Identifier(role.name), sql.SQL(word))
        for role in roles
    ]
    if not statements:
        return
    try:
        with connection.transaction():
            connection.execute(sql.SQL("; ").join(statements))
    except psycopg.DatabaseError:
        if connection.broken:
            raise
        with connection.transaction():
            for statement in statements:
                with contextlib.suppress(psycopg.DatabaseError), connection.transaction():
                    connection.execute(statement)


def set_password(connection: "Connection", name: str, secret: str) -> bool:
    """Set a password by its verifier; False if the server refuses.

    libpq computes the verifier on this host.
    """
    import psycopg
    from psycopg import sql

    verifier = connection.pgconn.encrypt_password(secret.encode(), name.encode(), b"scram-sha-256")
    statement = sql.SQL("ALTER ROLE {} PASSWORD {}").format(
        sql.Identifier(name), sql.Literal(verifier.decode())
    )
    try:
        connection.execute(statement)
    except psycopg.DatabaseError:
        if connection.broken:
            raise
        return False
    return True


def end_sessions(
    connection: "Connection", bounded_call: BoundedCall, roles: Sequence[Role]
) -> bool:
    """End the sessions of roles and wait; return whether to stop.

    The caller stops if no session was found, or if a session is left when the time is over.
    Otherwise it calls again, because a new session may have been accepted meanwhile.
    """
    oids = [role.oid for role in roles]
    pids = [pid for (pid,) in connection.execute(_SESSIONS, (oids,)).fetchall()]
    left = pids
    if pids:
        connection.execute(_END, (pids, oids))
    while left and bounded_call.deadline.left_seconds() > LEAST_LEFT_SECONDS:
        now = {pid for (pid,) in connection.execute(_SESSIONS, (oids,)).fetchall()}
        left = [pid for pid in left if pid in now]
        if left:
            time.sleep(PAUSE_SECONDS)
    return not pids or bool(left)


def out_of_reach(connection: "Connection") -> tuple[Counter[str], int]:
    """Count the roles that can sign in and cannot be locked here, by reason.

    The second value counts all roles that can sign in.
    """
    rows = connection.execute((_ROLES + _OUT_OF_REACH).encode()).fetchall()
    return Counter(obstacle for _, _, _, obstacle, _ in rows if obstacle), len(rows)


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
    """Connector of the roles of one server."""

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

        The thread that waits for it continues, and the server rolls back an open transaction.
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
