"""The OpenLDAP connector on a real server, with the documented rights."""

import uuid
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import pytest

from standfast.adapters.accounts.base.new_passwords import NewPasswords
from standfast.adapters.accounts.openldap import OpenldapConnector
from standfast.adapters.clients.ldap.client import LdapServer, LdapTls, sign_in
from standfast.errors import ConfigurationError, Unavailable
from standfast.records import EffectState, Proof
from tests.adapters.accounts.connect import connect
from tests.adapters.accounts.contract import ConnectorContract, order
from tests.adapters.accounts.fault_contract import BusyLdapContract, FaultContract, hurried
from tests.adapters.accounts.rotation_contract import (
    LostAnswerContract,
    Recipient,
    RelayedRotationHouse,
    RotationContract,
)
from tests.adapters.accounts.server_contract import Secured, ServerHouse, TlsContract
from tests.servers import free_port
from tests.servers.relay import Relay, running_relay
from tests.servers.slapd import PEOPLE, SUFFIX, Slapd

pytestmark = pytest.mark.xdist_group("slapd")

FOR_GOOD = "000001010000Z"
LOCKED = "pwdAccountLockedTime"


@pytest.fixture
def server(openldap_account: LdapServer) -> LdapServer:
    return openldap_account


class OpenldapHouse(RelayedRotationHouse, ServerHouse):
    change = FOR_GOOD.encode()
    # An unlock contains this attribute name with an empty set of values.
    undo_change = b"pwdAccountLockedTime1\0"
    password_change = b"{SSHA}"

    def __init__(
        self, slapd: Slapd, server: LdapServer, recipient: Recipient, *, monitor: bool = True
    ) -> None:
        self.slapd, self.recipient, self.server = slapd, recipient, server
        self.relayed = slapd.port
        self.connector = connect(
            OpenldapConnector,
            new_secrets=recipient.new_secrets(),
            monitor=monitor,
            **asdict(server),
        )
        self.dns: dict[str, str] = {}

    def add(self, name: str, *, is_enabled: bool = True) -> None:
        self.dns[name] = self.slapd.add(name)
        if not is_enabled:
            self.set_enabled(name, False)

    def is_enabled(self, name: str) -> bool:
        values = self.slapd.read(self.dns[name], LOCKED)[LOCKED]
        return FOR_GOOD.encode() not in values

    def set_enabled(self, name: str, is_enabled: bool) -> None:
        self.slapd.replace(self.dns[name], {LOCKED: [] if is_enabled else [FOR_GOOD]})

    def stamp(self, name: str) -> object:
        return self.slapd.read(self.dns[name], "*", "+")

    def sign_in(self, name: str) -> bool:
        return self.sign_in_with(name, "right")

    def sign_in_with(self, name: str, password: str) -> bool:
        connection = self.slapd.connect(self.dns[name], password)
        if connection is not None:
            connection.unbind()
        return connection is not None

    def open_session(self, name: str) -> Any:
        connection = self.slapd.connect(self.dns[name], "right")
        assert connection is not None
        return connection

    def admits(self, session: Any) -> bool:
        return bool(session.search("", "(objectClass=*)", search_scope="BASE"))

    def heard(self) -> str:
        return self.slapd.log.read_text(errors="replace") + str(self.slapd.dump())

    def lie(self, relay: Relay) -> None:
        # The values of an old lock that has expired.
        relay.rewrite_request = lambda asked: asked.replace(self.change, b"200001010000Z")

    def through(
        self, port: int, seconds: float, new_secrets: NewPasswords | None = None
    ) -> OpenldapConnector:
        plain = replace(self.server, host="127.0.0.1", port=port, tls="none")
        settings = asdict(plain) | hurried(seconds)
        return connect(OpenldapConnector, new_secrets=new_secrets, **settings)


@pytest.fixture
def house(slapd_server: Slapd, server: LdapServer, recipient: Recipient) -> Iterator[OpenldapHouse]:
    house = OpenldapHouse(slapd_server, server, recipient)
    yield house
    house.connector.close()


class TestOpenldapDirectory(
    ConnectorContract, FaultContract, BusyLdapContract, RotationContract, LostAnswerContract
): ...


@pytest.fixture
def secured(slapd_server: Slapd, server: LdapServer) -> Secured:
    def connected(**how: Any) -> OpenldapConnector:
        kind: Any = how.pop("tls") or "ldaps"
        return connect(OpenldapConnector, **asdict(replace(server, tls=kind, **how)))

    return Secured(
        connect=connected,
        target=slapd_server.tls_port,
        plain=slapd_server.port,
        ca_file=slapd_server.ca_file,
        verifies="ldaps",
        requires=(),
        secrets=(b"standfast", b"of-the-connector"),
    )


class TestOpenldapOverTls(TlsContract): ...


def test_open_connection_is_reported_until_it_ends(house: OpenldapHouse, alice: str) -> None:
    connection = house.open_session(alice)
    before = house.observe(alice)
    assert before.live_sessions == 1
    assert house.lock(alice).state is EffectState.DONE
    assert not house.sign_in(alice)
    # A limit of LDAP: an open connection continues.
    assert connection.search(house.dns[alice], "(objectClass=*)", attributes=["cn"])
    proof = house.prove(alice)
    assert (proof.state, "still open" in proof.reason) == (EffectState.FAILED, True)
    connection.unbind()
    proof = house.prove(alice)
    assert (proof.state, proof.proof) == (EffectState.DONE, Proof.CONNECTIONS_GONE)
    assert house.undo(alice, before).state is EffectState.DONE
    assert house.sign_in(alice)


def test_without_monitor_proof_is_read_back(
    slapd_server: Slapd, server: LdapServer, recipient: Recipient
) -> None:
    house = OpenldapHouse(slapd_server, server, recipient, monitor=False)
    name = f"agent-{uuid.uuid4().hex[:8]}"
    house.add(name)
    assert house.observe(name).live_sessions is None
    house.lock(name)
    assert house.connector.proof is Proof.READ_BACK
    assert house.prove(name).proof is Proof.READ_BACK
    assert house.connector.verbs == {"lock", "prove", "undo", "rotate"}
    house.connector.close()


def test_policy_that_ignores_locks_fails_the_proof(house: OpenldapHouse, alice: str) -> None:
    lenient = f"cn=lenient,ou=policies,{SUFFIX}"
    house.slapd.replace(house.dns[alice], {"pwdPolicySubentry": [lenient]})
    house.lock(alice)
    assert house.sign_in(alice)
    result = house.prove(alice)
    assert (result.proof, "pwdLockout" in result.reason) == (Proof.READ_BACK, True)


def test_temporary_lock_is_restored(house: OpenldapHouse, alice: str) -> None:
    began = "20260101000000Z"
    house.slapd.replace(house.dns[alice], {LOCKED: [began]})
    before = house.observe(alice)
    assert before.is_enabled
    house.lock(alice)
    house.undo(alice, before)
    assert house.slapd.read(house.dns[alice], LOCKED)[LOCKED] == [began.encode()]


def test_refused_new_password_names_its_sealed_file(house: OpenldapHouse, alice: str) -> None:
    with running_relay(house.relayed) as relay:
        connector = house.through(relay.port, 5.0, house.recipient.new_secrets())
        # A scheme that the server does not know.
        relay.rewrite_request = lambda asked: asked.replace(b"{SSHA}", b"{XSHA}")
        (result,) = connector.rotate([house.order("rotate", alice)])
        connector.close()
    (place,) = house.recipient.folder.glob("*.age")
    assert result.state is EffectState.FAILED
    assert str(place) in result.reason


def test_password_that_unlocks_is_reported(house: OpenldapHouse, alice: str) -> None:
    house.lock(alice)
    with running_relay(house.relayed) as relay:
        connector = house.through(relay.port, 5.0, house.recipient.new_secrets())
        # The values of an old lock that has expired.
        rotate = house.order("rotate", alice)
        relay.rewrite_request = lambda asked: asked.replace(house.change, b"200001010000Z")
        (result,) = connector.rotate([rotate])
        connector.close()
    assert (result.state, house.is_enabled(alice)) == (EffectState.FAILED, True)


def test_only_the_account_gets_the_password(
    house: OpenldapHouse, server: LdapServer, alice: str
) -> None:
    rotate = house.order("rotate", alice)
    stranger = {**(rotate.prior or {}), "id": str(uuid.UUID(int=7))}
    we = replace(server, bind_dn=house.dns[alice], password="right", base=house.dns[alice])
    ours = connect(OpenldapConnector, new_secrets=house.recipient.new_secrets(), **asdict(we))
    for connector, prior, why in (
        (house.connector, stranger, "another account"),
        (ours, rotate.prior, "itself"),
    ):
        (result,) = connector.rotate([replace(rotate, prior=prior)])
        assert (result.state, why in result.reason) == (EffectState.REFUSED, True)
    ours.close()
    house.slapd.replace(house.dns[alice], {"uid": [alice, f"alias-{alice}"]})
    aliased = house.rotate(f"alias-{alice}")
    assert (aliased.state, "an alias" in aliased.reason) == (EffectState.REFUSED, True)
    assert house.sign_in(alice)
    assert house.recipient.passwords(alice) == []


def test_temporarily_locked_account_gets_a_password(house: OpenldapHouse, alice: str) -> None:
    for _ in range(10):
        house.sign_in_with(alice, "guessed")
    began = house.slapd.read(house.dns[alice], LOCKED)[LOCKED]
    assert began not in ([], [FOR_GOOD.encode()])
    result = house.rotate(alice)
    (password,) = house.recipient.passwords(alice)
    assert (result.state, result.proof) == (EffectState.DONE, Proof.NONE), result.reason
    assert result.facts["sealed_in"]
    assert house.slapd.read(house.dns[alice], LOCKED)[LOCKED] == began
    house.slapd.replace(house.dns[alice], {LOCKED: []})
    assert house.sign_in_with(alice, password)


@pytest.mark.parametrize(
    "name",
    ["Smith, John", 'quo"te', "plus+sign=x", "#hash", "star*)(uid=*", "back\\slash", "Żółć", "a/b"],
)
def test_unusual_name_is_locked_alone(house: OpenldapHouse, alice: str, name: str) -> None:
    house.add(name)
    untouched = house.stamp(alice)
    assert house.lock(name).state is EffectState.DONE
    assert not house.sign_in(name)
    assert house.stamp(alice) == untouched
    house.slapd.ask(lambda admin: admin.delete(house.dns[name]))


def test_case_and_spaces_make_no_other_account(house: OpenldapHouse) -> None:
    house.add("Anne Marie")
    assert house.lock("anne  MARIE").state is EffectState.DONE
    assert not house.is_enabled("Anne Marie")
    assert house.connector.canonical("anne  MARIE") == house.connector.canonical("Anne Marie")


@pytest.mark.parametrize("name", ["Straße", "ΟΔΥΣΣΕΥΣ", "ﬁona", "  Ann  Lee "])
def test_unusual_name_has_one_spelling(house: OpenldapHouse, name: str) -> None:
    dn = house.slapd.add(name)
    assert house.observe(house.connector.canonical(name)).exists
    house.slapd.ask(lambda admin: admin.delete(dn))


def test_alias_is_refused(house: OpenldapHouse) -> None:
    house.add("chief, Ann")
    house.slapd.replace(house.dns["chief, Ann"], {"uid": ["aa-boss", "chief, Ann"]})
    result = house.lock("aa-boss")
    assert (result.state, "an alias" in result.reason) == (EffectState.REFUSED, True)
    assert "an alias" in house.observe("aa-boss").obstacle
    assert house.is_enabled("chief, Ann")
    assert house.lock("CHIEF,  ann").state is EffectState.DONE
    assert not house.is_enabled("chief, Ann")
    house.slapd.ask(lambda admin: admin.delete(house.dns["chief, Ann"]))


def test_duplicate_accounts_are_not_locked(house: OpenldapHouse, alice: str) -> None:
    house.slapd.ask(
        lambda admin: (
            admin.add(f"ou={alice},{PEOPLE}", "organizationalUnit")
            and admin.add(
                f"uid={alice},ou={alice},{PEOPLE}", "inetOrgPerson", {"cn": "A", "sn": "B"}
            )
        )
    )
    untouched = house.stamp(alice)
    result = house.lock(alice)
    assert (result.state, "several" in result.reason) == (EffectState.FAILED, True)
    assert house.stamp(alice) == untouched


def test_reassigned_name_is_not_changed_or_proven(house: OpenldapHouse, alice: str) -> None:
    before = house.observe(alice)
    house.lock(alice)
    former = f"former-{alice}"
    house.slapd.ask(lambda admin: admin.modify_dn(house.dns[alice], f"uid={former}"))
    house.dns[former] = house.dns[alice].replace(alice, former)
    house.add(alice, is_enabled=False)
    (locked,) = house.connector.lock([replace(order("lock", alice), prior=before.prior)])
    assert locked.state is EffectState.REFUSED
    (proven,) = house.connector.prove([replace(order("prove", alice), prior=before.prior)])
    assert (proven.state, "another account" in proven.reason) == (EffectState.REFUSED, True)
    assert house.undo(alice, before).state is EffectState.DONE
    assert (house.is_enabled(alice), house.is_enabled(former)) == (False, True)


def test_connector_account_has_only_its_rights(
    house: OpenldapHouse, server: LdapServer, alice: str
) -> None:
    connection = sign_in(server, 5.0)
    dn = house.dns[alice]
    (entry,) = connection.search(dn, "(objectClass=*)", ["*", "+"], is_one_entry=True)
    assert set(entry.attributes) <= {"uid", "objectclass", "entryuuid", LOCKED.lower()}
    # The connector may write the password, to set a new one, but not read it.
    for attribute in ("cn", "pwdPolicySubentry", "mail"):
        assert connection.replace(dn, {attribute: [PEOPLE.encode()]}) == 50
    assert connection.replace(server.bind_dn, {LOCKED: [FOR_GOOD.encode()]}) in (32, 50)
    connection.close()


def test_long_list_passes_the_size_limit(slapd_server: Slapd, server: LdapServer) -> None:
    for _ in range(120):
        slapd_server.add(f"crowd-{uuid.uuid4().hex}")
    connection = sign_in(server, 5.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("standfast.adapters.clients.ldap.client.PAGE_SIZE", 50)
        assert len(connection.search(PEOPLE, "(uid=crowd-*)", ["uid"])) == 120
    connection.close()


def test_starttls_verifies_the_server(slapd_server: Slapd, server: LdapServer) -> None:
    starttls = replace(server, tls="starttls", port=slapd_server.port)
    connector = connect(OpenldapConnector, **asdict(starttls))
    assert not connector.observe(["nobody"])[0].exists
    connector.close()
    for broken in (replace(server, ca_file=None), replace(starttls, ca_file=None)):
        connector = connect(OpenldapConnector, **asdict(broken))
        with pytest.raises(Unavailable, match="certificate"):
            connector.observe(["nobody"])


@pytest.mark.parametrize("tls", ["ldaps", "starttls", "none"])
def test_failed_connection_names_address_and_cause(
    slapd_server: Slapd, server: LdapServer, tls: LdapTls
) -> None:
    port = slapd_server.tls_port if tls == "ldaps" else slapd_server.port
    causes = {"refused": replace(server, tls=tls, port=free_port())}
    if tls != "none":
        causes["self-signed"] = replace(server, tls=tls, port=port, ca_file=None)
    if tls == "ldaps":
        causes["no TLS"] = replace(server, tls=tls, port=slapd_server.port)
        causes["no address"] = replace(server, host="nowhere.invalid", port=port)
    for cause, broken in causes.items():
        connector = connect(OpenldapConnector, **asdict(broken))
        with pytest.raises(Unavailable) as failed:
            connector.observe(["nobody"])
        connector.close()
        assert f"{broken.host} port {broken.port}" in str(failed.value)
        assert cause in str(failed.value)
        assert failed.value.retry_after_seconds is not None


def test_password_is_never_sent_in_clear(server: LdapServer) -> None:
    for broken, why in (
        (replace(server, host="ldap.example.com", tls="none"), "unencrypted"),
        (replace(server, password=""), "empty"),
    ):
        connector = connect(OpenldapConnector, **asdict(broken))
        with pytest.raises(ConfigurationError, match=why):
            connector.observe(["alice"])
        (result,) = connector.lock([order("lock", "alice")])
        assert (result.state, why in result.reason) == (EffectState.FAILED, True)


def test_own_wrong_password_locks_nobody(
    server: LdapServer, house: OpenldapHouse, alice: str
) -> None:
    wrong = replace(server, password="wrong")
    connector = connect(OpenldapConnector, **asdict(wrong))
    (result,) = connector.lock([order("lock", alice)])
    assert (result.state, result.retry_after_seconds) == (EffectState.FAILED, None)
    assert "the configured credential" in result.reason
    assert house.is_enabled(alice)
    # The later sign-in succeeds and resets the count of failures of the connector's account.
    house.lock(alice)


@pytest.mark.parametrize("between", [",", ", ", " , "])
def test_own_account_is_known_in_every_form(
    slapd_server: Slapd, server: LdapServer, between: str
) -> None:
    name = f"Ours-{uuid.uuid4().hex[:8]}"
    dn = slapd_server.add(name)
    written = between.join(part.replace("=", between.replace(",", "=")) for part in dn.split(","))
    we = replace(server, bind_dn=written.upper(), password="right", base=dn)
    connector = connect(OpenldapConnector, **asdict(we))
    (ours,) = connector.observe([name])
    (locked,) = connector.lock([order("lock", name)])
    connector.close()
    assert "itself" in ours.obstacle
    assert (locked.state, "itself" in locked.reason) == (EffectState.REFUSED, True)


def test_check_states_missing_rights(
    slapd_server: Slapd, server: LdapServer, house: OpenldapHouse, alice: str
) -> None:
    assert house.connector.shortcomings() == []
    agent = slapd_server.add(f"agent-{uuid.uuid4().hex[:8]}")
    # The search base is the agent alone, because the size limit would cut a list of the people of
    # all tests.
    blind = replace(server, bind_dn=agent, password="right", base=agent)
    connector = connect(OpenldapConnector, monitor=True, **asdict(blind))
    said = connector.shortcomings()
    connector.close()
    assert any("cn=Monitor" in one for one in said)
    elsewhere = replace(server, base=f"ou=policies,{SUFFIX}")
    connector = connect(OpenldapConnector, **asdict(elsewhere))
    with pytest.raises(Unavailable, match="search base"):
        connector.shortcomings()
    connector.close()
