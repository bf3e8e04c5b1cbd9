"""Connector for the roles of a PostgreSQL server (14 and newer).

`statements` has the statements, and this module interprets their results.

Rules
- A lock is one transaction a batch. If one role in it fails, the roles are changed one by one, each
  in a savepoint. Sessions are ended after the lock is in effect, repeatedly until none is left,
  because one may have been accepted just before.
- Superusers, the server's own `pg_` roles and our own role are refused. So is a role over which
  ours has no ADMIN option (since PostgreSQL 16): `observe` reports it before the approval.
- The prior state is `{"oid", "login"}`. An undo goes by the oid, so that a name that now belongs to
  another role enables nobody. A lock and an undo change LOGIN only: password, VALID UNTIL and
  CONNECTION LIMIT stay as an administrator set them.
- A new password leaves this host as its SCRAM verifier (RFC 5803), so that neither the server nor
  its log ever contains it.
- The server cancels by itself (`statement_timeout`) when our time limit ends.
"""

import os
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from standfast.adapters.accounts import AccountState
from standfast.adapters.accounts.base.build_context import BuildContext, limits_of
from standfast.adapters.accounts.base.new_passwords import NewPassword, rotated
from standfast.adapters.accounts.base.pooled_connector import PooledConnector
from standfast.adapters.accounts.base.results import (
    ABSENT,
    PRIOR_UNKNOWN,
    SOMEONE_ELSE,
    done,
    failed,
    proven,
    refused,
    unknown,
)
from standfast.adapters.accounts.postgresql.statements import (
    Role,
    change_login,
    end_sessions,
    out_of_reach,
    roles_by_name,
    roles_by_oid,
    set_password,
)
from standfast.adapters.clients.connection_pool import BoundedCall, Dialect
from standfast.config.sections.account_servers import PostgresqlDirectoryConfig
from standfast.errors import ConfigurationError, ExtraMissing, StandfastError, Unavailable
from standfast.records import Order, Proof, Result
from standfast.retry_rules import RETRY_SECONDS
from standfast.server_tls import postgresql_tls

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]

_OBSTACLES = {
    "superuser": "superusers are not locked from here: one who is the intruder can undo it, "
    "one who is not is needed; let another superuser do it",
    "ours": "this is the role that locks the others; it would lock itself out",
    "built in": "this is a role of the server itself; nobody signs in with it",
    "no right": "our role may not change roles; give it CREATEROLE",
    "no admin": "our role has no ADMIN option on this one; GRANT it WITH ADMIN TRUE",
    "no signal": "our role may not end this one's sessions; GRANT pg_signal_backend to it",
}


class PostgresqlConnector(PooledConnector["Connection"]):
    """The roles of one server."""

    proof = Proof.SESSIONS_GONE
    identity = ("oid",)
    irreversible = (
        "sessions that were ended do not come back; what they had not committed is lost",
    )
    rotates = True

    def __init__(
        self, name: str, settings: PostgresqlDirectoryConfig, context: BuildContext
    ) -> None:
        self._settings = settings
        self._password = context.reveal_optional(settings.password)
        super().__init__(
            name,
            limits_of(settings, batch=settings.batch),
            Dialect(
                connect=self._connect,
                disconnect=lambda connection: connection.close(),
                cut=_cut,
                explain=_explain,
            ),
            context.new_secrets,
        )

    def _look_on(self, connection: "Connection", names: Sequence[str]) -> list[AccountState]:
        roles = roles_by_name(connection, names)
        return [_state(name, roles.get(name)) for name in names]

    def _shortcomings_on(self, connection: "Connection") -> list[str]:
        lacking, count_of_all = out_of_reach(connection)
        return [
            f"{count} of {count_of_all} roles that may sign in cannot be locked: {_OBSTACLES[why]}"
            for why, count in lacking.items()
        ]

    def _lock_on(
        self, connection: "Connection", errand: BoundedCall, orders: Sequence[Order]
    ) -> list[Result]:
        roles = roles_by_name(connection, [order.target for order in orders])
        stopped = {order.target: _stop(roles.get(order.target), order) for order in orders}
        meant = [role for name, role in roles.items() if not stopped[name]]
        if meant:
            errand.begin()
            change_login(connection, [role for role in meant if role.can_login], "NOLOGIN")
            # One may have been let in a moment ago: until nobody is left, not only those seen.
            while not end_sessions(connection, errand, meant):
                pass
        after = roles_by_oid(connection, [role.oid for role in meant])
        return [
            _locked(order, stopped[order.target], roles.get(order.target), after)
            for order in orders
        ]

    def _revoke_on(
        self, connection: "Connection", errand: BoundedCall, orders: Sequence[Order]
    ) -> list[Result]:
        roles = roles_by_name(connection, [order.target for order in orders])
        stopped = {order.target: _stop(roles.get(order.target), order) for order in orders}
        meant = [role for name, role in roles.items() if not stopped[name]]
        if meant:
            errand.begin()
            end_sessions(connection, errand, meant)
        after = roles_by_oid(connection, [role.oid for role in meant])
        return [
            _revoked(order, stopped[order.target], roles.get(order.target), after)
            for order in orders
        ]

    def _prove_on(
        self, connection: "Connection", errand: BoundedCall, orders: Sequence[Order]
    ) -> list[Result]:
        roles = roles_by_name(connection, [order.target for order in orders])
        return [_proof(order, roles.get(order.target)) for order in orders]

    def _undo_on(
        self, connection: "Connection", errand: BoundedCall, orders: Sequence[Order]
    ) -> list[Result]:
        priors = [_prior(order) for order in orders]
        roles = roles_by_oid(connection, [prior[0] for prior in priors if prior])
        wrong = {
            oid: roles[oid]
            for oid, login in filter(None, priors)
            if oid in roles and roles[oid].can_login is not login and not roles[oid].obstacle
        }
        if wrong:
            errand.begin()
            # Each is turned round: `wrong` says that it is not as it was.
            change_login(
                connection, [role for role in wrong.values() if not role.can_login], "LOGIN"
            )
            change_login(connection, [role for role in wrong.values() if role.can_login], "NOLOGIN")
        after = roles_by_oid(connection, list(roles))
        return [
            _undone(order, prior, roles, after) for order, prior in zip(orders, priors, strict=True)
        ]

    def _rotate_on(
        self, connection: "Connection", errand: BoundedCall, orders: Sequence[Order]
    ) -> list[Result]:
        roles = roles_by_name(connection, [order.target for order in orders])

        def give(order: Order, new: NewPassword) -> Result:
            if set_password(connection, order.target, new.secret):
                return rotated(order, new)
            return failed(order, "the server did not take the new password; look at its log")

        return self._rotate_each(
            errand, orders, lambda order: _stop(roles.get(order.target), order), give
        )

    def _connect(self, seconds: float) -> "Connection":
        try:
            import psycopg
        except ImportError:
            raise ExtraMissing(
                "PostgreSQL's driver is not installed: "
                "pip install -r requirements/extras/postgresql.txt"
            ) from None
        settings = self._settings
        milliseconds = max(1, int(self.limits.timeout_seconds * 1000))
        try:
            return psycopg.connect(
                host=settings.host,
                port=settings.port,
                dbname=settings.database,
                user=settings.user,
                password=self._password,
                **postgresql_tls(settings.host, settings.tls, settings.ca_file),
                connect_timeout=max(2, int(seconds) + 1),
                application_name="standfast",
                client_encoding="utf8",
                options=f"-c statement_timeout={milliseconds} -c search_path=pg_catalog",
                autocommit=True,
            )
        except psycopg.OperationalError:
            # It may quote the role and the host's own words: say what to look at instead.
            raise Unavailable(
                "the server cannot be reached, is full or does not let us in; check its host, port "
                "and certificate, our role, its password and limit, and pg_hba.conf",
                retry_after_seconds=RETRY_SECONDS,
            ) from None


def _state(name: str, role: Role | None) -> AccountState:
    if role is None:
        return AccountState(name=name, exists=False)
    return AccountState(
        name=name,
        exists=True,
        is_enabled=role.can_login,
        live_sessions=role.live_sessions,
        prior={"oid": role.oid, "login": role.can_login},
        obstacle=_OBSTACLES.get(role.obstacle, ""),
    )


def _stop(role: Role | None, order: Order) -> str:
    """Return why this order is not executed; empty if it is."""
    if role is None:
        return ABSENT
    if _is_someone_else(role, order):
        return SOMEONE_ELSE
    return _OBSTACLES.get(role.obstacle, "")


def _is_someone_else(role: Role, order: Order) -> bool:
    known = (order.prior or {}).get("oid")
    return isinstance(known, int) and known != role.oid


def _locked(order: Order, stopped: str, before: Role | None, after: dict[int, Role]) -> Result:
    if stopped or before is None:
        return refused(order, stopped or ABSENT)
    role = after.get(before.oid)
    if role is None:
        return refused(order, ABSENT)
    if role.can_login:
        return failed(order, "the server did not take the right to sign in away; look at its log")
    if role.live_sessions:
        return unknown(order, "it cannot sign in any more, but a session of it has not ended yet")
    return done(order, was_changed=before.can_login or before.live_sessions > 0, oid=role.oid)


def _revoked(order: Order, stopped: str, before: Role | None, after: dict[int, Role]) -> Result:
    if stopped or before is None:
        return refused(order, stopped or ABSENT)
    role = after.get(before.oid)
    if role is not None and role.live_sessions and not role.can_login:
        return unknown(order, "a session of it has not ended yet")
    # Who may sign in may have done so again: the sessions that were there are gone all the same.
    return done(order, was_changed=before.live_sessions > 0)


def _proof(order: Order, role: Role | None) -> Result:
    if role is None:
        return refused(order, ABSENT)
    if _is_someone_else(role, order):
        return refused(order, SOMEONE_ELSE)
    if role.can_login:
        return failed(order, "the role may sign in; lock it again")
    if role.live_sessions:
        return failed(order, "the role may not sign in, but a session of it is open; lock it again")
    return proven(order, Proof.SESSIONS_GONE)


def _prior(order: Order) -> tuple[int, bool] | None:
    before = order.prior or {}
    oid, login = before.get("oid"), before.get("login")
    if isinstance(oid, int) and not isinstance(oid, bool) and isinstance(login, bool):
        return oid, login
    return None


def _undone(
    order: Order,
    prior: tuple[int, bool] | None,
    before: dict[int, Role],
    after: dict[int, Role],
) -> Result:
    if prior is None:
        return refused(order, PRIOR_UNKNOWN)
    oid, login = prior
    if oid not in after:
        return refused(order, ABSENT)
    if after[oid].can_login is login:
        return done(order, was_changed=before[oid].can_login is not login, oid=oid)
    if after[oid].obstacle:
        return refused(order, _OBSTACLES[after[oid].obstacle])
    return failed(order, "the server did not give the state before back; look at its log")


def _cut(connection: "Connection") -> None:
    """Close the socket of a connection.

    Its thread wakes, and the server rolls back what was not committed.
    """
    with socket.socket(fileno=os.dup(connection.fileno())) as ours:
        ours.shutdown(socket.SHUT_RDWR)


def _explain(error: Exception) -> StandfastError | None:
    import psycopg

    if isinstance(error, psycopg.errors.QueryCanceled):
        return Unavailable(
            "the server gave up after its time-out", retry_after_seconds=RETRY_SECONDS
        )
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return ConfigurationError("our role lacks a right; docs/accounts.md has all of them")
    if isinstance(error, psycopg.Error):
        return Unavailable(
            f"the connection to the server failed ({type(error).__name__})",
            retry_after_seconds=RETRY_SECONDS,
        )
    return None
