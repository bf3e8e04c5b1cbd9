"""The Active Directory connector on Samba, with the documented rights."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import pytest

from standfast.adapters.accounts.active_directory import (
    ACCOUNT_NAME,
    ActiveDirectory,
)
from standfast.adapters.accounts.base.new_passwords import NewPasswords
from standfast.adapters.clients.ldap.client import LdapConnection, LdapServer, sign_in
from standfast.errors import Unavailable
from standfast.records import EffectState, Proof
from tests.adapters.accounts.connect import connect
from tests.adapters.accounts.contract import ConnectorContract, order
from tests.adapters.accounts.fault_contract import (
    BusyLdapContract,
    FaultContract,
    hurried,
    wait_for,
)
from tests.adapters.accounts.rights import block
from tests.adapters.accounts.rotation_contract import (
    LostAnswerContract,
    Recipient,
    RelayedRotationHouse,
    RotationContract,
)
from tests.servers import wait_until
from tests.servers.relay import Relay, running_relay
from tests.servers.samba import STAFF, Samba

pytestmark = pytest.mark.xdist_group("samba")

Changed = Mapping[str, Sequence[bytes]]
OURS = "Of-the-c0nnector"


@pytest.fixture(scope="module")
def server(samba_server: Samba) -> LdapServer:
    """Create the connector's account and rights, as docs/accounts.md says."""
    samba_server.shell(block("active_directory", "With Samba, run"), PASSWORD=OURS)
    return LdapServer(
        host="localhost",
        ca_file=samba_server.ca_file,
        bind_dn="standfast@example.com",
        password=OURS,
        base="DC=example,DC=com",
        attribute=ACCOUNT_NAME,
        filter="(&(objectCategory=person)(objectClass=user))",
    )


def passwords_set(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Record every password that a connector sets from now on."""
    sets: list[bytes] = []
    replaced = LdapConnection.replace

    def heard(self: LdapConnection, dn: str, changes: Changed, **more: Any) -> int:
        sets.extend(changes.get("unicodePwd", ()))
        return replaced(self, dn, changes, **more)

    monkeypatch.setattr(LdapConnection, "replace", heard)
    return sets


def octets(value: bytes) -> bytes:
    """Encode a value for a request: tag, length, bytes."""
    return bytes([0x04, len(value)]) + value


class ActiveDirectoryHouse(RelayedRotationHouse):
    first_password = "Right-pass-1"
    relayed = 389
    change = octets(b"514")
    undo_change = octets(b"512")
    password_change = octets(b"unicodePwd")

    def __init__(
        self,
        samba: Samba,
        server: LdapServer,
        recipient: Recipient,
        *,
        reset_password: bool = False,
    ) -> None:
        self.samba, self.recipient, self.server = samba, recipient, server
        self.connector = connect(
            ActiveDirectory,
            new_secrets=recipient.new_secrets(),
            reset_password=reset_password,
            **asdict(server),
        )
        self.dns: dict[str, str] = {}

    def add(self, name: str, *, is_enabled: bool = True) -> None:
        self.dns[name] = self.samba.add(name)
        if not is_enabled:
            self.set_enabled(name, False)

    def is_enabled(self, name: str) -> bool:
        return not int(self.samba.read(self.dns[name], "userAccountControl")) & 2

    def set_enabled(self, name: str, is_enabled: bool) -> None:
        value = "512" if is_enabled else "514"
        self.samba.replace(self.dns[name], {"userAccountControl": [value]})

    def stamp(self, name: str) -> object:
        return self.samba.read(self.dns[name], "uSNChanged")

    def sign_in(self, name: str) -> bool:
        return self.sign_in_with(name, self.first_password)

    def sign_in_with(self, name: str, password: str) -> bool:
        connection = self.open(name, password)
        if connection is not None:
            connection.unbind()
        return connection is not None

    def lie(self, relay: Relay) -> None:
        relay.rewrite_request = lambda asked: asked.replace(self.change, octets(b"512"))

    def through(
        self, port: int, seconds: float, new_secrets: NewPasswords | None = None
    ) -> ActiveDirectory:
        plain = replace(self.server, host="127.0.0.1", port=port, tls="none")
        settings = asdict(plain) | hurried(seconds)
        return connect(ActiveDirectory, new_secrets=new_secrets, **settings)

    def open(self, name: str, password: str = "Right-pass-1") -> Any | None:
        return self.samba.connect(f"{name}@example.com", password)


@pytest.fixture
def house(
    samba_server: Samba, server: LdapServer, recipient: Recipient
) -> Iterator[ActiveDirectoryHouse]:
    house = ActiveDirectoryHouse(samba_server, server, recipient)
    yield house
    house.connector.close()


class TestActiveDirectory(
    ConnectorContract, FaultContract, BusyLdapContract, RotationContract, LostAnswerContract
): ...


def test_proof_reports_an_open_connection(house: ActiveDirectoryHouse, alice: str) -> None:
    connection = house.open(alice)
    assert connection is not None
    before = house.observe(alice)
    assert house.lock(alice).state is EffectState.DONE
    assert not house.sign_in(alice)
    # A limit of the directory: an open connection continues.
    assert connection.search(house.dns[alice], "(objectClass=*)", attributes=["cn"])
    connection.unbind()
    proof = house.prove(alice)
    assert (proof.proof, "valid until they end" in proof.reason) == (Proof.READ_BACK, True)
    assert house.connector.verbs == {"lock", "prove", "undo", "rotate"}
    assert house.undo(alice, before).state is EffectState.DONE
    assert house.sign_in(alice)


def test_reset_password_stays_refused_after_undo(
    samba_server: Samba, server: LdapServer, recipient: Recipient
) -> None:
    house = ActiveDirectoryHouse(samba_server, server, recipient, reset_password=True)
    name = f"agent-{uuid.uuid4().hex[:8]}"
    house.add(name)
    before = house.observe(name)
    assert "password" in house.connector.irreversible[0]
    house.lock(name)
    once = house.stamp(name)
    house.lock(name)
    assert house.stamp(name) == once
    house.undo(name, before)
    assert house.is_enabled(name)
    # Two resets end the old password; after one, it would still work for an hour.
    assert not house.sign_in(name)
    given = '"Given-by-the-desk-1"'.encode("utf-16-le")
    samba_server.replace(house.dns[name], {"unicodePwd": [given]})
    connection = house.open(name, "Given-by-the-desk-1")
    assert connection is not None
    connection.unbind()
    house.connector.close()


def test_undo_without_effect_is_not_believed(house: ActiveDirectoryHouse, alice: str) -> None:
    before = house.observe(alice)
    house.lock(alice)
    with running_relay(house.relayed) as relay:
        connector = house.through(relay.port, 5.0)
        relay.rewrite_request = lambda asked: asked.replace(house.undo_change, house.change)
        (result,) = connector.undo([replace(order("undo", alice), prior=before.prior)])
        connector.close()
    assert (result.state, house.is_enabled(alice)) == (EffectState.FAILED, False)


def test_sealed_password_is_set_last(
    house: ActiveDirectoryHouse, alice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The previous password also works for an hour, so a sign-in does not identify the current one.
    sets = passwords_set(monkeypatch)
    assert house.rotate(alice).state is EffectState.DONE
    (sealed,) = house.recipient.passwords(alice)
    assert [one == f'"{sealed}"'.encode("utf-16-le") for one in sets] == [False, True]


def test_account_refused_now_gets_a_password(house: ActiveDirectoryHouse, alice: str) -> None:
    house.samba.replace(house.dns[alice], {"accountExpires": ["129000000000000000"]})
    assert not house.sign_in(alice)
    result = house.rotate(alice)
    (password,) = house.recipient.passwords(alice)
    assert (result.state, result.proof) == (EffectState.DONE, Proof.NONE), result.reason
    house.samba.replace(house.dns[alice], {"accountExpires": ["0"]})
    assert house.sign_in_with(alice, password)
    assert not house.sign_in(alice)


def test_refused_new_password_is_not_believed(
    house: ActiveDirectoryHouse, alice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = LdapConnection.replace

    def mistaken(self: LdapConnection, dn: str, changes: Any, **more: Any) -> int:
        return real(self, dn, {name: ['"Another-1"'.encode("utf-16-le")] for name in changes})

    monkeypatch.setattr(LdapConnection, "replace", mistaken)
    result = house.rotate(alice)
    (place,) = house.recipient.folder.glob("*.age")
    assert (result.state, str(place) in result.reason) == (EffectState.FAILED, True)


def test_reset_passwords_are_all_different(
    samba_server: Samba, server: LdapServer, recipient: Recipient, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = ActiveDirectoryHouse(samba_server, server, recipient, reset_password=True)
    sets = passwords_set(monkeypatch)
    for _ in range(2):
        name = f"agent-{uuid.uuid4().hex[:8]}"
        house.add(name)
        assert house.lock(name).state is EffectState.DONE
    house.connector.close()
    assert (len(sets), len(set(sets))) == (4, 4)


@pytest.mark.parametrize("gone", [str(uuid.UUID(int=7)), "no id", ""])
def test_undo_of_a_deleted_account_is_refused(
    house: ActiveDirectoryHouse, alice: str, gone: str
) -> None:
    before = house.observe(alice)
    house.lock(alice)
    undo = replace(order("undo", alice), prior={**before.prior, "id": gone})
    (result,) = house.connector.undo([undo])
    assert (result.state, house.is_enabled(alice)) == (EffectState.REFUSED, False)


def test_only_one_flag_is_changed(house: ActiveDirectoryHouse, alice: str) -> None:
    never_expires = 0x10000
    house.samba.replace(house.dns[alice], {"userAccountControl": [str(512 | never_expires)]})
    before = house.observe(alice)
    house.lock(alice)
    control = int(house.samba.read(house.dns[alice], "userAccountControl"))
    assert control == 512 | never_expires | 2
    house.samba.replace(house.dns[alice], {"userAccountControl": ["514"]})
    house.undo(alice, before)
    assert int(house.samba.read(house.dns[alice], "userAccountControl")) == 512


def test_a_dn_with_special_characters_is_written_to(house: ActiveDirectoryHouse) -> None:
    name = f"smith-{uuid.uuid4().hex[:8]}"
    house.dns[name] = house.samba.add(name, cn=f'Smith, "Ann" + #1 {name}')
    assert house.lock(name).state is EffectState.DONE
    assert not house.is_enabled(name)


def test_case_makes_no_other_account(house: ActiveDirectoryHouse, alice: str) -> None:
    assert house.lock(alice.upper()).state is EffectState.DONE
    assert not house.is_enabled(alice)
    assert house.connector.canonical(alice.upper()) == house.connector.canonical(alice)


@pytest.mark.parametrize(
    ("name", "why"),
    [("Administrator", "built-in"), ("krbtgt", "built-in"), ("standfast", "itself")],
)
def test_forbidden_lock_is_reported_and_refused(
    house: ActiveDirectoryHouse, name: str, why: str
) -> None:
    assert why in house.observe(name).obstacle
    result = house.lock(name)
    assert (result.state, why in result.reason) == (EffectState.REFUSED, True)


@pytest.mark.parametrize(
    "way",
    ["{name}@EXAMPLE.com", "{name}@elsewhere.example", "EXAMPLE\\{name}", "{dn}", "{spaced}"],
)
def test_own_account_is_known_in_every_form(
    samba_server: Samba, server: LdapServer, way: str
) -> None:
    name = f"ours-{uuid.uuid4().hex[:8]}"
    dn = samba_server.add(name)
    other, spaced = name[1:], dn.upper().replace(",", ", ")
    samba_server.add(other)
    samba_server.replace(dn, {"userPrincipalName": [f"{name}@elsewhere.example"]})
    we = replace(
        server, bind_dn=way.format(name=name, dn=dn, spaced=spaced), password="Right-pass-1"
    )
    connector = connect(ActiveDirectory, **asdict(we))
    ours, not_ours = connector.observe([name, other])
    connector.close()
    assert ("itself" in ours.obstacle, "itself" in not_ours.obstacle) == (True, False)


def test_hidden_account_is_not_locked(house: ActiveDirectoryHouse, alice: str) -> None:
    hidden = f"hidden-{uuid.uuid4().hex[:8]}"
    house.add(hidden)
    house.samba.shell(
        "shown=$(samba-tool user show standfast --attributes=objectSid)\n"
        "sid=${shown##*objectSid: }\n"
        f'samba-tool dsacl set --objectdn="{house.dns[hidden]}" '
        '--sddl="(OD;;RP;bf967a68-0de6-11d0-a285-00aa003049e2;;$sid)"'
    )
    # One connection, so that one search reads both accounts.
    connector = connect(ActiveDirectory, workers=1, **asdict(house.server))
    unseen, seen = connector.observe([hidden, alice])
    connector.close()
    assert (unseen.exists, "may not read" in unseen.reason) == (False, True)
    assert (seen.exists, seen.is_enabled, seen.reason) == (True, True, "")
    with pytest.raises(Unavailable, match="may not read"):
        house.observe(hidden)
    failed, locked = house.connector.lock([order("lock", hidden), order("lock", alice)])
    assert (failed.state, locked.state) == (EffectState.FAILED, EffectState.DONE)
    failed, proven = house.connector.prove([order("prove", hidden), order("prove", alice)])
    assert (failed.state, proven.state) == (EffectState.FAILED, EffectState.DONE)
    assert (house.is_enabled(hidden), house.is_enabled(alice)) == (True, False)


def test_account_outside_the_unit_is_refused(
    house: ActiveDirectoryHouse,
) -> None:
    name = f"other-{uuid.uuid4().hex[:8]}"
    house.samba.shell(f"samba-tool user create {name} Right-pass-1")
    assert "delegated" in house.observe(name).obstacle
    assert house.lock(name).state is EffectState.REFUSED


def test_reassigned_name_is_not_changed_or_proven(house: ActiveDirectoryHouse, alice: str) -> None:
    before = house.observe(alice)
    house.lock(alice)
    former = f"was-{uuid.uuid4().hex[:8]}"
    house.samba.replace(
        house.dns[alice],
        {"sAMAccountName": [former], "userPrincipalName": [f"{former}@example.com"]},
    )
    house.dns[former] = house.dns[alice]
    house.dns[alice] = house.samba.add(alice, cn=f"new {alice}")
    house.set_enabled(alice, False)
    (locked,) = house.connector.lock([replace(order("lock", alice), prior=before.prior)])
    assert locked.state is EffectState.REFUSED
    (proven,) = house.connector.prove([replace(order("prove", alice), prior=before.prior)])
    assert (proven.state, "another account" in proven.reason) == (EffectState.REFUSED, True)
    assert house.undo(alice, before).state is EffectState.DONE
    assert (house.is_enabled(alice), house.is_enabled(former)) == (False, True)


def test_the_connectors_account_changes_nothing_else(
    house: ActiveDirectoryHouse, server: LdapServer, alice: str
) -> None:
    connection = sign_in(server, 5.0)
    for attribute in ("description", "sAMAccountName", "servicePrincipalName"):
        assert connection.replace(house.dns[alice], {attribute: [b"changed"]}) == 50
    assert connection.replace(STAFF, {"description": [b"changed"]}) == 50
    connection.close()


def test_hanging_server_fails_and_connection_is_renewed(
    server: LdapServer, house: ActiveDirectoryHouse, alice: str
) -> None:
    with running_relay(636) as relay:
        connector = connect(
            ActiveDirectory, timeout_seconds=1.0, **asdict(replace(server, port=relay.port))
        )
        wait_for(connector, alice)
        relay.hold()
        (result,) = connector.lock([order("lock", alice)])
        assert result.state is EffectState.FAILED
        assert result.retry_after_seconds is not None
        relay.release()
        assert house.is_enabled(alice)
        relay.cut()
        wait_until(
            lambda: connector.lock([order("lock", alice)])[0].state is EffectState.DONE,
            "the connection is renewed",
        )
        connector.close()


def test_check_counts_accounts_without_rights(
    server: LdapServer, house: ActiveDirectoryHouse, alice: str
) -> None:
    said = house.connector.shortcomings()
    assert any("built-in" in one for one in said)
    ours = connect(ActiveDirectory, **asdict(replace(server, base=STAFF)))
    assert ours.shortcomings() == []
    ours.close()
