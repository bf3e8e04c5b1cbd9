"""The SCIM connector on Canaille: accounts, sign-ins and live tokens."""

import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from standfast.adapters.accounts.scim.connector import ScimConnector
from standfast.http_client import Answer
from standfast.records import EffectState, Order, Proof
from tests.adapters.accounts.connect import connect
from tests.adapters.accounts.contract import ConnectorContract, House
from tests.servers.canaille import Canaille, Tokens

PASSWORD = "the holder's own"


class CanailleHouse(House):
    def __init__(self, server: Canaille) -> None:
        self.server = server
        self.known: dict[str, list[Tokens]] = {}
        canary = f"canary-{uuid.uuid4().hex[:8]}"
        server.add(canary, PASSWORD)
        control = server.sign_in(canary, PASSWORD)
        assert control is not None
        self.revocation = {
            "url": server.revocation_url,
            "client_id": server.client_id,
            "client_secret": server.client_secret,
        }
        self.probe = {"url": server.userinfo_url, "control_token": control.access}
        self.connector = self.connect()

    def connect(self, **changed: Any) -> ScimConnector:
        settings: dict[str, Any] = {
            "url": self.server.scim_url,
            "token": self.server.scim_token,
            "revocation": self.revocation,
            "probe": self.probe,
        }
        return connect(ScimConnector, **settings | changed)

    def add(self, name: str, *, is_enabled: bool = True) -> None:
        self.server.add(name, PASSWORD)
        self.server.set_locked(name, not is_enabled)

    def is_enabled(self, name: str) -> bool:
        return not self.server.is_locked(name)

    def set_enabled(self, name: str, is_enabled: bool) -> None:
        self.server.set_locked(name, not is_enabled)

    def stamp(self, name: str) -> object:
        person = self.server.person(name)
        return (person.lock_date, person.last_modified)

    def sign_in(self, name: str) -> bool:
        tokens = self.server.sign_in(name, PASSWORD)
        if tokens is not None:
            self.known.setdefault(name, []).append(tokens)
        return tokens is not None

    def order(self, verb: str, name: str) -> Order:
        tokens = [tokens.access for tokens in self.known.get(name, [])]
        return replace(super().order(verb, name), details={"tokens": tokens})


@pytest.fixture
def house(canaille_server: Canaille) -> Iterator[CanailleHouse]:
    house = CanailleHouse(canaille_server)
    yield house
    house.connector.close()


class TestScimWithTokens(ConnectorContract): ...


def signed_in(house: CanailleHouse, name: str) -> Tokens:
    assert house.sign_in(name)
    return house.known[name][-1]


def test_token_works_only_before_the_lock(house: CanailleHouse, alice: str) -> None:
    old = signed_in(house, alice)
    assert house.server.admits(old)
    before = house.observe(alice)

    assert house.lock(alice).state is EffectState.DONE
    assert not house.server.admits(old)
    assert house.server.refresh(old) is None
    assert not house.sign_in(alice)
    proven = house.prove(alice)
    assert (proven.state, proven.proof) == (EffectState.DONE, Proof.REFUSED)

    assert house.undo(alice, before).state is EffectState.DONE
    new = signed_in(house, alice)
    assert new.access != old.access
    assert house.server.admits(new)
    assert not house.server.admits(old)
    assert house.server.refresh(old) is None


def test_revoked_tokens_do_not_make_a_lock(
    house: CanailleHouse, alice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = signed_in(house, alice)
    nothing = Answer(status=200, headers={}, body=b"{}")
    assert isinstance(house.connector, ScimConnector)
    monkeypatch.setattr(house.connector._client, "patch", lambda *_: nothing)
    assert house.lock(alice).state is EffectState.FAILED
    assert house.is_enabled(alice)
    assert not house.server.admits(old)


def test_browser_session_copy_returns_after_undo(house: CanailleHouse, alice: str) -> None:
    session = house.server.browse(alice, PASSWORD)
    assert house.server.is_signed_in(session)
    before = house.observe(alice)
    assert house.lock(alice).state is EffectState.DONE
    assert not house.server.is_signed_in(session)
    assert house.undo(alice, before).state is EffectState.DONE
    # Canaille stores its sessions only in cookies, so the undo revives them; docs/accounts.md warns
    # of it.
    assert house.server.is_signed_in(session)


def test_disabling_alone_keeps_the_token_alive(house: CanailleHouse, alice: str) -> None:
    old = signed_in(house, alice)
    connector = house.connect(revocation=None)
    (locked,) = connector.lock([house.order("lock", alice)])
    (proven,) = connector.prove([house.order("prove", alice)])
    connector.close()
    assert locked.state is EffectState.DONE
    assert house.server.admits(old)
    assert (proven.state, proven.proof) == (EffectState.FAILED, Proof.NONE)
    assert "still accepted" in proven.reason


def test_revocation_ends_token_and_keeps_account(house: CanailleHouse, alice: str) -> None:
    old = signed_in(house, alice)
    (result,) = house.connector.revoke([house.order("revoke", alice)])
    assert result.state is EffectState.DONE
    assert not house.server.admits(old)
    assert house.server.refresh(old) is None
    assert house.is_enabled(alice)
    assert house.sign_in(alice)


def test_revoking_twice_is_harmless(house: CanailleHouse, alice: str) -> None:
    signed_in(house, alice)
    order = house.order("revoke", alice)
    results = [house.connector.revoke([order])[0] for _ in range(2)]
    assert [result.state for result in results] == [EffectState.DONE, EffectState.DONE]


@pytest.mark.parametrize("is_known", [True, False])
def test_client_without_right_leaves_token_alive(
    house: CanailleHouse, alice: str, is_known: bool
) -> None:
    old = signed_in(house, alice)
    other_id, other_secret = house.server.other_client
    other = {"client_id": other_id, "client_secret": other_secret if is_known else "wrong"}
    connector = house.connect(revocation=house.revocation | other)
    (result,) = connector.revoke([house.order("revoke", alice)])
    connector.close()
    assert result.state is EffectState.FAILED
    assert ("another client" if is_known else "refuses the configured client") in result.reason
    assert house.server.admits(old)


def test_failed_control_token_proves_only_read_back(house: CanailleHouse, alice: str) -> None:
    signed_in(house, alice)
    house.lock(alice)
    connector = house.connect(probe=house.probe | {"control_token": "stale"})
    (proven,) = connector.prove([house.order("prove", alice)])
    connector.close()
    assert (proven.state, proven.proof) == (EffectState.DONE, Proof.READ_BACK)
    assert proven.reason


def test_account_without_known_token_is_not_revoked(house: CanailleHouse, alice: str) -> None:
    (result,) = house.connector.revoke([house.order("revoke", alice)])
    assert result.state is EffectState.REFUSED


def test_the_plan_shows_what_an_undo_cannot_restore(house: CanailleHouse) -> None:
    assert house.connector.proof is Proof.REFUSED
    assert any("tokens" in words for words in house.connector.irreversible)
    assert any("own web pages" in words for words in house.connector.irreversible)
