"""HTTP connectors against a provider with false, slow or broken answers."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from standfast.errors import Unavailable
from standfast.records import EffectState, Proof
from tests.adapters.accounts.contract import House
from tests.adapters.accounts.described import Fault, Provider, serving
from tests.adapters.accounts.test_entra import EntraHouse, EntraProvider
from tests.adapters.accounts.test_google_workspace import GoogleHouse, GoogleProvider
from tests.adapters.accounts.test_okta import OktaHouse, OktaProvider

ALICE = "alice@example.com"
Installation = tuple[House, Provider, str]  # the text is the method of the provider's first change


@contextmanager
def _okta() -> Iterator[Installation]:
    provider = OktaProvider()
    with serving(provider):
        yield OktaHouse(provider), provider, "POST"


@contextmanager
def _entra() -> Iterator[Installation]:
    provider = EntraProvider()
    with serving(provider):
        yield EntraHouse(provider), provider, "PATCH"


@contextmanager
def _google() -> Iterator[Installation]:
    provider = GoogleProvider()
    with serving(provider):
        yield GoogleHouse(provider), provider, "PUT"


@pytest.fixture(params=[_okta, _entra, _google], ids=["okta", "entra", "google_workspace"])
def installation(request: pytest.FixtureRequest) -> Iterator[Installation]:
    with request.param() as installation:
        installation[0].add(ALICE)
        yield installation
        installation[0].connector.close()


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("is_change", [True, False])
def test_busy_provider_is_retried_when_it_asks(
    installation: Installation, status: int, is_change: bool
) -> None:
    house, provider, change = installation
    method = change if is_change else "GET"
    provider.faults.append(Fault(method=method, status=status, headers=(("Retry-After", "7"),)))
    result = house.lock(ALICE)
    assert (result.state, result.retry_after_seconds) == (EffectState.FAILED, 7.0)
    assert house.is_enabled(ALICE)
    assert house.lock(ALICE).state is EffectState.DONE


@pytest.mark.parametrize("takes_place", [True, False])
@pytest.mark.parametrize("status", [0, 500, 502])
def test_broken_change_is_done_only_when_visible(
    installation: Installation, status: int, takes_place: bool
) -> None:
    house, provider, change = installation
    provider.faults.append(Fault(method=change, status=status, takes_place=takes_place))
    result = house.lock(ALICE)
    assert result.state is (EffectState.DONE if takes_place else EffectState.UNKNOWN)
    assert house.is_enabled(ALICE) is not takes_place


def test_a_success_without_effect_is_a_failure(installation: Installation) -> None:
    house, provider, change = installation
    provider.faults.append(Fault(method=change, status=200, body=b"{}"))
    result = house.lock(ALICE)
    assert result.state is EffectState.FAILED
    assert "reported success" in result.reason
    assert result.retry_after_seconds is not None


@pytest.mark.parametrize("status", [400, 422])
def test_rejected_change_is_refused_without_provider_text(
    installation: Installation, status: int
) -> None:
    house, provider, change = installation
    provider.faults.append(Fault(method=change, status=status, body=b"no, alice"))
    result = house.lock(ALICE)
    assert result.state is EffectState.REFUSED
    assert "alice" not in result.reason
    assert house.is_enabled(ALICE)


@pytest.mark.parametrize("status", [401, 403])
def test_refused_credential_is_reported_and_not_retried(
    installation: Installation, status: int
) -> None:
    house, provider, change = installation
    provider.faults += [Fault(method=change, status=status, body=b"alice")] * 2
    result = house.lock(ALICE)
    assert result.state is EffectState.FAILED
    assert "refuses the configured credential" in result.reason
    assert result.retry_after_seconds is None
    assert house.is_enabled(ALICE)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(method="GET"),
        Fault(method="GET", status=500),
        Fault(method="GET", status=200, body=b"<html>"),
        Fault(method="GET", status=200, body=b"[]"),
        Fault(method="GET", status=200, body=b"[" * 100_000),
        Fault(method="GET", status=200, body=b'{"id": 7, "suspended": 7, "primaryEmail": 7}'),
    ],
)
def test_failed_look_up_is_no_absent_account(installation: Installation, fault: Fault) -> None:
    house, provider, change = installation
    provider.faults.append(fault)
    result = house.lock(ALICE)
    # An answer about another account: the requested account does not exist.
    if result.state is EffectState.REFUSED:
        assert b"primaryEmail" in fault.body
    else:
        assert result.state is EffectState.FAILED
        assert result.retry_after_seconds is not None
    assert provider.count(change) == 0
    provider.faults.append(Fault(method="GET", status=302, headers=(("Location", "/x"),)))
    with pytest.raises(Unavailable, match="redirects"):
        house.observe(ALICE)


def test_change_that_cannot_be_read_is_unknown(installation: Installation) -> None:
    house, provider, _ = installation
    act = provider.act
    looks = 0

    def after_the_first_look(call: Any) -> tuple[int, object]:
        nonlocal looks
        looks += 1
        if looks == 1:
            provider.faults.append(Fault(method="GET", status=500))
        return act(call)

    provider.act = after_the_first_look  # the script of one test
    assert house.lock(ALICE).state is EffectState.UNKNOWN
    assert not house.is_enabled(ALICE)


def test_broken_proof_is_a_failure(installation: Installation) -> None:
    house, provider, _ = installation
    house.lock(ALICE)
    provider.faults.append(Fault(method="GET"))
    result = house.prove(ALICE)
    assert (result.state, result.proof) == (EffectState.FAILED, Proof.NONE)
    assert house.prove(ALICE).state is EffectState.DONE


def test_unended_sessions_leave_the_lock_unfinished(
    installation: Installation,
) -> None:
    house, provider, change = installation
    house.set_enabled(ALICE, False)
    method = "DELETE" if isinstance(house, OktaHouse) else "POST"
    provider.faults.append(Fault(method=method, status=429))
    result = house.lock(ALICE)
    assert result.state is EffectState.FAILED
    assert result.retry_after_seconds is not None
    assert house.lock(ALICE).state is EffectState.DONE
    assert provider.count(change) <= 1


def test_a_connector_works_on_after_it_was_closed(installation: Installation) -> None:
    house, _, _ = installation
    house.connector.close()
    assert house.lock(ALICE).state is EffectState.DONE
    house.connector.close()
    house.connector.close()
