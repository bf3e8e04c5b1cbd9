"""Many accounts in one call to an LDAP directory, and faults within it."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from standfast.adapters.accounts.base.ldap_entry_lookup import by_ids, by_names
from standfast.adapters.accounts.openldap import OpenldapConnector
from standfast.adapters.clients.ldap.client import LdapConnection, LdapServer
from standfast.adapters.clients.ldap.entries import LdapEntry
from standfast.errors import Unavailable
from standfast.records import EffectState, Order
from standfast.time_limit import Deadline
from tests.adapters.accounts.connect import connect
from tests.adapters.accounts.rotation_contract import Recipient
from tests.servers.slapd import PEOPLE, Slapd

SERVER = LdapServer(host="localhost", bind_dn="cn=us", password="unused", base="dc=example")
FOR_GOOD = b"000001010000Z"
LOCKED = "pwdAccountLockedTime"


def entry(*names: str, number: int = 1) -> LdapEntry:
    values = tuple(name.encode() for name in names)
    identity = (f"id{number}".encode(),)
    return LdapEntry(dn=f"cn={number}", attributes={"uid": values, "entryuuid": identity})


class Answers:
    """A directory that ignores case and counts searches."""

    def __init__(self, *entries: LdapEntry, also: Mapping[str, LdapEntry] | None = None) -> None:
        self.entries = entries
        self.also = also or {}  # further entries that its matching rule returns, by name
        self.searches = 0

    def __call__(self, attribute: str, values: Sequence[bytes]) -> list[LdapEntry]:
        self.searches += 1
        asked = {value.lower() for value in values}
        found = [
            one
            for one in self.entries
            if asked.intersection(value.lower() for value in one.values(attribute))
        ]
        found += [one for name, one in self.also.items() if name.encode() in values]
        return found


def test_a_hundred_names_take_two_searches() -> None:
    names = [f"agent{number}" for number in range(100)]
    answers = Answers(*(entry(name, number=n) for n, name in enumerate(names)))
    found = by_names(answers, "uid", names)
    assert {name: found[name].dn for name in names} == {  # type: ignore[union-attr]  # all found
        name: f"cn={number}" for number, name in enumerate(names)
    }
    assert answers.searches == 2


def test_name_is_matched_without_its_case() -> None:
    answers = Answers(entry("Alice", number=1), entry("bob", number=2))
    found = by_names(answers, "uid", ["ALICE", "bob"])
    assert found == {"ALICE": answers.entries[0], "bob": answers.entries[1]}


def test_missing_name_is_searched_alone_and_absent() -> None:
    answers = Answers(entry("alice"))
    assert by_names(answers, "uid", ["alice", "nobody"])["nobody"] is None
    assert answers.searches == 2


def test_directory_alias_is_found_by_single_search() -> None:
    strasse = entry("strasse", number=2)
    answers = Answers(entry("alice"), also={"straße": strasse})
    assert by_names(answers, "uid", ["alice", "straße"])["straße"] == strasse


def test_duplicate_name_spoils_only_itself() -> None:
    answers = Answers(entry("alice", number=1), entry("Alice", number=2), entry("bob", number=3))
    found = by_names(answers, "uid", ["ALICE", "bob"])
    assert isinstance(found["ALICE"], Unavailable)
    assert found["bob"] == answers.entries[2]


def test_account_with_two_names_is_one() -> None:
    names = ["alice", *(f"x{number}" for number in range(60)), "alicia"]
    both = entry("alice", "alicia")
    found = by_names(Answers(both), "uid", names)
    assert found["alice"] == found["alicia"] == both


def test_ids_are_found_together() -> None:
    answers = Answers(entry("alice", number=1), entry("bob", number=2))
    values = {name: name.encode() for name in ("id1", "id2", "id3")}
    alice, bob = answers.entries
    assert by_ids(answers, "entryUUID", values) == {"id1": alice, "id2": bob, "id3": None}


@pytest.fixture
def server(openldap_account: LdapServer) -> LdapServer:
    return openldap_account


@pytest.fixture
def one_connection(server: LdapServer) -> Iterator[OpenldapConnector]:
    """A directory with calls over one connection, in known order."""
    directory = connect(OpenldapConnector, workers=1, **asdict(server))
    yield directory
    directory.close()


def orders_for(slapd: Slapd, directory: OpenldapConnector, count: int) -> list[Order]:
    """Add people; return the orders that lock them, as an effect queue does."""
    names = [f"many-{uuid.uuid4().hex[:8]}" for _ in range(count)]
    for name in names:
        slapd.add(name)
    return [
        Order(token=uuid.uuid4().hex, verb="accounts.lock", target=name, prior=state.prior)
        for name, state in zip(names, directory.observe(names), strict=True)
    ]


def locked_of(slapd: Slapd, orders: Sequence[Order]) -> list[bool]:
    return [FOR_GOOD in slapd.read(f"uid={one.target},{PEOPLE}", LOCKED)[LOCKED] for one in orders]


@pytest.mark.xdist_group("slapd")
def test_a_batch_is_locked_proven_and_given_back(
    slapd_server: Slapd, one_connection: OpenldapConnector
) -> None:
    orders = orders_for(slapd_server, one_connection, 9)
    everywhere = [EffectState.DONE] * 9
    assert [one.state for one in one_connection.lock(orders)] == everywhere
    assert locked_of(slapd_server, orders) == [True] * 9
    assert [one.state for one in one_connection.prove(orders)] == everywhere
    again = one_connection.lock(orders)
    assert [one.facts["changed"] for one in again] == [False] * 9
    assert [one.state for one in one_connection.undo(orders)] == everywhere
    assert locked_of(slapd_server, orders) == [False] * 9


@pytest.mark.xdist_group("slapd")
def test_broken_call_leaves_only_begun_accounts_unknown(
    slapd_server: Slapd, one_connection: OpenldapConnector, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = orders_for(slapd_server, one_connection, 6)
    written = 0
    real = LdapConnection.replace

    def breaking(self: LdapConnection, dn: str, *args: Any, **more: Any) -> int:
        nonlocal written
        written += 1
        if written == 3:
            raise ConnectionResetError
        return real(self, dn, *args, **more)

    with monkeypatch.context() as patched:
        patched.setattr(LdapConnection, "replace", breaking)
        results = one_connection.lock(orders)
    assert [one.state for one in results] == [EffectState.UNKNOWN] * 3 + [EffectState.FAILED] * 3
    assert all(one.retry_after_seconds is not None for one in results[3:])
    assert [one.is_untried for one in results] == [False] * 3 + [True] * 3
    assert locked_of(slapd_server, orders) == [True] * 2 + [False] * 4
    assert {one.state for one in one_connection.lock(orders)} == {EffectState.DONE}


@pytest.mark.xdist_group("slapd")
def test_broken_rotation_keeps_the_sealed_password(
    slapd_server: Slapd,
    server: LdapServer,
    recipient: Recipient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    secrets = recipient.new_secrets()
    directory = connect(OpenldapConnector, new_secrets=secrets, workers=1, **asdict(server))
    orders = orders_for(slapd_server, directory, 3)
    real = LdapConnection.replace

    def breaking(self: LdapConnection, dn: str, *args: Any, **more: Any) -> int:
        if orders[1].target in dn:
            raise ConnectionResetError
        return real(self, dn, *args, **more)

    with monkeypatch.context() as patched:
        patched.setattr(LdapConnection, "replace", breaking)
        results = directory.rotate(orders)
    directory.close()
    done, unknown = EffectState.DONE, EffectState.UNKNOWN
    assert [one.state for one in results] == [done, unknown, done]
    for result in (results[0], results[2]):
        password = recipient.open(Path(str(result.facts["sealed_in"])))["password"]
        connection = slapd_server.connect(f"uid={result.target},{PEOPLE}", password)
        assert connection is not None
        connection.unbind()


@pytest.mark.xdist_group("slapd")
def test_work_without_time_waits_for_the_next_attempt(
    slapd_server: Slapd, one_connection: OpenldapConnector, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = orders_for(slapd_server, one_connection, 3)
    nearly_none = one_connection.limits.timeout_seconds / 3 - 0.1
    done, failed = EffectState.DONE, EffectState.FAILED
    with monkeypatch.context() as patched:
        patched.setattr(Deadline, "left_seconds", lambda _: nearly_none)
        results = one_connection.lock(orders)
        assert [one.state for one in results] == [done, failed, failed]
        assert results[1].retry_after_seconds is not None
        assert [one.is_untried for one in results] == [False, True, True]
        assert locked_of(slapd_server, orders) == [True, False, False]
    one_connection.lock(orders)
    monkeypatch.setattr(Deadline, "left_seconds", lambda _: nearly_none)
    assert [one.state for one in one_connection.prove(orders)] == [done, failed, failed]


@pytest.mark.xdist_group("slapd")
def test_refused_account_does_not_stop_the_others(
    slapd_server: Slapd, one_connection: OpenldapConnector
) -> None:
    orders = orders_for(slapd_server, one_connection, 4)
    orders[1] = replace(orders[1], target="nobody-of-this-name")
    orders[2] = replace(orders[2], prior={"id": "another"})
    results = one_connection.lock(orders)
    assert [one.state for one in results] == [
        EffectState.DONE,
        EffectState.REFUSED,
        EffectState.REFUSED,
        EffectState.DONE,
    ]


@pytest.mark.parametrize("workers", [1, 16, 64])
def test_call_uses_the_configured_connections(workers: int) -> None:
    directory = connect(OpenldapConnector, workers=workers, **asdict(SERVER))
    assert directory.limits.workers == 1, "one call at a time"
    size, at_once = directory._parts_of(directory.limits.batch)
    assert at_once == workers
    assert directory.limits.batch <= size * at_once < directory.limits.batch + at_once
    assert directory.limits.batch == min(32 * workers, 1000)
