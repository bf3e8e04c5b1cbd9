"""The Cognito connector on moto: passwords, access and refresh tokens."""

import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config

from standfast.adapters.accounts import cognito
from standfast.adapters.accounts.base import second_factors
from standfast.adapters.accounts.base.aws_client import AwsClient
from standfast.adapters.accounts.cognito import Cognito
from standfast.records import EffectState, Order, Proof
from tests.adapters.accounts.connect import connect
from tests.adapters.accounts.contract import ConnectorContract
from tests.adapters.accounts.fault_contract import (
    BusyContract,
    FaultContract,
    HttpHouse,
    at_port,
    hurried,
    port_of,
)
from tests.servers.moto import REGION, Moto

PASSWORD = "The holder's 0wn"
RIGHTS = Path(__file__).parents[3] / "deploy" / "aws" / "cognito-policy.json"


@dataclass(frozen=True, kw_only=True)
class Tokens:
    access: str
    refresh: str


class CognitoHouse(HttpHouse):
    change = b".AdminDisableUser"
    undo_change = b".AdminEnableUser"
    knows_factors = True
    success = b"{}"
    patience_seconds = 1.0

    def __init__(self, server: Moto) -> None:
        self.admin = server.client("cognito-idp")
        self.holder = boto3.client(
            "cognito-idp",
            endpoint_url=server.url,
            region_name=REGION,
            config=Config(signature_version=UNSIGNED, retries={"total_max_attempts": 1}),
        )
        self.pool = self.admin.create_user_pool(PoolName="agents")["UserPool"]["Id"]
        self.application = self.admin.create_user_pool_client(
            UserPoolId=self.pool,
            ClientName="agent-desktop",
            ExplicitAuthFlows=["ALLOW_USER_PASSWORD_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"],
        )["UserPoolClient"]["ClientId"]
        self.ask_for_factors("OPTIONAL")
        self.known: dict[str, list[Tokens]] = {}
        self.relayed = port_of(server.url)
        self.settings = {
            "region": REGION,
            "endpoint_url": server.url,
            "access_key_id": server.admin.id,
            "secret_access_key": server.admin.secret,
            "user_pool_id": self.pool,
        }
        self.connector = connect(Cognito, **self.settings)

    def through(self, port: int, seconds: float) -> Cognito:
        url = at_port(f"http://127.0.0.1:{self.relayed}", port)
        return connect(Cognito, **self.settings | {"endpoint_url": url} | hurried(seconds))

    def add(self, name: str, *, is_enabled: bool = True) -> None:
        self.admin.admin_create_user(
            UserPoolId=self.pool,
            Username=name,
            MessageAction="SUPPRESS",
            UserAttributes=[{"Name": "email", "Value": f"{name}@example.com"}],
        )
        self.admin.admin_set_user_password(
            UserPoolId=self.pool, Username=name, Password=PASSWORD, Permanent=True
        )
        self.set_enabled(name, is_enabled)

    def is_enabled(self, name: str) -> bool:
        return self.user(name)["Enabled"] is True

    def set_enabled(self, name: str, is_enabled: bool) -> None:
        act = self.admin.admin_enable_user if is_enabled else self.admin.admin_disable_user
        act(UserPoolId=self.pool, Username=name)

    def give_factor(self, name: str) -> None:
        self.admin.admin_set_user_mfa_preference(
            UserPoolId=self.pool, Username=name, SMSMfaSettings={"Enabled": True}
        )

    def ask_for_factors(self, mode: str) -> None:
        self.admin.set_user_pool_mfa_config(
            UserPoolId=self.pool,
            SoftwareTokenMfaConfiguration={"Enabled": mode != "OFF"},
            MfaConfiguration=mode,
        )

    def user(self, name: str) -> Any:
        return self.admin.admin_get_user(UserPoolId=self.pool, Username=name)

    def stamp(self, name: str) -> object:
        user = self.user(name)
        return (user["Enabled"], user["UserStatus"], user["UserLastModifiedDate"])

    def sign_in(self, name: str) -> bool:
        tokens = self._tokens("USER_PASSWORD_AUTH", USERNAME=name, PASSWORD=PASSWORD)
        if tokens is not None:
            self.known.setdefault(name, []).append(tokens)
        return tokens is not None

    def refreshes(self, tokens: Tokens) -> bool:
        return self._tokens("REFRESH_TOKEN_AUTH", REFRESH_TOKEN=tokens.refresh) is not None

    def admits(self, tokens: Tokens) -> bool:
        try:
            self.holder.get_user(AccessToken=tokens.access)
        except self.holder.exceptions.NotAuthorizedException:
            return False
        return True

    def _tokens(self, flow: str, **parameters: str) -> Tokens | None:
        try:
            answer = self.holder.initiate_auth(
                ClientId=self.application, AuthFlow=flow, AuthParameters=parameters
            )["AuthenticationResult"]
        except self.holder.exceptions.NotAuthorizedException:
            return None
        return Tokens(access=answer["AccessToken"], refresh=answer.get("RefreshToken", ""))

    def order(self, verb: str, name: str) -> Order:
        tokens = [tokens.access for tokens in self.known.get(name, [])]
        return replace(super().order(verb, name), details={"tokens": tokens})


@pytest.fixture(scope="module")
def pool(moto_server: Moto) -> Iterator[CognitoHouse]:
    """One user pool for all tests; each test has its own users.

    It is shared because the SDK needs long to make a client.
    """
    house = CognitoHouse(moto_server)
    yield house
    house.connector.close()


@pytest.fixture
def house(pool: CognitoHouse) -> CognitoHouse:
    return pool


class TestCognito(ConnectorContract, FaultContract, BusyContract): ...


def test_old_tokens_are_refused_after_the_lock(house: CognitoHouse, alice: str) -> None:
    assert house.sign_in(alice)
    (old,) = house.known[alice]
    assert house.admits(old)
    assert house.refreshes(old)
    before = house.observe(alice)

    assert house.lock(alice).state is EffectState.DONE
    assert not house.sign_in(alice)
    assert not house.admits(old)
    assert not house.refreshes(old)
    proven = house.prove(alice)
    assert (proven.state, proven.proof) == (EffectState.DONE, Proof.REFUSED)

    assert house.undo(alice, before).state is EffectState.DONE
    assert not house.refreshes(old)
    assert house.sign_in(alice)
    assert house.admits(house.known[alice][-1])


def test_undo_signs_out_disabled_users(house: CognitoHouse, alice: str) -> None:
    assert house.sign_in(alice)
    (old,) = house.known[alice]
    before = house.observe(alice)
    house.set_enabled(alice, False)
    assert house.undo(alice, before).state is EffectState.DONE
    assert not house.refreshes(old)
    assert house.sign_in(alice)


def test_without_known_token_proof_is_read_back(house: CognitoHouse, alice: str) -> None:
    house.lock(alice)
    proven = house.prove(alice)
    assert (proven.state, proven.proof) == (EffectState.DONE, Proof.READ_BACK)
    assert house.connector.proof is Proof.READ_BACK


@pytest.mark.parametrize("place", [0, 1, 2])
def test_accepted_token_fails_the_proof(house: CognitoHouse, alice: str, place: int) -> None:
    bob = f"bob-{uuid.uuid4().hex[:8]}"
    house.add(bob)
    assert house.sign_in(bob)
    house.lock(alice)
    tokens = ["turned-away", "no token"]
    tokens.insert(place, house.known[bob][0].access)
    order = replace(house.order("prove", alice), details={"tokens": tokens})
    (result,) = house.connector.prove([order])
    assert result.state is EffectState.FAILED
    assert "still accepted" in result.reason


def test_revocation_signs_out_and_keeps_account_enabled(house: CognitoHouse, alice: str) -> None:
    assert house.sign_in(alice)
    (old,) = house.known[alice]
    (result,) = house.connector.revoke([house.order("revoke", alice)])
    assert result.state is EffectState.DONE
    assert not house.refreshes(old)
    assert house.is_enabled(alice)
    assert house.sign_in(alice)


def test_reassigned_name_is_not_changed_or_proven(house: CognitoHouse, alice: str) -> None:
    before = house.observe(alice)
    house.admin.admin_delete_user(UserPoolId=house.pool, Username=alice)
    house.add(alice, is_enabled=False)
    assert house.undo(alice, before).state is EffectState.REFUSED
    order = replace(house.order("lock", alice), prior=before.prior)
    for verb in (house.connector.lock, house.connector.prove):
        (result,) = verb([order])
        assert result.state is EffectState.REFUSED
        assert "another account" in result.reason
    assert not house.is_enabled(alice)


def test_answer_for_another_name_is_refused(
    house: CognitoHouse, alice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = AwsClient.read

    def alias(self: AwsClient, operation: str, *rest: Any, **more: Any) -> Any:
        return ask(self, operation, *rest, **{**more, "Username": alice})

    monkeypatch.setattr(AwsClient, "read", alias)
    assert not house.observe("somebody-else").exists
    assert house.observe(f"{alice}@example.com").exists


def test_alias_is_refused(house: CognitoHouse, alice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = AwsClient.read

    def alias(self: AwsClient, operation: str, *rest: Any, **more: Any) -> Any:
        return ask(self, operation, *rest, **{**more, "Username": alice})

    monkeypatch.setattr(AwsClient, "read", alias)
    (result,) = house.connector.lock([house.order("lock", f"{alice}@example.com")])
    assert (result.state, "an alias" in result.reason) == (EffectState.REFUSED, True)
    assert "an alias" in house.observe(f"{alice}@example.com").obstacle
    assert house.is_enabled(alice)


def test_published_policy_permits_exactly_the_calls(
    house: CognitoHouse, alice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: set[str] = set()

    def noting(ask: Callable[..., Any]) -> Callable[..., Any]:
        def note(client: AwsClient, operation: str, *rest: Any, **more: Any) -> Any:
            called.add(f"cognito-idp:{house.admin.meta.method_to_api_mapping[operation]}")
            return ask(client, operation, *rest, **more)

        return note

    monkeypatch.setattr(AwsClient, "read", noting(AwsClient.read))
    monkeypatch.setattr(AwsClient, "change", noting(AwsClient.change))
    house.sign_in(alice)
    before = house.observe(alice)
    house.lock(alice)
    house.prove(alice)
    house.undo(alice, before)
    house.connector.second_factors()
    (statement,) = json.loads(RIGHTS.read_text())["Statement"]
    # GetUser uses the holder's token, so the connector needs no right for it.
    assert called - {"cognito-idp:GetUser"} == set(statement["Action"])


def test_the_plan_says_that_access_tokens_live_on(house: CognitoHouse) -> None:
    assert any("until they expire" in words for words in house.connector.irreversible)


def test_pool_with_mandatory_factor_lists_nobody(house: CognitoHouse, alice: str) -> None:
    try:
        house.ask_for_factors("ON")
        assert house.connector.second_factors().without == ()
        house.ask_for_factors("OFF")
        house.give_factor(alice)
        assert alice in [one.name for one in house.connector.second_factors().without]
    finally:
        house.ask_for_factors("OPTIONAL")


def test_pool_is_read_within_the_limit(
    house: CognitoHouse, alice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cognito, "PAGE_ROWS", 1)
    for number in range(3):
        house.add(f"page-{number}-{uuid.uuid4().hex[:8]}")
    assert alice in [one.name for one in house.connector.second_factors().without]
    monkeypatch.setattr(second_factors, "MOST_ASKED", 2)
    found = house.connector.second_factors()
    assert (found.looked_at, found.is_whole) == (2, False)
