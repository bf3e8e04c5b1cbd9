"""The Amazon Connect connector on a fake, checked by the SDK."""

import json
import uuid
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from standfast.adapters.accounts.amazon_connect import (
    BURST,
    AmazonConnect,
    Pace,
)
from standfast.adapters.accounts.base.aws_client import AwsClient
from standfast.adapters.accounts.base.per_account_connector import ProviderRefused
from standfast.config.sections.accounts import AmazonConnectConfig
from standfast.errors import Unavailable
from standfast.records import EffectState, Proof
from standfast.time_limit import Deadline
from tests.adapters.accounts.connect import connect, context
from tests.adapters.accounts.contract import ConnectorContract
from tests.adapters.accounts.fault_contract import (
    BusyContract,
    FaultContract,
    HttpHouse,
    at_port,
    hurried,
    port_of,
)
from tests.adapters.settings import settings_of
from tests.servers.amazon_connect import Clock, ConnectInstance, running_amazon_connect

RIGHTS = Path(__file__).parents[3] / "deploy" / "aws" / "amazon_connect-policy.json"


class NoPace(Pace):
    """A pace without any wait."""

    def wait(self, operation: str, deadline: Deadline) -> None:
        pass


class ConnectHouse(HttpHouse):
    change = b"/security-profiles HTTP"
    success = b"{}"
    patience_seconds = 1.0

    def __init__(self, instance: ConnectInstance) -> None:
        self.relayed = port_of(instance.url)
        self.instance = instance
        instance.is_throttling = False
        self.connector = self.connect()

    @property
    def settings(self) -> dict[str, Any]:
        return {
            "region": "eu-west-2",
            "endpoint_url": self.instance.url,
            "access_key_id": "AKIDEXAMPLE",
            "secret_access_key": "hunter2",
            "instance_id": self.instance.id,
            "no_access_security_profile": self.instance.no_access,
            "no_contacts_routing_profile": self.instance.no_contacts,
            "offline_status": self.instance.offline,
            "per_second": None,
        }

    def connect(self, pace: Pace | None = None, **changed: Any) -> AmazonConnect:
        return connect(partial(AmazonConnect, pace=pace or NoPace()), **self.settings | changed)

    def through(self, port: int, seconds: float) -> AmazonConnect:
        url = at_port(self.instance.url, port)
        return self.connect(endpoint_url=url, **hurried(seconds))

    def add(self, name: str, *, is_enabled: bool = True) -> None:
        self.instance.add(name, is_enabled=is_enabled)

    def is_enabled(self, name: str) -> bool:
        return self.instance.by_name(name).security_profiles != [self.instance.no_access]

    def set_enabled(self, name: str, is_enabled: bool) -> None:
        profile = self.instance.agent_profile if is_enabled else self.instance.no_access
        self.instance.by_name(name).security_profiles = [profile]

    def stamp(self, name: str) -> object:
        return self.instance.by_name(name).changes

    def sign_in(self, name: str) -> bool:
        return self.instance.admits(name)


@pytest.fixture(scope="module")
def agents() -> Iterator[ConnectHouse]:
    """One imitation for all tests; each test has its own users.

    It is shared because the SDK needs long to read its description.
    """
    with running_amazon_connect() as instance:
        house = ConnectHouse(instance)
        yield house
        house.connector.close()


@pytest.fixture
def house(agents: ConnectHouse) -> ConnectHouse:
    agents.instance.asked.clear()
    return agents


@pytest.fixture
def throttled(house: ConnectHouse) -> Iterator[ConnectHouse]:
    """The imitation with Connect's limit of requests.

    Other tests have no limit, because their clock does not move.
    """
    house.instance.clock.sleep(60.0)
    house.instance.is_throttling = True
    yield house
    house.instance.is_throttling = False


class TestAmazonConnect(ConnectorContract, FaultContract, BusyContract):
    @pytest.fixture
    def house(self, agents: ConnectHouse) -> ConnectHouse:
        return agents


def test_lock_removes_profiles_and_undo_restores_them(house: ConnectHouse, alice: str) -> None:
    user = house.instance.by_name(alice)
    user.security_profiles = sorted([house.instance.agent_profile, house.instance.no_access])
    had = list(user.security_profiles)
    before = house.observe(alice)
    assert before.is_enabled

    assert house.lock(alice).state is EffectState.DONE
    assert user.security_profiles == [house.instance.no_access]
    assert user.routing_profile == house.instance.no_contacts
    assert user.status == "offline"
    assert not house.instance.admits(alice)
    proven = house.prove(alice)
    assert (proven.state, proven.proof) == (EffectState.DONE, Proof.READ_BACK)

    assert house.undo(alice, before).state is EffectState.DONE
    assert user.security_profiles == had
    assert user.routing_profile == house.instance.routing
    assert house.instance.admits(alice)


@pytest.mark.parametrize("what", ["security", "routing"])
def test_profiles_assigned_after_the_lock_are_kept(
    house: ConnectHouse, alice: str, what: str
) -> None:
    user = house.instance.by_name(alice)
    before = house.observe(alice)
    house.lock(alice)
    if what == "security":
        user.security_profiles = ["of-a-trainee"]
    else:
        user.routing_profile = "of-a-trainee"
    had = house.stamp(alice)
    undone = house.undo(alice, before)
    assert (undone.state, "somebody changed them" in undone.reason) == (EffectState.REFUSED, True)
    assert house.stamp(alice) == had


def test_unlocked_routing_profile_is_not_touched(house: ConnectHouse, alice: str) -> None:
    connector = house.connect(no_contacts_routing_profile=None)
    user = house.instance.by_name(alice)
    (before,) = connector.observe([alice])
    connector.lock([house.order("lock", alice)])
    user.routing_profile = "of-the-evening-shift"
    (undone,) = connector.undo([replace(house.order("undo", alice), prior=before.prior)])
    connector.close()
    assert undone.state is EffectState.DONE
    assert house.instance.admits(alice)
    assert user.routing_profile == "of-the-evening-shift"


def test_plan_states_that_sessions_remain(house: ConnectHouse) -> None:
    assert "revoke" not in house.connector.verbs
    assert any("contact" in words for words in house.connector.irreversible)


def test_routing_and_status_stay_where_none_is_configured(house: ConnectHouse, alice: str) -> None:
    connector = house.connect(no_contacts_routing_profile=None, offline_status=None)
    (result,) = connector.lock([house.order("lock", alice)])
    connector.close()
    user = house.instance.by_name(alice)
    assert result.state is EffectState.DONE
    assert (user.routing_profile, user.status) == (house.instance.routing, "available")


def test_agents_are_distinguished_by_case(
    house: ConnectHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(house.instance, "page_size", 1)
    name = f"alice-{uuid.uuid4().hex[:8]}"
    house.add(name.upper())
    assert house.observe(name).exists  # the only user with this name in any case
    house.add(name)
    house.lock(name)
    assert (house.is_enabled(name.upper()), house.is_enabled(name)) == (True, False)
    result = house.lock(name.capitalize())
    assert result.state is EffectState.FAILED
    assert "several agents" in result.reason


@pytest.mark.parametrize("profile", ["agent_profile", "id"])
def test_unsafe_security_profile_locks_nobody(
    house: ConnectHouse, alice: str, profile: str
) -> None:
    connector = house.connect(no_access_security_profile=getattr(house.instance, profile))
    (result,) = connector.lock([house.order("lock", alice)])
    connector.close()
    assert result.state is EffectState.FAILED
    assert "no_access_security_profile" in result.reason
    assert house.stamp(alice) == 0


def test_looking_at_many_agents_keeps_to_connects_pace(throttled: ConnectHouse) -> None:
    names = [f"agent-{uuid.uuid4().hex[:8]}" for _ in range(20)]
    for name in names:
        throttled.add(name)
    clock = throttled.instance.clock
    began = clock.now()
    connector = throttled.connect(Pace(monotonic=clock.now, sleep=clock.sleep), workers=1)
    states = connector.observe(names)
    connector.close()
    assert all(state.exists for state in states)
    assert clock.now() - began >= (20 - BURST) / 2


def test_throttled_request_is_retried_later(
    throttled: ConnectHouse,
) -> None:
    names = [f"agent-{uuid.uuid4().hex[:8]}" for _ in range(8)]
    for name in names:
        throttled.add(name)
    results = throttled.connector.lock([throttled.order("lock", name) for name in names])
    busy = [result for result in results if result.state is EffectState.FAILED]
    assert busy
    assert {result.reason for result in busy} == {"AWS is busy"}
    assert all(result.retry_after_seconds for result in busy)
    for result in busy:
        throttled.instance.clock.sleep(60.0)
        assert throttled.lock(result.target).state is EffectState.DONE
    assert not any(throttled.is_enabled(name) for name in names)


def test_late_turn_is_not_awaited() -> None:
    clock = Clock()
    pace = Pace(monotonic=clock.now, sleep=clock.sleep)
    for _ in range(BURST):
        pace.wait("describe_user", Deadline(1.0))
    began = clock.now()
    pace.wait("search_users", Deadline(1.0))
    assert clock.now() == began  # each operation has its own pace
    pace.wait("describe_user", Deadline(1.0))
    assert clock.now() == began + 0.5
    with pytest.raises(Unavailable) as caught:
        pace.wait("describe_user", Deadline(0.1))
    assert caught.value.retry_after_seconds is not None


def test_published_policy_permits_exactly_the_calls(house: ConnectHouse, alice: str) -> None:
    connector = house.connect()
    (before,) = connector.observe([alice])
    connector.lock([house.order("lock", alice)])
    connector.undo([replace(house.order("undo", alice), prior=before.prior)])
    connector.close()
    (statement,) = json.loads(RIGHTS.read_text())["Statement"]
    assert {f"connect:{operation}" for operation in house.instance.asked} == set(
        statement["Action"]
    )


def test_the_imitation_takes_only_what_the_sdk_describes(house: ConnectHouse, alice: str) -> None:
    client = AwsClient("connect", settings_of(AmazonConnectConfig, **house.settings), context())
    with pytest.raises(ProviderRefused, match="UnknownOperation"):
        client.change(
            "delete_user",
            Deadline(10.0),
            InstanceId=house.instance.id,
            UserId=house.instance.by_name(alice).id,
        )
    client.close()
