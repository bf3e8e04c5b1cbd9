"""Connector for the users of a MariaDB server (10.5 and newer).

It uses only the routines and the view of docs/accounts.md: our own user may call those and nothing
else.

Rules
- A user is a name at a host, and one name may exist at several hosts. A name in an order means all
  of them: a lock locks every pair, and the name is disabled when all pairs are locked.
- A lock itself ends no session. Sessions are ended after it, repeatedly until none is left, because
  one may have been accepted just before.
- The prior state is `{"pairs": [[host, locked], ...]}`. An undo unlocks the pairs that were
  unlocked, and does not change a pair that was created since.
- Users with SUPER, and our own user, are refused, also by the routines.
- A new password leaves this host as its hash, the same for each host of the name. A user that signs
  in by another method than `mysql_native_password` alone has no such password, and is refused.
- There is no transaction over users: each pair is changed by itself, and read back.
"""

from collections.abc import Sequence

from standfast.adapters.accounts import AccountState
from standfast.adapters.accounts.base.build_context import BuildContext, limits_of
from standfast.adapters.accounts.base.new_passwords import NewPassword, rotated
from standfast.adapters.accounts.base.pooled_connector import PooledConnector
from standfast.adapters.accounts.base.results import (
    ABSENT,
    PRIOR_UNKNOWN,
    done,
    failed,
    proven,
    refused,
    unknown,
)
from standfast.adapters.accounts.mariadb.statements import (
    Connection,
    User,
    ask,
    end_sessions_of,
    hashed,
    set_lock,
    set_password,
    users_by_name,
)
from standfast.adapters.clients.connection_pool import BoundedCall, Dialect
from standfast.config.sections.account_servers import MariadbDirectoryConfig
from standfast.errors import ExtraMissing, StandfastError, Unavailable
from standfast.records import JsonObject, Order, Proof, Result
from standfast.retry_rules import RETRY_SECONDS
from standfast.server_tls import mariadb_tls

_SUPER = (
    "users with SUPER are not locked from here: one who is the intruder can undo it, one who is "
    "not is needed; let another administrator do it"
)
_OURS = "this is the user that locks the others; it would lock itself out"
_ROUTINES = frozenset({"set_lock", "end_sessions", "sessions"})
_FULL = (1040, 1203, 1226)  # too many connections, of all or of our user
_RIGHTS = (1044, 1045, 1142, 1227, 1305, 1370)  # denied, or a routine that is not there or not ours


class MariadbConnector(PooledConnector[Connection]):
    """The users of one server."""

    proof = Proof.SESSIONS_GONE
    irreversible = (
        "sessions that were ended do not come back; what they had not committed is lost",
    )
    rotates = True

    def __init__(self, name: str, settings: MariadbDirectoryConfig, context: BuildContext) -> None:
        self._settings = settings
        self._password = context.reveal_optional(settings.password)
        super().__init__(
            name,
            limits_of(settings, batch=settings.batch),
            Dialect(
                connect=self._connect,
                disconnect=lambda connection: connection.close(),
                cut=lambda connection: None,  # its own read time-out ends the thread
                explain=_explain,
            ),
            context.new_secrets,
        )

    def _look_on(self, connection: Connection, names: Sequence[str]) -> list[AccountState]:
        users = users_by_name(connection, names)
        return [self._state(name, users.get(name)) for name in names]

    def _shortcomings_on(self, connection: Connection) -> list[str]:
        ours = ask(
            connection,
            "SELECT ROUTINE_NAME FROM information_schema.ROUTINES "
            "WHERE ROUTINE_SCHEMA = 'standfast'",
        )
        needed = _ROUTINES | ({"set_password"} if "rotate" in self.verbs else set())
        missing = sorted(needed - {name for (name,) in ours})
        return [
            f"our user may not call standfast.{name}; docs/accounts.md has it" for name in missing
        ]

    def _lock_on(
        self, connection: Connection, errand: BoundedCall, orders: Sequence[Order]
    ) -> list[Result]:
        users = users_by_name(connection, [order.target for order in orders])
        meant = [user for user in users.values() if not self._obstacle(user)]
        if meant:
            errand.begin()
        for user in meant:
            for host, is_locked in user.pairs:
                if not is_locked:
                    set_lock(connection, user.name, host, True)
        end_sessions_of(connection, errand, meant, is_final=True)
        after = users_by_name(connection, [user.name for user in meant])
        return [self._locked(order, users.get(order.target), after) for order in orders]

    def _revoke_on(
        self, connection: Connection, errand: BoundedCall, orders: Sequence[Order]
    ) -> list[Result]:
        users = users_by_name(connection, [order.target for order in orders])
        meant = [user for user in users.values() if not self._obstacle(user)]
        if meant:
            errand.begin()
        end_sessions_of(connection, errand, meant, is_final=False)
        return [self._revoked(order, users.get(order.target)) for order in orders]

    def _prove_on(
        self, connection: Connection, errand: BoundedCall, orders: Sequence[Order]
    ) -> list[Result]:
        users = users_by_name(connection, [order.target for order in orders])
        return [_proof(order, users.get(order.target)) for order in orders]

    def _undo_on(
        self, connection: Connection, errand: BoundedCall, orders: Sequence[Order]
    ) -> list[Result]:
        users = users_by_name(connection, [order.target for order in orders])
        wrong: dict[str, dict[str, bool]] = {}  # what each pair is to be
        for order in orders:
            user, before = users.get(order.target), _pairs(order.prior)
            if user is not None and before is not None and not self._obstacle(user):
                wrong[user.name] = {
                    host: before[host]
                    for host, is_locked in user.pairs
                    if before.get(host, is_locked) is not is_locked
                }
        if any(wrong.values()):
            errand.begin()
        for name, hosts in wrong.items():
            for host, is_locked in hosts.items():
                set_lock(connection, name, host, is_locked)
        after = users_by_name(connection, list(wrong))
        return [self._undone(order, users.get(order.target), wrong, after) for order in orders]

    def _rotate_on(
        self, connection: Connection, errand: BoundedCall, orders: Sequence[Order]
    ) -> list[Result]:
        users = users_by_name(connection, [order.target for order in orders])

        def stop(order: Order) -> str:
            user = users.get(order.target)
            return ABSENT if user is None else self._obstacle(user)

        def give(order: Order, new: NewPassword) -> Result:
            verifier = hashed(new.secret)
            taken = [
                set_password(connection, order.target, host, verifier)
                for host, _ in users[order.target].pairs
            ]
            if all(taken):
                return rotated(order, new, Proof.READ_BACK)
            return failed(
                order,
                f"the new password, sealed in {new.place}, was taken at {sum(taken)} of the "
                f"{len(taken)} hosts of this name; elsewhere the user signs in by other means",
            )

        return self._rotate_each(errand, orders, stop, give)

    # What each answer means.

    def _state(self, name: str, user: User | None) -> AccountState:
        if user is None:
            return AccountState(name=name, exists=False)
        return AccountState(
            name=name,
            exists=True,
            is_enabled=user.is_enabled,
            live_sessions=user.live_sessions,
            prior=_prior(user),
            obstacle=self._obstacle(user),
        )

    def _obstacle(self, user: User) -> str:
        if user.name == self._settings.user:
            return _OURS
        return _SUPER if user.is_super else ""

    def _locked(self, order: Order, before: User | None, after: dict[str, User]) -> Result:
        if before is None:
            return refused(order, ABSENT)
        if obstacle := self._obstacle(before):
            return refused(order, obstacle)
        user = after.get(before.name)
        if user is None:
            return refused(order, ABSENT)
        if any(not is_locked for _, is_locked in user.pairs):
            return failed(order, "the server did not lock the user at every host; look at its log")
        if user.live_sessions:
            return unknown(order, "the user is locked, but a session has not ended yet")
        changed = before.pairs != user.pairs or before.live_sessions > 0
        return done(order, was_changed=changed)

    def _revoked(self, order: Order, before: User | None) -> Result:
        if before is None:
            return refused(order, ABSENT)
        if obstacle := self._obstacle(before):
            return refused(order, obstacle)
        return done(order, was_changed=before.live_sessions > 0)

    def _undone(
        self,
        order: Order,
        before: User | None,
        wrong: dict[str, dict[str, bool]],
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
        wanted = wrong[user.name]
        if any(now.get(host, is_locked) is not is_locked for host, is_locked in wanted.items()):
            return failed(order, "the server did not give the state before back; look at its log")
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


def _prior(user: User) -> JsonObject:
    return {"pairs": [[host, is_locked] for host, is_locked in user.pairs]}


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


def _proof(order: Order, user: User | None) -> Result:
    if user is None:
        return refused(order, ABSENT)
    if any(not is_locked for _, is_locked in user.pairs):
        return failed(order, "the user may sign in from one host at least; lock it again")
    if user.live_sessions:
        return failed(order, "the user is locked, but a session of it is open; lock it again")
    return proven(order, Proof.SESSIONS_GONE)


def _explain(error: Exception) -> StandfastError | None:
    import pymysql

    if not isinstance(error, pymysql.err.Error):
        return None
    code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    if code in _RIGHTS:
        return Unavailable(
            "the server refuses our user, or our user lacks a right or a routine; "
            f"docs/accounts.md has all that it needs (error {code})"
        )
    if code in _FULL:
        return Unavailable(
            f"the server is full, or lets our user open no more connections (error {code})",
            retry_after_seconds=RETRY_SECONDS,
        )
    return Unavailable(
        f"the server cannot be reached or broke off (error {code}); "
        "check its host, port, `tls` and certificate",
        retry_after_seconds=RETRY_SECONDS,
    )
