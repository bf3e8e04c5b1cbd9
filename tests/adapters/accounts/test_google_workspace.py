"""The Google Workspace connector against Google's discovery document."""

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

from standfast.adapters.accounts import google_workspace
from standfast.adapters.accounts.google_workspace import (
    SCOPE,
    GoogleWorkspace,
)
from standfast.records import EffectState, Proof
from tests.adapters.accounts.connect import connect
from tests.adapters.accounts.contract import ConnectorContract
from tests.adapters.accounts.described import CONTRACTS, Call, Fault, Provider, serving
from tests.adapters.accounts.fault_contract import (
    BusyContract,
    FaultContract,
    HttpHouse,
    at_port,
    hurried,
    port_of,
)
from tests.adapters.accounts.jwt_check import claims_of, private_pem

ACCOUNT, ADMINISTRATOR = "standfast@project.iam.example", "responder@example.com"


@dataclass(kw_only=True)
class User:
    id: str
    address: str
    suspended: bool = False
    archived: bool = False
    aliases: list[str] = field(default_factory=list)
    is_signed_in: bool = True
    tokens: list[str] = field(default_factory=lambda: ["1234.apps.example.com", "a/b"])
    passwords: list[str] = field(default_factory=lambda: ["1", "2"])
    changes: int = 0
    has_factor: bool | None = False
    is_admin: bool = False
    is_delegate: bool = False


class GoogleProvider(Provider):
    contract = "google_workspace"

    def __init__(self) -> None:
        super().__init__()
        self.users: list[User] = []
        self.bearers: set[str] = set()
        self.page = 500

    def is_authorised(self, authorization: str) -> bool:
        return authorization in self.bearers

    def give_token(self, path: str, form: dict[str, str]) -> dict[str, Any] | None:
        claims = claims_of(form["assertion"], f"{self.url}/token")
        if path != "/token" or claims is None:
            return None
        assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
        assert (claims["iss"], claims["sub"]) == (ACCOUNT, ADMINISTRATOR)
        assert claims["scope"] == SCOPE
        token = uuid.uuid4().hex
        self.bearers.add(f"Bearer {token}")
        return {"access_token": token, "token_type": "Bearer", "expires_in": 3599}

    def listed(self, query: dict[str, str]) -> tuple[int, Any]:
        assert query["customer"] == "my_customer"
        start = int(query.get("pageToken", 0))
        end = start + min(int(query["maxResults"]), self.page)
        more = {"nextPageToken": str(end)} if end < len(self.users) else {}
        users = [self.shown(user) for user in self.users[start:end]]
        return 200, {"kind": "admin#directory#users", "users": users, **more}

    @staticmethod
    def shown(user: User) -> dict[str, Any]:
        factor = {} if user.has_factor is None else {"isEnrolledIn2Sv": user.has_factor}
        return {
            "kind": "admin#directory#user",
            "id": user.id,
            "primaryEmail": user.address,
            "suspended": user.suspended,
            "archived": user.archived,
            "aliases": user.aliases,
            "isAdmin": user.is_admin,
            "isDelegatedAdmin": user.is_delegate,
            **factor,
        }

    def act(self, call: Call) -> tuple[int, Any]:
        if call.operation.endswith("/users"):
            return self.listed(call.query)
        key = call.parameters["userKey"]
        user = next((one for one in self.users if self._is_named(one, key.lower())), None)
        if user is None:
            return 404, {"error": {"code": 404, "errors": [{"reason": "notFound"}]}}
        match call.operation.partition("{userKey}")[2], call.method:
            case "", "GET":
                pass
            case "", "PUT":
                user.suspended = call.body["suspended"]
                user.changes += 1
            case "/signOut", "POST":
                user.is_signed_in = False
                return 204, None
            case "/tokens", "GET":
                items = [{"clientId": token, "scopes": []} for token in user.tokens]
                return 200, {"kind": "admin#directory#tokenList", "items": items}
            case "/asps", "GET":
                passwords = [{"codeId": int(code)} for code in user.passwords]
                return 200, {"kind": "admin#directory#aspList", "items": passwords}
            case "/tokens/{clientId}", "DELETE":
                return _without(user.tokens, call.parameters["clientId"])
            case "/asps/{codeId}", "DELETE":
                return _without(user.passwords, call.parameters["codeId"])
            case operation:
                raise AssertionError(operation)
        return 200, self.shown(user)

    @staticmethod
    def _is_named(user: User, key: str) -> bool:
        return key in (user.id, user.address.lower(), *user.aliases)


def _without(there: list[str], one: str) -> tuple[int, Any]:
    if one not in there:
        return 404, {"error": {"code": 404, "errors": [{"reason": "notFound"}]}}
    there.remove(one)
    return 204, None


class GoogleHouse(HttpHouse):
    change = b"PUT /"
    success = b"{}"
    knows_factors = True

    def give_factor(self, name: str) -> None:
        self.user(name).has_factor = True

    def __init__(self, provider: GoogleProvider) -> None:
        self.provider = provider
        self.relayed = port_of(provider.url)
        self.key = private_pem()
        self.connector = self.connect(provider.url)

    def connect(self, url: str, **limits: Any) -> GoogleWorkspace:
        return connect(
            partial(GoogleWorkspace, directory_url=url, token_url=f"{self.provider.url}/token"),
            service_account=ACCOUNT,
            private_key=self.key,
            administrator=ADMINISTRATOR,
            **limits,
        )

    def through(self, port: int, seconds: float) -> GoogleWorkspace:
        return self.connect(at_port(self.provider.url, port), **hurried(seconds))

    def user(self, name: str) -> User:
        return next(user for user in self.provider.users if user.address == name)

    def add(self, name: str, *, is_enabled: bool = True) -> None:
        user = User(id=str(uuid.uuid4().int % 10**21), address=name, suspended=not is_enabled)
        self.provider.users.append(user)

    def is_enabled(self, name: str) -> bool:
        return not self.user(name).suspended

    def set_enabled(self, name: str, is_enabled: bool) -> None:
        self.user(name).suspended = not is_enabled

    def stamp(self, name: str) -> object:
        return self.user(name).changes

    def sign_in(self, name: str) -> bool:
        return self.is_enabled(name)


@pytest.fixture
def house() -> Iterator[GoogleHouse]:
    provider = GoogleProvider()
    with serving(provider):
        house = GoogleHouse(provider)
        yield house
        house.connector.close()


@pytest.fixture
def alice(house: GoogleHouse) -> str:
    house.add("alice@example.com")
    return "alice@example.com"


class TestGoogleWorkspace(ConnectorContract, FaultContract, BusyContract): ...


def test_lock_suspends_and_deletes_tokens(house: GoogleHouse, alice: str) -> None:
    user = house.user(alice)
    before = house.observe(alice)
    result = house.lock(alice)
    assert result.state is EffectState.DONE
    assert "forwarding" in str(result.facts["to_look_at"])
    assert (user.suspended, user.is_signed_in) == (True, False)
    assert (user.tokens, user.passwords) == ([], [])
    assert house.prove(alice).proof is Proof.READ_BACK
    assert house.undo(alice, before).state is EffectState.DONE
    assert (user.suspended, user.is_signed_in) == (False, False)
    assert (user.tokens, user.passwords) == ([], [])


@pytest.mark.parametrize("is_suspended", [True, False])
def test_declined_sign_out_matters_only_while_open(
    house: GoogleHouse, alice: str, is_suspended: bool
) -> None:
    house.set_enabled(alice, not is_suspended)
    house.provider.faults.append(Fault(method="POST", status=400))
    (result,) = house.connector.revoke([house.order("revoke", alice)])
    assert result.state is (EffectState.DONE if is_suspended else EffectState.REFUSED)


@pytest.mark.parametrize("what", ["tokens", "passwords"])
def test_proof_fails_while_a_token_exists(house: GoogleHouse, alice: str, what: str) -> None:
    house.lock(alice)
    setattr(house.user(alice), what, ["7"])
    result = house.prove(alice)
    assert result.state is EffectState.FAILED
    assert "application-specific password" in result.reason


def test_alias_is_recognised_and_id_is_not(house: GoogleHouse, alice: str) -> None:
    house.user(alice).aliases = ["al@example.com"]
    assert house.observe("AL@example.com").exists
    assert not house.observe(house.user(alice).id).exists


def test_alias_is_refused(house: GoogleHouse, alice: str) -> None:
    house.user(alice).aliases = ["al@example.com"]
    for verb in ("lock", "revoke"):
        order = house.order(verb, "AL@example.com")
        (result,) = getattr(house.connector, verb)([order])
        assert result.state is EffectState.REFUSED
        assert "an alias" in result.reason
    assert "an alias" in house.observe("al@example.com").obstacle
    assert not house.observe(alice.upper()).obstacle
    assert house.is_enabled(alice)


def test_who_was_suspended_and_archived_stays_so(house: GoogleHouse, alice: str) -> None:
    house.user(alice).archived = True
    before = house.observe(alice)
    assert before.is_enabled is False
    assert house.lock(alice).state is EffectState.DONE
    assert house.undo(alice, before).state is EffectState.DONE
    assert (house.user(alice).suspended, house.user(alice).archived) == (False, True)
    assert house.stamp(alice) == 0


@pytest.mark.parametrize("reason", ["rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded"])
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_too_fast_is_told_from_not_allowed(
    house: GoogleHouse, alice: str, reason: str, method: str
) -> None:
    said = json.dumps({"error": {"code": 403, "errors": [{"reason": reason}]}}).encode()
    house.provider.faults.append(Fault(method=method, status=403, body=said))
    result = house.lock(alice)
    assert (result.state, result.retry_after_seconds) == (EffectState.FAILED, 1.0)
    forbidden = json.dumps({"error": {"code": 403, "errors": [{"reason": "forbidden"}]}}).encode()
    for body in (forbidden, b"", b"[]", b'{"error": {"errors": [7]}}'):
        house.provider.faults.append(Fault(method=method, status=403, body=body))
        result = house.lock(alice)
        assert (result.state, result.retry_after_seconds) == (EffectState.FAILED, None)
        assert "refuses the configured credential" in result.reason
    assert house.is_enabled(alice)


def test_the_scopes_are_those_that_google_describes() -> None:
    operations = json.loads((CONTRACTS / "google_workspace.json").read_text())["operations"]
    granted = set(SCOPE.split())
    assert all(granted & set(operation["scopes"]) for operation in operations)
    assert all(any(scope in one["scopes"] for one in operations) for scope in granted)


def test_plan_states_the_contract_test(house: GoogleHouse) -> None:
    assert house.connector.is_contract_tested


def test_administrators_come_first_without_archived_users(house: GoogleHouse, alice: str) -> None:
    for name in ("bob", "carl", "delegate", "gone", "root"):
        house.add(f"{name}@example.com")
    house.user("root@example.com").is_admin = True
    house.user("delegate@example.com").is_delegate = True
    house.user("gone@example.com").archived = True
    house.user("carl@example.com").has_factor = None
    house.give_factor("bob@example.com")
    house.provider.page = 2
    found = house.connector.second_factors()
    assert [(one.name, one.is_privileged) for one in found.without] == [
        ("delegate@example.com", True),
        ("root@example.com", True),
        (alice, False),
    ]
    assert (found.looked_at, found.unreported, found.is_whole) == (5, 1, True)


def test_too_long_list_is_marked_incomplete(
    house: GoogleHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(google_workspace, "MOST_LISTED", 4)
    house.provider.page = 2
    for number in range(7):
        house.add(f"user{number}@example.com")
    found = house.connector.second_factors()
    assert (found.looked_at, found.is_whole) == (4, False)
