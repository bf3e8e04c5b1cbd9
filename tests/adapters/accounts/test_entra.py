"""The Entra ID connector against Microsoft Graph's published metadata."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from standfast.adapters.accounts.entra import Entra
from standfast.errors import Unavailable
from standfast.records import EffectState, Proof
from tests.adapters.accounts.connect import connect
from tests.adapters.accounts.contract import ConnectorContract, House
from tests.adapters.accounts.described import Call, Fault, Provider, serving
from tests.adapters.accounts.fault_contract import (
    BusyContract,
    FaultContract,
    HttpHouse,
    at_port,
    hurried,
    port_of,
)

TENANT, CLIENT, SECRET = "a-tenant", "an-application", "its secret"


@dataclass(kw_only=True)
class User:
    id: str
    name: str
    is_enabled: bool = True
    is_synchronised: bool = False
    refresh_tokens: int = 1
    changes: int = 0
    has_factor: bool = False
    is_admin: bool = False
    type: str = "member"


class EntraProvider(Provider):
    contract = "entra"

    def __init__(self) -> None:
        super().__init__()
        self.users: list[User] = []
        self.bearers: set[str] = set()
        self.page = 100

    def is_authorised(self, authorization: str) -> bool:
        return authorization in self.bearers

    def give_token(self, path: str, form: dict[str, str]) -> dict[str, Any] | None:
        scope = at_port(form["scope"], port_of(self.url))  # a relay's port is also valid
        asked = (path, form["grant_type"], scope)
        wanted = (f"/{TENANT}/oauth2/v2.0/token", "client_credentials", f"{self.url}/.default")
        if asked != wanted or (form["client_id"], form["client_secret"]) != (CLIENT, SECRET):
            return None
        token = uuid.uuid4().hex
        self.bearers.add(f"Bearer {token}")
        return {"access_token": token, "token_type": "Bearer", "expires_in": 3599}

    def report(self, query: dict[str, str]) -> tuple[int, Any]:
        """Return a page of the registration report, which has no disabled users."""
        assert query["$filter"] == "isMfaRegistered eq false"
        there = [one for one in self.users if one.is_enabled and not one.has_factor]
        start = int(query.get("$skiptoken", 0))
        end = start + self.page
        value = [
            {
                "id": one.id,
                "userPrincipalName": one.name,
                "isAdmin": one.is_admin,
                "isMfaRegistered": one.has_factor,
                "userType": one.type,
            }
            for one in there[start:end]
        ]
        following = f"https://elsewhere.example/v1.0/reports?$skiptoken={end}"
        more = {"@odata.nextLink": following} if end < len(there) else {}
        return 200, {"value": value, **more}

    def act(self, call: Call) -> tuple[int, Any]:
        if "userRegistrationDetails" in call.operation:
            return self.report(call.query)
        key = call.parameters["user-id"].lower()
        user = next((one for one in self.users if key in (one.id, one.name.lower())), None)
        if user is None:
            return 404, {"error": {"code": "Request_ResourceNotFound", "message": "alice"}}
        if call.method == "GET":
            shown = {
                "id": user.id,
                "userPrincipalName": user.name,
                "accountEnabled": user.is_enabled,
                "onPremisesSyncEnabled": True if user.is_synchronised else None,
            }
            return 200, {key: shown[key] for key in call.query["$select"].split(",")}
        user.changes += 1
        if call.method == "PATCH":
            user.is_enabled = call.body["accountEnabled"]
            return 204, None
        user.changes -= 1
        user.refresh_tokens = 0
        return 200, {"value": True}


class EntraHouse(HttpHouse):
    change = b"PATCH /"
    success_status = 204
    knows_factors = True

    def give_factor(self, name: str) -> None:
        self.user(name).has_factor = True

    def __init__(self, provider: EntraProvider) -> None:
        self.provider = provider
        self.relayed = port_of(provider.url)
        self.connector = self.connect()

    def connect(self, secret: str = SECRET) -> Entra:
        return connect(Entra, **self.settings(secret))

    def settings(self, secret: str = SECRET) -> dict[str, Any]:
        return {
            "tenant_id": TENANT,
            "client_id": CLIENT,
            "client_secret": secret,
            "graph_url": self.provider.url,
            "login_url": self.provider.url,
        }

    def through(self, port: int, seconds: float) -> Entra:
        url = at_port(self.provider.url, port)
        return connect(Entra, **self.settings() | {"graph_url": url} | hurried(seconds))

    def user(self, name: str) -> User:
        return next(user for user in self.provider.users if user.name == name)

    def add(self, name: str, *, is_enabled: bool = True) -> None:
        self.provider.users.append(User(id=str(uuid.uuid4()), name=name, is_enabled=is_enabled))

    def is_enabled(self, name: str) -> bool:
        return self.user(name).is_enabled

    def set_enabled(self, name: str, is_enabled: bool) -> None:
        self.user(name).is_enabled = is_enabled

    def stamp(self, name: str) -> object:
        return self.user(name).changes

    def sign_in(self, name: str) -> bool:
        return self.is_enabled(name)


@pytest.fixture
def house() -> Iterator[EntraHouse]:
    provider = EntraProvider()
    with serving(provider):
        house = EntraHouse(provider)
        yield house
        house.connector.close()


@pytest.fixture
def alice(house: EntraHouse) -> str:
    house.add("alice@example.com")
    return "alice@example.com"


class TestEntra(ConnectorContract, FaultContract, BusyContract):
    @pytest.mark.parametrize("name", ["guest_example.com#EXT#@tenant.com", "o'neill@example.com"])
    def test_an_unusual_name_is_found_and_locked(self, house: House, name: str) -> None:
        house.add(name)
        assert house.lock(name).state is EffectState.DONE
        assert not house.is_enabled(name)


def test_administrators_without_factor_come_first(house: EntraHouse, alice: str) -> None:
    for name in ("bob", "guest", "root"):
        house.add(f"{name}@example.com")
    house.user("root@example.com").is_admin = True
    house.user("guest@example.com").type = "guest"
    house.provider.page = 1
    found = house.connector.second_factors()
    assert [(one.name, one.is_privileged) for one in found.without] == [
        ("root@example.com", True),
        (alice, False),
        ("bob@example.com", False),
    ]
    assert (found.looked_at, found.unreported, found.is_whole) == (None, 1, True)


def test_missing_report_names_the_missing_right(house: EntraHouse, alice: str) -> None:
    house.connector.observe([alice])
    house.provider.faults.append(Fault(method="GET", status=403, body=b'{"error": {}}'))
    with pytest.raises(Unavailable):
        house.connector.second_factors()


def test_lock_revokes_and_undo_restores_no_session(house: EntraHouse, alice: str) -> None:
    user = house.user(alice)
    before = house.observe(alice)
    assert house.lock(alice.upper()).state is EffectState.DONE
    assert (user.is_enabled, user.refresh_tokens) == (False, 0)
    assert house.prove(alice).proof is Proof.READ_BACK
    assert house.undo(alice, before).state is EffectState.DONE
    assert (user.is_enabled, user.refresh_tokens) == (True, 0)


def test_a_revocation_leaves_the_account_enabled(house: EntraHouse, alice: str) -> None:
    (result,) = house.connector.revoke([house.order("revoke", alice)])
    assert result.state is EffectState.DONE
    assert (house.user(alice).is_enabled, house.user(alice).refresh_tokens) == (True, 0)


def test_an_id_is_no_name(house: EntraHouse, alice: str) -> None:
    assert not house.observe(house.user(alice).id).exists


def test_synchronised_user_needs_an_on_premises_lock(house: EntraHouse, alice: str) -> None:
    house.user(alice).is_synchronised = True
    assert "on premises" in str(house.lock(alice).facts["to_look_at"])


def test_reassigned_name_is_not_changed(house: EntraHouse, alice: str) -> None:
    before = house.observe(alice)
    house.provider.users.clear()
    house.add(alice, is_enabled=False)
    assert house.undo(alice, before).state is EffectState.REFUSED
    assert not house.is_enabled(alice)


def test_one_token_serves_many_requests(house: EntraHouse) -> None:
    names = [f"agent-{number}@example.com" for number in range(20)]
    for name in names:
        house.add(name)
    house.connector.observe(names)
    assert house.provider.tokens_given == 1
    connector = house.connect("not its secret")
    with pytest.raises(Unavailable, match="refuses a token") as caught:
        connector.observe(names)
    connector.close()
    assert "not its secret" not in str(caught.value)


def test_plan_states_token_lifetime_and_test_kind(house: EntraHouse) -> None:
    assert any("until they expire" in words for words in house.connector.irreversible)
    assert house.connector.is_contract_tested
