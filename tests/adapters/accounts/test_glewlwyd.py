"""The Glewlwyd connector on a real server: passwords, sessions, tokens."""

import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from standfast.adapters.accounts.glewlwyd import Glewlwyd
from standfast.errors import Unavailable
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
from tests.servers.canaille import Tokens
from tests.servers.glewlwyd import (
    ADMIN,
    ADMIN_PASSWORD,
    CLIENT_ID,
    CLIENT_SECRET,
    GlewlwydServer,
)

PASSWORD = "the holder's own"


class GlewlwydHouse(HttpHouse):
    change = b"PUT /"
    patience_seconds = 1.0

    def __init__(self, server: GlewlwydServer) -> None:
        self.relayed = port_of(server.url)
        self.server = server
        self.known: dict[str, list[Tokens]] = {}
        self.connector = self.connect()

    def connect(self, **changed: Any) -> Glewlwyd:
        settings = {"url": self.server.url, "user": ADMIN, "password": ADMIN_PASSWORD}
        return connect(Glewlwyd, **settings | changed)

    def through(self, port: int, seconds: float) -> Glewlwyd:
        return self.connect(url=at_port(self.server.url, port), **hurried(seconds))

    def add(self, name: str, *, is_enabled: bool = True) -> None:
        self.server.add(name, PASSWORD, is_enabled=is_enabled)

    def is_enabled(self, name: str) -> bool:
        return self.server.person(name)["enabled"] is True

    def set_enabled(self, name: str, is_enabled: bool) -> None:
        self.server.set_enabled(name, is_enabled)

    def stamp(self, name: str) -> object:
        return self.server.person(name)

    def sign_in(self, name: str) -> bool:
        tokens = self.server.sign_in(name, PASSWORD)
        if tokens is not None:
            self.known.setdefault(name, []).append(tokens)
        return tokens is not None and self.server.browse(name, PASSWORD) is not None

    def order(self, verb: str, name: str) -> Order:
        tokens = [tokens.access for tokens in self.known.get(name, [])]
        return replace(super().order(verb, name), details={"tokens": tokens})


@pytest.fixture
def house(glewlwyd_server: GlewlwydServer) -> Iterator[GlewlwydHouse]:
    house = GlewlwydHouse(glewlwyd_server)
    yield house
    house.connector.close()


class TestGlewlwyd(ConnectorContract, FaultContract, BusyContract): ...


def signed_in(house: GlewlwydHouse, name: str) -> tuple[Tokens, dict[str, str]]:
    assert house.sign_in(name)
    session = house.server.browse(name, PASSWORD)
    assert session is not None
    return house.known[name][-1], session


def test_old_sessions_and_tokens_stay_refused(house: GlewlwydHouse, alice: str) -> None:
    tokens, session = signed_in(house, alice)
    assert house.server.is_signed_in(session)
    before = house.observe(alice)
    assert before.live_sessions == 3  # two browser sessions and one refresh token

    assert house.lock(alice).state is EffectState.DONE
    assert not house.server.is_signed_in(session)
    assert house.server.refresh(tokens) is None
    assert not house.sign_in(alice)
    proven = house.prove(alice)
    assert (proven.state, proven.proof) == (EffectState.DONE, Proof.SESSIONS_GONE)

    assert house.undo(alice, before).state is EffectState.DONE
    assert not house.server.is_signed_in(session)
    assert house.server.refresh(tokens) is None
    new, new_session = signed_in(house, alice)
    assert house.server.admits(new)
    assert house.server.is_signed_in(new_session)


def test_undo_ends_suspended_sessions(house: GlewlwydHouse, alice: str) -> None:
    tokens, session = signed_in(house, alice)
    before = house.observe(alice)
    house.set_enabled(alice, False)
    assert not house.server.is_signed_in(session)
    assert house.undo(alice, before).state is EffectState.DONE
    assert house.sign_in(alice)
    assert not house.server.is_signed_in(session)
    assert house.server.refresh(tokens) is None


def test_disabling_alone_keeps_the_refresh_token(house: GlewlwydHouse, alice: str) -> None:
    tokens, _ = signed_in(house, alice)
    house.set_enabled(alice, False)
    proven = house.prove(alice)
    assert house.server.refresh(tokens) is not None
    assert (proven.state, proven.proof) == (EffectState.FAILED, Proof.NONE)
    assert "still live" in proven.reason


def test_refused_known_token_is_the_proof(house: GlewlwydHouse, alice: str) -> None:
    control, _ = signed_in(house, alice)
    other = f"bob-{uuid.uuid4().hex[:8]}"
    house.add(other)
    tokens, _ = signed_in(house, other)
    revocation = {
        "url": house.server.revocation_url,
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
    }
    probe = {"url": house.server.userinfo_url, "control_token": control.access}
    connector = house.connect(revocation=revocation, probe=probe)
    unrevoked = house.connect(probe=probe)
    house.connector.lock([house.order("lock", other)])
    (open_still,) = unrevoked.prove([house.order("prove", other)])
    assert house.server.admits(tokens)
    assert open_still.state is EffectState.FAILED
    (locked,) = connector.lock([house.order("lock", other)])
    (proven,) = connector.prove([house.order("prove", other)])
    connector.close()
    unrevoked.close()
    assert locked.state is EffectState.DONE
    assert not house.server.admits(tokens)
    assert (proven.state, proven.proof) == (EffectState.DONE, Proof.REFUSED)


def test_revocation_ends_sessions_and_keeps_account(house: GlewlwydHouse, alice: str) -> None:
    tokens, session = signed_in(house, alice)
    (first,) = house.connector.revoke([house.order("revoke", alice)])
    (second,) = house.connector.revoke([house.order("revoke", alice)])
    assert [result.state for result in (first, second)] == [EffectState.DONE, EffectState.DONE]
    assert (first.facts["changed"], second.facts["changed"]) == (True, False)
    assert not house.server.is_signed_in(session)
    assert house.server.refresh(tokens) is None
    assert house.sign_in(alice)


def test_lock_keeps_other_attributes(house: GlewlwydHouse, alice: str) -> None:
    untouched = house.server.person(alice)
    before = house.observe(alice)
    house.lock(alice)
    assert house.server.person(alice) == {**untouched, "enabled": False}
    house.undo(alice, before)
    assert house.server.person(alice) == untouched


def test_sessions_on_all_pages_are_ended(
    house: GlewlwydHouse, alice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("standfast.adapters.accounts.glewlwyd.PAGE_ROWS", 2)
    sessions = [signed_in(house, alice)[1] for _ in range(2)]
    sessions.append(signed_in(house, alice)[1])
    assert house.observe(alice).live_sessions == 9
    assert house.lock(alice).state is EffectState.DONE
    assert house.observe(alice).live_sessions == 0
    assert not any(house.server.is_signed_in(session) for session in sessions)


def test_own_wrong_password_is_reported_not_shown(house: GlewlwydHouse) -> None:
    connector = house.connect(password="mistyped")
    with pytest.raises(Unavailable, match="refuses the configured credential") as caught:
        connector.observe(["alice"])
    connector.close()
    assert "mistyped" not in str(caught.value)
    assert caught.value.retry_after_seconds is None


def test_a_plugin_that_is_not_there_is_said(house: GlewlwydHouse, alice: str) -> None:
    connector = house.connect(plugin="elsewhere")
    with pytest.raises(Unavailable, match="plugin"):
        connector.observe([alice])
    connector.close()


def test_the_plan_shows_what_an_undo_cannot_restore(house: GlewlwydHouse) -> None:
    assert any("sessions" in words for words in house.connector.irreversible)
