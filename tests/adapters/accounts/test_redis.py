"""The Redis connector on a real server, with the documented rights."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis

from standfast.adapters.accounts.base.new_passwords import NewPasswords
from standfast.adapters.accounts.redis import RedisConnector
from standfast.errors import ConfigurationError, Unavailable
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
from tests.servers.redis import RedisServer, running_redis
from tests.servers.relay import Relay

pytestmark = pytest.mark.xdist_group("redis")


def give_rights(server: RedisServer) -> dict[str, Any]:
    """Create the connector's user, as docs/accounts.md says."""
    (line,) = block("redis", "the connector's user").replace("…", "of-the-connector").splitlines()
    server.ask(*line.split())
    return {"host": "127.0.0.1", "port": server.port, "password": "of-the-connector"}


@pytest.fixture(scope="module")
def options(redis_server: RedisServer) -> dict[str, Any]:
    return give_rights(redis_server)


class RedisHouse(RelayedRotationHouse, LimitedHouse):
    change = b"SETUSER"
    password_change = b"resetpass"

    def __init__(self, server: RedisServer, options: dict[str, Any], recipient: Recipient) -> None:
        self.server, self.recipient, self.options = server, recipient, options
        self.relayed = server.port
        self.connector = connect(RedisConnector, new_secrets=recipient.new_secrets(), **options)
        self._sessions: list[Any] = []

    def add(self, name: str, *, is_enabled: bool = True) -> None:
        flag = "on" if is_enabled else "off"
        self.server.ask("ACL", "SETUSER", name, flag, ">right", "~*", "+@all")

    def is_enabled(self, name: str) -> bool:
        return b"on" in self.stamp(name)

    def set_enabled(self, name: str, is_enabled: bool) -> None:
        self.server.ask("ACL", "SETUSER", name, "on" if is_enabled else "off")

    def stamp(self, name: str) -> list[bytes]:
        lines: list[list[bytes]] = [line.split() for line in self.server.ask("ACL", "LIST")]
        (found,) = [line[2:] for line in lines if line[1] == name.encode()]
        return found

    def sign_in(self, name: str) -> bool:
        return self.sign_in_with(name, "right")

    def sign_in_with(self, name: str, password: str) -> bool:
        try:
            self.open_session(name, password)
        except redis.AuthenticationError:
            return False
        return True

    def open_session(self, name: str, password: str = "right") -> Any:
        client = self.server.connect(name, password)
        self._sessions.append(client)
        client.ping()
        return client

    def admits(self, session: Any) -> bool:
        connection = session.connection
        if connection._sock is None:
            return False  # the server ended it, and the client would reconnect
        try:
            connection.send_command("PING", check_health=False)
            return bool(connection.read_response() == b"PONG")
        except redis.RedisError:
            return False

    @contextmanager
    def full(self) -> Iterator[None]:
        administrator = self.server.connect()
        (_, most) = administrator.execute_command("CONFIG", "GET", "maxclients")
        administrator.execute_command("CONFIG", "SET", "maxclients", "1")
        try:
            yield
        finally:
            administrator.execute_command("CONFIG", "SET", "maxclients", most)
            administrator.close()

    def heard(self) -> str:
        return self.server.acl_file.read_text() + str(self.server.ask("ACL", "LOG"))

    def lie(self, relay: Relay) -> None:
        relay.rewrite_request = lambda asked: asked.replace(b"$3\r\noff\r\n", b"$2\r\non\r\n")

    def through(
        self, port: int, seconds: float, new_secrets: NewPasswords | None = None
    ) -> RedisConnector:
        settings = self.options | {"port": port, "batch": 1} | hurried(seconds)
        return connect(RedisConnector, new_secrets=new_secrets, **settings)

    def close(self) -> None:
        self.connector.close()
        for client in self._sessions:
            client.close()


@pytest.fixture
def house(
    redis_server: RedisServer, options: dict[str, Any], recipient: Recipient
) -> Iterator[RedisHouse]:
    house = RedisHouse(redis_server, options, recipient)
    yield house
    house.close()


class TestRedisDirectory(
    ConnectorContract,
    SessionContract,
    FaultContract,
    FullContract,
    RotationContract,
    LostAnswerContract,
): ...


@pytest.fixture
def secured(redis_server: RedisServer, options: dict[str, Any]) -> Secured:
    def connected(**how: Any) -> RedisConnector:
        # Redis without TLS reads the TLS greeting as a line and waits for its end, so the time-out
        # is short.
        return connect(RedisConnector, **options | {"timeout_seconds": 2.0} | how)

    return Secured(
        connect=connected,
        target=redis_server.tls_port,
        plain=redis_server.port,
        ca_file=redis_server.ca_file,
        verifies="verify",
        requires=(),
        secrets=(b"standfast", b"of-the-connector"),
    )


class TestRedisOverTls(TlsContract): ...


def test_lock_and_undo_change_only_the_flag(house: RedisHouse, alice: str) -> None:
    rights = house.stamp(alice)
    before = house.observe(alice)
    house.lock(alice)
    assert [word for word in house.stamp(alice) if word != b"off"] == rights[1:]
    house.undo(alice, before)
    assert house.stamp(alice) == rights


def test_lock_without_acl_file_warns(house: RedisHouse, alice: str) -> None:
    before = house.observe(alice)
    result = house.lock(alice)
    assert result.reason == ""
    assert f"user {alice} off" in house.server.acl_file.read_text()
    assert house.undo(alice, before).reason == ""
    assert f"user {alice} on" in house.server.acl_file.read_text()
    with running_redis(with_acl_file=False) as forgetful:
        other = RedisHouse(forgetful, give_rights(forgetful), house.recipient)
        other.add("bob")
        result = other.lock("bob")
        assert (result.state, "restarts" in result.reason) == (EffectState.DONE, True)
        assert "restarts" in other.rotate("bob").reason
        other.close()


def test_locking_an_unknown_name_creates_nobody(house: RedisHouse) -> None:
    house.lock("nobody-at-all")
    assert house.server.ask("ACL", "GETUSER", "nobody-at-all") is None


@pytest.mark.parametrize("name", ['quo"te', "back\\slash", "user=x", "Żółć", "a:b*c"])
def test_an_unusual_name_is_locked_and_no_other(house: RedisHouse, alice: str, name: str) -> None:
    house.add(name)
    session = house.open_session(name)
    assert house.lock(name).state is EffectState.DONE
    assert not house.admits(session)
    assert house.is_enabled(alice)


@pytest.mark.parametrize(("name", "why"), [("default", "all clients"), ("standfast", "itself")])
def test_forbidden_lock_is_reported_and_refused(house: RedisHouse, name: str, why: str) -> None:
    assert why in house.observe(name).obstacle
    result = house.lock(name)
    assert (result.state, why in result.reason) == (EffectState.REFUSED, True)
    assert house.is_enabled(name)


def test_the_connectors_user_reads_no_key(house: RedisHouse, options: dict[str, Any]) -> None:
    client = house.server.connect("standfast", options["password"])
    for command in (["GET", "key"], ["KEYS", "*"], ["CONFIG", "GET", "*"], ["FLUSHALL"]):
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.execute_command(*command)
    client.close()


def test_absent_or_refusing_server_is_not_quoted(
    house: RedisHouse, options: dict[str, Any]
) -> None:
    house.server.ask("ACL", "SETUSER", "narrow", "on", ">right", "+ping")
    for broken, error in (
        ({"port": 1}, Unavailable),
        ({"password": "wrong"}, Unavailable),
        ({"user": "narrow", "password": "right"}, ConfigurationError),
    ):
        connector = connect(RedisConnector, **options | broken)
        with pytest.raises(error) as caught:
            connector.observe(["alice"])
        assert "narrow" not in str(caught.value)
        assert connector.lock([order("lock", "alice")])[0].state is EffectState.FAILED


def test_socket_file_works_like_a_port(house: RedisHouse, options: dict[str, Any]) -> None:
    connector = connect(RedisConnector, **options | {"host": str(house.server.socket)})
    assert not connector.observe(["nobody"])[0].exists
    connector.close()


def test_a_check_names_a_right_that_is_missing(house: RedisHouse, options: dict[str, Any]) -> None:
    assert house.connector.shortcomings() == []
    house.server.ask("ACL", "SETUSER", "nearly", "on", ">right", "-@all", "+acl|getuser", "+client")
    nearly = connect(RedisConnector, **options | {"user": "nearly", "password": "right"})
    said = nearly.shortcomings()
    nearly.close()
    assert [text.split(".")[0] for text in said] == [
        "the connector's user lacks +acl|setuser", "the connector's user lacks +acl|save"
    ]  # fmt: skip
