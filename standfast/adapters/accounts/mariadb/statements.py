"""Statements about the users of a MariaDB server.

They call the routines and read the view of docs/accounts.md. `connector` interprets the results.

Rules
- Names are matched exactly. The server's own comparison ignores blanks at the end, so its
  additional matches are left out.
- Only the hash of a password leaves this host.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from standfast.adapters.accounts.base.pooled_connector import end_sessions, is_text
from standfast.time_limit import BoundedCall

Connection = Any  # pymysql has no types


@dataclass(frozen=True, kw_only=True)
class User:
    """One name, with the hosts for which it exists."""

    name: str
    pairs: tuple[tuple[str, bool], ...]  # host, and whether the name is locked there
    is_super: bool
    live_sessions: int

    @property
    def is_enabled(self) -> bool:
        return not all(is_locked for _, is_locked in self.pairs)


def users_by_name(connection: Connection, names: Sequence[str]) -> dict[str, User]:
    """Return the users with these names that exist."""
    valid_names = sorted({name for name in names if is_text(name) and "\0" not in name})
    if not valid_names:
        return {}
    holes = ", ".join(["%s"] * len(valid_names))
    rows = ask(
        connection,
        "SELECT user, host, is_locked, is_super FROM standfast.accounts "  # noqa: S608 - holes only
        f"WHERE user IN ({holes}) ORDER BY user, host",
        valid_names,
    )
    live = _live(connection)
    users: dict[str, User] = {}
    for name, host, is_locked, is_super in rows:
        if name not in valid_names:
            continue  # the server's comparison ignores blanks at the end
        so_far = users.get(name)
        users[name] = User(
            name=name,
            pairs=(*(so_far.pairs if so_far else ()), (host, bool(int(is_locked)))),
            is_super=bool(int(is_super)) or (so_far is not None and so_far.is_super),
            live_sessions=live.get(name, 0),
        )
    return users


def set_lock(connection: Connection, name: str, host: str, is_locked: bool) -> None:
    """Lock or unlock one pair; the routine refuses a user with SUPER."""
    ask(connection, "CALL standfast.set_lock(%s, %s, %s)", (name, host, is_locked))


def set_password(connection: Connection, name: str, host: str, verifier: str) -> bool:
    """Set a password by its hash; return whether the server then has it.

    False means that the routine does not accept it.
    """
    rows = ask(connection, "CALL standfast.set_password(%s, %s, %s)", (name, host, verifier))
    return bool(rows) and int(rows[0][0]) == 1


def hashed(secret: str) -> str:
    """Return the hash of a password as `mysql_native_password` computes it.

    A random password of this length cannot be guessed from the hash.
    """
    inner = hashlib.sha1(secret.encode()).digest()  # noqa: S324 - the server's scheme
    return "*" + hashlib.sha1(inner).hexdigest().upper()  # noqa: S324 - likewise


def end_sessions_of(
    connection: Connection, bounded_call: BoundedCall, users: Sequence[User], *, is_final: bool
) -> None:
    """End the sessions of users; arguments as `pooled_connector.end_sessions`."""
    end_sessions(
        bounded_call,
        [user.name for user in users],
        live=lambda: _live(connection),
        end=lambda name: ask(connection, "CALL standfast.end_sessions(%s)", (name,)),
        is_final=is_final,
    )


def _live(connection: Connection) -> dict[str, int]:
    """Return the number of sessions of each user with a session."""
    return {name: int(count) for name, count in ask(connection, "CALL standfast.sessions()")}


def ask(
    connection: Connection, statement: str, values: Sequence[object] = ()
) -> Sequence[tuple[Any, ...]]:
    """Run one statement and return its rows."""
    with connection.cursor() as cursor:
        cursor.execute(statement, tuple(values))
        rows: Sequence[tuple[Any, ...]] = cursor.fetchall()
        while cursor.nextset():
            pass  # the status that a routine sends after its rows
        return rows
