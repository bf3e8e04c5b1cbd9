"""The PostgreSQL connector on a real server, with the documented rights."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import psycopg
import pytest

from standfast.adapters.accounts.base.new_passwords import NewPasswords
from standfast.adapters.accounts.postgresql import PostgresqlConnector, end_sessions
from standfast.errors import Unavailable
from standfast.records import EffectState
from standfast.time_limit import BoundedCall
from tests.adapters.accounts.connect import connect
from tests.adapters.accounts.contract import ConnectorContract
from tests.adapters.accounts.fault_contract import FaultContract, hurried
from tests.adapters.accounts.rights import statements
from tests.adapters.accounts.rotation_contract import (
    LostAnswerContract,
    Recipient,
    RelayedRotationHouse,
    RotationContract,
)
from tests.adapters.accounts.server_contract import (
    FullContract,
    LimitedHouse,
    Secured,
    SessionContract,
    TlsContract,
)
from tests.servers import wait_until
from tests.servers.certificate import write_certificate
from tests.servers.postgres import Postgres
from tests.servers.postgres_cluster import debian_cluster, hand_over
from tests.servers.relay import Relay

pytestmark = pytest.mark.xdist_group("databases")

Session = psycopg.Connection[tuple[object, ...]]


class PostgresqlHouse(RelayedRotationHouse, LimitedHouse):
    change = b"ALTER ROLE"
    password_change = b"PASSWORD"

    def __init__(self, server: Postgres, recipient: Recipient) -> None:
        self.server, self.recipient = server, recipient
        (self.relayed,) = server.socket_folder.glob(".s.PGSQL.*[0-9]")
        self.role, self.password = f"standfast_{uuid.uuid4().hex[:8]}", "p'w\\ 1"
        server.execute(
            *(
                statement.replace("standfast", self.role).replace("'…'", "'p''w\\ 1'")
                for statement in statements("postgresql", "the connector's role")
            ),
            f"GRANT by_password TO {self.role}",
        )
        self.options: dict[str, Any] = {
            "host": str(server.socket_folder),
            "user": self.role,
            "password": self.password,
        }
        self.connector = connect(
            PostgresqlConnector, new_secrets=recipient.new_secrets(), **self.options
        )
        self._made: list[str] = []
        self._sessions: list[Session] = []

    def add(self, name: str, *, is_enabled: bool = True) -> None:
        login = "LOGIN" if is_enabled else "NOLOGIN"
        (grant,) = statements("postgresql", "may be locked")
        self.server.execute(
            f"CREATE ROLE {_quoted(name)} {login} PASSWORD 'right' IN ROLE by_password",
            grant.replace("standfast", self.role).replace("alice", _quoted(name)),
        )
        self._made.append(name)

    def is_enabled(self, name: str) -> bool:
        return bool(self._row(name)[0])

    def set_enabled(self, name: str, is_enabled: bool) -> None:
        self.server.execute(f"ALTER ROLE {_quoted(name)} {'LOGIN' if is_enabled else 'NOLOGIN'}")

    def stamp(self, name: str) -> object:
        return self._row(name)[1]

    def sign_in(self, name: str) -> bool:
        return self.sign_in_with(name, "right")

    def sign_in_with(self, name: str, password: str) -> bool:
        try:
            self.open_session(name, password)
        except psycopg.OperationalError:
            return False
        return True

    def open_session(self, name: str, password: str = "right") -> Session:
        session = psycopg.connect(
            host=str(self.server.socket_folder),
            dbname="postgres",
            user=name,
            password=password,
            autocommit=True,
        )
        self._sessions.append(session)
        return session

    def admits(self, session: Session) -> bool:
        try:
            session.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    @contextmanager
    def full(self) -> Iterator[None]:
        self.server.execute(f"ALTER ROLE {self.role} CONNECTION LIMIT 0")
        try:
            yield
        finally:
            self.server.execute(f"ALTER ROLE {self.role} CONNECTION LIMIT -1")

    def heard(self) -> str:
        return (self.server.data / "log").read_text()

    def lie(self, relay: Relay) -> None:
        relay.rewrite_request = lambda asked: asked.replace(b"NOLOGIN", b"LOGIN  ")

    def through(
        self, port: int, seconds: float, new_secrets: NewPasswords | None = None
    ) -> PostgresqlConnector:
        there = {"host": "127.0.0.1", "port": port, "tls": "disable", "batch": 1}
        settings = self.options | there | hurried(seconds)
        return connect(PostgresqlConnector, new_secrets=new_secrets, **settings)

    def close(self) -> None:
        self.connector.close()
        for session in self._sessions:
            session.close()
        for name in [*self._made, self.role]:
            self.server.execute(f"DROP ROLE IF EXISTS {_quoted(name)}")

    def row(self, name: str) -> dict[str, object]:
        """Return the server's complete row of a role."""
        value = name.replace("'", "''")
        ((found,),) = self.server.rows(
            f"SELECT to_json(one) FROM pg_authid one WHERE rolname = '{value}'", database="postgres"
        )
        return cast("dict[str, object]", found)

    def _row(self, name: str) -> tuple[object, ...]:
        value = name.replace("'", "''")
        (row,) = self.server.rows(
            f"SELECT rolcanlogin, xmin::text FROM pg_authid WHERE rolname = '{value}'",
            database="postgres",
        )
        return row


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


class TestPostgresqlDirectory(
    ConnectorContract,
    SessionContract,
    FaultContract,
    FullContract,
    RotationContract,
    LostAnswerContract,
):
    @pytest.mark.parametrize("name", ['quo"te', "semi;colon", "per%cent", "Ünï", "A B", "back\\"])
    def test_an_unusual_name_is_locked_and_no_other(
        self, house: PostgresqlHouse, alice: str, name: str
    ) -> None:
        house.add(name)
        assert house.lock(name).state is EffectState.DONE
        assert not house.is_enabled(name)
        assert house.is_enabled(alice)

    def test_a_name_is_exact_in_its_case(self, house: PostgresqlHouse, alice: str) -> None:
        assert not house.observe(alice.upper()).exists

    def test_long_name_is_not_truncated(self, house: PostgresqlHouse) -> None:
        name = uuid.uuid4().hex + "x" * 31
        assert len(name) == 63
        house.add(name)
        assert house.lock(name + "y").state is EffectState.REFUSED
        assert house.is_enabled(name)

    def test_forbidden_lock_is_reported_and_refused(self, house: PostgresqlHouse) -> None:
        stranger = f"stranger-{uuid.uuid4().hex[:8]}"
        house.server.execute(f'CREATE ROLE "{stranger}" LOGIN')
        try:
            for name, why in [
                ("postgres", "superuser"),
                (house.role, "itself"),
                ("pg_read_all_data", "server itself"),
                (stranger, "ADMIN"),
            ]:
                assert why in house.observe(name).obstacle
                result = house.lock(name)
                assert (result.state, why in result.reason) == (EffectState.REFUSED, True)
                assert name not in result.reason
            assert house.is_enabled("postgres")
            assert house.is_enabled(house.role)
            assert house.is_enabled(stranger)
        finally:
            house.server.execute(f'DROP ROLE "{stranger}"')

    def test_the_connectors_role_can_do_nothing_else(
        self, house: PostgresqlHouse, alice: str
    ) -> None:
        with psycopg.connect(
            host=str(house.server.socket_folder),
            dbname="postgres",
            user=house.role,
            password=house.password,
            autocommit=True,
        ) as session:
            for statement in [
                f'SET ROLE "{alice}"',
                "ALTER ROLE postgres NOLOGIN",
                "CREATE DATABASE mine",
                "SELECT rolpassword FROM pg_authid",
                f"ALTER ROLE {house.role} SUPERUSER",
            ]:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    session.execute(statement.encode())

    def test_batch_is_one_transaction_despite_bad_names(self, house: PostgresqlHouse) -> None:
        names = [f"agent-{uuid.uuid4().hex[:8]}" for _ in range(5)]
        for name in names:
            house.add(name)
        asked = [*names[:2], "nobody\0", "postgres", *names[2:]]
        results = house.connector.lock([house.order("lock", name) for name in asked])
        assert [result.state.value for result in results] == [
            *["done"] * 2, "refused", "refused", *["done"] * 3
        ]  # fmt: skip
        # All rows have the version of one transaction.
        assert len({house.stamp(name) for name in names}) == 1

    def test_unchangeable_role_spoils_no_other(
        self, house: PostgresqlHouse, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        names = [f"agent-{uuid.uuid4().hex[:8]}" for _ in range(3)]
        for name in names:
            house.add(name)
        # The connector loses the right between its read and its change.
        begin = BoundedCall.begin

        def lose(bounded_call: BoundedCall) -> None:
            house.server.execute(f'REVOKE "{names[1]}" FROM {house.role}')
            begin(bounded_call)

        monkeypatch.setattr(BoundedCall, "begin", lose)
        results = house.connector.lock([house.order("lock", name) for name in names])
        assert [result.state.value for result in results] == ["done", "failed", "done"]
        assert [house.is_enabled(name) for name in names] == [False, True, False]

    def test_late_session_is_ended_too(
        self, house: PostgresqlHouse, alice: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        house.open_session(alice)
        could_sign_in: list[bool] = []
        late: list[Session] = []

        def end_and_let_in(*given: Any) -> bool:
            could_sign_in.append(house.is_enabled(alice))
            is_over = end_sessions(*given)
            if not late:
                house.set_enabled(alice, True)
                late.append(house.open_session(alice))
                house.set_enabled(alice, False)
            return is_over

        monkeypatch.setattr("standfast.adapters.accounts.postgresql.end_sessions", end_and_let_in)
        assert house.lock(alice).state is EffectState.DONE
        assert not any(could_sign_in)  # a sign-in before the lock would replace each ended session
        assert not house.admits(late[0])

    def test_lasting_session_leaves_the_outcome_unknown(
        self, house: PostgresqlHouse, alice: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        house.open_session(alice)
        monkeypatch.setattr("standfast.adapters.accounts.postgresql.end_sessions", lambda *_: True)
        locked = house.lock(alice)
        assert (locked.state, "has not ended" in locked.reason) == (EffectState.UNKNOWN, True)
        (revoked,) = house.connector.revoke([house.order("revoke", alice)])
        assert (revoked.state, "has not ended" in revoked.reason) == (EffectState.UNKNOWN, True)

    def test_a_change_without_effect_is_not_believed(
        self, house: PostgresqlHouse, alice: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = house.observe(alice)
        with monkeypatch.context() as patched:
            patched.setattr("standfast.adapters.accounts.postgresql.change_login", lambda *_: None)
            assert house.lock(alice).state is EffectState.FAILED
        assert house.lock(alice).state is EffectState.DONE
        monkeypatch.setattr("standfast.adapters.accounts.postgresql.change_login", lambda *_: None)
        assert house.undo(alice, before).state is EffectState.FAILED
        assert not house.is_enabled(alice)

    def test_who_may_not_end_sessions_locks_nobody_half(
        self, house: PostgresqlHouse, alice: str
    ) -> None:
        house.server.execute(f"REVOKE pg_signal_backend FROM {house.role}")
        session = house.open_session(alice)
        assert "pg_signal_backend" in house.observe(alice).obstacle
        result = house.lock(alice)
        assert (result.state, "sessions" in result.reason) == (EffectState.REFUSED, True)
        assert house.is_enabled(alice)
        assert house.admits(session)

    def test_abandoned_lock_does_not_happen_later(self, house: PostgresqlHouse, alice: str) -> None:
        connector = connect(PostgresqlConnector, batch=1, **house.options | hurried(1))
        with psycopg.connect(
            host=house.options["host"], dbname="postgres", user="postgres"
        ) as somebody:
            somebody.execute(f"ALTER ROLE {_quoted(alice)} CONNECTION LIMIT 9".encode())
            (result,) = connector.lock([house.order("lock", alice)])
            assert result.state in (EffectState.FAILED, EffectState.UNKNOWN)
            connector.close()
            ours = f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{house.role}'"
            wait_until(
                lambda: house.server.rows(ours, database="postgres") == [(0,)],
                "the server does not wait to carry out what we gave up",
            )
        assert house.is_enabled(alice)

    def test_lock_and_undo_keep_other_role_settings(
        self, house: PostgresqlHouse, alice: str
    ) -> None:
        house.server.execute(
            f"ALTER ROLE {_quoted(alice)} VALID UNTIL '2031-05-05' CONNECTION LIMIT 7"
        )
        before, all_of_it = house.observe(alice), house.row(alice)
        house.lock(alice)
        assert house.row(alice) == all_of_it | {"rolcanlogin": False}
        house.server.execute(f"ALTER ROLE {_quoted(alice)} VALID UNTIL '2032-06-06'")
        theirs = house.row(alice)
        assert house.undo(alice, before).state is EffectState.DONE
        assert house.row(alice) == theirs | {"rolcanlogin": True}

    def test_reassigned_name_is_not_changed_or_proven(
        self, house: PostgresqlHouse, alice: str
    ) -> None:
        before = house.observe(alice)
        house.lock(alice)
        house.server.execute(f'ALTER ROLE "{alice}" RENAME TO "{alice}-former"')
        house.add(alice, is_enabled=False)
        order = replace(house.order("lock", alice), prior=before.prior)
        (locked,) = house.connector.lock([order])
        assert locked.state is EffectState.REFUSED
        (proven,) = house.connector.prove([order])
        assert (proven.state, "another account" in proven.reason) == (EffectState.REFUSED, True)
        assert house.undo(alice, before).state is EffectState.DONE
        assert not house.is_enabled(alice)
        assert house.is_enabled(f"{alice}-former")
        house.server.execute(f'DROP ROLE "{alice}-former"')


@pytest.fixture
def house(postgres_server: Postgres, recipient: Recipient) -> Iterator[PostgresqlHouse]:
    house = PostgresqlHouse(postgres_server, recipient)
    yield house
    house.close()


@pytest.fixture(scope="module")
def secured(postgres_server: Postgres) -> Iterator[Secured]:
    """Run Debian's PostgreSQL with TLS.

    The server of the wheel has no TLS, but its start has created the system user that this server
    needs.
    """
    with debian_cluster() as cluster:
        certificate, key = write_certificate(cluster.new_folder("tls"))
        hand_over(certificate.parent)
        key.chmod(0o600)
        cluster.initialise()
        files = {"ssl_cert_file": str(certificate), "ssl_key_file": str(key)}
        cluster.configure({"ssl": "on", **files})
        with cluster.started():
            assert cluster.port is not None
            cluster.execute("CREATE ROLE standfast_over_tls LOGIN CREATEROLE")

            def connected(**how: Any) -> PostgresqlConnector:
                return connect(PostgresqlConnector, user="standfast_over_tls", **how)

            yield Secured(
                connect=connected,
                target=cluster.port,
                # Over its socket file PostgreSQL offers no TLS.
                plain=cluster.folder / f".s.PGSQL.{cluster.port}",
                ca_file=certificate,
                verifies="verify-full",
                requires=("verify-ca", "require"),
                secrets=(b"standfast_over_tls",),
            )


class TestPostgresqlOverTls(TlsContract): ...


def test_absent_or_refusing_server_is_not_quoted(
    house: PostgresqlHouse,
) -> None:
    gone = house.through(1, 5.0)
    wrong = connect(PostgresqlConnector, **house.options | {"password": "wrong"})
    for connector in (gone, wrong):
        with pytest.raises(Unavailable, match="no connection") as caught:
            connector.observe(["alice"])
        assert house.role not in str(caught.value)
        assert connector.lock([house.order("lock", "alice")])[0].state is EffectState.FAILED


def test_names_are_told_apart_by_case() -> None:
    connector = connect(PostgresqlConnector, host="db.example.com")
    assert connector.canonical("Alice") != connector.canonical("alice")


def test_check_counts_roles_without_rights(house: PostgresqlHouse) -> None:
    house.add("ours-to-lock")
    before = house.connector.shortcomings()
    house.server.execute("CREATE ROLE stranger LOGIN")
    try:
        (said,) = house.connector.shortcomings()
    finally:
        house.server.execute("DROP ROLE stranger")
    assert said not in before
    assert "ADMIN" in said
    house.server.execute(f"ALTER ROLE {house.role} NOCREATEROLE")
    (said,) = house.connector.shortcomings()
    assert "CREATEROLE" in said
