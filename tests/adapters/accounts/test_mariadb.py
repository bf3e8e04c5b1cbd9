"""The MariaDB connector on a real server, with the documented rights."""

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import pymysql
import pytest
from pymysql.constants import CLIENT

from standfast.adapters.accounts.base.new_passwords import NewPasswords
from standfast.adapters.accounts.mariadb import MariadbConnector
from standfast.errors import Unavailable
from standfast.records import EffectState
from tests.adapters.accounts.connect import connect
from tests.adapters.accounts.contract import ConnectorContract, order
from tests.adapters.accounts.fault_contract import FaultContract, hurried
from tests.adapters.accounts.rights import block
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
from tests.servers.mariadb import Mariadb
from tests.servers.relay import Relay

pytestmark = pytest.mark.xdist_group("databases")


@pytest.fixture(scope="module")
def options(mariadb_server: Mariadb) -> Iterator[dict[str, Any]]:
    """Create the connector's user and routines, as docs/accounts.md says."""
    text = block("mariadb", "Run as an administrator")
    text = text.replace("response.example.com", "localhost").replace("…", "of-the-connector")
    mariadb_server.execute(text)
    yield {"host": str(mariadb_server.socket), "password": "of-the-connector"}
    mariadb_server.execute("DROP DATABASE standfast", "DROP USER standfast@localhost")


class MariadbHouse(RelayedRotationHouse, LimitedHouse):
    change = b"standfast.set_lock"
    password_change = b"standfast.set_password"

    def __init__(self, server: Mariadb, options: dict[str, Any], recipient: Recipient) -> None:
        self.server, self.recipient, self.options = server, recipient, options
        self.relayed = server.socket
        self.connector = connect(MariadbConnector, new_secrets=recipient.new_secrets(), **options)
        self._sessions: list[Any] = []
        self._made: list[str] = []

    def add(self, name: str, *, is_enabled: bool = True, host: str = "localhost") -> None:
        lock = "UNLOCK" if is_enabled else "LOCK"
        who = f"{_quoted(name)}@{_quoted(host)}"
        self.server.execute(f"CREATE USER {who} IDENTIFIED BY 'right' ACCOUNT {lock}")
        self._made.append(who)

    def is_enabled(self, name: str, host: str = "localhost") -> bool:
        return 'account_locked":true' not in self.stamp(name, host).replace(" ", "")

    def set_enabled(self, name: str, is_enabled: bool) -> None:
        lock = "UNLOCK" if is_enabled else "LOCK"
        self.server.execute(f"ALTER USER {_quoted(name)}@localhost ACCOUNT {lock}")

    def stamp(self, name: str, host: str = "localhost") -> str:
        (row,) = self.server.rows(
            f"SELECT Priv FROM mysql.global_priv WHERE User = {_quoted(name)}"
            f" AND Host = {_quoted(host)}"
        )
        return str(row)

    def sign_in(self, name: str) -> bool:
        return self.sign_in_with(name, "right")

    def sign_in_with(self, name: str, password: str) -> bool:
        try:
            self.open_session(name, password)
        except pymysql.err.OperationalError:
            return False
        return True

    def open_session(self, name: str, password: str = "right") -> Any:
        session = pymysql.connect(
            unix_socket=str(self.server.socket), user=name, password=password, charset="utf8mb4"
        )
        self._sessions.append(session)
        return session

    def admits(self, session: Any) -> bool:
        try:
            session.ping(reconnect=False)
        except pymysql.err.Error:
            return False
        return True

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        """Limit the connector's user to one connection, and occupy it."""
        limit = "ALTER USER standfast@localhost WITH MAX_USER_CONNECTIONS"
        self.server.execute(f"{limit} 1")
        self.open_session("standfast", self.options["password"])
        try:
            yield
        finally:
            self.server.execute(f"{limit} 0")

    def heard(self) -> str:
        return self.server.log.read_text(errors="replace")

    def lie(self, relay: Relay) -> None:
        relay.rewrite_request = lambda asked: asked.replace(b", 1)", b", 0)")

    def through(
        self, port: int, seconds: float, new_secrets: NewPasswords | None = None
    ) -> MariadbConnector:
        there = {"host": "127.0.0.1", "port": port, "tls": "disable", "batch": 1}
        settings = self.options | there | hurried(seconds)
        return connect(MariadbConnector, new_secrets=new_secrets, **settings)

    def close(self) -> None:
        self.connector.close()
        for session in self._sessions:
            with contextlib.suppress(pymysql.err.Error):
                session.close()
        if self._made:
            self.server.execute(f"DROP USER IF EXISTS {', '.join(self._made)}")


def _quoted(name: str) -> str:
    return "'" + name.replace("\\", "\\\\").replace("'", "\\'") + "'"


@pytest.fixture
def house(
    mariadb_server: Mariadb, options: dict[str, Any], recipient: Recipient
) -> Iterator[MariadbHouse]:
    house = MariadbHouse(mariadb_server, options, recipient)
    yield house
    house.close()


class TestMariadbDirectory(
    ConnectorContract,
    SessionContract,
    FaultContract,
    FullContract,
    RotationContract,
    LostAnswerContract,
): ...


@pytest.fixture
def secured(mariadb_server: Mariadb, options: dict[str, Any]) -> Secured:
    def connected(**how: Any) -> MariadbConnector:
        return connect(MariadbConnector, **options | how)

    return Secured(
        connect=connected,
        target=mariadb_server.socket,
        plain=mariadb_server.socket,
        strip=offering_no_tls,
        ca_file=mariadb_server.ca_file,
        verifies="verify",
        requires=("require",),
        secrets=(b"standfast",),
    )


def offering_no_tls(answer: bytes) -> bytes:
    """Change a greeting on its way, so that it offers no TLS."""
    if answer[3:5] != b"\0\x0a":
        return answer
    flags = answer.index(b"\0", 5) + 1 + 4 + 8 + 1  # after version, thread, salt and a filler
    without = int.from_bytes(answer[flags : flags + 2], "little") & ~int(CLIENT.SSL)
    return answer[:flags] + without.to_bytes(2, "little") + answer[flags + 2 :]


class TestMariadbOverTls(TlsContract): ...


def test_every_host_of_a_name_is_restored(house: MariadbHouse, alice: str) -> None:
    house.add(alice, host="10.0.0.%")
    house.add(alice, host="%", is_enabled=False)
    before = house.observe(alice)
    assert before.is_enabled
    house.lock(alice)
    hosts = ["localhost", "10.0.0.%", "%"]
    assert [house.is_enabled(alice, host) for host in hosts] == [False] * 3
    house.add(alice, host="new.example.com", is_enabled=False)
    assert house.undo(alice, before).state is EffectState.DONE
    assert [house.is_enabled(alice, host) for host in hosts] == [True, True, False]
    assert not house.is_enabled(alice, "new.example.com")


def test_name_open_at_one_host_is_unproven(house: MariadbHouse, alice: str) -> None:
    house.add(alice, host="10.0.0.%")
    house.lock(alice)
    assert house.prove(alice).state is EffectState.DONE
    house.add(alice, host="new.example.com")
    assert house.prove(alice).state is EffectState.FAILED


@pytest.mark.parametrize("name", ["quo'te", 'dou"ble', "back\\slash", "per%cent", "Żółć", "a b"])
def test_an_unusual_name_is_locked_and_no_other(house: MariadbHouse, alice: str, name: str) -> None:
    house.add(name)
    assert house.lock(name).state is EffectState.DONE
    assert not house.is_enabled(name)
    assert house.is_enabled(alice)


def test_name_matches_case_and_blanks(house: MariadbHouse, alice: str) -> None:
    assert not house.observe(alice.upper()).exists
    assert not house.observe(alice + " ").exists


@pytest.mark.parametrize(("name", "why"), [("root", "SUPER"), ("standfast", "itself")])
def test_forbidden_lock_is_reported_and_refused(house: MariadbHouse, name: str, why: str) -> None:
    assert why in house.observe(name).obstacle
    result = house.lock(name)
    assert (result.state, why in result.reason) == (EffectState.REFUSED, True)
    assert house.is_enabled(name)


def test_the_connectors_user_can_do_nothing_else(
    house: MariadbHouse, options: dict[str, Any], alice: str
) -> None:
    session = pymysql.connect(
        unix_socket=options["host"], user="standfast", password=options["password"]
    )
    with session, session.cursor() as cursor:
        for statement in [
            f"ALTER USER '{alice}'@localhost ACCOUNT LOCK",
            "SET PASSWORD FOR root@localhost = PASSWORD('mine')",
            "SELECT Priv FROM mysql.global_priv",
            "CREATE DATABASE mine",
        ]:
            with pytest.raises(pymysql.err.Error, match=r"denied|privilege"):
                cursor.execute(statement)
        # The routines refuse every caller, not only the connector.
        cursor.execute("CALL standfast.set_lock('root', 'localhost', TRUE)")
        cursor.execute("CALL standfast.set_lock('x\\'@\\'y', 'localhost', TRUE)")
    assert house.is_enabled("root")


def test_absent_or_refusing_server_is_not_quoted(
    options: dict[str, Any],
) -> None:
    gone = connect(MariadbConnector, **options | {"host": "127.0.0.1", "port": 1})
    wrong = connect(MariadbConnector, **options | {"password": "wrong"})
    for connector in (gone, wrong):
        with pytest.raises(Unavailable, match="server") as caught:
            connector.observe(["alice"])
        assert "standfast'" not in str(caught.value)
        assert connector.lock([order("lock", "alice")])[0].state is EffectState.FAILED


def test_a_check_names_a_routine_that_is_missing(
    house: MariadbHouse, mariadb_server: Mariadb
) -> None:
    assert house.connector.shortcomings() == []
    routine = "standfast.sessions"
    mariadb_server.execute("REVOKE EXECUTE ON standfast.* FROM standfast@localhost")
    try:
        said = house.connector.shortcomings()
    finally:
        mariadb_server.execute("GRANT EXECUTE ON standfast.* TO standfast@localhost")
    assert len(said) == 4
    assert any(routine in one for one in said)


def test_user_of_another_password_kind_is_unchanged(house: MariadbHouse, alice: str) -> None:
    house.server.execute(f"ALTER USER '{alice}'@localhost IDENTIFIED VIA unix_socket")
    before = house.stamp(alice)
    result = house.rotate(alice)
    assert (result.state, "0 of the 1" in result.reason) == (EffectState.FAILED, True)
    assert house.stamp(alice) == before


def test_new_password_is_equal_at_each_host(house: MariadbHouse, alice: str) -> None:
    house.add(alice, host="10.0.0.%")
    assert house.rotate(alice).state is EffectState.DONE
    hashed = re.findall(r'"authentication_string": ?"(\*[0-9A-F]{40})"', house.stamp(alice))
    assert len(hashed) == 1
    assert hashed[0] in house.stamp(alice, "10.0.0.%")


def test_routine_changes_no_super_or_other_password(
    house: MariadbHouse, options: dict[str, Any], alice: str
) -> None:
    before = house.stamp("root"), house.stamp(alice)
    session = pymysql.connect(
        unix_socket=options["host"], user="standfast", password=options["password"]
    )
    with session, session.cursor() as cursor:
        cursor.execute(f"CALL standfast.set_password('root', 'localhost', '*{'A' * 40}')")
        cursor.execute(f"CALL standfast.set_password('{alice}', 'localhost', 'in the clear')")
    assert (house.stamp("root"), house.stamp(alice)) == before
