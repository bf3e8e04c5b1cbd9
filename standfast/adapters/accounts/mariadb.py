"""Connector for the users of a MariaDB server (10.5 and newer).

The connector uses only the routines and the view of docs/accounts.md, because its own user has no
other rights.

Rules
- For the server, a user is a pair of name and host, and one name may exist at several hosts. An
  order (the change of one name) applies to all pairs of the name: a lock locks every pair, and the
  name is disabled when all pairs are locked.
- The state before a lock is `{"pairs": [[host, locked], ...]}`. An undo unlocks the pairs that were
  unlocked before, and does not change a pair that was created since.
- Users with SUPER, and the connector's own user, are refused; the routines refuse them too.
- Only the hash of a new password leaves this machine. The same hash is set for all pairs of the
  name. If a user signs in by a method other than `mysql_native_password`, the new password is
  refused.
- The server has no transaction over users: each pair is changed by itself, and read back.
- Names are matched exactly. The server's own comparison ignores blanks at the end of a name, so its
  additional matches are left out.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from standfast.adapters.accounts.base.build_context import BuildContext
from standfast.adapters.accounts.base.new_passwords import NewPassword, rotated
from standfast.adapters.accounts.base.pooled_connector import end_sessions, is_text
from standfast.adapters.accounts.base.results import ABSENT, PRIOR_UNKNOWN, done, failed, refused
from standfast.adapters.accounts.base.server_users import NOT_RESTORED, OURS, ServerUsersConnector
from standfast.config.sections.account_servers import MariadbDirectoryConfig
from standfast.errors import ExtraMissing, StandfastError, Unavailable
from standfast.records import JsonObject, Order, Proof, Result
from standfast.retry_rules import RETRY_SECONDS
from standfast.server_tls import mariadb_tls
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
        "SELECT user, host, is_locked, is_super FROM standfast.accounts "  # noqa: S608 - only %s
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
    """Set a password by its hash; return False if the routine refuses it.

    The routine refuses it if the user signs in by another method.
    """
    rows = ask(connection, "CALL standfast.set_password(%s, %s, %s)", (name, host, verifier))
    return bool(rows) and int(rows[0][0]) == 1


def hashed(secret: str) -> str:
    """Return the hash of a password as `mysql_native_password` computes it.

    A random password of this length cannot be guessed from the hash.
    """
    inner = hashlib.sha1(secret.encode()).digest()  # noqa: S324 - the server's scheme
    return "*" + hashlib.sha1(inner).hexdigest().upper()  # noqa: S324 - the server's scheme


def end_sessions_of(
    connection: Connection, bounded_call: BoundedCall, users: Sequence[User], *, is_final: bool
) -> None:
    """End the sessions of users; with `is_final`, until none is left."""
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


_SUPER = (
    "users with SUPER are not locked: an intruder with SUPER could undo the lock, and the other "
    "users with SUPER are needed. Ask another administrator to lock this user."
)
_ROUTINES = frozenset({"set_lock", "end_sessions", "sessions"})
_FULL = (1040, 1203, 1226)  # too many connections of all users, or of the connector's user
_RIGHTS = (1044, 1045, 1142, 1227, 1305, 1370)  # denied, or no such routine for this user


class MariadbConnector(ServerUsersConnector[Connection, User]):
    """Connector of the users of one server."""

    irreversible = (
        "sessions that were ended do not come back; what they had not committed is lost",
    )

    def __init__(self, name: str, settings: MariadbDirectoryConfig, context: BuildContext) -> None:
        self._settings = settings
        self._password = context.reveal_optional(settings.password)
        super().__init__(name, settings, context)

    def _users(self, connection: Connection, names: Sequence[str]) -> Mapping[str, User]:
        return users_by_name(connection, names)

    def _prior(self, user: User) -> JsonObject:
        return {"pairs": [[host, is_locked] for host, is_locked in user.pairs]}

    def _obstacle(self, user: User) -> str:
        if user.name == self._settings.user:
            return OURS
        return _SUPER if user.is_super else ""

    def _disable(self, connection: Connection, users: Sequence[User]) -> str:
        for user in users:
            for host, is_locked in user.pairs:
                if not is_locked:
                    set_lock(connection, user.name, host, True)
        return ""

    def _end_sessions(
        self,
        connection: Connection,
        bounded_call: BoundedCall,
        users: Sequence[User],
        *,
        is_final: bool,
    ) -> None:
        end_sessions_of(connection, bounded_call, users, is_final=is_final)

    def _set_password(
        self, connection: Connection, order: Order, user: User, new: NewPassword
    ) -> Result:
        verifier = hashed(new.secret)
        taken = [set_password(connection, user.name, host, verifier) for host, _ in user.pairs]
        if all(taken):
            return rotated(order, new, Proof.READ_BACK)
        return failed(
            order,
            f"the new password, sealed in {new.place}, was set at {sum(taken)} of the "
            f"{len(taken)} hosts of this name. At the others the user signs in by another method.",
        )

    def _shortcomings_on(self, connection: Connection) -> list[str]:
        ours = ask(
            connection,
            "SELECT ROUTINE_NAME FROM information_schema.ROUTINES "
            "WHERE ROUTINE_SCHEMA = 'standfast'",
        )
        needed = _ROUTINES | ({"set_password"} if "rotate" in self.verbs else set())
        missing = sorted(needed - {name for (name,) in ours})
        return [
            f"the connector's user may not call standfast.{name}. docs/accounts.md has the grants."
            for name in missing
        ]

    def _undo_on(
        self, connection: Connection, bounded_call: BoundedCall, orders: Sequence[Order]
    ) -> list[Result]:
        users = users_by_name(connection, [order.target for order in orders])
        requested: dict[str, dict[str, bool]] = {}  # by user, each pair to change and its new state
        for order in orders:
            user, before = users.get(order.target), _pairs(order.prior)
            if user is not None and before is not None and not self._obstacle(user):
                requested[user.name] = {
                    host: before[host]
                    for host, is_locked in user.pairs
                    if before.get(host, is_locked) is not is_locked
                }
        if any(requested.values()):
            bounded_call.begin()
        for name, hosts in requested.items():
            for host, is_locked in hosts.items():
                set_lock(connection, name, host, is_locked)
        after = users_by_name(connection, list(requested))
        return [
            self._undo_result(order, users.get(order.target), requested, after) for order in orders
        ]

    def _undo_result(
        self,
        order: Order,
        before: User | None,
        requested: dict[str, dict[str, bool]],
        after: dict[str, User],
    ) -> Result:
        if _pairs(order.prior) is None:
            return refused(order, PRIOR_UNKNOWN)
        if before is None:
            return refused(order, ABSENT)
        if obstacle := self._obstacle(before):
            return refused(order, obstacle)
        user = after.get(before.name)
        if user is None:
            return refused(order, ABSENT)
        now = dict(user.pairs)
        wanted = requested[user.name]
        if any(now.get(host, is_locked) is not is_locked for host, is_locked in wanted.items()):
            return failed(order, NOT_RESTORED)
        return done(order, was_changed=bool(wanted))

    def _connect(self, seconds: float) -> Connection:
        try:
            import pymysql
        except ImportError:
            raise ExtraMissing(
                "MariaDB's driver is not installed: pip install -r requirements/extras/mariadb.txt"
            ) from None
        settings = self._settings
        where = (
            {"unix_socket": settings.host}
            if settings.host.startswith("/")
            else {"host": settings.host, "port": settings.port}
        )
        timeout_seconds = max(0.1, self.limits.timeout_seconds)
        return pymysql.connect(
            **where,
            user=settings.user,
            password=self._password or "",
            charset="utf8mb4",
            autocommit=True,
            connect_timeout=max(1, int(seconds) + 1),
            read_timeout=timeout_seconds,
            write_timeout=timeout_seconds,
            **mariadb_tls(settings.host, settings.tls, settings.ca_file),
        )

    def _explain(self, error: Exception) -> StandfastError | None:
        import pymysql

        if not isinstance(error, pymysql.err.Error):
            return None
        code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
        if code in _RIGHTS:
            return Unavailable(
                "the server refuses the connector's user, or that user lacks a right or a routine. "
                f"docs/accounts.md lists them (error {code})"
            )
        if code in _FULL:
            return Unavailable(
                "the server is full, or the connector's user has too many connections "
                f"(error {code})",
                retry_after_seconds=RETRY_SECONDS,
            )
        return Unavailable(
            f"no connection, or the server closed it (error {code}). Check its host, port, `tls` "
            "and certificate.",
            retry_after_seconds=RETRY_SECONDS,
        )


def _pairs(prior: JsonObject | None) -> dict[str, bool] | None:
    pairs = (prior or {}).get("pairs")
    if not isinstance(pairs, list | tuple) or not pairs:
        return None
    before: dict[str, bool] = {}
    for pair in pairs:
        match pair:
            case [str() as host, bool() as is_locked]:
                before[host] = is_locked
            case _:
                return None
    return before
