"""Statements about the roles of a PostgreSQL server.

The statements read roles with the obstacles to a lock, change LOGIN, set passwords by their SCRAM
verifiers, and end sessions. `connector` interprets the results.

Rules
- A change is one transaction; if one role in it fails, the roles are changed one by one, each in a
  savepoint.
- A name is compared as text, and quoted by the driver, so it can never match another role.
"""

import contextlib
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from standfast.adapters.accounts.base.pooled_connector import (
    LEAST_LEFT_SECONDS,
    PAUSE_SECONDS,
    is_text,
)
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

    Read the roles again to see which were changed.
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
    """End the sessions of roles and wait; return whether the work is over.

    It is over if there was no session, or if a session is left when the time is over.
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
