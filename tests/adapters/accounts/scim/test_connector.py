"""The SCIM connector on scim2-server, which has no sign-in."""

from collections.abc import Iterator

import pytest

from standfast.adapters.accounts.scim.connector import ScimConnector
from standfast.records import Proof
from tests.adapters.accounts.connect import connect
from tests.adapters.accounts.contract import ConnectorContract, House
from tests.adapters.accounts.fault_contract import (
    BusyContract,
    FaultContract,
    HttpHouse,
    at_port,
    hurried,
    port_of,
)
from tests.servers.scim import ScimServer


class ScimHouse(HttpHouse):
    change = b"PATCH /"
    success_status = 204
    patience_seconds = 1.0

    def __init__(self, server: ScimServer) -> None:
        self.relayed = port_of(server.url)
        self.connector = connect(ScimConnector, url=server.url, token=server.token)
        self._server = server
        self._ids: dict[str, str] = {}

    def through(self, port: int, seconds: float) -> ScimConnector:
        url = at_port(self._server.url, port)
        return connect(ScimConnector, url=url, token=self._server.token, **hurried(seconds))

    def add(self, name: str, *, is_enabled: bool = True) -> None:
        self._ids[name] = self._server.create(name, is_active=is_enabled)

    def is_enabled(self, name: str) -> bool:
        return self._server.is_active(self._ids[name])

    def set_enabled(self, name: str, is_enabled: bool) -> None:
        self._server.set_active(self._ids[name], is_enabled)

    def stamp(self, name: str) -> object:
        return self._server.version(self._ids[name])

    def sign_in(self, name: str) -> bool:
        """Return whether the account is active, because SCIM has no sign-in."""
        return self.is_enabled(name)


class TestScimDirectory(ConnectorContract, FaultContract, BusyContract):
    @pytest.fixture
    def house(self, scim_server: ScimServer) -> Iterator[ScimHouse]:
        house = ScimHouse(scim_server)
        yield house
        house.connector.close()

    @pytest.mark.parametrize(
        "name", ['quo"ted', "back\\slash", "O'Neill", "josé", "a b", "a/b?c#d"]
    )
    def test_an_unusual_name_is_found_and_locked(self, house: House, name: str) -> None:
        house.add(name)
        house.lock(name)
        assert not house.is_enabled(name)

    def test_the_name_is_found_whatever_its_case(self, house: House) -> None:
        house.add("alice")
        house.lock("ALICE")
        assert not house.is_enabled("alice")

    def test_plain_scim_reads_back_without_revocation(self, house: House) -> None:
        assert house.connector.proof is Proof.READ_BACK
        assert "revoke" not in house.connector.verbs
        (stays,) = house.connector.irreversible
        assert "may be valid again after the undo" in stays
