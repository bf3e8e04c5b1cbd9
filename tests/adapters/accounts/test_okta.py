"""The Okta connector against Okta's published description."""

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from standfast.adapters.accounts.base import second_factors
from standfast.adapters.accounts.okta import SCOPE, Okta
from standfast.errors import ConfigurationError, Unavailable
from standfast.records import EffectState, Proof
from tests.adapters.accounts.connect import connect
from tests.adapters.accounts.contract import ConnectorContract
from tests.adapters.accounts.described import Call, Fault, Provider, serving
from tests.adapters.accounts.fault_contract import (
    BusyContract,
    FaultContract,
    HttpHouse,
    at_port,
    hurried,
    port_of,
)
from tests.adapters.accounts.jwt_check import claims_of, private_pem

NOW = datetime(2026, 1, 5, 3, 0, 0, tzinfo=UTC)
TOKEN = "00abcDEF"


@dataclass(kw_only=True)
class User:
    id: str
    login: str
    status: str = "ACTIVE"
    sessions: int = 1
    refresh_tokens: int = 1
    changes: int = 0
    factors: list[tuple[str, str]] = field(default_factory=list)  # type and status


class OktaProvider(Provider):
    contract = "okta"

    def __init__(self) -> None:
        super().__init__()
        self.users: list[User] = []
        self.bearers: set[str] = set()
        self.page = 200
        self.links: list[str] = []

    def is_authorised(self, authorization: str) -> bool:
        return authorization == f"SSWS {TOKEN}" or authorization in self.bearers

    def give_token(self, path: str, form: dict[str, str]) -> dict[str, Any] | None:
        claims = claims_of(form.get("client_assertion", ""), f"{self.url}/oauth2/v1/token")
        if path != "/oauth2/v1/token" or claims is None:
            return None
        assert (claims["iss"], claims["sub"]) == ("service", "service")
        assert (form["grant_type"], form["scope"]) == ("client_credentials", SCOPE)
        token = uuid.uuid4().hex
        self.bearers.add(f"Bearer {token}")
        return {"access_token": token, "token_type": "Bearer", "expires_in": 3600}

    def find(self, key: str) -> User | None:
        for user in self.users:
            if key in (user.id, user.login.lower(), user.login, user.login.partition("@")[0]):
                return user
        return self.users[0] if key == "me" and self.users else None

    def shown(self, user: User) -> dict[str, Any]:
        profile = {"login": user.login, "email": user.login}
        return {"id": user.id, "status": user.status, "profile": profile}

    def listed(self, query: dict[str, str]) -> tuple[int, Any]:
        """Return a page of active users; a header names the next page."""
        start = int(query.get("after", 0))
        end = start + min(int(query["limit"]), self.page)
        there = [user for user in self.users if user.status != "DEPROVISIONED"]
        self.links = [f'<{self.url}/api/v1/users?limit=200>; rel="self"']
        if end < len(there):
            following = f"https://elsewhere.example/api/v1/users?after={end}&limit=200"
            self.links.append(f'<{following}>; rel="next"')
        return 200, [self.shown(user) for user in there[start:end]]

    def headers(self, call: Call) -> dict[str, str]:
        return {"Link": ", ".join(self.links)} if call.operation.endswith("/users") else {}

    def act(self, call: Call) -> tuple[int, Any]:
        if call.operation == "GET /api/v1/users":
            return self.listed(call.query)
        key = call.parameters["userId"]
        user = self.find(key) or self.find(key.lower())
        if user is None:
            return 404, {"errorCode": "E0000007"}
        match call.operation.rpartition("/")[2]:
            case "{userId}":
                return 200, self.shown(user)
            case "suspend" if user.status == "ACTIVE":
                user.status = "SUSPENDED"
            case "unsuspend" if user.status == "SUSPENDED":
                user.status = "ACTIVE"
            case "sessions":
                user.sessions = 0
                if call.query.get("oauthTokens") == "true":
                    user.refresh_tokens = 0
                return 204, None
            case "factors":
                return 200, [
                    {"id": "f1", "factorType": kind, "provider": "OKTA", "status": status}
                    for kind, status in user.factors
                ]
            case _:
                return 400, {"errorCode": "E0000001"}
        user.changes += 1
        return 200, None


class OktaHouse(HttpHouse):
    change = b"/lifecycle/suspend"
    undo_change = b"/lifecycle/unsuspend"
    knows_factors = True

    def give_factor(self, name: str) -> None:
        self.user(name).factors.append(("push", "ACTIVE"))

    def __init__(self, provider: OktaProvider) -> None:
        self.provider = provider
        self.relayed = port_of(provider.url)
        self.connector = self.connect(token=TOKEN)

    def connect(self, **settings: Any) -> Okta:
        return connect(Okta, clock=lambda: NOW, **{"url": self.provider.url, **settings})

    def through(self, port: int, seconds: float) -> Okta:
        url = at_port(self.provider.url, port)
        return self.connect(url=url, token=TOKEN, **hurried(seconds))

    def user(self, name: str) -> User:
        found = self.provider.find(name)
        assert found is not None
        return found

    def add(self, name: str, *, is_enabled: bool = True) -> None:
        status = "ACTIVE" if is_enabled else "SUSPENDED"
        user = User(id=f"00u{uuid.uuid4().hex[:17]}", login=name, status=status)
        self.provider.users.append(user)

    def is_enabled(self, name: str) -> bool:
        return self.user(name).status == "ACTIVE"

    def set_enabled(self, name: str, is_enabled: bool) -> None:
        self.user(name).status = "ACTIVE" if is_enabled else "SUSPENDED"

    def stamp(self, name: str) -> object:
        return self.user(name).changes

    def sign_in(self, name: str) -> bool:
        return self.is_enabled(name)


@pytest.fixture
def house() -> Iterator[OktaHouse]:
    provider = OktaProvider()
    with serving(provider):
        house = OktaHouse(provider)
        yield house
        house.connector.close()


@pytest.fixture
def alice(house: OktaHouse) -> str:
    house.add("alice@example.com")
    return "alice@example.com"


class TestOkta(ConnectorContract, FaultContract, BusyContract): ...


def test_lock_ends_sessions_and_tokens_for_good(house: OktaHouse, alice: str) -> None:
    user = house.user(alice)
    house.give_factor(alice)
    before = house.observe(alice)
    result = house.lock(alice)
    assert result.state is EffectState.DONE
    assert result.facts["to_look_at"] == ["second factor: 1"]
    assert (user.status, user.sessions, user.refresh_tokens) == ("SUSPENDED", 0, 0)
    assert house.prove(alice).proof is Proof.READ_BACK
    assert house.undo(alice, before).state is EffectState.DONE
    assert (user.status, user.sessions, user.refresh_tokens) == ("ACTIVE", 0, 0)
    operations = {call.operation.rpartition("/")[2] for call in house.provider.calls}
    assert "deactivate" not in operations


def test_undo_ends_sessions_before_it_enables(house: OktaHouse, alice: str) -> None:
    before = house.observe(alice)
    house.set_enabled(alice, False)
    assert house.undo(alice, before).state is EffectState.DONE
    assert (house.user(alice).sessions, house.user(alice).refresh_tokens) == (0, 0)


@pytest.mark.parametrize("status", ["LOCKED_OUT", "RECOVERY", "PASSWORD_EXPIRED", "STAGED"])
def test_inactive_user_loses_sessions_but_stays_unlocked(
    house: OktaHouse, alice: str, status: str
) -> None:
    house.user(alice).status = status
    state = house.observe(alice)
    assert "ACTIVE" in state.obstacle
    result = house.lock(alice)
    assert result.state is EffectState.REFUSED
    assert status in result.reason
    assert (house.user(alice).status, house.user(alice).sessions) == (status, 0)
    assert house.prove(alice).state is EffectState.FAILED


def test_deactivated_user_is_left_to_a_person(house: OktaHouse, alice: str) -> None:
    before = house.observe(alice)
    house.lock(alice)
    house.user(alice).status = "DEPROVISIONED"
    assert house.undo(alice, before).state is EffectState.REFUSED
    assert house.prove(alice).state is EffectState.DONE


def test_unknown_status_is_not_locked(house: OktaHouse, alice: str) -> None:
    body = b'{"id": "00u1", "status": "FROZEN by alice", "profile": {"login": "alice@example.com"}}'
    house.provider.faults.append(Fault(method="GET", status=200, body=body))
    result = house.prove(alice)
    assert result.state is EffectState.FAILED
    assert "alice" not in result.reason


@pytest.mark.parametrize("name", ["me", "alice"])
def test_result_for_another_name_is_refused(house: OktaHouse, alice: str, name: str) -> None:
    assert not house.observe(name).exists
    assert house.lock(name).state is EffectState.REFUSED
    assert house.is_enabled(alice)


@pytest.mark.parametrize(("reset", "seconds"), [(7, 7.0), (-5, 1.0), (9999, 300.0)])
def test_the_rate_limit_tells_a_moment(
    house: OktaHouse, alice: str, reset: int, seconds: float
) -> None:
    moment = str(int(NOW.timestamp()) + reset)
    house.provider.faults.append(
        Fault(method="POST", status=429, headers=(("X-Rate-Limit-Reset", moment),))
    )
    result = house.lock(alice)
    assert (result.state, result.retry_after_seconds) == (EffectState.FAILED, seconds)


def test_service_application_renews_a_refused_token(house: OktaHouse, alice: str) -> None:
    connector = connect(
        Okta,
        url=house.provider.url,
        client_id="service",
        private_key=private_pem(),
        key_id="k1",
    )
    assert connector.observe([alice])[0].exists
    assert connector.lock([house.order("lock", alice)])[0].state is EffectState.DONE
    assert house.provider.tokens_given == 1
    house.provider.bearers.clear()
    assert connector.observe([alice])[0].exists
    assert house.provider.tokens_given == 2
    connector.close()


def test_wrong_service_key_says_what_to_check(house: OktaHouse) -> None:
    # The clock of this connector is years behind.
    connector = house.connect(client_id="service", private_key=private_pem())
    with pytest.raises(Unavailable, match="clock") as caught:
        connector.observe(["alice@example.com"])
    connector.close()
    assert caught.value.retry_after_seconds is None


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"token": "two words"}, "not valid in a header"),
        ({"client_id": "service", "private_key": "nonsense"}, "RSA key"),
    ],
)
def test_impossible_credential_is_reported_before_sending(
    changed: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        connect(Okta, url="http://127.0.0.1:1", **changed)
    assert "nonsense" not in str(caught.value)


def test_only_active_real_factors_count(house: OktaHouse, alice: str) -> None:
    for number, factors in enumerate(
        [[("question", "ACTIVE")], [("push", "PENDING_ACTIVATION")], [("webauthn", "ACTIVE")]]
    ):
        house.add(f"user{number}@example.com")
        house.user(f"user{number}@example.com").factors += factors
    house.add("staged@example.com")
    house.user("staged@example.com").status = "STAGED"
    found = house.connector.second_factors()
    assert [one.name for one in found.without] == [
        alice,
        "user0@example.com",
        "user1@example.com",
    ]
    assert found.looked_at == 4


def test_factor_queries_are_bounded(house: OktaHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(second_factors, "MOST_ASKED", 5)
    house.provider.page = 2
    for number in range(9):
        house.add(f"user{number}@example.com")
    found = house.connector.second_factors()
    assert (len(found.without), found.looked_at, found.is_whole) == (5, 5, False)
    asked = [call.operation.rpartition("/")[2] for call in house.provider.calls]
    assert (asked.count("users"), asked.count("factors")) == (3, 5)


def test_unreadable_user_is_not_said_protected(house: OktaHouse, alice: str) -> None:
    house.add("bob@example.com")
    house.give_factor("bob@example.com")
    body = json.dumps([house.provider.shown(one) for one in house.provider.users]).encode()
    faults = [Fault(method="GET", status=200, body=body), Fault(method="GET", status=503)]
    house.provider.faults += faults
    found = house.connector.second_factors()
    assert (found.looked_at, found.is_whole) == (1, False)
    house.provider.faults += [faults[0], faults[1], faults[1]]
    with pytest.raises(Unavailable):
        house.connector.second_factors()


def test_plan_states_the_contract_test(house: OktaHouse) -> None:
    assert house.connector.is_contract_tested
