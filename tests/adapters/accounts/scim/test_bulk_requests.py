"""Many SCIM accounts in one request, on scim2-server and on fakes."""

import json
import uuid
from collections.abc import Iterator
from dataclasses import replace

import pytest

from standfast.adapters.accounts.scim.connector import ScimConnector
from standfast.records import EffectState, Order, Proof, Result
from tests.adapters.accounts import connect as connecting
from tests.adapters.accounts.contract import ConnectorContract, House
from tests.adapters.accounts.scim.test_connector import ScimHouse
from tests.adapters.accounts.scripted import Behaviour, Exchange, Scripted, applying_then, replying
from tests.adapters.accounts.scripted_scim import connect, order
from tests.servers import growing
from tests.servers.scim import ScimServer

NAMES = [f"agent-{number}" for number in range(7)]
OFFER = {"supported": True, "maxOperations": 100, "maxPayloadSize": 1_000_000}


class BulkHouse(ScimHouse):
    """A house that adds a bystander to each call, so a call has two accounts."""

    def __init__(self, server: ScimServer) -> None:
        super().__init__(server)
        self.connector = connecting.connect(
            ScimConnector, url=server.url, token=server.token, bulk=100
        )
        self._absent = Order(token=uuid.uuid4().hex, verb="accounts.lock", target="no-bystander")

    def lock(self, name: str) -> Result:
        result, beside = self.connector.lock([self.order("lock", name), self._absent])
        assert beside.state is EffectState.REFUSED
        return result

    def undo(self, name: str, before: object) -> Result:
        prior = getattr(before, "prior", {})
        result, _ = self.connector.undo(
            [replace(self.order("undo", name), prior=prior), self._absent]
        )
        return result


class TestScimBulk(ConnectorContract):
    @pytest.fixture
    def house(self, scim_server: ScimServer) -> Iterator[BulkHouse]:
        house = BulkHouse(scim_server)
        yield house
        house.connector.close()

    def test_forty_accounts_are_locked_proven_and_undone(self, house: House) -> None:
        names = [f"agent-{number:02}" for number in range(40)]
        for name in names:
            house.add(name, is_enabled=name != "agent-07")
        before = {state.name: state for state in house.connector.observe(names)}
        for start in (0, 20):
            some = names[start : start + 20]
            locked = house.connector.lock([house.order("lock", name) for name in some])
            assert {result.state for result in locked} == {EffectState.DONE}
            proven = house.connector.prove([house.order("prove", name) for name in some])
            assert {result.proof for result in proven} == {Proof.READ_BACK}
        assert not any(state.is_enabled for state in house.connector.observe(names))
        for start in (0, 20):
            orders = [
                replace(house.order("undo", name), prior=before[name].prior)
                for name in names[start : start + 20]
            ]
            assert {r.state for r in house.connector.undo(orders)} == {EffectState.DONE}
        disabled = [s.name for s in house.connector.observe(names) if not s.is_enabled]
        assert disabled == ["agent-07"]


@pytest.fixture
def crowd(directory: Scripted) -> Scripted:
    """A directory with alice and seven agents that supports Bulk."""
    directory.offers = dict(OFFER)
    for name in NAMES:
        directory.add(name)
    return directory


@pytest.fixture
def bulk(crowd: Scripted) -> Iterator[ScimConnector]:
    connector = connect(crowd.url, batch=100)
    yield connector
    connector.close()


def lock_all(connector: ScimConnector) -> list[Result]:
    return connector.lock([order(target=name) for name in NAMES])


def active(directory: Scripted) -> list[str]:
    return [account.name for account in directory.accounts if account.active]


def test_many_locks_take_four_requests(crowd: Scripted, bulk: ScimConnector) -> None:
    results = lock_all(bulk)
    assert {(result.state, result.proof) for result in results} == {
        (EffectState.DONE, Proof.READ_BACK)
    }
    assert active(crowd) == ["alice"]
    asked = [(one.method, one.path) for one in crowd.asked]
    assert asked == [
        ("GET", "/ServiceProviderConfig"),
        ("GET", "/Users"),
        ("POST", "/Bulk"),
        ("GET", "/Users"),
    ]
    lock_all(bulk)
    assert crowd.count("POST", "/Bulk") == 1  # the accounts are already as requested
    assert crowd.count("GET", "/ServiceProviderConfig") == 1


@pytest.mark.parametrize(
    "offers",
    [
        None,
        {"supported": False},
        {"supported": True},
        {"supported": True, "maxOperations": 0, "maxPayloadSize": 1},
    ],
)
def test_directory_without_bulk_is_asked_singly(
    crowd: Scripted, bulk: ScimConnector, offers: dict[str, bool] | None
) -> None:
    crowd.offers = offers
    assert {result.state for result in lock_all(bulk)} == {EffectState.DONE}
    assert active(crowd) == ["alice"]
    assert (crowd.count("POST"), crowd.count("PATCH")) == (0, len(NAMES))


@pytest.mark.parametrize("status", [403, 500])
def test_unreadable_bulk_offer_prevents_no_lock(
    crowd: Scripted, bulk: ScimConnector, status: int
) -> None:
    crowd.script("GET", replying(status))
    assert {result.state for result in lock_all(bulk)} == {EffectState.DONE}
    assert active(crowd) == ["alice"]


@pytest.mark.parametrize("status", [400, 404, 405, 413, 501])
def test_refused_bulk_falls_back_once(crowd: Scripted, bulk: ScimConnector, status: int) -> None:
    crowd.script("POST", replying(status))
    assert {result.state for result in lock_all(bulk)} == {EffectState.DONE}
    assert active(crowd) == ["alice"]
    bulk.undo([order("undo", name, {"id": f"id-{name}", "active": True}) for name in NAMES])
    assert sorted(active(crowd)) == sorted(["alice", *NAMES])
    assert crowd.count("POST") == 1


def test_request_respects_the_bulk_limit(crowd: Scripted, bulk: ScimConnector) -> None:
    crowd.offers = {**OFFER, "maxOperations": 3}
    assert {result.state for result in lock_all(bulk)} == {EffectState.DONE}
    assert crowd.count("POST", "/Bulk") == 3
    bodies = [one.body for one in crowd.asked if one.method == "POST"]
    crowd.offers = {**OFFER, "maxPayloadSize": max(map(len, bodies))}
    fresh = connect(crowd.url, batch=100)
    fresh.undo([order("undo", name, {"id": f"id-{name}", "active": True}) for name in NAMES])
    fresh.close()
    sizes = [len(one.body) for one in crowd.asked if one.method == "POST"]
    assert max(sizes[3:]) <= max(map(len, bodies))
    assert len(sizes) > 5


@pytest.mark.parametrize(
    ("status", "state", "may_retry"),
    [
        ("404", EffectState.REFUSED, False),
        ("400", EffectState.REFUSED, False),
        ("403", EffectState.FAILED, False),
        ("412", EffectState.FAILED, True),
        ("429", EffectState.FAILED, True),
        ("500", EffectState.UNKNOWN, False),
        ("what", EffectState.UNKNOWN, False),
    ],
)
def test_each_operation_has_an_answer_of_its_own(
    crowd: Scripted, bulk: ScimConnector, status: str, state: EffectState, may_retry: bool
) -> None:
    crowd.refusals["/Users/id-agent-3"] = status
    results = lock_all(bulk)
    struck = results.pop(3)
    assert struck.target == "agent-3"
    assert struck.state is state
    assert (struck.retry_after_seconds is not None) is may_retry
    assert {result.state for result in results} == {EffectState.DONE}
    assert active(crowd) == ["alice", "agent-3"]


@pytest.mark.parametrize("status", [429, 503])
def test_busy_bulk_is_retried_when_asked(crowd: Scripted, bulk: ScimConnector, status: int) -> None:
    crowd.script("POST", replying(status, Retry_After="7"))
    results = lock_all(bulk)
    assert {(one.state, one.retry_after_seconds) for one in results} == {(EffectState.FAILED, 7.0)}
    assert len(active(crowd)) == 8


def drop(exchange: Exchange) -> None:
    exchange.drop()


@pytest.mark.parametrize("behaviour", [drop, applying_then(drop)])
def test_dropped_bulk_leaves_all_unknown(
    crowd: Scripted, bulk: ScimConnector, behaviour: Behaviour
) -> None:
    crowd.script("POST", behaviour)
    assert {result.state for result in lock_all(bulk)} == {EffectState.UNKNOWN}
    assert (crowd.count("POST"), crowd.count("PATCH")) == (1, 0)


@pytest.mark.parametrize("takes_place", [False, True])
def test_unanswered_bulk_is_unknown_until_looked_up(crowd: Scripted, takes_place: bool) -> None:
    def hang(exchange: Exchange) -> None:
        exchange.hang()

    crowd.script("POST", applying_then(hang) if takes_place else hang)
    for seconds in growing(0.5):
        connector = connect(crowd.url, seconds=seconds, batch=100)
        results = lock_all(connector)
        connector.close()
        if crowd.count("POST"):
            break
    assert {result.state for result in results} == {EffectState.UNKNOWN}
    connector = connect(crowd.url, batch=100)
    assert (crowd.count("POST"), crowd.count("PATCH")) == (1, 0)
    seen = {state.is_enabled for state in connector.observe(NAMES)}
    assert seen == {not takes_place}
    assert {result.state for result in lock_all(connector)} == {EffectState.DONE}
    assert crowd.count("POST") == (1 if takes_place else 2)
    connector.close()


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"Operations": 7}', b'{"Operations": [7]}', b"[" * 9000]
)
@pytest.mark.parametrize("status", [200, 500])
def test_garbled_bulk_is_settled_by_reading_back(
    crowd: Scripted, bulk: ScimConnector, status: int, body: bytes
) -> None:
    crowd.script("POST", applying_then(replying(status, body)))
    assert {result.state for result in lock_all(bulk)} == {EffectState.DONE}


def test_a_bulk_that_lies_is_a_failure(crowd: Scripted, bulk: ScimConnector) -> None:
    lie = {
        "Operations": [
            {"method": "PATCH", "bulkId": str(place), "status": {"code": "200"}}
            for place in range(len(NAMES))
        ]
    }
    crowd.script("POST", replying(200, json.dumps(lie).encode()))
    results = lock_all(bulk)
    assert {result.state for result in results} == {EffectState.FAILED}
    assert all("reported success" in result.reason for result in results)


def test_a_directory_that_ignores_filters_locks_nobody_else(
    crowd: Scripted, bulk: ScimConnector
) -> None:
    crowd.ignores_filters = True
    crowd.page_size = 3
    assert {result.state for result in lock_all(bulk)} == {EffectState.DONE}
    assert active(crowd) == ["alice"]


def test_refused_long_filter_asks_singly(crowd: Scripted, bulk: ScimConnector) -> None:
    crowd.takes_or = False
    assert {result.state for result in lock_all(bulk)} == {EffectState.DONE}
    assert active(crowd) == ["alice"]
    assert crowd.count("POST", "/Bulk") == 1
